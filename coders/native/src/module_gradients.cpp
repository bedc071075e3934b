// The Python side of fitter.hpp and batch_gradient.hpp.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include "batch_gradient.hpp"
#include "fitter.hpp"
#include "module.hpp"

namespace p59 {

namespace {

using Floats = Array<float, 1>;
using Matrix = Array<float, 2>;
using NumberArrays = std::tuple<Floats, Floats, Matrix, Matrix>;
using FittedArrays = std::tuple<Matrix, Floats, bool, bool, Floats, Floats, std::vector<std::pair<int, int>>,
                                NumberArrays>;
constexpr int64_t kMostPlaces = 1 << 24;
constexpr int kMostProducts = 64;

std::vector<std::string> gradient_kinds() {
    std::vector<std::string> names;
    for (const GradientsKind& kind : available_gradients()) names.emplace_back(kind.name);
    return names;
}

template <class Array>
std::vector<float> copied(const Array& array) {
    return {array.data(), array.data() + array.size()};
}

GradientsKind kind_named(const std::string& name) {
    for (const GradientsKind& kind : available_gradients())
        if (kind.name == name) return kind;
    throw std::invalid_argument("kind '" + name + "' is not one of this machine");
}

void check(const FloatNetwork& network, int west) {
    const int channels = network.channels, mixtures = network.mixtures;
    require(channels == 1 || channels == 3, "channels: must be 1 or 3");
    require(mixtures >= 1 && mixtures <= kMaxMixtures, "mixtures: must be 1 to " + std::to_string(kMaxMixtures));
    require(west >= 0 && west < network.taps, "west: not the index of a tap");
    int entering = network.taps * channels + (network.parities ? kParities : 0), entered_before = -1;
    for (const FloatLayer& layer : network.layers) {
        const int outputs = layer.used_outputs, inputs = layer.used_inputs;
        require(outputs >= 1 && outputs <= 1 << 16, "layer: size");
        require(inputs == entering, "layer: does not take what the one before gives");
        require(!layer.skip || (!layer.leaky && outputs == entered_before),
                "layer: a skip must be as wide as what it adds, and no LeakyReLU may go before it");
        entered_before = entering;
        entering = outputs;
    }
    const int outputs = (3 * channels + channels * (channels - 1) / 2) * mixtures;
    require(!network.layers.empty() && entering == outputs && !network.layers.back().leaky &&
                !network.layers.back().skip,
            "layer: the last one must give a mixture");
    require(int(network.output_gain.size()) == outputs && int(network.output_offset.size()) == outputs,
            "output_gain or output_offset: the wrong length");
}

FittedLayer fitted_layer(const FittedArrays& arrays, int products) {
    const auto& [weights, biases, leaky, skip, offset_units, product_units, groups, numbers] = arrays;
    const auto& [offsets, gains, left, right] = numbers;
    const size_t outputs = weights.shape(0), inputs = weights.shape(1);
    require(outputs <= 1 << 16 && inputs <= 1 << 16, "layer: size");
    require(biases.size() == outputs && offset_units.size() == outputs && product_units.size() == outputs,
            "layer: biases or units have the wrong length");
    require(offsets.size() == outputs && gains.size() == outputs && left.shape(0) == outputs &&
                right.shape(0) == inputs && int(left.shape(1)) == products && int(right.shape(1)) == products,
            "layer: numbers have the wrong shape");
    for (auto [first, end] : groups)
        require(0 <= first && first < end && end <= int(outputs), "layer: groups are not of its rows");
    return {int(outputs),
            int(inputs),
            leaky,
            skip,
            copied(weights),
            copied(biases),
            copied(offset_units),
            copied(product_units),
            groups,
            {copied(offsets), copied(gains), copied(left), copied(right)}};
}

std::unique_ptr<Fitter> fitter(const std::string& kind, Array<uint8_t, 3> image, const std::string& padding,
                               const Taps& taps, int west, int mixtures, bool relative_to_west, bool clamped_scales,
                               bool parities, const std::vector<FittedArrays>& arrays, const Floats& output_gain,
                               const Floats& output_offset, int products, float gain_unit, double penalty, float lowest,
                               float highest, float smallest_mean, float largest_gradient,
                               std::pair<float, float> betas, int threads) {
    const GradientsKind found = kind_named(kind);
    const int64_t height = image.shape(0), width = image.shape(1), channels = image.shape(2);
    require(height >= 1 && width >= 1 && height <= kLargestSide && width <= kLargestSide, "image: size");
    require(products >= 0 && products <= kMostProducts, "products: must be 0 to " + std::to_string(kMostProducts));
    require(threads >= 1, "threads must be at least 1");
    std::vector<Tap> places;
    for (auto [row, column] : taps) {
        require(-Canvas::kTop <= row && row <= Canvas::kBottom && std::abs(column) <= Canvas::kSide,
                "taps: beyond the border of an image");
        places.push_back({row, column});
    }
    std::vector<FittedLayer> layers;
    FloatNetwork network{{},
                         int(channels),
                         mixtures,
                         int(taps.size()),
                         relative_to_west,
                         clamped_scales,
                         parities,
                         copied(output_gain),
                         copied(output_offset)};
    for (const FittedArrays& one : arrays) {
        layers.push_back(fitted_layer(one, products));
        network.layers.push_back({layers.back().outputs, layers.back().inputs, layers.back().leaky, layers.back().skip});
    }
    check(network, west);
    const FitSettings settings{products,      gain_unit,        penalty,     lowest,      highest,
                               smallest_mean, largest_gradient, betas.first, betas.second};
    const Released released;
    Canvas canvas(height, width, int(channels), padding_named(padding));
    canvas.fill(image.data());
    return std::make_unique<Fitter>(found, std::move(network), std::move(layers), settings, std::move(canvas), height,
                                    width, places, west, std::min(threads, kMostThreads));
}

double step(Fitter& fitter, Array<int64_t, 1> places, float learning_rate, bool rounded) {
    require(places.size() >= 1 && int64_t(places.size()) <= kMostPlaces, "places: must be 1 to 2**24");
    // Of its own: without Python's lock another thread could change the array after it is checked.
    const std::vector<int64_t> checked(places.data(), places.data() + places.size());
    for (int64_t place : checked) require(place >= 0 && place < fitter.pixels(), "places: not in the image");
    const Released released;
    return fitter.step(checked.data(), int64_t(checked.size()), learning_rate, rounded);
}

nb::object float_array(const std::vector<float>& values, std::vector<size_t> shape) {
    std::unique_ptr<float[]> copy(new float[std::max<size_t>(values.size(), 1)]);
    std::copy(values.begin(), values.end(), copy.get());
    float* pointer = copy.release();
    nb::capsule owner(pointer, [](void* p) noexcept { delete[] static_cast<float*>(p); });
    return nb::cast(nb::ndarray<nb::numpy, float>(pointer, shape.size(), shape.data(), owner));
}

// For each layer its offsets (O,), gains (O,), left (O, R), right (I, R), or what `gradient` last was of them.
std::vector<std::vector<nb::object>> numbers(const Fitter& fitter, bool gradient) {
    std::vector<std::vector<nb::object>> result;
    for (size_t index = 0; index < fitter.layers().size(); ++index) {
        const size_t outputs = fitter.layers()[index].outputs, inputs = fitter.layers()[index].inputs;
        const size_t products = fitter.products();
        const std::vector<size_t> shapes[kParts] = {{outputs}, {outputs}, {outputs, products}, {inputs, products}};
        result.emplace_back();
        for (int part = 0; part < kParts; ++part) {
            const Numbers& one = fitter.numbers(int(index), Part(part));
            result.back().push_back(float_array(gradient ? one.gradient : one.value, shapes[part]));
        }
    }
    return result;
}

// Layers as (outputs, inputs, leaky, skip).
std::unique_ptr<BatchGradient> batch_gradient(const std::string& kind, int channels, int mixtures, int taps, int west,
                                              bool relative_to_west, bool clamped_scales, bool parities,
                                              const std::vector<std::tuple<int, int, bool, bool>>& layers, int threads) {
    const GradientsKind found = kind_named(kind);
    FloatNetwork network{{}, channels, mixtures, taps, relative_to_west, clamped_scales, parities, {}, {}};
    for (auto [outputs, inputs, leaky, skip] : layers) network.layers.push_back({outputs, inputs, leaky, skip});
    require(!layers.empty() && network.layers.back().used_outputs >= 1, "layer: size");
    require(taps >= 1 && taps <= 1 << 10, "taps: must be 1 to 1024");
    network.output_gain.assign(network.layers.back().used_outputs, 1.0f);
    network.output_offset.assign(network.layers.back().used_outputs, 0.0f);
    check(network, west);
    require(threads >= 1, "threads must be at least 1");
    return std::make_unique<BatchGradient>(found, std::move(network), west, std::min(threads, kMostThreads));
}

// (bits per sub-pixel, for each layer the gradients of weights and biases).
std::pair<double, std::vector<std::pair<nb::object, nb::object>>> evaluate_batch(
    BatchGradient& gradient, const std::vector<std::pair<Matrix, Floats>>& layers, Array<uint8_t, 3> contexts,
    Array<uint8_t, 2> values, Array<int64_t, 2> places) {
    const FloatNetwork& network = gradient.network();
    const size_t count = contexts.shape(0), channels = network.channels;
    require(count >= 1, "contexts: there are none");
    require(int(contexts.shape(1)) == network.taps && contexts.shape(2) == channels, "contexts: the wrong shape");
    require(values.shape(0) == count && values.shape(1) == channels, "values: the wrong shape");
    require(places.shape(0) == count && places.shape(1) == kParities, "places: the wrong shape");
    require(layers.size() == network.layers.size(), "layers: not as many as the network has");
    for (size_t index = 0; index < layers.size(); ++index) {
        const auto& [weights, biases] = layers[index];
        const FloatLayer& layer = network.layers[index];
        require(int(weights.shape(0)) == layer.used_outputs && int(weights.shape(1)) == layer.used_inputs &&
                    int(biases.size()) == layer.used_outputs,
                "layers: the wrong shape");
    }
    double bits;
    std::vector<std::pair<std::vector<float>, std::vector<float>>> found;
    {
        const Released released;
        const std::lock_guard one(gradient.mutex);
        for (size_t index = 0; index < layers.size(); ++index)
            gradient.set_layer(int(index), layers[index].first.data(), layers[index].second.data());
        const double sub_pixels = double(count) * double(channels);
        bits = gradient.evaluate({contexts.data(), values.data(), places.data(), int64_t(count)}) / sub_pixels;
        for (size_t index = 0; index < layers.size(); ++index) {
            const FloatLayer& layer = network.layers[index];
            found.emplace_back(std::vector<float>(size_t(layer.used_outputs) * layer.used_inputs),
                               std::vector<float>(layer.used_outputs));
            gradient.layer_gradient(int(index), float(1 / sub_pixels), found.back().first.data(),
                                    found.back().second.data());
        }
    }
    std::vector<std::pair<nb::object, nb::object>> result;
    for (size_t index = 0; index < found.size(); ++index) {
        const FloatLayer& layer = network.layers[index];
        result.emplace_back(float_array(found[index].first, {size_t(layer.used_outputs), size_t(layer.used_inputs)}),
                            float_array(found[index].second, {size_t(layer.used_outputs)}));
    }
    return {bits, std::move(result)};
}

}  // namespace

void bind_gradients(nb::module_& module) {
    module.def("gradient_kinds", &gradient_kinds, "How this machine can compute gradients, best first.");
    nb::class_<BatchGradient>(module, "BatchGradient")
        .def(nb::new_(&batch_gradient), "kind"_a, "channels"_a, "mixtures"_a, "taps"_a, "west"_a, "relative_to_west"_a,
             "clamped_scales"_a, "parities"_a, "layers"_a, "threads"_a, "Layers are (outputs, inputs, leaky, skip).")
        .def("evaluate", &evaluate_batch, "layers"_a, "contexts"_a, "values"_a, "places"_a,
             "Bits per sub-pixel under the weights and biases in `layers`, and for each layer the gradients of both.");
    nb::class_<Fitter>(module, "Fitter")
        .def(nb::new_(&fitter), "kind"_a, "image"_a, "padding"_a, "taps"_a, "west"_a, "mixtures"_a,
             "relative_to_west"_a, "clamped_scales"_a, "parities"_a, "layers"_a, "output_gain"_a, "output_offset"_a,
             "products"_a, "gain_unit"_a, "penalty"_a, "lowest"_a, "highest"_a, "smallest_mean"_a,
             "largest_gradient"_a, "betas"_a, "threads"_a)
        .def("step", &step, "places"_a, "learning_rate"_a, "rounded"_a,
             "One step on the pixels at `places`, row * width + column; the bits per sub-pixel they took before.")
        .def("numbers", [](const Fitter& fitter) { return numbers(fitter, false); },
             "For each layer offsets, gains, left and right as they are now.")
        .def("gradient", [](const Fitter& fitter) { return numbers(fitter, true); },
             "In the same form the gradient of the last step, before it was cut.");
}

}  // namespace p59
