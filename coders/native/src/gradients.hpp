// The bits of pixels under a float network, and their gradient: for training, and for fitting a network to an image.
//
// A network is a list of linear layers, LeakyReLU after those that are `leaky`, and what entered the layer before added
// by those that `skip`, which are not leaky. Its outputs are a mixture's as models/mixture.py defines them. Layers are padded
// with weights of zero.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "model.hpp"
#include "pool.hpp"

namespace p59 {

constexpr int kMostPixelsOfGradient = 64;

// Of models/description.py, models/output_units.py and models/fixed_point.py; the Python side compares them with its own.
constexpr double kLeakySlope = 0.01;
constexpr double kScaleMinimum = 0.11, kScaleMaximum = kScaleMinimum * 4096, kMeanGain = 0.1 * 255, kLogScaleOffset = -4;
constexpr double kCoderShare = 65280.0 / 65536, kCoderFloor = 1.0 / 65536;

struct FloatLayer {
    int used_outputs, used_inputs;
    bool leaky, skip;

    // With padding.
    int outputs() const { return padded(used_outputs); }
    int inputs() const { return padded(used_inputs); }

private:
    static constexpr int kWidth = 32;
    static int padded(int size) { return (size + kWidth - 1) / kWidth * kWidth; }
};

struct FloatNetwork {
    std::vector<FloatLayer> layers;
    int channels, mixtures, taps;
    bool relative_to_west, clamped_scales, parities;
    // From sums of the last layer to the outputs that a mixture is made of: (sums - offset) / gain.
    std::vector<float> output_gain, output_offset;
};

// Pixels of a batch. Of each: where its taps' offsets count from, its values, whether its row and its column are odd.
struct Pixels {
    const uint8_t* contexts[kMostPixelsOfGradient];
    const uint8_t* values[kMostPixelsOfGradient];
    bool odd[kMostPixelsOfGradient][kParities];
};

// Where the taps are, and which of them is the west pixel.
struct Offsets {
    std::vector<int64_t> taps;
    int west;
};

class Gradients {
public:
    virtual ~Gradients() = default;
    // Weights (used_outputs, used_inputs) and biases (used_outputs) of a layer, for what follows.
    virtual void set_layer(int layer, const float* weights, const float* biases) = 0;
    // Sums of `thread` become 0.
    virtual void clear(int thread) = 0;
    // Adds bits and gradient of 1 to kMostPixelsOfGradient pixels to the sums of `thread`.
    virtual void add(int thread, const Offsets& offsets, const Pixels& pixels, int n) = 0;

    // What all threads have summed up; to be called once after they have. The gradient of weights is (inputs, outputs),
    // their transpose, padding included.
    virtual void sum() = 0;
    virtual double bits() const = 0;
    virtual const float* weight_gradient(int layer) const = 0;
    virtual const float* bias_gradient(int layer) const = 0;
};

// How an instruction set computes them; `make` is null where it is not compiled in or not supported by this processor.
struct GradientsKind {
    const char* name;
    std::unique_ptr<Gradients> (*make)(const FloatNetwork&, int threads);
};

GradientsKind avx512bf16_gradients();
GradientsKind avx512_gradients();
GradientsKind avx2_gradients();
GradientsKind vectors_gradients();

// The bits and gradients of `count` pixels by as many threads as there are. fill(first, n, pixels) is to name n of them,
// from the one of number `first`.
template <class Fill>
void gradients_of(Gradients& gradients, Pool& pool, int threads, const Offsets& offsets, int64_t count, const Fill& fill) {
    pool.run(threads, [&](int thread) {
        gradients.clear(thread);
        constexpr int64_t most = kMostPixelsOfGradient;
        Pixels pixels;
        for (int64_t first = thread * most; first < count; first += threads * most) {
            const int n = int(std::min(most, count - first));
            fill(first, n, pixels);
            gradients.add(thread, offsets, pixels, n);
        }
    });
    gradients.sum();
}

// Those of this processor, best first.
std::vector<GradientsKind> available_gradients();

}  // namespace p59
