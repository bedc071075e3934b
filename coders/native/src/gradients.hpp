// The bits of an image's pixels under a float network, and their gradient: what fitting a network to an image computes.
//
// A network is a list of linear layers, LeakyReLU after those that are `leaky`, and what entered the layer before added
// by those that `skip`, which are not leaky. Its outputs are a mixture's as models/mixture.py defines them. Sizes of layers
// are padded to multiples of kWidth by weights of zero.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "scan.hpp"

namespace p59 {

struct FloatLayer {
    int outputs, inputs;  // of these the last ones may be padding
    int used_outputs, used_inputs;
    bool leaky, skip;
};

struct FloatNetwork {
    std::vector<FloatLayer> layers;
    int channels, mixtures, taps;
    bool relative_to_west, clamped_scales, parities;
    // From sums of the last layer to the outputs that a mixture is made of: (sums - offset) / gain.
    std::vector<float> output_gain, output_offset;
};

class Gradients {
public:
    // Pixels of one `add`; sizes of layers are multiples of kWidth.
    static constexpr int kPixels = 64, kWidth = 32;

    virtual ~Gradients() = default;
    // Weights (outputs, inputs) and biases (outputs) of a layer, for what follows.
    virtual void set_layer(int layer, const float* weights, const float* biases) = 0;
    // Sums of `thread` become 0.
    virtual void clear(int thread) = 0;
    // Adds bits and gradient of 1 to kPixels pixels to the sums of `thread`.
    virtual void add(int thread, const Reading& reading, const uint8_t* const* pixels, int n) = 0;

    // What all threads have summed up; to be called once after they have. The gradient of weights is (inputs, outputs),
    // their transpose.
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

// Those of this processor, best first.
std::vector<GradientsKind> available_gradients();

}  // namespace p59
