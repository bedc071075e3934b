// 256-bit vectors of floats, two of them for 16 sums.
#include "gradients.hpp"

#if defined(__AVX2__) && defined(__FMA__) && defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#include "network_gradient.hpp"
#include "processors.hpp"

namespace p59 {

namespace {

struct Avx2 {
    struct Sums {
        __m256 low, high;
    };
    using Element = float;
    using Factors = Sums;
    using Factor = __m256;
    // 12 of the 16 registers hold sums.
    static constexpr int kGroup = 1, kTileRows = 6, kTileBlocks = 1;

    static Sums load_sums(const float* p) { return {_mm256_load_ps(p), _mm256_load_ps(p + 8)}; }
    static void store_sums(float* p, Sums sums) {
        _mm256_store_ps(p, sums.low);
        _mm256_store_ps(p + 8, sums.high);
    }
    static Sums all(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
    static Sums add(Sums a, Sums b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
    static Sums multiply(Sums a, Sums b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
    static Sums larger(Sums a, Sums b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
    static Sums leaky_slope(Sums activations, Sums sums) {
        return {leaky_half(activations.low, sums.low), leaky_half(activations.high, sums.high)};
    }
    static Factors load_factors(const Element* p) { return load_sums(p); }
    static Factor broadcast_factor(const Element* p) { return _mm256_set1_ps(*p); }
    static Sums multiply_add(Sums sums, Factors factors, Factor factor) {
        return {_mm256_fmadd_ps(factors.low, factor, sums.low), _mm256_fmadd_ps(factors.high, factor, sums.high)};
    }
    static Element element(float value) { return value; }
    static Sums load_elements(const Element* p) { return load_sums(p); }
    static void store_elements(Element* p, Sums sums) { store_sums(p, sums); }

private:
    static __m256 leaky_half(__m256 activations, __m256 sums) {
        const __m256 below = _mm256_cmp_ps(activations, _mm256_setzero_ps(), _CMP_LE_OQ);
        return _mm256_blendv_ps(sums, _mm256_mul_ps(sums, _mm256_set1_ps(float(kLeakySlope))), below);
    }
};

}  // namespace

GradientsKind avx2_gradients() {
    const bool supported = has_avx2() && __builtin_cpu_supports("fma");
    return {"avx2", supported ? make_gradients<Avx2> : nullptr};
}

}  // namespace p59

#else

namespace p59 {

GradientsKind avx2_gradients() { return {"avx2", nullptr}; }

}  // namespace p59

#endif
