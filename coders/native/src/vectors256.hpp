// What the AVX2 and the AVX-512 kernel share: 16 int16 activations.
#pragma once

#include <cpuid.h>
#include <immintrin.h>

#include "mixture.hpp"

namespace p59 {

namespace {

// Processors without lzcnt take it for another instruction; compilers have no common name to ask for it.
inline bool has_lzcnt() {
    unsigned a, b, c, d;
    return __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & 1 << 5);
}

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

}  // namespace

}  // namespace p59
