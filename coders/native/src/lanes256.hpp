// 32-bit integers in 256-bit vectors, under the names that vector_mixture.hpp and vector_search.hpp use.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace p59 {

namespace {

// What vector_search.hpp needs of four lanes, at any address.
struct Lanes128 {
    using Int = __m128i;

    static Int all(int32_t value) { return _mm_set1_epi32(value); }
    static Int load(const int32_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
    static void store(int32_t* p, Int a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), a); }
    static Int add(Int a, Int b) { return _mm_add_epi32(a, b); }
    static Int multiply(Int a, Int b) { return _mm_mullo_epi32(a, b); }
    static Int smaller(Int a, Int b) { return _mm_min_epi32(a, b); }
    static Int larger(Int a, Int b) { return _mm_max_epi32(a, b); }
    template <int Count>
    static Int right(Int a) { return _mm_srai_epi32(a, Count); }
};

struct Lanes256 {
    static constexpr int kLanes = 8;
    using Int = __m256i;
    using Four = Lanes128;

    static Int all(int32_t value) { return _mm256_set1_epi32(value); }
    static Int load(const int32_t* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
    static void store(int32_t* p, Int a) { _mm256_store_si256(reinterpret_cast<__m256i*>(p), a); }
    static Int count_up() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }

    static Int add(Int a, Int b) { return _mm256_add_epi32(a, b); }
    static Int subtract(Int a, Int b) { return _mm256_sub_epi32(a, b); }
    static Int multiply(Int a, Int b) { return _mm256_mullo_epi32(a, b); }
    // Products of numbers in 0..2**15 - 1.
    static Int multiply_short(Int a, Int b) { return _mm256_madd_epi16(a, b); }
    static Int smaller(Int a, Int b) { return _mm256_min_epi32(a, b); }
    static Int larger(Int a, Int b) { return _mm256_max_epi32(a, b); }
    static Int both(Int a, Int b) { return _mm256_and_si256(a, b); }
    static Int either(Int a, Int b) { return _mm256_or_si256(a, b); }
    template <int Count>
    static Int left(Int a) { return _mm256_slli_epi32(a, Count); }
    template <int Count>
    static Int right(Int a) { return _mm256_srai_epi32(a, Count); }
    static Int right(Int a, Int counts) { return _mm256_srav_epi32(a, counts); }
    template <int Count>
    static Int right_unsigned(Int a) { return _mm256_srli_epi32(a, Count); }
    static Int right_unsigned(Int a, Int counts) { return _mm256_srlv_epi32(a, counts); }

    // Lane by lane a == b ? yes : no.
    static Int where_equal(Int a, Int b, Int yes, Int no) {
        return _mm256_blendv_epi8(no, yes, _mm256_cmpeq_epi32(a, b));
    }
    static Int gather(const int32_t* table, Int index) { return _mm256_i32gather_epi32(table, index, 4); }
    // Of a table of 16 entries.
    static Int lookup16(const int32_t* table, Int index) { return gather(table, index); }
    // floor(2**31 / a) of a in 2..2**31 - 1: the double nearest to the quotient reaches no integer that it is below.
    static Int reciprocal(Int a) {
        const __m256d low = _mm256_cvtepi32_pd(_mm256_castsi256_si128(a));
        const __m256d high = _mm256_cvtepi32_pd(_mm256_extracti128_si256(a, 1));
        const __m256d power = _mm256_set1_pd(0x1p31);
        return _mm256_set_m128i(_mm256_cvttpd_epi32(_mm256_div_pd(power, high)),
                                _mm256_cvttpd_epi32(_mm256_div_pd(power, low)));
    }

    // Of how many c of the first 15 of 16 numbers c * (factor + 1) is below `most`, which is at most 2**48.
    static int32_t count_below(const int32_t* numbers, uint32_t factor, uint64_t most) {
        const Int by = _mm256_set1_epi64x(factor), end = _mm256_set1_epi64x(int64_t(most));
        uint32_t below = 0;
        for (int part = 0; part < 16; part += kLanes) {
            const Int all = load(numbers + part), odd = _mm256_srli_epi64(all, 32);
            const Int even = _mm256_and_si256(all, _mm256_set1_epi64x(0xFFFFFFFF));
            const Int even_below = _mm256_cmpgt_epi64(end, _mm256_add_epi64(_mm256_mul_epu32(even, by), even));
            const Int odd_below = _mm256_cmpgt_epi64(end, _mm256_add_epi64(_mm256_mul_epu32(odd, by), odd));
            const __m256 both = _mm256_castsi256_ps(_mm256_blend_epi32(even_below, odd_below, 0xAA));
            below |= uint32_t(_mm256_movemask_ps(both)) << part;
        }
        return __builtin_popcount(below & 0x7FFF);
    }

    // kSquare rows of kSquare numbers to as many columns; strides in numbers, all addresses aligned to 32 bytes.
    static constexpr int kSquare = 8;
    static void transpose(const int32_t* from, size_t from_stride, int32_t* to, size_t to_stride) {
        __m256i r[8], pairs[8], quads[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) r[i] = load(from + i * from_stride);
#pragma GCC unroll 4
        for (int i = 0; i < 8; i += 2) {
            pairs[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
            pairs[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
        }
#pragma GCC unroll 2
        for (int i = 0; i < 8; i += 4) {
            quads[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
            quads[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
            quads[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
            quads[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
            store(to + i * to_stride, _mm256_permute2x128_si256(quads[i], quads[i + 4], 0x20));
            store(to + (i + 4) * to_stride, _mm256_permute2x128_si256(quads[i], quads[i + 4], 0x31));
        }
    }
};

}  // namespace

}  // namespace p59
