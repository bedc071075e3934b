// Bits and gradients of batches of contexts, for training a network.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "gradients.hpp"

namespace p59 {

// `count` contexts one after the other, taps * channels bytes each; the pixels they precede, channels bytes each; and
// where these stand, row and column.
struct Batch {
    const uint8_t* contexts;
    const uint8_t* values;
    const int64_t* places;
    int64_t count;
};

// For one thread at a time, who holds `mutex` from the first layer that is set to the last gradient that is read.
class BatchGradient {
public:
    std::mutex mutex;

    BatchGradient(const GradientsKind& kind, FloatNetwork network, int west, int threads);

    // For each layer of what follows, weights (outputs, inputs) and biases (outputs).
    void set_layer(int layer, const float* weights, const float* biases) {
        gradients_->set_layer(layer, weights, biases);
    }
    // The batch's bits; afterwards layer_gradient knows their derivatives.
    double evaluate(const Batch& batch);
    // Times `scale`, in the form of the layer's weights and biases.
    void layer_gradient(int layer, float scale, float* weights, float* biases) const;

    const FloatNetwork& network() const { return network_; }

private:
    FloatNetwork network_;
    Offsets offsets_;
    int threads_;
    Pool pool_;
    std::unique_ptr<Gradients> gradients_;
};

}  // namespace p59
