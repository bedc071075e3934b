// What the x86 kernels share: 16 int16 activations in a vector, 16 sums in two.
#pragma once

#include <immintrin.h>

#include "mixture.hpp"
#include "processors.hpp"

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

// A block's sums in two vectors; what multiplies and adds comes from whoever inherits.
struct Sums256 : Values256 {
    // 12 of the 16 registers hold sums; two are left for weights, one for a broadcast, one for a product.
    static constexpr int kTilePixels = 6, kTileBlocks = 1, kSingleBlocks = 4;

    struct Sums {
        __m256i low, high;
    };
    using Pairs = Sums;
    using Pair = __m256i;

    static Sums load(const void* p) {
        auto vectors = static_cast<const __m256i*>(p);
        return {_mm256_load_si256(vectors), _mm256_load_si256(vectors + 1)};
    }
    static Pairs load_pairs(const int16_t* p) { return load(p); }
    static Pair broadcast_pair(const int16_t* p) { return _mm256_set1_epi32(pair_at(p)); }
    static Sums load_sums(const int32_t* p) { return load(p); }
    static void store_sums(int32_t* p, Sums sums) {
        auto vectors = reinterpret_cast<__m256i*>(p);
        _mm256_store_si256(vectors, sums.low);
        _mm256_store_si256(vectors + 1, sums.high);
    }
    static Sums shift_right(Sums sums, const int32_t* shifts) {
        Sums by = load(shifts);
        return {_mm256_srav_epi32(sums.low, by.low), _mm256_srav_epi32(sums.high, by.high)};
    }
    static __m256i coarse(__m256i sums) {
        const __m256i halves = _mm256_srai_epi32(sums, kLeakyPreshift - 1);
        return _mm256_srai_epi32(_mm256_add_epi32(halves, _mm256_set1_epi32(1)), 1);
    }
    static Sums coarse(Sums sums) { return {coarse(sums.low), coarse(sums.high)}; }
    static Values narrow(Sums sums) {
        // vpackssdw works on 128-bit halves; the permutation puts the four quarters in order.
        return _mm256_permute4x64_epi64(_mm256_packs_epi32(sums.low, sums.high), 0xD8);
    }
};

}  // namespace

}  // namespace p59
