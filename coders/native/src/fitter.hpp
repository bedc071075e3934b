// Fitting a network to an image: some small numbers that change its weights, improved step by step by Adam.
//
// What TorchSearch of coders/fitting.py does in PyTorch, in the terms of models/adaptation.py: offsets and gains of each
// row, and the factors left and right of a sum of outer products. They are floats here.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "gradients.hpp"
#include "scan.hpp"

namespace p59 {

enum Part { kOffsets, kGains, kLeft, kRight, kParts };

struct FittedLayer {
    int outputs, inputs;  // as the model has them; rows of the arrays below are not padded
    bool leaky, skip;
    std::vector<float> weights, biases;
    // What one unit of a number is worth, for each row.
    std::vector<float> offset_units, product_units;
    // Rows whose numbers have a spread of their own, from first to end.
    std::vector<std::pair<int, int>> groups;
    // What the numbers begin with: offsets and gains (outputs), left (outputs, products), right (inputs, products).
    std::array<std::vector<float>, kParts> numbers;
};

struct FitSettings {
    int products;
    float gain_unit;
    // Bits of the numbers count so much, beside bits per sub-pixel.
    double penalty;
    float lowest, highest, smallest_mean, largest_gradient, beta_first, beta_second;
};

// The numbers of one kind of one layer, and what Adam knows of each.
struct Numbers {
    explicit Numbers(std::vector<float> begin)
        : value(std::move(begin)), gradient(value.size()), first(value.size()), second(value.size()) {}
    std::vector<float> value, gradient, first, second;
};

class Fitter {
public:
    Fitter(const GradientsKind& kind, FloatNetwork network, std::vector<FittedLayer> layers, const FitSettings& settings,
           Canvas canvas, int64_t height, int64_t width, const std::vector<Tap>& taps, int west, int threads);

    // One step of Adam on the pixels at `places`, row * width + column; with `rounded` the network sees the numbers
    // rounded. Returns the bits per sub-pixel that these pixels took before. A step whose gradient is not finite changes
    // nothing. Of threads that call at the same time one takes its step after the other.
    double step(const int64_t* places, int64_t count, float learning_rate, bool rounded);

    const Numbers& numbers(int layer, Part part) const { return numbers_[layer][part]; }
    const std::vector<FittedLayer>& layers() const { return layers_; }
    int products() const { return settings_.products; }
    // Places are below it.
    int64_t pixels() const { return pixels_; }

private:
    void set_weights(bool rounded);
    void numbers_gradient(int layer, float scale);
    void add_penalty(Numbers& numbers, int first, int end, int stride, int column);
    void update(float learning_rate);

    FloatNetwork network_;
    std::vector<FittedLayer> layers_;
    FitSettings settings_;
    Canvas canvas_;
    int64_t width_, pixels_;
    Offsets offsets_;
    Pool pool_;
    int threads_;
    std::unique_ptr<Gradients> gradients_;
    std::vector<std::vector<Numbers>> numbers_;
    std::vector<std::array<std::vector<float>, kParts>> seen_;
    std::vector<float> weights_, biases_;  // of a layer
    int64_t steps_ = 0;
    std::mutex stepping_;
};

}  // namespace p59
