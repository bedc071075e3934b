// The search for a symbol on vectors: `Search` of symbols.hpp, with several values of one pixel at a time; and the
// whole kernel of an instruction set that has vectors.
#pragma once

#include "inline.hpp"
#include "network.hpp"
#include "vector_mixture.hpp"

namespace p59 {

namespace {

// CDF points of 16 values at once. The search looks at the 15 values around the mean; where the symbol is not among
// them, at every 16th value and then at the 15 in between.
template <class Lanes>
struct VectorSearch {
    static constexpr int kLanes = Lanes::kLanes, kWindow = 16, kInterior = kWindow - 1;

    // As p59::conditioned, four components at a time; reads and writes up to a multiple of four.
    static Conditioned conditioned(const Model& model, int components, const int32_t* mixture, int channel,
                                   const uint8_t* values, int32_t* room) {
        Conditioned own = unconditioned(components, mixture, channel);
        if (channel == 0) return own;
        const int32_t* reference = mixture + model.reference_offset();
        const int32_t* cross = mixture + cross_offset(model, components, channel);
        constexpr int rounding = kCrossBits - kMeanBits;
        using Four = typename Lanes::Four;
        for (int i = 0; i < components; i += 4) {
            auto shift = Four::all(1 << (rounding - 1));
            for (int earlier = 0; earlier < channel; ++earlier) {
                const auto ahead = Four::all(values[earlier] - reference[earlier]);
                shift = Four::add(shift, Four::multiply(Four::load(cross + earlier * components + i), ahead));
            }
            const auto mean = Four::add(Four::load(own.means + i), Four::template right<rounding>(shift));
            Four::store(room + i, limited<Four>(mean, kMeanLowest, kMeanHighest));
        }
        own.means = room;
        return own;
    }

    // Points of first, first + step, ... (16 of them).
    // In line, so that the compiler knows the number of components.
    P59_INLINE static void look(const Tables& tables, const Conditioned& mixture, int32_t first, int32_t step,
                                int32_t* points) {
        LaneMixture<Lanes> everywhere;
        for (int i = 0; i < mixture.components; ++i) {
            everywhere.means[i] = Lanes::all(mixture.means[i]);
            everywhere.mantissas[i] = Lanes::all(mixture.mantissas[i]);
            everywhere.shifts[i] = Lanes::all(mixture.shifts[i]);
            everywhere.weights[i] = Lanes::all(mixture.weights[i]);
        }
        const auto offsets = Lanes::multiply(Lanes::count_up(), Lanes::all(step));
        for (int part = 0; part < kWindow; part += kLanes) {
            const auto values = Lanes::add(offsets, Lanes::all(first + part * step));
            Lanes::store(points + part, cdf_points<Lanes>(tables, mixture.components, everywhere, values));
        }
    }

    // How many of the first 15 points are at or below the target: c <= ((offset + 1) * 2**16 - 1) / span without a
    // division. A span of 2**32 does not fit 32 bits, one less does.
    static int32_t count_below(const int32_t* points, const ArithmeticDecoder& decoder) {
        const uint64_t end = (uint64_t(decoder.offset) + 1) << kTotalBits;
        return Lanes::count_below(points, decoder.interval.high - decoder.interval.low, end);
    }

    // The points around the mean, and in the last lane the value that the first is of.
    P59_INLINE static void prepare(const Tables& tables, const Conditioned& mixture, Prepared& prepared) {
        const int32_t first = clamped(mean_value(mixture) - kInterior / 2, 1, 256 - kInterior);
        look(tables, mixture, first, 1, prepared.lane);
        prepared.lane[kInterior] = first;
    }

    static bool find_near(const Prepared& prepared, const ArithmeticDecoder& decoder, Symbol& symbol) {
        const int32_t first = prepared.lane[kInterior], count = count_below(prepared.lane, decoder);
        // Below the first point lies 0 where the first is of value 1, above the last 256 where that is of 255.
        const int32_t low = count ? prepared.lane[count - 1] : 0;
        const int32_t high = count < kInterior ? prepared.lane[count] : kTotal;
        symbol = {first + count - 1, uint32_t(low), uint32_t(high)};
        return (count > 0 || first == 1) && (count < kInterior || first == 256 - kInterior);
    }

    P59_NOINLINE static Symbol find_anywhere(const Tables& tables, const Conditioned& mixture, const Prepared&,
                                             const ArithmeticDecoder& decoder) {
        alignas(64) int32_t points[kWindow];
        look(tables, mixture, kWindow, kWindow, points);
        const int32_t coarse = count_below(points, decoder);
        const int32_t below = coarse ? points[coarse - 1] : 0, above = coarse < kInterior ? points[coarse] : kTotal;
        look(tables, mixture, coarse * kWindow + 1, 1, points);
        const int32_t fine = count_below(points, decoder);
        return {coarse * kWindow + fine, uint32_t(fine ? points[fine - 1] : below),
                uint32_t(fine < kInterior ? points[fine] : above)};
    }
};

template <class Isa, class Lanes>
Kernel vector_kernel(const char* name, int64_t (*ceiling)(int64_t)) {
    using Search = VectorSearch<Lanes>;
    return {name, gather, network<Isa>, vector_mixtures_of<Lanes>, prepare_channel<Search>, find_channel<Search>,
            vector_intervals_of<Lanes>, ceiling};
}

}  // namespace

}  // namespace p59
