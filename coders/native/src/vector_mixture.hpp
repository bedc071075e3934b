// The integer mixture on vectors: the formulas of mixture.hpp for several pixels at a time. vector_search.hpp
// uses its CDF points for several values of one pixel.
//
// `Lanes` names a vector of 32-bit integers and what can be done with it, see lanes256.hpp.
#pragma once

#include <cstring>

#include "symbols.hpp"

namespace p59 {

namespace {

// A mixture in each lane.
template <class Lanes>
struct LaneMixture {
    using Int = typename Lanes::Int;
    Int means[kMaxMixtures], mantissas[kMaxMixtures], shifts[kMaxMixtures], weights[kMaxMixtures];
};

template <class Lanes>
inline typename Lanes::Int limited(typename Lanes::Int a, int32_t lowest, int32_t highest) {
    return Lanes::larger(Lanes::smaller(a, Lanes::all(highest)), Lanes::all(lowest));
}

// As cdf_point.
template <class Lanes>
inline typename Lanes::Int cdf_points(const Tables& tables, int components, const LaneMixture<Lanes>& mixture,
                                      typename Lanes::Int values) {
    using Int = typename Lanes::Int;
    const Int x = Lanes::subtract(Lanes::template left<kMeanBits>(values), Lanes::all(1 << (kMeanBits - 1)));
    Int total = Lanes::all(kPhiRound);
    for (int i = 0; i < components; ++i) {
        const Int product = Lanes::multiply(Lanes::subtract(x, mixture.means[i]), mixture.mantissas[i]);
        const Int z = limited<Lanes>(Lanes::right(product, mixture.shifts[i]), -kZLimit, kZLimit);
        const Int position = Lanes::add(z, Lanes::all(kZLimit));
        const Int entry = Lanes::gather(tables.normal.data(), Lanes::template right_unsigned<kZStepBits>(position));
        const Int fraction = Lanes::both(position, Lanes::all((1 << kZStepBits) - 1));
        const Int difference = Lanes::both(entry, Lanes::all((1 << kDifferenceBits) - 1));
        const Int rise = Lanes::template right_unsigned<kZStepBits>(
            Lanes::add(Lanes::multiply_short(difference, fraction), Lanes::all(1 << (kZStepBits - 1))));
        const Int phi = Lanes::add(Lanes::template right_unsigned<kDifferenceBits>(entry), rise);
        total = Lanes::add(total, Lanes::multiply(phi, mixture.weights[i]));
    }
    return Lanes::add(values, Lanes::template right<kPhiShift>(total));
}

// As softmax.
template <class Lanes>
inline void softmax_lanes(const Tables& tables, int components, const int32_t* logits, int32_t* weights) {
    using Int = typename Lanes::Int;
    constexpr int lanes = Lanes::kLanes;
    Int powers[kMaxMixtures], below[kMaxMixtures];
    for (int i = 0; i < components; ++i) below[i] = limited<Lanes>(Lanes::load(logits + i * lanes), -kRawLimit, kRawLimit);
    Int largest = below[0], sum = Lanes::all(0), left = Lanes::all(1 << kWeightBits);
    for (int i = 1; i < components; ++i) largest = Lanes::larger(largest, below[i]);
    for (int i = 0; i < components; ++i) {
        below[i] = Lanes::subtract(largest, below[i]);
        const Int octaves = Lanes::smaller(Lanes::template right<kLogitBits>(below[i]), Lanes::all(31));
        const Int fraction = Lanes::both(below[i], Lanes::all((1 << kLogitBits) - 1));
        powers[i] = Lanes::right_unsigned(Lanes::gather(tables.exp2.data(), fraction), octaves);
        sum = Lanes::add(sum, powers[i]);
    }
    const Int reciprocal = Lanes::reciprocal(sum);
    for (int i = 0; i < components; ++i) {
        powers[i] = Lanes::template right_unsigned<31 - kWeightBits>(Lanes::multiply(powers[i], reciprocal));
        left = Lanes::subtract(left, powers[i]);
    }
    for (int i = 0; i < components; ++i) {
        // The first largest takes what is left; then nothing is.
        const Int none = Lanes::all(0);
        const Int taken = Lanes::where_equal(below[i], none, left, none);
        Lanes::store(weights + i * lanes, Lanes::add(powers[i], taken));
        left = Lanes::subtract(left, taken);
    }
}

// As prepare_mixture, of a pixel in each lane: outputs [K][lanes], references [C][lanes] -> rows [.][lanes].
template <class Lanes>
inline void prepare_lanes(const Model& model, int components, const int32_t* outputs, const int32_t* references,
                          int32_t* rows) {
    using Int = typename Lanes::Int;
    constexpr int lanes = Lanes::kLanes;
    const int block = model.channels * components;
    for (int channel = 0; channel < model.channels; ++channel) {
        const int32_t* own = outputs + channel * components * lanes;
        int32_t* means = rows + channel * 4 * components * lanes;
        int32_t *mantissas = means + components * lanes, *shifts = mantissas + components * lanes;
        const Int base = Lanes::template left<kMeanBits>(Lanes::load(references + channel * lanes));
        for (int i = 0; i < components; ++i) {
            Int mean = Lanes::add(limited<Lanes>(Lanes::load(own + i * lanes), -kRawLimit, kRawLimit), base);
            if (channel == 0) mean = limited<Lanes>(mean, kMeanLowest, kMeanHighest);
            Lanes::store(means + i * lanes, mean);
            const int32_t* scales = own + (block + i) * lanes;
            alignas(64) int32_t indices[lanes];
            if (model.clamped_scales) {
                for (int lane = 0; lane < lanes; ++lane) indices[lane] = scale_index(model.tables, scales[lane]);
                scales = indices;
            }
            const Int scale = limited<Lanes>(Lanes::load(scales), 0, kScaleCount - 1);
            const Int step = Lanes::both(scale, Lanes::all(kScaleSteps - 1));
            Lanes::store(mantissas + i * lanes, Lanes::lookup16(model.tables.mantissas.data(), step));
            const Int octave = Lanes::template right<kScaleStepBits>(scale);
            Lanes::store(shifts + i * lanes, Lanes::add(octave, Lanes::all(kZShift)));
        }
        softmax_lanes<Lanes>(model.tables, components, own + 2 * block * lanes, shifts + components * lanes);
    }
    for (int i = 0; i < model.cross_terms * components; ++i) {
        const Int term = limited<Lanes>(Lanes::load(outputs + (3 * block + i) * lanes), -kCrossLimit, kCrossLimit);
        Lanes::store(rows + (4 * block + i) * lanes, term);
    }
    std::memcpy(rows + size_t(model.reference_offset()) * lanes, references, sizeof(int32_t) * model.channels * lanes);
}

// As conditioned: the means of a channel from rows [.][lanes] and the pixels' values [C][lanes].
template <class Lanes>
inline LaneMixture<Lanes> conditioned_lanes(const Model& model, int components, const int32_t* rows, int channel,
                                            const int32_t* values) {
    using Int = typename Lanes::Int;
    constexpr int lanes = Lanes::kLanes, rounding = kCrossBits - kMeanBits;
    const int32_t* own = rows + channel * 4 * components * lanes;
    const int32_t* references = rows + model.reference_offset() * lanes;
    const int32_t* cross = rows + cross_offset(model, components, channel) * lanes;
    LaneMixture<Lanes> mixture;
    for (int i = 0; i < components; ++i) {
        mixture.means[i] = Lanes::load(own + i * lanes);
        mixture.mantissas[i] = Lanes::load(own + (components + i) * lanes);
        mixture.shifts[i] = Lanes::load(own + (2 * components + i) * lanes);
        mixture.weights[i] = Lanes::load(own + (3 * components + i) * lanes);
        if (channel == 0) continue;
        Int shift = Lanes::all(1 << (rounding - 1));
        for (int earlier = 0; earlier < channel; ++earlier) {
            const Int ahead = Lanes::subtract(Lanes::load(values + earlier * lanes), Lanes::load(references + earlier * lanes));
            shift = Lanes::add(shift, Lanes::multiply(Lanes::load(cross + (earlier * components + i) * lanes), ahead));
        }
        const Int mean = Lanes::add(mixture.means[i], Lanes::template right<rounding>(shift));
        mixture.means[i] = limited<Lanes>(mean, kMeanLowest, kMeanHighest);
    }
    return mixture;
}

// rows of `columns` numbers, a multiple of kSquare, of Lanes::kLanes pixels -> [column][lane]
template <class Lanes>
inline void to_lanes(const int32_t* rows, size_t stride, int columns, int32_t* lanes) {
    for (int column = 0; column < columns; column += Lanes::kSquare)
        for (int row = 0; row < Lanes::kLanes; row += Lanes::kSquare)
            Lanes::transpose(rows + row * stride + column, stride, lanes + column * Lanes::kLanes + row, Lanes::kLanes);
}

template <class Lanes>
inline void from_lanes(const int32_t* lanes, int columns, int32_t* rows, size_t stride) {
    for (int column = 0; column < columns; column += Lanes::kSquare)
        for (int row = 0; row < Lanes::kLanes; row += Lanes::kSquare)
            Lanes::transpose(lanes + column * Lanes::kLanes + row, Lanes::kLanes, rows + row * stride + column, stride);
}

constexpr int kMaxOutputs = (3 * kMaxChannels + 3) * kMaxMixtures / kBlock * kBlock + kBlock;
constexpr int kMaxRows = ((4 * kMaxChannels + 3) * kMaxMixtures + kMaxChannels + kBlock - 1) / kBlock * kBlock;
// Fewer pixels than this are sooner done one by one.
constexpr int kFewPixels = 4;

static_assert(kBatch % 16 == 0, "vectors read the work area's rows up to a multiple of their lanes");

template <class Lanes>
void vector_mixtures_of(const Model& model, const int32_t* outputs, int n, int32_t* mixtures) {
    if (n < kFewPixels) return mixtures_of(model, outputs, n, mixtures);
    constexpr int lanes = Lanes::kLanes;
    const size_t stride = model.mixture_stride;
    alignas(64) int32_t columns[kMaxOutputs * lanes], references[kMaxChannels * lanes] = {};
    alignas(64) int32_t rows[kMaxRows * lanes], last[kMaxRows * lanes];
    std::memset(rows, 0, sizeof(int32_t) * stride * lanes);
    with_components(model, [&](auto components) {
        for (int start = 0; start < n; start += lanes) {
            const int count = n - start < lanes ? n - start : lanes;
            int32_t* target = mixtures + start * stride;
            for (int lane = 0; lane < count; ++lane)
                for (int channel = 0; channel < model.channels; ++channel)
                    references[channel * lanes + lane] = target[lane * stride + model.reference_offset() + channel];
            to_lanes<Lanes>(outputs + size_t(start) * model.output_stride, model.output_stride, model.output_stride, columns);
            prepare_lanes<Lanes>(model, components, columns, references, rows);
            // What follows the last pixel belongs to others.
            from_lanes<Lanes>(rows, int(stride), count < lanes ? last : target, stride);
            if (count < lanes) std::memcpy(target, last, sizeof(int32_t) * stride * count);
        }
    });
}

// n is kBatch at most, and `mixtures` has rows for a whole batch.
template <class Lanes>
void vector_intervals_of(const Model& model, const int32_t* mixtures, int n, const uint8_t* const* pixels,
                         uint32_t* out) {
    if (n < kFewPixels) return intervals_of(model, mixtures, n, pixels, out);
    using Int = typename Lanes::Int;
    constexpr int lanes = Lanes::kLanes;
    const size_t stride = model.mixture_stride;
    alignas(64) int32_t rows[kMaxRows * lanes], values[kMaxChannels * lanes] = {}, intervals[lanes];
    with_components(model, [&](auto components) {
        for (int start = 0; start < n; start += lanes) {
            const int count = n - start < lanes ? n - start : lanes;
            for (int lane = 0; lane < count; ++lane)
                for (int channel = 0; channel < model.channels; ++channel)
                    values[channel * lanes + lane] = pixels[start + lane][channel];
            to_lanes<Lanes>(mixtures + start * stride, stride, int(stride), rows);
            for (int channel = 0; channel < model.channels; ++channel) {
                const LaneMixture<Lanes> own = conditioned_lanes<Lanes>(model, components, rows, channel, values);
                const Int value = Lanes::load(values + channel * lanes), one = Lanes::all(1);
                Int low = cdf_points<Lanes>(model.tables, components, own, value);
                Int high = cdf_points<Lanes>(model.tables, components, own, Lanes::add(value, one));
                low = Lanes::where_equal(value, Lanes::all(0), Lanes::all(0), low);
                high = Lanes::where_equal(value, Lanes::all(255), Lanes::all(kTotal), high);
                Lanes::store(intervals, Lanes::either(low, Lanes::template left<16>(Lanes::subtract(high, one))));
                for (int lane = 0; lane < count; ++lane)
                    out[(start + lane) * model.channels + channel] = uint32_t(intervals[lane]);
            }
        }
    });
}

}  // namespace

}  // namespace p59
