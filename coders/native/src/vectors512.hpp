// Vectors of 16 floats with AVX-512.
#pragma once

#include <immintrin.h>

#include <bit>
#include <cstdint>
#include <cstring>

#include "gradients.hpp"

namespace p59 {

struct Floats512 {
    using Sums = __m512;

    static Sums load_sums(const float* p) { return _mm512_load_ps(p); }
    static void store_sums(float* p, Sums sums) { _mm512_store_ps(p, sums); }
    static Sums all(float value) { return _mm512_set1_ps(value); }
    static Sums add(Sums a, Sums b) { return _mm512_add_ps(a, b); }
    static Sums multiply(Sums a, Sums b) { return _mm512_mul_ps(a, b); }
    static Sums larger(Sums a, Sums b) { return _mm512_max_ps(a, b); }
    static Sums leaky_slope(Sums activations, Sums sums) {
        const __mmask16 below = _mm512_cmp_ps_mask(activations, _mm512_setzero_ps(), _CMP_LE_OQ);
        return _mm512_mask_mul_ps(sums, below, sums, all(float(kLeakySlope)));
    }
};

}  // namespace p59
