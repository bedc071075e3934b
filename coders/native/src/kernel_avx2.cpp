// 256-bit vectors: vpmaddwd and vpaddd, two vectors for a block of 16 outputs.
#include "kernel.hpp"

#if defined(__AVX2__) && defined(__x86_64__) && defined(__GNUC__)

#include "lanes256.hpp"
#include "network.hpp"
#include "vector_mixture.hpp"
#include "vector_search.hpp"
#include "vectors256.hpp"

namespace p59 {

namespace {

struct Avx2 : Sums256 {
    static Sums multiply_add(Sums sums, Pairs pairs, Pair pair) {
        return {_mm256_add_epi32(sums.low, _mm256_madd_epi16(pairs.low, pair)),
                _mm256_add_epi32(sums.high, _mm256_madd_epi16(pairs.high, pair))};
    }
};

int64_t ceiling(int64_t rounds) {
    // In assembly: a compiler would see that all the products are the same.
    constexpr int chains = 10;
    __m256i sums[chains], product, weights = _mm256_set1_epi16(3), pair = _mm256_set1_epi16(5);
#pragma GCC unroll 32
    for (int i = 0; i < chains; ++i) sums[i] = _mm256_setzero_si256();
    for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
        for (int i = 0; i < chains; ++i) {
            asm volatile("vpmaddwd %2, %3, %1\n\tvpaddd %1, %0, %0"
                         : "+x"(sums[i]), "=&x"(product)
                         : "x"(weights), "x"(pair));
        }
    }
    return rounds * chains * 16;
}

}  // namespace

const Kernel* avx2_kernel() {
    static const Kernel kernel = vector_kernel<Avx2, Lanes256>("avx2", ceiling);
    return has_avx2() ? &kernel : nullptr;
}

}  // namespace p59

#else

namespace p59 {

const Kernel* avx2_kernel() { return nullptr; }

}  // namespace p59

#endif
