// 512-bit vectors: vpdpwssd multiplies pairs and adds them to the sums, one vector for a block of 16 outputs.
#include "kernel.hpp"

#if defined(__AVX512VNNI__) && defined(__AVX512VL__) && defined(__x86_64__) && defined(__GNUC__)

#include "lanes256.hpp"
#include "network.hpp"
#include "vector_mixture.hpp"
#include "vector_search.hpp"
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

    // 32 activations in a vector: vpackssdw works on 128-bit quarters, the permutation puts them in order.
    static __m512i narrow_two(Sums a, Sums b) {
        return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), _mm512_packs_epi32(a, b));
    }
    class FinishTwo {
    public:
        P59_INLINE FinishTwo(const TileWork& work, int block)
            : first_shift_(_mm512_load_si512(work.layer->shift.data() + block * kBlock)),
              second_shift_(_mm512_load_si512(work.layer->shift.data() + (block + 1) * kBlock)),
              highest_(_mm512_set1_epi16(int16_t(work.limit))),
              lowest_(_mm512_set1_epi16(int16_t(-work.limit))),
              leaky_(work.layer->leaky),
              skip_(work.layer->skip),
              stride_(work.activation_stride),
              hidden_(work.hidden + block * kBlock),
              entered_(work.entered + block * kBlock) {}

        P59_INLINE void operator()(int pixel, Sums first, Sums second) const {
            first = _mm512_srav_epi32(first, first_shift_);
            second = _mm512_srav_epi32(second, second_shift_);
            __m512i values = narrow_two(first, second);
            if (leaky_) {
                const __m512i below = narrow_two(coarse(first), coarse(second));
                values = _mm512_max_epi16(values, _mm512_mulhrs_epi16(below, _mm512_set1_epi16(kLeakyMultiplier)));
            }
            values = clamped(values);
            const size_t position = pixel * stride_;
            if (skip_) values = clamped(_mm512_adds_epi16(values, _mm512_loadu_si512(entered_ + position)));
            _mm512_storeu_si512(hidden_ + position, values);
        }

    private:
        P59_INLINE __m512i clamped(__m512i values) const {
            return _mm512_max_epi16(_mm512_min_epi16(values, highest_), lowest_);
        }

        Sums first_shift_, second_shift_;
        __m512i highest_, lowest_;
        bool leaky_, skip_;
        size_t stride_;
        int16_t* hidden_;
        const int16_t* entered_;
    };
};

// As Lanes256.
struct Lanes512 {
    static constexpr int kLanes = 16;
    using Int = __m512i;
    using Four = Lanes128;

    static Int all(int32_t value) { return _mm512_set1_epi32(value); }
    static Int load(const int32_t* p) { return _mm512_load_si512(p); }
    static void store(int32_t* p, Int a) { _mm512_store_si512(p, a); }
    static Int count_up() { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }

    static Int add(Int a, Int b) { return _mm512_add_epi32(a, b); }
    static Int subtract(Int a, Int b) { return _mm512_sub_epi32(a, b); }
    static Int multiply(Int a, Int b) { return _mm512_mullo_epi32(a, b); }
    static Int multiply_short(Int a, Int b) { return _mm512_madd_epi16(a, b); }
    static Int smaller(Int a, Int b) { return _mm512_min_epi32(a, b); }
    static Int larger(Int a, Int b) { return _mm512_max_epi32(a, b); }
    static Int both(Int a, Int b) { return _mm512_and_si512(a, b); }
    static Int either(Int a, Int b) { return _mm512_or_si512(a, b); }
    template <int Count>
    static Int left(Int a) { return _mm512_slli_epi32(a, Count); }
    template <int Count>
    static Int right(Int a) { return _mm512_srai_epi32(a, Count); }
    static Int right(Int a, Int counts) { return _mm512_srav_epi32(a, counts); }
    template <int Count>
    static Int right_unsigned(Int a) { return _mm512_srli_epi32(a, Count); }
    static Int right_unsigned(Int a, Int counts) { return _mm512_srlv_epi32(a, counts); }

    static Int where_equal(Int a, Int b, Int yes, Int no) {
        return _mm512_mask_blend_epi32(_mm512_cmpeq_epi32_mask(a, b), no, yes);
    }
    static Int gather(const int32_t* table, Int index) { return _mm512_i32gather_epi32(index, table, 4); }
    static Int lookup16(const int32_t* table, Int index) {
        return _mm512_permutexvar_epi32(index, _mm512_loadu_si512(table));
    }
    static Int reciprocal(Int a) {
        const __m512d low = _mm512_cvtepi32_pd(_mm512_castsi512_si256(a));
        const __m512d high = _mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(a, 1));
        const __m512d power = _mm512_set1_pd(0x1p31);
        return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvttpd_epi32(_mm512_div_pd(power, low))),
                                  _mm512_cvttpd_epi32(_mm512_div_pd(power, high)), 1);
    }

    static int32_t count_below(const int32_t* numbers, uint32_t factor, uint64_t most) {
        const Int by = _mm512_set1_epi64(factor), end = _mm512_set1_epi64(int64_t(most));
        const Int all = load(numbers), odd = _mm512_srli_epi64(all, 32);
        const Int even = _mm512_and_si512(all, _mm512_set1_epi64(0xFFFFFFFF));
        const uint32_t even_below = _mm512_cmplt_epu64_mask(_mm512_add_epi64(_mm512_mul_epu32(even, by), even), end);
        const uint32_t odd_below = _mm512_cmplt_epu64_mask(_mm512_add_epi64(_mm512_mul_epu32(odd, by), odd), end);
        return __builtin_popcount(even_below | (odd_below & 0x7F) << 8);
    }

    static constexpr int kSquare = Lanes256::kSquare;
    static void transpose(const int32_t* from, size_t from_stride, int32_t* to, size_t to_stride) {
        Lanes256::transpose(from, from_stride, to, to_stride);
    }
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
    static const Kernel kernel = vector_kernel<Avx512Vnni, Lanes512>("avx512vnni", ceiling);
    const bool supported = has_avx512() && __builtin_cpu_supports("avx512vnni");
    return supported ? &kernel : nullptr;
}

}  // namespace p59

#else

namespace p59 {

const Kernel* avx512vnni_kernel() { return nullptr; }

}  // namespace p59

#endif
