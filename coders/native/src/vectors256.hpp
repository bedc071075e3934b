// 256-bit pieces that the AVX2 and the AVX-512 kernel share: 16 int16 activations, and the search for a symbol.
#pragma once

#include <immintrin.h>

#include "mixture.hpp"

namespace p59 {

namespace {

struct Values256 {
    using Values = __m256i;

    static Values load_values(const int16_t* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
    static void store_values(int16_t* p, Values values) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(p), values);
    }
    // vpmulhrsw is (a * b + 2**14) >> 15, which is the definition of the integer LeakyReLU.
    static Values leaky(Values values) {
        return _mm256_max_epi16(values, _mm256_mulhrs_epi16(values, _mm256_set1_epi16(kLeakyMultiplier)));
    }
    static Values clamp(Values values, int limit) {
        values = _mm256_min_epi16(values, _mm256_set1_epi16(int16_t(limit)));
        return _mm256_max_epi16(values, _mm256_set1_epi16(int16_t(-limit)));
    }
    static Values add(Values a, Values b) { return _mm256_adds_epi16(a, b); }

    static int32_t pair_at(const int16_t* p) {
        int32_t pair;
        __builtin_memcpy(&pair, p, sizeof pair);
        return pair;
    }
};

// CDF points of 16 values at once. The search looks at the 16 values around the mean; where the symbol is not among
// them, at every 16th value and then at the 16 in between. The first look depends on nothing that the coder decodes,
// so the processor works on it while the coder is still at the symbol before.
struct Search256 {
    static constexpr int kLanes = 8, kWindow = 16;

    // Points of the values looked at, with room for one neighbour on each side: [0] is the first value's left neighbour.
    struct Points {
        alignas(32) int32_t room[kLanes + kWindow + kLanes];

        int32_t* at() { return room + kLanes; }
        // Bounds of the symbol above `count` of the points.
        int32_t& low(int count) { return room[kLanes - 1 + count]; }
        int32_t& high(int count) { return room[kLanes + count]; }
    };

    static __m256i points_of(const Tables& tables, const Conditioned& mixture, __m256i values) {
        const __m256i half = _mm256_set1_epi32(1 << (kMeanBits - 1));
        const __m256i x = _mm256_sub_epi32(_mm256_slli_epi32(values, kMeanBits), half);
        const __m256i z_limit = _mm256_set1_epi32(kZLimit), z_lowest = _mm256_set1_epi32(-kZLimit);
        __m256i total = _mm256_set1_epi32(kPhiRound);
        for (int i = 0; i < mixture.components; ++i) {
            __m256i product = _mm256_mullo_epi32(_mm256_sub_epi32(x, _mm256_set1_epi32(mixture.means[i])),
                                                 _mm256_set1_epi32(mixture.mantissas[i]));
            __m256i z = _mm256_srav_epi32(product, _mm256_set1_epi32(mixture.shifts[i]));
            z = _mm256_max_epi32(_mm256_min_epi32(z, z_limit), z_lowest);
            const __m256i position = _mm256_add_epi32(z, z_limit);
            const __m256i entry = _mm256_i32gather_epi32(tables.normal.data(), _mm256_srli_epi32(position, kZStepBits), 4);
            const __m256i fraction = _mm256_and_si256(position, _mm256_set1_epi32((1 << kZStepBits) - 1));
            const __m256i difference = _mm256_and_si256(entry, _mm256_set1_epi32((1 << kDifferenceBits) - 1));
            // Both factors are below 2**15, so that the 16-bit multiply-add is their product.
            __m256i rise = _mm256_add_epi32(_mm256_madd_epi16(difference, fraction),
                                            _mm256_set1_epi32(1 << (kZStepBits - 1)));
            rise = _mm256_srli_epi32(rise, kZStepBits);
            const __m256i phi = _mm256_add_epi32(_mm256_srli_epi32(entry, kDifferenceBits), rise);
            total = _mm256_add_epi32(total, _mm256_mullo_epi32(phi, _mm256_set1_epi32(mixture.weights[i])));
        }
        return _mm256_add_epi32(values, _mm256_srai_epi32(total, kPhiShift));
    }

    // Points of first, first + step, ... (16 of them); returns which of them are not above the target, as bits.
    static uint32_t look(const Tables& tables, const Conditioned& mixture, int32_t first, int32_t step, uint32_t target,
                         Points& points) {
        const __m256i lanes = _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(step));
        const __m256i above_target = _mm256_set1_epi32(int32_t(target) + 1);
        uint32_t found = 0;
        for (int part = 0; part < kWindow / kLanes; ++part) {
            const __m256i values = _mm256_add_epi32(lanes, _mm256_set1_epi32(first + part * kLanes * step));
            const __m256i at = points_of(tables, mixture, values);
            _mm256_store_si256(reinterpret_cast<__m256i*>(points.at() + part * kLanes), at);
            const __m256i below = _mm256_cmpgt_epi32(above_target, at);
            found |= uint32_t(_mm256_movemask_ps(_mm256_castsi256_ps(below))) << (part * kLanes);
        }
        return found;
    }

    static Symbol find(const Tables& tables, const Conditioned& mixture, uint32_t target) {
        constexpr int32_t last_window = 256 - kWindow;
        Points points;
        points.low(0) = 0;
        points.high(kWindow) = kTotal;
        const int32_t first = clamped(mean_value(mixture) - (kWindow / 2 - 1), 1, last_window);
        const int32_t count = __builtin_popcount(look(tables, mixture, first, 1, target, points));
        if ((count > 0 || first == 1) && (count < kWindow || first == last_window)) [[likely]]
            return {first + count - 1, uint32_t(points.low(count)), uint32_t(points.high(count))};
        return find_anywhere(tables, mixture, target);
    }

    __attribute__((noinline)) static Symbol find_anywhere(const Tables& tables, const Conditioned& mixture,
                                                          uint32_t target) {
        Points points;
        points.low(0) = 0;
        // The 16th value of the first look would be 256, whose point is not the formula's.
        constexpr uint32_t interior = (1 << (kWindow - 1)) - 1;
        const int32_t coarse = __builtin_popcount(look(tables, mixture, kWindow, kWindow, target, points) & interior);
        points.high(kWindow - 1) = kTotal;
        const int32_t c_low = points.low(coarse), c_high = points.high(coarse);
        const int32_t fine =
            __builtin_popcount(look(tables, mixture, coarse * kWindow + 1, 1, target, points) & interior);
        points.low(0) = c_low;
        points.high(kWindow - 1) = c_high;
        return {coarse * kWindow + fine, uint32_t(points.low(fine)), uint32_t(points.high(fine))};
    }
};

}  // namespace

}  // namespace p59
