#include "batch_gradient.hpp"

#include <utility>

namespace p59 {

BatchGradient::BatchGradient(const GradientsKind& kind, FloatNetwork network, int west, int threads)
    : network_(std::move(network)),
      offsets_{{}, west},
      threads_(threads),
      pool_(threads),
      gradients_(kind.make(network_, threads)) {
    for (int tap = 0; tap < network_.taps; ++tap) offsets_.taps.push_back(tap * network_.channels);
    pool_.use(threads);
}

double BatchGradient::evaluate(const Batch& batch) {
    const int64_t channels = network_.channels, context = network_.taps * channels;
    gradients_of(*gradients_, pool_, threads_, offsets_, batch.count, [&](int64_t first, int n, Pixels& pixels) {
        for (int i = 0; i < n; ++i) {
            pixels.contexts[i] = batch.contexts + (first + i) * context;
            pixels.values[i] = batch.values + (first + i) * channels;
            for (int axis = 0; axis < kParities; ++axis) pixels.odd[i][axis] = batch.places[2 * (first + i) + axis] % 2;
        }
    });
    return gradients_->bits();
}

void BatchGradient::layer_gradient(int index, float scale, float* weights, float* biases) const {
    const FloatLayer& layer = network_.layers[index];
    const float* of_weights = gradients_->weight_gradient(index);
    const float* of_biases = gradients_->bias_gradient(index);
    for (int output = 0; output < layer.used_outputs; ++output) {
        for (int input = 0; input < layer.used_inputs; ++input)
            *weights++ = scale * of_weights[size_t(input) * layer.outputs() + output];
        *biases++ = scale * of_biases[output];
    }
}

}  // namespace p59
