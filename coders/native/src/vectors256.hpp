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
    // vpmulhrsw is (a * b + 2**14) >> 15, as in the definition of the integer LeakyReLU.
    static Values leaky(Values values, Values coarse) {
        return _mm256_max_epi16(values, _mm256_mulhrs_epi16(coarse, _mm256_set1_epi16(kLeakyMultiplier)));
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
// them, at every 16th value and then at the 16 in between.
struct Search256 {
    static constexpr int kLanes = 8, kWindow = 16;

    // Points of the values looked at, with room for one neighbour on each side.
    struct Points {
        alignas(32) int32_t room[kLanes + kWindow + kLanes];

        int32_t* at() { return room + kLanes; }
        const int32_t* at() const { return room + kLanes; }
        // Bounds of the symbol above `count` of the points.
        int32_t& low(int count) { return room[kLanes - 1 + count]; }
        int32_t& high(int count) { return room[kLanes + count]; }
        int32_t low(int count) const { return room[kLanes - 1 + count]; }
        int32_t high(int count) const { return room[kLanes + count]; }
    };

    // The look around the mean, which needs nothing from the coder.
    struct Prepared {
        Points points;
        int32_t first;
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

    // Points of first, first + step, ... (16 of them).
    static void look(const Tables& tables, const Conditioned& mixture, int32_t first, int32_t step, Points& points) {
        const __m256i lanes = _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(step));
        for (int part = 0; part < kWindow / kLanes; ++part) {
            const __m256i values = _mm256_add_epi32(lanes, _mm256_set1_epi32(first + part * kLanes * step));
            _mm256_store_si256(reinterpret_cast<__m256i*>(points.at()) + part, points_of(tables, mixture, values));
        }
    }

    // How many of the points are not above the target; `mask` leaves some out.
    static int32_t count_below(const Points& points, uint32_t target, uint32_t mask = (1 << kWindow) - 1) {
        const __m256i above_target = _mm256_set1_epi32(int32_t(target) + 1);
        uint32_t below = 0;
        for (int part = 0; part < kWindow / kLanes; ++part) {
            const __m256i at = _mm256_load_si256(reinterpret_cast<const __m256i*>(points.at()) + part);
            const __m256i found = _mm256_cmpgt_epi32(above_target, at);
            below |= uint32_t(_mm256_movemask_ps(_mm256_castsi256_ps(found))) << (part * kLanes);
        }
        return __builtin_popcount(below & mask);
    }

    static void prepare(const Tables& tables, const Conditioned& mixture, Prepared& prepared) {
        prepared.first = clamped(mean_value(mixture) - (kWindow / 2 - 1), 1, 256 - kWindow);
        prepared.points.low(0) = 0;
        prepared.points.high(kWindow) = kTotal;
        look(tables, mixture, prepared.first, 1, prepared.points);
    }

    static Symbol find(const Tables& tables, const Conditioned& mixture, const Prepared& prepared, uint32_t target) {
        const int32_t first = prepared.first, count = count_below(prepared.points, target);
        if ((count > 0 || first == 1) && (count < kWindow || first == 256 - kWindow)) [[likely]]
            return {first + count - 1, uint32_t(prepared.points.low(count)), uint32_t(prepared.points.high(count))};
        return find_anywhere(tables, mixture, target);
    }

    __attribute__((noinline)) static Symbol find_anywhere(const Tables& tables, const Conditioned& mixture,
                                                          uint32_t target) {
        // The 16th value of the first look is 256, that of the second the next of the first: both bound, neither is looked at.
        constexpr uint32_t interior = (1 << (kWindow - 1)) - 1;
        Points points;
        look(tables, mixture, kWindow, kWindow, points);
        points.low(0) = 0;
        points.high(kWindow - 1) = kTotal;
        const int32_t coarse = count_below(points, target, interior);
        const int32_t c_low = points.low(coarse), c_high = points.high(coarse);
        look(tables, mixture, coarse * kWindow + 1, 1, points);
        points.low(0) = c_low;
        points.high(kWindow - 1) = c_high;
        const int32_t fine = count_below(points, target, interior);
        return {coarse * kWindow + fine, uint32_t(points.low(fine)), uint32_t(points.high(fine))};
    }
};

}  // namespace

}  // namespace p59
