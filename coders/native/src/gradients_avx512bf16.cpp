// 512-bit vectors: vdpbf16ps multiplies pairs of bfloat16 and adds them to float sums.
#include "gradients.hpp"

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__x86_64__) && defined(__GNUC__)

#include "network_gradient.hpp"
#include "processors.hpp"
#include "vectors512.hpp"

namespace p59 {

namespace {

struct Avx512Bf16 : Floats512 {
    using Element = uint16_t;
    using Factors = __m512i;
    using Factor = __m512i;
    static constexpr int kGroup = 2, kTileRows = 12, kTileBlocks = 2;

    static Factors load_factors(const Element* p) { return _mm512_load_si512(p); }
    static Factor broadcast_factor(const Element* p) {
        int32_t pair;
        std::memcpy(&pair, p, sizeof pair);
        return _mm512_set1_epi32(pair);
    }
    static Sums multiply_add(Sums sums, Factors factors, Factor factor) {
        // Not _mm512_dpbf16_ps: see kernel_avx512vnni.cpp.
        asm("vdpbf16ps %2, %1, %0" : "+v"(sums) : "v"(factors), "v"(factor));
        return sums;
    }
    static Element element(float value) {
        const uint32_t bits = std::bit_cast<uint32_t>(value);
        return Element((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }
    static Sums load_elements(const Element* p) {
        const __m256i elements = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(elements), 16));
    }
    static void store_elements(Element* p, Sums sums) {
        const __m256bh rounded = _mm512_cvtneps_pbh(sums);
        std::memcpy(p, &rounded, sizeof rounded);
    }
    static void interleave(const Element* a, const Element* b, Element* to) {
        const __m512i first = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(a)));
        const __m512i second = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(b)));
        _mm512_store_si512(to, _mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
    }
};

}  // namespace

GradientsKind avx512bf16_gradients() {
    const bool supported = has_avx512() && __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx512bf16");
    return {"avx512bf16", supported ? make_gradients<Avx512Bf16> : nullptr};
}

}  // namespace p59

#else

namespace p59 {

GradientsKind avx512bf16_gradients() { return {"avx512bf16", nullptr}; }

}  // namespace p59

#endif
