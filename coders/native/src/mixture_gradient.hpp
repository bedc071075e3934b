// Bits that mixtures spend on pixels, and their gradient, of kLanes pixels at a time: models/mixture.py's bits_coded.
//
// In vectors of GCC's and Clang's own, as wide as the registers of the instruction set that is compiled for: of wider ones
// GCC takes conditions one lane at a time. Functions are static: each instruction set has its own.
#pragma once

#include <cmath>
#include <cstdint>

#include "gradients.hpp"
#include "inline.hpp"
#include "model.hpp"

namespace p59 {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
using Floats = float __attribute__((vector_size(kLanes * sizeof(float))));
using Ints = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));
using Words = uint32_t __attribute__((vector_size(kLanes * sizeof(uint32_t))));

P59_INLINE static inline Floats all_lanes(float value) { return value - Floats{}; }

// e^x to some 1e-7 of it; below -87 that of -87, above 87 that of 87.
P59_INLINE static inline Floats exponential(Floats x) {
    x = x < -87 ? all_lanes(-87) : x;
    x = x > 87 ? all_lanes(87) : x;
    constexpr float rounder = 12582912;  // 1.5 * 2**23: adding it leaves whole numbers in the lowest bits
    const Floats shifted = x * 1.44269504f + rounder, whole = shifted - rounder;
    // ln 2 in two parts, the first of few bits.
    const Floats rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    Floats series = all_lanes(1.0f / 720);
    series = series * rest + 1.0f / 120;
    series = series * rest + 1.0f / 24;
    series = series * rest + 1.0f / 6;
    series = series * rest + 0.5f;
    series = series * rest + 1;
    series = series * rest + 1;
    return series * Floats((Words(shifted) << 23) + (127u << 23));
}

// The error function by Abramowitz and Stegun, 7.1.26, within 1.5e-7; `bell` is e^(-x*x).
P59_INLINE static inline Floats error_function(Floats x, Floats bell) {
    const Floats size = x < 0 ? -x : x;
    const Floats t = 1 / (1 + 0.3275911f * size);
    Floats series = t * 1.061405429f - 1.453152027f;
    series = series * t + 1.421413741f;
    series = series * t - 0.284496736f;
    series = series * t + 0.254829592f;
    const Floats value = 1 - series * t * bell;
    return x < 0 ? -value : value;
}

// Returns the bits of n <= kLanes pixels. outputs: rows of `stride` sums of the last layer, of kLanes pixels whatever n.
// gradient: the same rows, n of which are set to the derivatives of the bits.
static double mixture_gradient(const FloatNetwork& network, const float* outputs, int64_t stride,
                               const uint8_t* const* pixels, const uint8_t* const* wests, int n, float* gradient) {
    const int channels = network.channels, mixtures = network.mixtures, block = channels * mixtures;
    const int rows = int(network.output_gain.size());
    const float mean_gain = network.relative_to_west ? float(kMeanGain) : 255;
    const float highest = float(std::log(kScaleMaximum / 255));
    constexpr float lowest_scale = float(kScaleMinimum), share_of_coder = float(kCoderShare);
    constexpr float half_of_erf_slope = 0.56418958f;  // 1 / sqrt(pi)

    // Outputs, later their derivatives, pixels side by side.
    constexpr int most_rows = (3 * kMaxChannels + kMaxChannels * (kMaxChannels - 1) / 2) * kMaxMixtures;
    alignas(64) Floats columns[most_rows];
    for (int lane = 0; lane < kLanes; ++lane)
        for (int row = 0; row < rows; ++row) columns[row][lane] = outputs[lane * stride + row];
    for (int row = 0; row < rows; ++row)
        columns[row] = (columns[row] - network.output_offset[row]) * (1 / network.output_gain[row]);

    Floats values[kMaxChannels], ahead[kMaxChannels];
    for (int c = 0; c < channels; ++c)
        for (int lane = 0; lane < kLanes; ++lane) {
            const int pixel = lane < n ? lane : 0;
            values[c][lane] = float(pixels[pixel][c]);
            ahead[c][lane] = values[c][lane] - (network.relative_to_west ? float(wests[pixel][c]) : 0);
        }

    Floats shares = all_lanes(1);  // the product of all channels' probabilities
    for (int c = 0; c < channels; ++c) {
        Floats* const means = columns + c * mixtures;
        Floats* const scales = means + block;
        Floats* const logits = scales + block;
        Floats* const cross = columns + 3 * block + c * (c - 1) / 2 * mixtures;  // [earlier channel][component]
        // The mixture's tails beyond 0 and 255 belong to these.
        const Ints first = values[c] < 0.5f, last = values[c] > 254.5f;

        Floats largest = logits[0], total{}, probability{};
        for (int m = 1; m < mixtures; ++m) largest = logits[m] > largest ? logits[m] : largest;
        for (int m = 0; m < mixtures; ++m) {
            logits[m] = exponential(logits[m] - largest);
            total += logits[m];
        }
        Floats weights[kMaxMixtures], parts[kMaxMixtures];
        for (int m = 0; m < mixtures; ++m) {
            // From the mean, which the pixel's earlier channels shift, to the value.
            Floats distance = ahead[c] - mean_gain * means[m];
            for (int earlier = 0; earlier < c; ++earlier) distance -= cross[earlier * mixtures + m] * ahead[earlier];
            const Floats raw = scales[m], exponent = raw + float(kLogScaleOffset);
            const Floats scale = network.clamped_scales
                                     ? 255 * raw
                                     : 255 * exponential(exponent > highest ? all_lanes(highest) : exponent);
            const Floats bounded = scale < lowest_scale ? all_lanes(lowest_scale) : scale;
            const Floats inverse = 0.70710678f / bounded;
            const Floats above = (distance + 0.5f) * inverse, below = (distance - 0.5f) * inverse;
            const Floats bell_above = exponential(-above * above), bell_below = exponential(-below * below);
            const Floats upper = last ? all_lanes(1) : error_function(above, bell_above);
            const Floats lower = first ? all_lanes(-1) : error_function(below, bell_below);
            const Floats density_above = last ? Floats{} : bell_above, density_below = first ? Floats{} : bell_below;
            weights[m] = logits[m] / total;
            parts[m] = 0.5f * (upper - lower);
            probability += weights[m] * parts[m];
            // Derivatives of the probability.
            const Floats slope = -half_of_erf_slope * weights[m] * inverse;
            means[m] = slope * (density_above - density_below);
            const Floats by_scale = slope * 1.41421356f * (above * density_above - below * density_below);
            // As LowerBound and clamp_max do: a bounded scale still learns to grow.
            const Floats passed = scale < lowest_scale ? (by_scale > 0 ? by_scale : Floats{}) : by_scale;
            scales[m] = network.clamped_scales ? passed * 255 : exponent > highest ? Floats{} : passed * scale;
        }
        const Floats share = probability * share_of_coder + float(kCoderFloor);
        shares *= share;
        const Floats factor = -1.44269504f * share_of_coder / share;
        for (int m = 0; m < mixtures; ++m) {
            logits[m] = factor * weights[m] * (parts[m] - probability);
            scales[m] *= factor;
            const Floats by_mean = means[m] * factor;
            means[m] = mean_gain * by_mean;
            for (int earlier = 0; earlier < c; ++earlier) cross[earlier * mixtures + m] = ahead[earlier] * by_mean;
        }
    }
    for (int row = 0; row < rows; ++row) columns[row] *= 1 / network.output_gain[row];
    for (int lane = 0; lane < n; ++lane)
        for (int row = 0; row < rows; ++row) gradient[lane * stride + row] = columns[row][lane];
    double bits = 0;
    for (int lane = 0; lane < n; ++lane) bits -= std::log2(shares[lane]);
    return bits;
}

}  // namespace p59
