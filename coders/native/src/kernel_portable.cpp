// Plain C++ that any compiler turns into correct code, and the reference that other kernels are checked against.
#include "network.hpp"
#include "symbols.hpp"

namespace p59 {

namespace {

struct Portable {
    static constexpr int kTilePixels = 4, kTileBlocks = 1, kSingleBlocks = 1;

    struct Sums {
        int32_t lane[kBlock];
    };
    struct Values {
        int16_t lane[kBlock];
    };
    struct Pair {
        int32_t first, second;
    };
    using Pairs = const int16_t*;

    static Pairs load_pairs(const int16_t* p) { return p; }
    static Pair broadcast_pair(const int16_t* p) { return {p[0], p[1]}; }
    static Sums multiply_add(Sums sums, Pairs pairs, Pair pair) {
        for (int i = 0; i < kBlock; ++i) sums.lane[i] += pairs[2 * i] * pair.first + pairs[2 * i + 1] * pair.second;
        return sums;
    }
    static Sums load_sums(const int32_t* p) {
        Sums sums;
        for (int i = 0; i < kBlock; ++i) sums.lane[i] = p[i];
        return sums;
    }
    static void store_sums(int32_t* p, const Sums& sums) {
        for (int i = 0; i < kBlock; ++i) p[i] = sums.lane[i];
    }
    static Sums shift_right(Sums sums, const int32_t* shifts) {
        for (int i = 0; i < kBlock; ++i) sums.lane[i] >>= shifts[i];
        return sums;
    }
    static Values narrow(const Sums& sums) {
        Values values;
        for (int i = 0; i < kBlock; ++i) values.lane[i] = int16_t(clamped(sums.lane[i], INT16_MIN, INT16_MAX));
        return values;
    }
    static Values load_values(const int16_t* p) {
        Values values;
        for (int i = 0; i < kBlock; ++i) values.lane[i] = p[i];
        return values;
    }
    static void store_values(int16_t* p, const Values& values) {
        for (int i = 0; i < kBlock; ++i) p[i] = values.lane[i];
    }
    static Sums coarse(Sums sums) {
        for (int32_t& sum : sums.lane) sum = ((sum >> (kLeakyPreshift - 1)) + 1) >> 1;
        return sums;
    }
    static Values leaky(Values values, const Values& coarse) {
        for (int i = 0; i < kBlock; ++i) {
            const int32_t scaled = (coarse.lane[i] * kLeakyMultiplier + (1 << (kLeakyShift - 1))) >> kLeakyShift;
            if (scaled > values.lane[i]) values.lane[i] = int16_t(scaled);
        }
        return values;
    }
    static Values clamp(Values values, int limit) {
        for (int16_t& value : values.lane) value = int16_t(clamped(value, -limit, limit));
        return values;
    }
    static Values add(Values a, const Values& b) {
        for (int i = 0; i < kBlock; ++i) a.lane[i] = int16_t(clamped(a.lane[i] + b.lane[i], INT16_MIN, INT16_MAX));
        return a;
    }
};

struct PortableSearch {
    static Conditioned conditioned(const Model& model, int components, const int32_t* mixture, int channel,
                                   const uint8_t* values, int32_t* room) {
        return p59::conditioned(model, components, mixture, channel, values, room);
    }

    // Where to begin.
    static void prepare(const Tables&, const Conditioned& mixture, Prepared& prepared) {
        prepared.lane[0] = clamped(mean_value(mixture), 1, 255);
    }

    static bool find_near(const Prepared&, const ArithmeticDecoder&, Symbol&) { return false; }

    // From the mean outwards in growing strides until the target is enclosed, then by halves.
    static Symbol find_anywhere(const Tables& tables, const Conditioned& mixture, const Prepared& prepared,
                                const ArithmeticDecoder& decoder) {
        const uint32_t target = decoding_target(decoder);
        int32_t below = 0, above = 256;
        uint32_t c_below = 0, c_above = kTotal;
        int32_t probe = prepared.lane[0], stride = 1;
        bool enclosed_below = false, enclosed_above = false;
        while (above - below > 1) {
            uint32_t c = uint32_t(cdf_point(tables, mixture, probe));
            if (c <= target) {
                below = probe;
                c_below = c;
                enclosed_below = true;
            } else {
                above = probe;
                c_above = c;
                enclosed_above = true;
            }
            if (enclosed_below && enclosed_above) {
                probe = (below + above) / 2;
            } else {
                probe = enclosed_below ? below + stride : above - stride;
                probe = clamped(probe, below + 1, above - 1);
                stride *= 2;
            }
        }
        return {below, c_below, c_above};
    }
};

int64_t ceiling(int64_t rounds) {
    // Values the compiler cannot know, so that the loop stays.
    volatile int16_t source = 3;
    int16_t weights[2 * kBlock];
    for (int16_t& weight : weights) weight = source;
    Portable::Sums sums[4] = {};
    Portable::Pair pair{source, source};
    for (int64_t round = 0; round < rounds; ++round) {
        for (auto& sum : sums) sum = Portable::multiply_add(sum, weights, pair);
        pair.first = (pair.first + 1) & 7;
    }
    volatile int32_t sink = 0;
    for (auto& sum : sums)
        for (int32_t lane : sum.lane) sink = sink ^ lane;
    return rounds * 4 * 2 * kBlock;
}

}  // namespace

const Kernel* portable_kernel() {
    static const Kernel kernel{"portable",
                               gather,
                               network<Portable>,
                               mixtures_of,
                               prepare_channel<PortableSearch>,
                               find_channel<PortableSearch>,
                               intervals_of,
                               ceiling};
    return &kernel;
}

}  // namespace p59
