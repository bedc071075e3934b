// The Python side of steps.hpp.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <functional>

#include "module.hpp"
#include "steps.hpp"

namespace p59 {

namespace {

constexpr int64_t kMostBlockPixels = 1 << 24;

std::unique_ptr<StepEncoder> step_encoder(const PyModel& model, Array<uint8_t, 3> image, const Taps& taps, int west,
                                          std::optional<int64_t> row_delay, int64_t pixels) {
    model.require_image(image);
    require(pixels >= 1 && pixels <= kMostBlockPixels, "pixels of a block: must be at least 1");
    Task task = model.task(image.shape(0), image.shape(1), taps, west, row_delay, 1, nullptr);
    const Released released;
    return std::make_unique<StepEncoder>(task, image.data(), pixels);
}

std::unique_ptr<StepDecoder> step_decoder(const PyModel& model, nb::bytes stream, int64_t height, int64_t width,
                                          const Taps& taps, int west, std::optional<int64_t> row_delay) {
    Task task = model.task(height, width, taps, west, row_delay, 1, nullptr);
    const auto* bytes = reinterpret_cast<const uint8_t*>(stream.c_str());
    return std::make_unique<StepDecoder>(task, std::vector<uint8_t>(bytes, bytes + stream.size()));
}

nb::bytes encoded_stream(StepEncoder& encoder) {
    const std::vector<uint8_t> stream = encoder.finish();
    return nb::bytes(reinterpret_cast<const char*>(stream.data()), stream.size());
}

nb::object decoded_image(const StepDecoder& decoder) {
    require(decoder.finished(), "image: not whole yet");
    const size_t height = decoder.height(), width = decoder.width(), channels = decoder.model().channels;
    std::unique_ptr<uint8_t[]> image(new uint8_t[height * width * channels]);
    decoder.copy_to(image.get());
    return owned_array(std::move(image), height, width, channels);
}

std::vector<int64_t> advance_images(const std::vector<StepCoder*>& coders, const std::vector<int64_t>& awaited,
                                    Array<int32_t, 2> outputs,
                                    nb::ndarray<int16_t, nb::numpy, nb::ndim<2>, nb::c_contig, nb::device::cpu> inputs,
                                    Pool& pool) {
    require(coders.size() == awaited.size(), "awaited: one number for each image");
    int64_t taken = 0, gathered = 0;
    for (size_t i = 0; i < coders.size(); ++i) {
        require(coders[i] != nullptr, "coders: None is no image");
        require(size_t(coders[i]->model().layers.front().inputs) == inputs.shape(1), "inputs: not as wide as a model's");
        require(size_t(coders[i]->model().layers.back().outputs) == outputs.shape(1), "outputs: not as wide as a model's");
        require(awaited[i] == 0 || awaited[i] == coders[i]->awaited(), "awaited: not what was gathered");
        taken += awaited[i];
        gathered += coders[i]->upcoming();
    }
    std::vector<StepCoder*> sorted = coders;
    std::sort(sorted.begin(), sorted.end(), std::less<>());
    require(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(), "coders: an image stands there twice");
    require(taken <= int64_t(outputs.shape(0)) && gathered <= int64_t(inputs.shape(0)), "inputs or outputs: too short");
    const Released released;
    return advance(coders, awaited, outputs.data(), inputs.data(), pool);
}

}  // namespace

void bind_steps(nb::module_& module, nb::class_<PyModel>& model) {
    model
        .def("step_encoder", &step_encoder, "image"_a, "taps"_a, "west"_a, "row_delay"_a.none(), "pixels"_a,
             nb::keep_alive<0, 1>(), "An image to encode with a network that is evaluated elsewhere.")
        .def("step_decoder", &step_decoder, "stream"_a, "height"_a, "width"_a, "taps"_a, "west"_a,
             "row_delay"_a.none(), nb::keep_alive<0, 1>(), "An image to decode in the same way.");

    nb::class_<Pool>(module, "Pool").def(nb::new_([](int threads) {
        require(threads >= 1, "threads must be at least 1");
        return std::make_unique<Pool>(std::min(threads, kMostThreads));
    }), "threads"_a);
    nb::class_<StepCoder>(module, "StepCoder")
        .def_prop_ro("finished", &StepCoder::finished)
        .def_prop_ro("lookahead", &StepCoder::lookahead, "Turns that may be under way at a time.")
        .def_prop_ro("most", &StepCoder::most, "No turn has more pixels.");
    nb::class_<StepEncoder, StepCoder>(module, "StepEncoder").def("result", &encoded_stream, "The stream, once.");
    nb::class_<StepDecoder, StepCoder>(module, "StepDecoder").def("result", &decoded_image, "The image (H, W, C) uint8.");
    module.def("advance", &advance_images, "coders"_a, "awaited"_a, "outputs"_a.noconvert(), "inputs"_a.noconvert(), "pool"_a,
               "A turn of several images; pixels that each of them has gathered.");
}

}  // namespace p59
