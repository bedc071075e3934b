// The Python module. Arrays are checked here, so that the rest need not; Python's lock is released inside an image.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>

#include "codec.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using namespace p59;

template <class T, int Dimensions>
using Array = nb::ndarray<const T, nb::numpy, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;
using LayerArrays = std::tuple<Array<int16_t, 2>, Array<int32_t, 1>, Array<uint8_t, 1>, bool, bool>;
using Taps = std::vector<std::pair<int, int>>;
using Seconds = std::tuple<double, double, double>;

constexpr int64_t kLargestSide = 1 << 20;
constexpr int kMostThreads = 1024;

void require(bool condition, const std::string& message) {
    if (!condition) throw std::invalid_argument(message);
}

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const Kernel* kernel : available_kernels()) names.emplace_back(kernel->name);
    return names;
}

const Kernel* kernel_named(const std::string& name) {
    for (const Kernel* kernel : available_kernels())
        if (name == kernel->name) return kernel;
    throw std::invalid_argument("instruction set '" + name + "' is not one of this machine");
}

class PyModel {
public:
    PyModel(int channels, int mixtures, int limit, bool relative_to_west, bool clamped_scales, bool edge_padding,
            const std::vector<LayerArrays>& layers, std::vector<int32_t> exp2, std::vector<int32_t> mantissas,
            std::vector<int32_t> thresholds, const std::vector<int32_t>& normal, const std::string& instruction_set)
        : model_({channels, mixtures, limit, relative_to_west, clamped_scales, edge_padding}, packed(layers),
                 pack_tables(std::move(exp2), std::move(mantissas), std::move(thresholds), normal)) {
        const Kernel* wanted = kernel_named(instruction_set);
        bool reached = false;
        for (const Kernel* kernel : available_kernels()) {
            reached |= kernel == wanted;
            if (!reached) continue;
            model_.kernel = kernel;
            if (kernel == portable_kernel() || agrees_with_portable(model_, *kernel)) break;
        }
    }

    std::string instruction_set() const { return model_.kernel->name; }

    // What one call needs, its sizes checked.
    Task task(int64_t height, int64_t width, const Taps& taps, int west, std::optional<int64_t> row_delay, int threads,
              Counters* counters) const {
        require(height >= 1 && width >= 1 && height <= kLargestSide && width <= kLargestSide,
                "image of " + std::to_string(height) + " x " + std::to_string(width) + ": sides must be 1 to " +
                    std::to_string(kLargestSide));
        require(int(taps.size()) == model_.taps, "taps: not as many as the model has");
        require(west >= 0 && west < int(taps.size()), "west: not the index of a tap");
        require(!row_delay || (*row_delay >= 1 && *row_delay <= kLargestSide), "row_delay must be at least 1");
        require(threads >= 1, "threads must be at least 1");
        Task task{model_,
                  {height, width, row_delay.value_or(width)},
                  {},
                  west,
                  std::min(threads, kMostThreads),
                  [] {
                      nb::gil_scoped_acquire acquired;
                      if (PyErr_CheckSignals() != 0) throw nb::python_error();
                  },
                  counters};
        for (auto [row, column] : taps) {
            require((row == 0 && column < 0 && column >= -Canvas::kSide) ||
                        (row < 0 && row >= -Canvas::kTop && column >= -Canvas::kSide && column <= Canvas::kSide),
                    "taps: not in the causal 5x5 neighbourhood");
            task.taps.push_back({row, column});
        }
        return task;
    }

    int channels() const { return model_.channels; }

    void require_image(const Array<uint8_t, 3>& image) const {
        require(int64_t(image.shape(2)) == model_.channels,
                "image has " + std::to_string(image.shape(2)) + " channels, the model " + std::to_string(channels()));
    }

private:
    static std::vector<Layer> packed(const std::vector<LayerArrays>& layers) {
        std::vector<Layer> result;
        for (const auto& [weight, bias, shift, leaky, skip] : layers) {
            const size_t outputs = weight.shape(0), inputs = weight.shape(1);
            require(bias.shape(0) == outputs && shift.shape(0) == outputs, "layer: bias or shift has the wrong length");
            require(outputs >= 1 && inputs >= 1 && outputs <= 1 << 16 && inputs <= 1 << 16, "layer: size");
            result.push_back(
                pack_layer(weight.data(), bias.data(), shift.data(), int(outputs), int(inputs), leaky, skip));
        }
        return result;
    }

    Model model_;
};

Seconds seconds(const Counters& counters) {
    return {counters.network * 1e-9, counters.mixture * 1e-9, counters.coder * 1e-9};
}

template <class T>
nb::object owned_array(std::unique_ptr<T[]> data, size_t height, size_t width, size_t channels) {
    T* pointer = data.release();
    nb::capsule owner(pointer, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<3>>(pointer, {height, width, channels}, owner));
}

std::pair<nb::bytes, Seconds> encode_image(const PyModel& model, Array<uint8_t, 3> image, const Taps& taps, int west,
                                           std::optional<int64_t> row_delay, int threads, bool count) {
    model.require_image(image);
    Counters counters;
    Task task = model.task(image.shape(0), image.shape(1), taps, west, row_delay, threads, count ? &counters : nullptr);
    std::vector<uint8_t> stream;
    {
        nb::gil_scoped_release released;
        stream = encode(task, image.data());
    }
    return {nb::bytes(reinterpret_cast<const char*>(stream.data()), stream.size()), seconds(counters)};
}

std::pair<nb::object, Seconds> decode_image(const PyModel& model, nb::bytes stream, int64_t height, int64_t width,
                                            const Taps& taps, int west, std::optional<int64_t> row_delay, int threads,
                                            bool count) {
    Counters counters;
    Task task = model.task(height, width, taps, west, row_delay, threads, count ? &counters : nullptr);
    std::unique_ptr<uint8_t[]> image(new uint8_t[size_t(height) * width * model.channels()]);
    {
        nb::gil_scoped_release released;
        decode(task, reinterpret_cast<const uint8_t*>(stream.c_str()), stream.size(), image.get());
    }
    return {owned_array(std::move(image), height, width, model.channels()), seconds(counters)};
}

nb::object measure_image(const PyModel& model, Array<uint8_t, 3> image, const Taps& taps, int west,
                         std::optional<int64_t> row_delay, int threads) {
    model.require_image(image);
    Task task = model.task(image.shape(0), image.shape(1), taps, west, row_delay, threads, nullptr);
    std::unique_ptr<uint32_t[]> shares(new uint32_t[image.size()]);
    {
        nb::gil_scoped_release released;
        measure(task, image.data(), shares.get());
    }
    return owned_array(std::move(shares), image.shape(0), image.shape(1), image.shape(2));
}

// Multiply-accumulates a second of `threads` threads that do nothing else and touch no memory.
double ceiling(const std::string& instruction_set, int threads, double seconds) {
    require(threads >= 1 && threads <= kMostThreads, "threads must be at least 1");
    require(seconds > 0 && seconds <= 10, "seconds must be above 0 and at most 10");
    const Kernel* kernel = kernel_named(instruction_set);
    nb::gil_scoped_release released;
    std::atomic<int> ready{0};
    std::vector<double> rates(threads);
    std::atomic<bool> stop{false};
    auto body = [&](int index) {
        for (++ready; ready.load() < threads && !stop.load();) std::this_thread::yield();
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
        body(0);
    }
    double total = 0;
    for (double rate : rates) total += rate;
    return total;
}

}  // namespace

NB_MODULE(p59_native, module) {
    module.doc() = "Native core of P59; coders.native is its Python face.";
    module.def("instruction_sets", &instruction_sets, "Names of the instruction sets of this machine, best first.");
    module.def("ceiling", &ceiling, "instruction_set"_a, "threads"_a, "seconds"_a = 0.2,
               "int16 multiply-accumulates a second in registers only.");

    nb::dict constants;
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
    module.attr("constants") = constants;

    nb::class_<PyModel>(module, "Model")
        .def(nb::init<int, int, int, bool, bool, bool, const std::vector<LayerArrays>&, std::vector<int32_t>,
                      std::vector<int32_t>, std::vector<int32_t>, const std::vector<int32_t>&, const std::string&>(),
             "channels"_a, "mixtures"_a, "limit"_a, "relative_to_west"_a, "clamped_scales"_a, "edge_padding"_a,
             "layers"_a, "exp2"_a, "mantissas"_a, "thresholds"_a, "normal"_a, "instruction_set"_a)
        .def_prop_ro("instruction_set", &PyModel::instruction_set,
                     "The one in use: the one asked for, or the next whose results agree with the portable one's.")
        .def("encode", &encode_image, "image"_a, "taps"_a, "west"_a, "row_delay"_a.none(), "threads"_a,
             "count"_a = false, "(stream, seconds of thread time in network, mixture and coder if counted)")
        .def("decode", &decode_image, "stream"_a, "height"_a, "width"_a, "taps"_a, "west"_a, "row_delay"_a.none(),
             "threads"_a, "count"_a = false, "(image, seconds as in encode)")
        .def("measure", &measure_image, "image"_a, "taps"_a, "west"_a, "row_delay"_a.none(), "threads"_a,
             "c_high - c_low of every sub-pixel (H, W, C) uint32");
}
