// The Python module. Arrays are checked here, so that the rest need not; Python's lock is released inside an image.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <climits>

#include "gradients.hpp"
#include "module.hpp"

namespace {

using namespace p59;

using Seconds = std::tuple<double, double, double>;

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const Kernel* kernel : available_kernels()) names.emplace_back(kernel->name);
    return names;
}

Seconds seconds(const Counters& counters) {
    return {counters.network * 1e-9, counters.mixture * 1e-9, counters.coder * 1e-9};
}

std::pair<nb::bytes, Seconds> encode_image(const PyModel& model, Array<uint8_t, 3> image, const Taps& taps, int west,
                                           std::optional<int64_t> row_delay, int threads, bool count, nb::object check) {
    model.require_image(image);
    Counters counters;
    Task task = model.task(image.shape(0), image.shape(1), taps, west, row_delay, threads, count ? &counters : nullptr,
                           check);
    std::vector<uint8_t> stream;
    {
        const Released released;
        stream = encode(task, image.data());
    }
    return {nb::bytes(reinterpret_cast<const char*>(stream.data()), stream.size()), seconds(counters)};
}

std::pair<nb::object, Seconds> decode_image(const PyModel& model, nb::bytes stream, int64_t height, int64_t width,
                                            const Taps& taps, int west, std::optional<int64_t> row_delay, int threads,
                                            bool count, nb::object check) {
    Counters counters;
    Task task = model.task(height, width, taps, west, row_delay, threads, count ? &counters : nullptr, check);
    std::unique_ptr<uint8_t[]> image(new uint8_t[size_t(height) * width * model.channels()]);
    {
        const Released released;
        decode(task, reinterpret_cast<const uint8_t*>(stream.c_str()), stream.size(), image.get());
    }
    return {owned_array(std::move(image), height, width, model.channels()), seconds(counters)};
}

nb::object measure_image(const PyModel& model, Array<uint8_t, 3> image, const Taps& taps, int west,
                         std::optional<int64_t> row_delay, int threads) {
    model.require_image(image);
    Task task = model.task(image.shape(0), image.shape(1), taps, west, row_delay, threads);
    std::unique_ptr<uint32_t[]> shares(new uint32_t[image.size()]);
    {
        const Released released;
        measure(task, image.data(), shares.get());
    }
    return owned_array(std::move(shares), image.shape(0), image.shape(1), image.shape(2));
}

nb::object measure_images(const PyModel& model, Array<uint8_t, 4> images, const Taps& taps, int west,
                          std::optional<int64_t> row_delay, int64_t margin, int threads) {
    const size_t count = images.shape(0), height = images.shape(1), width = images.shape(2), channels = images.shape(3);
    model.require_channels(channels);
    require(count >= 1, "images: there are none");
    Task task = model.task(height, width, taps, west, row_delay, threads);
    require(margin >= 0 && margin < int64_t(std::min(height, width) + 1) / 2, "margin: leaves no pixels of the images");
    const size_t inner_height = height - 2 * margin, inner_width = width - 2 * margin;
    std::unique_ptr<uint32_t[]> shares(new uint32_t[count * inner_height * inner_width * channels]);
    {
        const Released released;
        measure_pieces(task, images.data(), int64_t(count), margin, shares.get());
    }
    return owned_array(std::move(shares), count * inner_height, inner_width, channels);
}

// Multiply-accumulates a second of `threads` threads that do nothing else and touch no memory.
double ceiling(const std::string& instruction_set, int threads, double seconds) {
    require(threads >= 1 && threads <= kMostThreads, "threads must be at least 1");
    require(seconds > 0 && seconds <= 10, "seconds must be above 0 and at most 10");
    const Kernel* kernel = kernel_named(instruction_set);
    const Released released;
    std::atomic<int> ready{0}, awaited{INT_MAX};
    std::vector<double> rates(threads);
    std::atomic<bool> stop{false};
    auto body = [&](int index) {
        for (++ready; ready.load() < awaited.load() && !stop.load();) std::this_thread::yield();
        const Clock::time_point start = Clock::now();
        double elapsed = 0;
        int64_t done = 0;
        while (elapsed < seconds) {
            done += kernel->ceiling(100'000);
            elapsed = std::chrono::duration<double>(Clock::now() - start).count();
        }
        rates[index] = double(done) / elapsed;
    };
    {
        Team team(threads, body, stop);
        awaited = team.size();
        body(0);
    }
    double total = 0;
    for (double rate : rates) total += rate;
    return total;
}

}  // namespace

NB_MODULE(p59_native, module) {
    module.doc() = "Native core of P59; coders.native is its Python face.";
    // What a forked process keeps of its parent's, and a process of threads that it leaves at work, is no leak.
    nb::set_leak_warnings(false);
    module.def("instruction_sets", &instruction_sets, "Names of the instruction sets of this machine, best first.");
    module.def("ceiling", &ceiling, "instruction_set"_a, "threads"_a, "seconds"_a = 0.2,
               "int16 multiply-accumulates a second in registers only.");

    nb::dict constants;
    constants["INTERFACE"] = 5;  // of the functions below; coders.native asks for it
    constants["TOP"] = Canvas::kTop;
    constants["BOTTOM"] = Canvas::kBottom;
    constants["LEFT"] = Canvas::kSide;
    constants["MID_GREY"] = Canvas::kMidGrey;
    constants["LARGEST_SIDE"] = kLargestSide;
    constants["MOST_PIXELS"] = kMostPixels;
    constants["PARITIES"] = kParities;
    constants["MEAN_BITS"] = kMeanBits;
    constants["LOGIT_BITS"] = kLogitBits;
    constants["CROSS_BITS"] = kCrossBits;
    constants["WEIGHT_BITS"] = kWeightBits;
    constants["SCALE_STEPS"] = kScaleSteps;
    constants["SCALE_COUNT"] = kScaleCount;
    constants["MEAN_LOWEST"] = kMeanLowest;
    constants["MEAN_HIGHEST"] = kMeanHighest;
    constants["RAW_LIMIT"] = kRawLimit;
    constants["CROSS_LIMIT"] = kCrossLimit;
    constants["Z_STEP_BITS"] = kZStepBits;
    constants["Z_LIMIT"] = kZLimit;
    constants["Z_SHIFT"] = kZShift;
    constants["PHI_ROUND"] = kPhiRound;
    constants["PHI_SHIFT"] = kPhiShift;
    constants["TOTAL"] = kTotal;
    constants["LEAKY_MULTIPLIER"] = kLeakyMultiplier;
    constants["LEAKY_PRESHIFT"] = kLeakyPreshift;
    constants["LEAKY_SHIFT"] = kLeakyShift;
    constants["LEAKY_SLOPE"] = kLeakySlope;
    constants["SCALE_MINIMUM"] = kScaleMinimum;
    constants["SCALE_MAXIMUM"] = kScaleMaximum;
    constants["MEAN_GAIN"] = kMeanGain;
    constants["LOG_SCALE_OFFSET"] = kLogScaleOffset;
    constants["CODER_SHARE"] = kCoderShare;
    constants["CODER_FLOOR"] = kCoderFloor;
    module.attr("constants") = constants;

    nb::class_<PyModel> model(module, "Model");
    model
        .def(nb::init<int, int, int, bool, bool, bool, const std::string&, const std::vector<LayerArrays>&,
                      std::vector<int32_t>, std::vector<int32_t>, std::vector<int32_t>, const std::vector<int32_t>&,
                      const std::string&>(),
             "channels"_a, "mixtures"_a, "limit"_a, "relative_to_west"_a, "clamped_scales"_a, "parities"_a,
             "padding"_a, "layers"_a, "exp2"_a, "mantissas"_a, "thresholds"_a, "normal"_a, "instruction_set"_a)
        .def_prop_ro("instruction_set", &PyModel::instruction_set,
                     "The one in use: the one asked for, or the next whose results agree with the portable one's.")
        .def("encode", &encode_image, "image"_a, "taps"_a, "west"_a, "row_delay"_a.none(), "threads"_a,
             "count"_a = false, "check"_a = nb::none(),
             "(stream, seconds of thread time in network, mixture and coder if counted); check() may end it by raising")
        .def("decode", &decode_image, "stream"_a, "height"_a, "width"_a, "taps"_a, "west"_a, "row_delay"_a.none(),
             "threads"_a, "count"_a = false, "check"_a = nb::none(), "(image, seconds as in encode)")
        .def("measure", &measure_image, "image"_a, "taps"_a, "west"_a, "row_delay"_a.none(), "threads"_a,
             "c_high - c_low of every sub-pixel (H, W, C) uint32")
        .def("measure_pieces", &measure_images, "images"_a, "taps"_a, "west"_a, "row_delay"_a.none(), "margin"_a,
             "threads"_a,
             "The same of images (N, H, W, C) without `margin` pixels at each side, one image below the other");
    bind_steps(module, model);
    bind_gradients(module);
}
