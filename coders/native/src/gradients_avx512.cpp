// 512-bit vectors of floats.
#include "gradients.hpp"

#if defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && defined(__FMA__) && \
    defined(__x86_64__) && defined(__GNUC__)

#include "network_gradient.hpp"
#include "processors.hpp"
#include "vectors512.hpp"

namespace p59 {

namespace {

struct Avx512 : Floats512 {
    using Element = float;
    using Factors = __m512;
    using Factor = __m512;
    static constexpr int kGroup = 1, kTileRows = 12, kTileBlocks = 2;

    static Factors load_factors(const Element* p) { return _mm512_load_ps(p); }
    static Factor broadcast_factor(const Element* p) { return _mm512_set1_ps(*p); }
    static Sums multiply_add(Sums sums, Factors factors, Factor factor) {
        asm("vfmadd231ps %2, %1, %0" : "+v"(sums) : "v"(factors), "v"(factor));
        return sums;
    }
    static Element element(float value) { return value; }
    static Sums load_elements(const Element* p) { return _mm512_load_ps(p); }
    static void store_elements(Element* p, Sums sums) { _mm512_store_ps(p, sums); }
};

}  // namespace

GradientsKind avx512_gradients() { return {"avx512", has_avx512() && __builtin_cpu_supports("fma") ? make_gradients<Avx512> : nullptr}; }

}  // namespace p59

#else

namespace p59 {

GradientsKind avx512_gradients() { return {"avx512", nullptr}; }

}  // namespace p59

#endif
