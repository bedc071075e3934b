// As kernel_avx2.cpp on processors with AVX-VNNI, which many have that lack AVX-512: vpdpwssd multiplies and adds.
#include "kernel.hpp"

#if defined(__AVXVNNI__) && defined(__AVX2__) && defined(__x86_64__) && defined(__GNUC__)

#include "lanes256.hpp"
#include "network.hpp"
#include "vector_mixture.hpp"
#include "vector_search.hpp"
#include "vectors256.hpp"

namespace p59 {

namespace {

struct AvxVnni : Sums256 {
    static Sums multiply_add(Sums sums, Pairs pairs, Pair pair) {
        // As in kernel_avx512vnni.cpp not by the compiler's function.
        asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sums.low) : "x"(pairs.low), "x"(pair));
        asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sums.high) : "x"(pairs.high), "x"(pair));
        return sums;
    }
};

int64_t ceiling(int64_t rounds) {
    constexpr int chains = 12;
    __m256i sums[chains], weights = _mm256_set1_epi16(3), pair = _mm256_set1_epi16(5);
#pragma GCC unroll 32
    for (int i = 0; i < chains; ++i) sums[i] = _mm256_setzero_si256();
    for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 32
        for (int i = 0; i < chains; ++i)
            asm volatile("%{vex%} vpdpwssd %1, %2, %0" : "+x"(sums[i]) : "x"(weights), "x"(pair));
    }
    return rounds * chains * 16;
}

}  // namespace

const Kernel* avxvnni_kernel() {
    static const Kernel kernel = vector_kernel<AvxVnni, Lanes256>("avxvnni", ceiling);
    unsigned a, b, c, d;
    const bool vnni = __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1 << 4);
    return vnni && has_avx2() ? &kernel : nullptr;
}

}  // namespace p59

#else

namespace p59 {

const Kernel* avxvnni_kernel() { return nullptr; }

}  // namespace p59

#endif
