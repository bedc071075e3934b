// 128-bit vectors of 64-bit ARM processors: smlal multiplies four activations' weights and adds them to four sums, four
// vectors for a block of 16 outputs.
#include "kernel.hpp"

#if defined(__aarch64__) && defined(__ARM_NEON) && !defined(__AARCH64EB__) && defined(__GNUC__)

#include <arm_neon.h>

#include "network.hpp"
#include "vector_mixture.hpp"
#include "vector_search.hpp"

namespace p59 {

namespace {

struct Neon {
    // 24 of the 32 registers hold sums; four weights and one pair of activations are left room.
    static constexpr int kTilePixels = 6, kTileBlocks = 1, kSingleBlocks = 4;

    struct Sums {
        int32x4_t a, b, c, d;
    };
    // Of each pair of weights the first, and the second, of 8 outputs each.
    struct Pairs {
        int16x8_t first_low, second_low, first_high, second_high;
    };
    using Pair = int16x8_t;
    using Values = int16x8x2_t;

    // Not vld2q_s16: GCC 12 copies what it loads through memory.
    static Pairs load_pairs(const int16_t* p) {
        const int16x8_t a = vld1q_s16(p), b = vld1q_s16(p + 8), c = vld1q_s16(p + 16), d = vld1q_s16(p + 24);
        return {vuzp1q_s16(a, b), vuzp2q_s16(a, b), vuzp1q_s16(c, d), vuzp2q_s16(c, d)};
    }
    // smlal takes its second factor from one lane: the pair is loaded and not copied to the others, which compilers
    // have no name for.
    static Pair broadcast_pair(const int16_t* p) {
        Pair pair;
        asm("ldr %s0, %1" : "=w"(pair) : "m"(*reinterpret_cast<const int16_t(*)[2]>(p)));
        return pair;
    }
    template <int Which>
    static Sums multiply_add(Sums sums, int16x8_t low, int16x8_t high, Pair pair) {
        return {vmlal_laneq_s16(sums.a, vget_low_s16(low), pair, Which), vmlal_high_laneq_s16(sums.b, low, pair, Which),
                vmlal_laneq_s16(sums.c, vget_low_s16(high), pair, Which),
                vmlal_high_laneq_s16(sums.d, high, pair, Which)};
    }
    static Sums multiply_add(Sums sums, const Pairs& pairs, Pair pair) {
        sums = multiply_add<0>(sums, pairs.first_low, pairs.first_high, pair);
        return multiply_add<1>(sums, pairs.second_low, pairs.second_high, pair);
    }
    static Sums load_sums(const int32_t* p) {
        return {vld1q_s32(p), vld1q_s32(p + 4), vld1q_s32(p + 8), vld1q_s32(p + 12)};
    }
    static void store_sums(int32_t* p, Sums sums) {
        vst1q_s32(p, sums.a);
        vst1q_s32(p + 4, sums.b);
        vst1q_s32(p + 8, sums.c);
        vst1q_s32(p + 12, sums.d);
    }
    // ARM shifts right by shifting left by less than nothing.
    static int32x4_t shift_right(int32x4_t sums, const int32_t* shifts) {
        return vshlq_s32(sums, vnegq_s32(vld1q_s32(shifts)));
    }
    static Sums shift_right(Sums sums, const int32_t* shifts) {
        return {shift_right(sums.a, shifts), shift_right(sums.b, shifts + 4), shift_right(sums.c, shifts + 8),
                shift_right(sums.d, shifts + 12)};
    }
    // srshr adds the half in more bits than the sums have.
    static Sums coarse(Sums sums) {
        return {vrshrq_n_s32(sums.a, kLeakyPreshift), vrshrq_n_s32(sums.b, kLeakyPreshift),
                vrshrq_n_s32(sums.c, kLeakyPreshift), vrshrq_n_s32(sums.d, kLeakyPreshift)};
    }
    static Values narrow(Sums sums) {
        return {vqmovn_high_s32(vqmovn_s32(sums.a), sums.b), vqmovn_high_s32(vqmovn_s32(sums.c), sums.d)};
    }
    static Values load_values(const int16_t* p) { return {vld1q_s16(p), vld1q_s16(p + 8)}; }
    static void store_values(int16_t* p, Values values) {
        vst1q_s16(p, values.val[0]);
        vst1q_s16(p + 8, values.val[1]);
    }
    // sqrdmulh is (2 * a * b + 2**15) >> 16, and so (a * b + 2**14) >> 15, as in the definition of the integer
    // LeakyReLU.
    static int16x8_t leaky(int16x8_t values, int16x8_t coarse) {
        return vmaxq_s16(values, vqrdmulhq_n_s16(coarse, kLeakyMultiplier));
    }
    static Values leaky(Values values, Values coarse) {
        return {leaky(values.val[0], coarse.val[0]), leaky(values.val[1], coarse.val[1])};
    }
    static int16x8_t clamp(int16x8_t values, int limit) {
        return vmaxq_s16(vminq_s16(values, vdupq_n_s16(int16_t(limit))), vdupq_n_s16(int16_t(-limit)));
    }
    static Values clamp(Values values, int limit) { return {clamp(values.val[0], limit), clamp(values.val[1], limit)}; }
    static Values add(Values a, Values b) {
        return {vqaddq_s16(a.val[0], b.val[0]), vqaddq_s16(a.val[1], b.val[1])};
    }
};

// As Lanes256.
struct NeonLanes {
    static constexpr int kLanes = 4;
    using Int = int32x4_t;
    using Four = NeonLanes;

    static Int all(int32_t value) { return vdupq_n_s32(value); }
    static Int load(const int32_t* p) { return vld1q_s32(p); }
    static void store(int32_t* p, Int a) { vst1q_s32(p, a); }
    static Int count_up() {
        static constexpr int32_t numbers[] = {0, 1, 2, 3};
        return load(numbers);
    }

    static Int add(Int a, Int b) { return vaddq_s32(a, b); }
    static Int subtract(Int a, Int b) { return vsubq_s32(a, b); }
    static Int multiply(Int a, Int b) { return vmulq_s32(a, b); }
    static Int multiply_short(Int a, Int b) { return vmulq_s32(a, b); }
    static Int smaller(Int a, Int b) { return vminq_s32(a, b); }
    static Int larger(Int a, Int b) { return vmaxq_s32(a, b); }
    static Int both(Int a, Int b) { return vandq_s32(a, b); }
    static Int either(Int a, Int b) { return vorrq_s32(a, b); }
    template <int Count>
    static Int left(Int a) { return vshlq_n_s32(a, Count); }
    template <int Count>
    static Int right(Int a) { return vshrq_n_s32(a, Count); }
    static Int right(Int a, Int counts) { return vshlq_s32(a, vnegq_s32(counts)); }
    template <int Count>
    static Int right_unsigned(Int a) { return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a), Count)); }
    static Int right_unsigned(Int a, Int counts) {
        return vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a), vnegq_s32(counts)));
    }

    static Int where_equal(Int a, Int b, Int yes, Int no) { return vbslq_s32(vceqq_s32(a, b), yes, no); }
    static Int gather(const int32_t* table, Int index) {
        Int found = vdupq_n_s32(table[vgetq_lane_s32(index, 0)]);
        found = vld1q_lane_s32(table + vgetq_lane_s32(index, 1), found, 1);
        found = vld1q_lane_s32(table + vgetq_lane_s32(index, 2), found, 2);
        return vld1q_lane_s32(table + vgetq_lane_s32(index, 3), found, 3);
    }
    static Int lookup16(const int32_t* table, Int index) { return gather(table, index); }
    static Int reciprocal(Int a) {
        const float64x2_t power = vdupq_n_f64(0x1p31);
        const int64x2_t low = vcvtq_s64_f64(vdivq_f64(power, vcvtq_f64_s64(vmovl_s32(vget_low_s32(a)))));
        const int64x2_t high = vcvtq_s64_f64(vdivq_f64(power, vcvtq_f64_s64(vmovl_high_s32(a))));
        return vmovn_high_s64(vmovn_s64(low), high);
    }

    static int32_t count_below(const int32_t* numbers, uint32_t factor, uint64_t most) {
        const uint32x2_t by = vdup_n_u32(factor);
        const uint64x2_t end = vdupq_n_u64(most);
        uint64x2_t count = vdupq_n_u64(0);
        for (int part = 0; part < 16; part += kLanes) {
            uint32x4_t all = vreinterpretq_u32_s32(load(numbers + part));
            if (part + kLanes == 16) all = vsetq_lane_u32(UINT32_MAX, all, 3);  // the last one is not counted
            for (uint32x2_t two : {vget_low_u32(all), vget_high_u32(all)})
                count = vsubq_u64(count, vcltq_u64(vaddw_u32(vmull_u32(two, by), two), end));
        }
        return int32_t(vaddvq_u64(count));
    }

    static constexpr int kSquare = 4;
    static void transpose(const int32_t* from, size_t from_stride, int32_t* to, size_t to_stride) {
        const int32x4x2_t upper = vtrnq_s32(load(from), load(from + from_stride));
        const int32x4x2_t lower = vtrnq_s32(load(from + 2 * from_stride), load(from + 3 * from_stride));
        store(to, vcombine_s32(vget_low_s32(upper.val[0]), vget_low_s32(lower.val[0])));
        store(to + to_stride, vcombine_s32(vget_low_s32(upper.val[1]), vget_low_s32(lower.val[1])));
        store(to + 2 * to_stride, vcombine_s32(vget_high_s32(upper.val[0]), vget_high_s32(lower.val[0])));
        store(to + 3 * to_stride, vcombine_s32(vget_high_s32(upper.val[1]), vget_high_s32(lower.val[1])));
    }
};

int64_t ceiling(int64_t rounds) {
    constexpr int chains = 24;
    int32x4_t sums[chains];
    const int16x8_t weights = vdupq_n_s16(3);
    const int16x8_t pair = vdupq_n_s16(5);
#pragma GCC unroll 32
    for (int i = 0; i < chains; ++i) sums[i] = vdupq_n_s32(0);
    for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 32
        for (int i = 0; i < chains; ++i)
            asm volatile("smlal %0.4s, %1.4h, %2.h[0]" : "+w"(sums[i]) : "w"(weights), "x"(pair));
    }
    return rounds * chains * 4;
}

}  // namespace

const Kernel* neon_kernel() {
    static const Kernel kernel = vector_kernel<Neon, NeonLanes>("neon", ceiling);
    return &kernel;
}

}  // namespace p59

#else

namespace p59 {

const Kernel* neon_kernel() { return nullptr; }

}  // namespace p59

#endif
