// The integer mixture of models/fixed_mixture.py: network outputs to mixtures, mixtures to CDF points.
//
// One pixel's mixture is a row of int32:
//
//     channel 0: means[M] mantissas[M] shifts[M] weights[M]   ...   channel C-1   cross[X][M]   reference[C]
//
// of C channels, M components and X = C (C - 1) / 2 cross terms, from K network outputs.
//
// Means are before cross terms; those of channel 0, which has none, are clamped already.
#pragma once

#include <bit>
#include <cstdint>

#include "model.hpp"

namespace p59 {

constexpr int kDifferenceBits = 11;  // Tables::normal
constexpr int kGuessBits = 5, kGuessOctaves = 21;  // Tables::scale_guess

static inline int32_t clamped(int32_t value, int32_t lowest, int32_t highest) {
    return value < lowest ? lowest : value > highest ? highest : value;
}

// Index on the grid of a scale in 1/4096 pixel value: how many thresholds are not above it.
static inline int32_t scale_index(const Tables& tables, int32_t scale) {
    if (scale < 1 << kGuessBits) return 0;
    if (scale >= 1 << kGuessOctaves) return kScaleCount - 1;
    int octave = 31 - std::countl_zero(uint32_t(scale));
    int step = (scale >> (octave - kGuessBits)) & ((1 << kGuessBits) - 1);
    int32_t guess = tables.scale_guess[octave << kGuessBits | step];
    return guess + (scale >= tables.thresholds[guess]);
}

// Softmax of logits (M,) to 12-bit weights of sum 4096; the first largest takes what rounding leaves.
static inline void softmax(const Tables& tables, const int32_t* logits, int mixtures, int32_t* weights) {
    int32_t limited[kMaxMixtures];
    int largest = 0;
    for (int i = 0; i < mixtures; ++i) {
        limited[i] = clamped(logits[i], -kRawLimit, kRawLimit);
        if (limited[i] > limited[largest]) largest = i;
    }
    uint32_t powers[kMaxMixtures], sum = 0;
    for (int i = 0; i < mixtures; ++i) {
        int32_t below = limited[largest] - limited[i], octaves = below >> kLogitBits;
        powers[i] = uint32_t(tables.exp2[below & ((1 << kLogitBits) - 1)]) >> (octaves > 31 ? 31 : octaves);
        sum += powers[i];
    }
    uint32_t reciprocal = (uint32_t(1) << 31) / sum;
    int32_t left = 1 << kWeightBits;
    for (int i = 0; i < mixtures; ++i) {
        weights[i] = int32_t(powers[i] * reciprocal >> (31 - kWeightBits));
        left -= weights[i];
    }
    weights[largest] += left;
}

// Network outputs (K,) of one pixel -> `mixture`, whose references are set already.
static inline void prepare_mixture(const Model& model, int components, const int32_t* outputs, int32_t* mixture) {
    const int block = model.channels * components;
    const int32_t* reference = mixture + model.reference_offset();
    for (int channel = 0; channel < model.channels; ++channel) {
        const int32_t* own = outputs + channel * components;
        int32_t* means = mixture + channel * 4 * components;
        int32_t *mantissas = means + components, *shifts = mantissas + components, *weights = shifts + components;
        for (int i = 0; i < components; ++i) {
            means[i] = clamped(own[i], -kRawLimit, kRawLimit) + reference[channel] * (1 << kMeanBits);
            if (channel == 0) means[i] = clamped(means[i], kMeanLowest, kMeanHighest);
            int32_t scale = own[block + i];
            scale = model.clamped_scales ? scale_index(model.tables, scale) : clamped(scale, 0, kScaleCount - 1);
            mantissas[i] = model.tables.mantissas[scale % kScaleSteps];
            shifts[i] = kZShift + scale / kScaleSteps;
        }
        softmax(model.tables, own + 2 * block, components, weights);
    }
    int32_t* cross = mixture + 4 * block;
    for (int i = 0; i < model.cross_terms * components; ++i)
        cross[i] = clamped(outputs[3 * block + i], -kCrossLimit, kCrossLimit);
}

// One sub-pixel's mixture, its means conditioned on the earlier channels.
struct Conditioned {
    const int32_t *means, *mantissas, *shifts, *weights;
    int components;
};

// A channel's part of a pixel's mixture, its means before cross terms.
static inline Conditioned unconditioned(int components, const int32_t* mixture, int channel) {
    const int32_t* means = mixture + channel * 4 * components;
    return {means, means + components, means + 2 * components, means + 3 * components, components};
}

// The row of a channel's first cross term.
static inline int cross_offset(const Model& model, int components, int channel) {
    return (4 * model.channels + channel * (channel - 1) / 2) * components;
}

// `values` (C,) holds the pixel's earlier channels. `room` takes the conditioned means (M,).
static inline Conditioned conditioned(const Model& model, int components, const int32_t* mixture, int channel,
                                      const uint8_t* values, int32_t* room) {
    Conditioned own = unconditioned(components, mixture, channel);
    if (channel == 0) return own;
    const int32_t* reference = mixture + model.reference_offset();
    const int32_t* cross = mixture + cross_offset(model, components, channel);
    constexpr int rounding = kCrossBits - kMeanBits;
    for (int i = 0; i < components; ++i) {
        int32_t shift = 1 << (rounding - 1);
        for (int earlier = 0; earlier < channel; ++earlier)
            shift += cross[earlier * components + i] * (values[earlier] - reference[earlier]);
        room[i] = clamped(own.means[i] + (shift >> rounding), kMeanLowest, kMeanHighest);
    }
    own.means = room;
    return own;
}

// The CDF point of a value in 1..255; products stay below 2**31, see the ranges in fixed_mixture.py.
static inline int32_t cdf_point(const Tables& tables, const Conditioned& mixture, int32_t value) {
    int32_t total = kPhiRound;
    for (int i = 0; i < mixture.components; ++i) {
        int32_t x = value * (1 << kMeanBits) - (1 << (kMeanBits - 1)) - mixture.means[i];
        int32_t z = clamped((x * mixture.mantissas[i]) >> mixture.shifts[i], -kZLimit, kZLimit);
        int32_t position = z + kZLimit;
        int32_t entry = tables.normal[position >> kZStepBits], fraction = position & ((1 << kZStepBits) - 1);
        int32_t difference = entry & ((1 << kDifferenceBits) - 1);
        int32_t phi = (entry >> kDifferenceBits) + ((difference * fraction + (1 << (kZStepBits - 1))) >> kZStepBits);
        total += mixture.weights[i] * phi;
    }
    return value + (total >> kPhiShift);
}

// The value that the mixture's mean is nearest to; where a search starts.
static inline int32_t mean_value(const Conditioned& mixture) {
    int32_t sum = 0;
    for (int i = 0; i < mixture.components; ++i) sum += mixture.weights[i] * mixture.means[i];
    return ((sum >> kWeightBits) + (1 << (kMeanBits - 1))) >> kMeanBits;
}

// A symbol and the interval it owns.
struct Symbol {
    int32_t value;
    uint32_t c_low, c_high;
};

}  // namespace p59
