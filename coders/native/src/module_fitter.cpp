// The Python side of fitter.hpp.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

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

std::vector<std::string> fitting_kinds() {
    std::vector<std::string> names;
    for (const GradientsKind& kind : available_gradients()) names.emplace_back(kind.name);
    return names;
}

template <class Array>
std::vector<float> copied(const Array& array) {
    return {array.data(), array.data() + array.size()};
}

FittedLayer fitted_layer(const FittedArrays& arrays, int products) {
    const auto& [weights, biases, leaky, skip, offset_units, product_units, groups, numbers] = arrays;
    const auto& [offsets, gains, left, right] = numbers;
    const size_t outputs = weights.shape(0), inputs = weights.shape(1);
    require(outputs >= 1 && inputs >= 1 && outputs <= 1 << 16 && inputs <= 1 << 16, "layer: size");
    require(biases.size() == outputs && offset_units.size() == outputs && product_units.size() == outputs,
            "layer: biases or units have the wrong length");
    require(offsets.size() == outputs && gains.size() == outputs && left.shape(0) == outputs &&
                right.shape(0) == inputs && int(left.shape(1)) == products && int(right.shape(1)) == products,
            "layer: numbers have the wrong shape");
    require(!(leaky && skip), "layer: a skip cannot follow a LeakyReLU");
    for (auto [first, end] : groups)
        require(0 <= first && first < end && end <= int(outputs), "layer: groups are not of its rows");
    return {int(outputs),         int(inputs),           leaky,  skip,
            copied(weights),      copied(biases),        copied(offset_units),
            copied(product_units), groups,               {copied(offsets), copied(gains), copied(left), copied(right)}};
}

std::unique_ptr<Fitter> fitter(const std::string& kind, Array<uint8_t, 3> image, const std::string& padding,
                               const Taps& taps, int west, int mixtures, bool relative_to_west, bool clamped_scales,
                               bool parities, const std::vector<FittedArrays>& arrays, const Floats& output_gain,
                               const Floats& output_offset, int products, float gain_unit, double penalty, float lowest,
                               float highest, float smallest_mean, float largest_gradient,
                               std::pair<float, float> betas, int threads) {
    const std::vector<GradientsKind> kinds = available_gradients();
    const auto found = std::find_if(kinds.begin(), kinds.end(), [&](const auto& one) { return one.name == kind; });
    require(found != kinds.end(), "kind '" + kind + "' is not one of this machine");
    const int64_t height = image.shape(0), width = image.shape(1), channels = image.shape(2);
    require(height >= 1 && width >= 1 && height <= kLargestSide && width <= kLargestSide, "image: size");
    require(channels == 1 || channels == 3, "image: must have 1 or 3 channels");
    require(mixtures >= 1 && mixtures <= kMaxMixtures, "mixtures: must be 1 to " + std::to_string(kMaxMixtures));
    require(west >= 0 && west < int(taps.size()), "west: not the index of a tap");
    require(products >= 0 && products <= kMostProducts, "products: must be 0 to " + std::to_string(kMostProducts));
    require(threads >= 1, "threads must be at least 1");
    std::vector<Tap> places;
    for (auto [row, column] : taps) {
        require(-Canvas::kTop <= row && row <= Canvas::kBottom && std::abs(column) <= Canvas::kSide,
                "taps: beyond the border of an image");
        places.push_back({row, column});
    }
    std::vector<FittedLayer> layers;
    for (const FittedArrays& one : arrays) {
        layers.push_back(fitted_layer(one, products));
        const size_t index = layers.size() - 1;
        const int entering = index ? layers[index - 1].outputs
                                   : int(taps.size() * channels) + (parities ? kParities : 0);
        require(layers[index].inputs == entering, "layer: does not take what the one before gives");
        require(!layers[index].skip || (index >= 1 && layers[index - 1].inputs == layers[index].outputs),
                "layer: a skip must be as wide as what it adds");
    }
    const int outputs = int(3 * channels + channels * (channels - 1) / 2) * mixtures;
    require(!layers.empty() && layers.back().outputs == outputs && !layers.back().leaky && !layers.back().skip,
            "layer: the last one must give a mixture");
    require(int(output_gain.size()) == outputs && int(output_offset.size()) == outputs,
            "output_gain or output_offset: the wrong length");
    FloatNetwork network{{},       int(channels),  mixtures, int(taps.size()),    relative_to_west, clamped_scales,
                         parities, copied(output_gain), copied(output_offset)};
    const FitSettings settings{products, gain_unit,     penalty,          lowest,     highest,
                               smallest_mean, largest_gradient, betas.first, betas.second};
    nb::gil_scoped_release released;
    Canvas canvas(height, width, int(channels), padding_named(padding));
    canvas.fill(image.data());
    return std::make_unique<Fitter>(*found, std::move(network), std::move(layers), settings, std::move(canvas), height,
                                    width, places, west, std::min(threads, kMostThreads));
}

double step(Fitter& fitter, Array<int64_t, 1> places, float learning_rate, bool rounded) {
    require(places.size() >= 1 && int64_t(places.size()) <= kMostPlaces, "places: must be 1 to 2**24");
    for (size_t i = 0; i < places.size(); ++i)
        require(places.data()[i] >= 0 && places.data()[i] < fitter.pixels(), "places: not in the image");
    nb::gil_scoped_release released;
    return fitter.step(places.data(), int64_t(places.size()), learning_rate, rounded);
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

}  // namespace

void bind_fitter(nb::module_& module) {
    module.def("fitting_kinds", &fitting_kinds, "How this machine can fit networks to images, best first.");
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
