// 512-bit vectors: vpdpwssd multiplies pairs and adds them to the sums, one vector for a block of 16 outputs.
#include "kernel.hpp"

#if defined(__AVX512VNNI__) && defined(__AVX512VL__) && defined(__x86_64__) && defined(__GNUC__)

#include "network.hpp"
#include "symbols.hpp"
#include "vectors256.hpp"

namespace p59 {

namespace {

struct Avx512Vnni : Values256 {
    // 24 of the 32 registers hold sums.
    static constexpr int kTilePixels = 12, kTileBlocks = 2, kSingleBlocks = 4;

    using Sums = __m512i;
    using Pairs = __m512i;
    using Pair = __m512i;

    static Pairs load_pairs(const int16_t* p) { return _mm512_load_si512(p); }
    static Pair broadcast_pair(const int16_t* p) { return _mm512_set1_epi32(pair_at(p)); }
    static Sums multiply_add(Sums sums, Pairs pairs, Pair pair) {
        // Not _mm512_dpwssd_epi32: around it GCC 12 copies and spills every sum in the inner loop.
        asm("vpdpwssd %2, %1, %0" : "+v"(sums) : "v"(pairs), "v"(pair));
        return sums;
    }
    static Sums load_sums(const int32_t* p) { return _mm512_load_si512(p); }
    static void store_sums(int32_t* p, Sums sums) { _mm512_store_si512(p, sums); }
    static Sums shift_right(Sums sums, const int32_t* shifts) {
        return _mm512_srav_epi32(sums, _mm512_load_si512(shifts));
    }
    static Sums coarse(Sums sums) {
        const Sums halves = _mm512_srai_epi32(sums, kLeakyPreshift - 1);
        return _mm512_srai_epi32(_mm512_add_epi32(halves, _mm512_set1_epi32(1)), 1);
    }
    static Values narrow(Sums sums) { return _mm512_cvtsepi32_epi16(sums); }
};

int64_t ceiling(int64_t rounds) {
    constexpr int chains = 24;
    __m512i sums[chains], weights = _mm512_set1_epi16(3), pair = _mm512_set1_epi16(5);
#pragma GCC unroll 32
    for (int i = 0; i < chains; ++i) sums[i] = _mm512_setzero_si512();
    for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 32
        for (int i = 0; i < chains; ++i)
            asm volatile("vpdpwssd %1, %2, %0" : "+v"(sums[i]) : "v"(weights), "v"(pair));
    }
    return rounds * chains * 32;
}

}  // namespace

const Kernel* avx512vnni_kernel() {
    static const Kernel kernel{"avx512vnni", gather, network<Avx512Vnni>, mixtures_of, decode_channel<Search256>,
                               intervals_of, ceiling};
    const bool supported = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
                           __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                           __builtin_cpu_supports("avx512vnni");
    return supported ? &kernel : nullptr;
}

}  // namespace p59

#else

namespace p59 {

const Kernel* avx512vnni_kernel() { return nullptr; }

}  // namespace p59

#endif
