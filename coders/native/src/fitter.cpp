#include "fitter.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace p59 {

namespace {

constexpr int kLanesOfDot = 16;
constexpr float kAdamEpsilon = 1e-8f, kNormEpsilon = 1e-6f;

// In partial sums, which compilers make vectors of. `count` is a multiple of kLanesOfDot.
float dot(const float* a, const float* b, int count) {
    float parts[kLanesOfDot] = {};
    for (int i = 0; i < count; i += kLanesOfDot)
        for (int lane = 0; lane < kLanesOfDot; ++lane) parts[lane] += a[i + lane] * b[i + lane];
    float total = 0;
    for (float part : parts) total += part;
    return total;
}

}  // namespace

Fitter::Fitter(const GradientsKind& kind, FloatNetwork network, std::vector<FittedLayer> layers,
               const FitSettings& settings, Canvas canvas, int64_t height, int64_t width, const std::vector<Tap>& taps,
               int west, int threads)
    : network_(std::move(network)),
      layers_(std::move(layers)),
      settings_(settings),
      canvas_(std::move(canvas)),
      width_(width),
      pixels_(height * width),
      offsets_{canvas_.reading(taps, west).offsets, west},
      pool_(threads),
      threads_(threads),
      gradients_(kind.make(network_, threads)) {
    pool_.use(threads);
    for (size_t index = 0; index < layers_.size(); ++index) {
        seen_.push_back(layers_[index].numbers);
        numbers_.emplace_back();
        for (std::vector<float>& begin : layers_[index].numbers) numbers_.back().emplace_back(std::move(begin));
    }
}

double Fitter::step(const int64_t* places, int64_t count, float learning_rate, bool rounded) {
    const std::lock_guard one(stepping_);
    set_weights(rounded);
    gradients_of(*gradients_, pool_, threads_, offsets_, count, [&](int64_t first, int n, Pixels& pixels) {
        for (int i = 0; i < n; ++i) {
            const int64_t row = places[first + i] / width_, column = places[first + i] % width_;
            pixels.contexts[i] = pixels.values[i] = canvas_.pixel(row, column);
            pixels.odd[i][0] = row % 2;
            pixels.odd[i][1] = column % 2;
        }
    });
    const double sub_pixels = double(count) * network_.channels;
    for (size_t layer = 0; layer < layers_.size(); ++layer) numbers_gradient(int(layer), float(1 / sub_pixels));
    update(learning_rate);
    return gradients_->bits() / sub_pixels;
}

// The numbers as the network sees them, and the weights that they make.
void Fitter::set_weights(bool rounded) {
    const int products = settings_.products;
    for (size_t index = 0; index < layers_.size(); ++index) {
        const FittedLayer& layer = layers_[index];
        auto& seen = seen_[index];
        for (int part = 0; part < kParts; ++part)
            std::transform(numbers_[index][part].value.begin(), numbers_[index][part].value.end(), seen[part].begin(),
                           [&](float number) {
                               const float clamped = std::clamp(number, settings_.lowest, settings_.highest);
                               return rounded ? std::nearbyint(clamped) : clamped;
                           });
        weights_.resize(layer.weights.size());
        biases_.resize(layer.biases.size());
        // right, transposed, so that a row's sum runs along memory.
        std::vector<float> right(size_t(products) * layer.inputs);
        for (int input = 0; input < layer.inputs; ++input)
            for (int product = 0; product < products; ++product)
                right[size_t(product) * layer.inputs + input] = seen[kRight][size_t(input) * products + product];
        for (int output = 0; output < layer.outputs; ++output) {
            float* row = weights_.data() + size_t(output) * layer.inputs;
            const float factor = 1 + seen[kGains][output] * settings_.gain_unit;
            const float* weights = layer.weights.data() + size_t(output) * layer.inputs;
            for (int input = 0; input < layer.inputs; ++input) row[input] = weights[input] * factor;
            for (int product = 0; product < products; ++product) {
                const float left = seen[kLeft][size_t(output) * products + product] * layer.product_units[output];
                const float* other = right.data() + size_t(product) * layer.inputs;
                for (int input = 0; input < layer.inputs; ++input) row[input] += left * other[input];
            }
            biases_[output] = layer.biases[output] + seen[kOffsets][output] * layer.offset_units[output];
        }
        gradients_->set_layer(int(index), weights_.data(), biases_.data());
    }
}

// From the gradient of the weights to that of the numbers, with that of their own bits.
void Fitter::numbers_gradient(int index, float scale) {
    const FittedLayer& layer = layers_[index];
    std::vector<Numbers>& numbers = numbers_[index];
    const int products = settings_.products, stride = network_.layers[index].outputs();
    const float* of_weights = gradients_->weight_gradient(index);
    const float* of_biases = gradients_->bias_gradient(index);

    // [product][output], padded as the rows of the weights' gradient are.
    std::vector<float> left(size_t(products) * stride), of_left(left.size()), of_gains(stride);
    for (int output = 0; output < layer.outputs; ++output)
        for (int product = 0; product < products; ++product)
            left[size_t(product) * stride + output] =
                seen_[index][kLeft][size_t(output) * products + product] * layer.product_units[output];
    for (int input = 0; input < layer.inputs; ++input) {
        const float* row = of_weights + size_t(input) * stride;
        for (int output = 0; output < layer.outputs; ++output)
            of_gains[output] += row[output] * layer.weights[size_t(output) * layer.inputs + input];
        for (int product = 0; product < products; ++product) {
            const size_t place = size_t(input) * products + product;
            numbers[kRight].gradient[place] = scale * dot(row, left.data() + size_t(product) * stride, stride);
            const float right = seen_[index][kRight][place];
            float* sums = of_left.data() + size_t(product) * stride;
            for (int output = 0; output < layer.outputs; ++output) sums[output] += right * row[output];
        }
    }
    for (int output = 0; output < layer.outputs; ++output) {
        numbers[kOffsets].gradient[output] = scale * of_biases[output] * layer.offset_units[output];
        numbers[kGains].gradient[output] = scale * of_gains[output] * settings_.gain_unit;
        for (int product = 0; product < products; ++product)
            numbers[kLeft].gradient[size_t(output) * products + product] =
                scale * of_left[size_t(product) * stride + output] * layer.product_units[output];
    }
    for (Numbers& kind : numbers)
        for (size_t place = 0; place < kind.value.size(); ++place)
            if (kind.value[place] < settings_.lowest || kind.value[place] > settings_.highest) kind.gradient[place] = 0;

    for (auto [first, end] : layer.groups) {
        add_penalty(numbers[kOffsets], first, end, 1, 0);
        add_penalty(numbers[kGains], first, end, 1, 0);
    }
    for (int product = 0; product < products; ++product) {
        add_penalty(numbers[kLeft], 0, layer.outputs, products, product);
        add_penalty(numbers[kRight], 0, layer.inputs, products, product);
    }
}

// The gradient of the numbers' bits under a two-sided exponential distribution of the mean magnitude they have now: those
// of rows first to end in one column of an array with `stride` columns.
void Fitter::add_penalty(Numbers& numbers, int first, int end, int stride, int column) {
    double total = 0;
    for (int row = first; row < end; ++row) total += std::abs(numbers.value[size_t(row) * stride + column]);
    const double mean = std::max(total / (end - first), double(settings_.smallest_mean));
    const float slope = float(settings_.penalty / (mean * std::log(2.0)));
    for (int row = first; row < end; ++row) {
        const size_t place = size_t(row) * stride + column;
        const float value = numbers.value[place];
        numbers.gradient[place] += value > 0 ? slope : value < 0 ? -slope : 0;
    }
}

// Adam (Kingma and Ba, 2015), the gradient cut to the largest norm.
void Fitter::update(float learning_rate) {
    double squares = 0;
    for (std::vector<Numbers>& parts : numbers_)
        for (Numbers& numbers : parts)
            for (float gradient : numbers.gradient) squares += double(gradient) * gradient;
    const double norm = std::sqrt(squares);
    if (!std::isfinite(norm)) return;
    ++steps_;
    const float cut = std::min(1.0f, float(settings_.largest_gradient / (norm + kNormEpsilon)));
    const float first_share = 1 - settings_.beta_first, second_share = 1 - settings_.beta_second;
    const float rate = learning_rate / float(1 - std::pow(double(settings_.beta_first), double(steps_)));
    const float root = float(1 / std::sqrt(1 - std::pow(double(settings_.beta_second), double(steps_))));
    for (std::vector<Numbers>& parts : numbers_)
        for (Numbers& numbers : parts)
            for (size_t place = 0; place < numbers.value.size(); ++place) {
                const float gradient = numbers.gradient[place] * cut;
                float& first = numbers.first[place];
                float& second = numbers.second[place];
                first += first_share * (gradient - first);
                second += second_share * (gradient * gradient - second);
                numbers.value[place] -= rate * first / (std::sqrt(second) * root + kAdamEpsilon);
            }
}

}  // namespace p59
