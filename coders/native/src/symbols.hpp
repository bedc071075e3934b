// From contexts to mixtures and from mixtures to symbols, for a batch of pixels; what surrounds the network.
//
// `Search` finds the value whose interval of CDF points holds the coder's target, in parts: prepare(tables, mixture,
// prepared) needs only the mixture; find_near(prepared, decoder, symbol) tells whether that was enough to find the symbol;
// find_anywhere(tables, mixture, prepared, decoder) -> Symbol finds it where it was not. Its conditioned() is the one of
// mixture.hpp in its own way, with `room` for a multiple of four means.
#pragma once

#include <initializer_list>
#include <type_traits>

#include "kernel.hpp"

namespace p59 {

template <int Channels>
static void gather_channels(const Model& model, const Reading& reading, const uint8_t* const* pixels, int n,
                            int16_t* activations, int32_t* mixtures) {
    const int taps = model.taps;
    const int64_t* offsets = reading.offsets.data();
    for (int i = 0; i < n; ++i) {
        const uint8_t* pixel = pixels[i];
        int16_t* inputs = activations + size_t(i) * model.activation_stride;
        int32_t* reference = mixtures + size_t(i) * model.mixture_stride + model.reference_offset();
        const uint8_t* west = pixel + offsets[reading.west];
        int16_t base[Channels];
        for (int c = 0; c < Channels; ++c) reference[c] = base[c] = model.relative_to_west ? west[c] : 0;
        for (int tap = 0; tap < taps; ++tap) {
            const uint8_t* values = pixel + offsets[tap];
            for (int c = 0; c < Channels; ++c) inputs[tap * Channels + c] = int16_t(values[c] - base[c]);
        }
        if (model.relative_to_west) {
            for (int c = 0; c < Channels; ++c)
                inputs[reading.west * Channels + c] = int16_t(2 * base[c] - 255);
        }
        int count = taps * Channels;
        if (model.parities) {
            const int64_t offset = pixel - reading.origin, row = offset / reading.stride;
            const int64_t column = (offset - row * reading.stride) / Channels;
            for (int64_t place : {row, column}) inputs[count++] = place % 2 ? 255 : -255;
        }
    }
}

static void gather(const Model& model, const Reading& reading, const uint8_t* const* pixels, int n,
                   int16_t* activations, int32_t* mixtures) {
    auto function = model.channels == 3 ? gather_channels<3> : gather_channels<1>;
    function(model, reading, pixels, n, activations, mixtures);
}

// Calls function(components), with the published number of components as a constant so that its loops unroll.
template <class Function>
static inline void with_components(const Model& model, Function&& function) {
    if (model.mixtures == 3)
        function(std::integral_constant<int, 3>());
    else
        function(model.mixtures);
}

static void mixtures_of(const Model& model, const int32_t* outputs, int n, int32_t* mixtures) {
    with_components(model, [&](auto components) {
        for (int i = 0; i < n; ++i)
            prepare_mixture(model, components, outputs + size_t(i) * model.output_stride,
                            mixtures + size_t(i) * model.mixture_stride);
    });
}

static inline void prefetch(const void* address) {
#if defined(__GNUC__)
    __builtin_prefetch(address);
#else
    (void)address;
#endif
}

constexpr int kConditionedRoom = (kMaxMixtures + 3) / 4 * 4;
// How many pixels ahead to ask for what another core may have written.
constexpr int kAhead = 8;

template <class Search>
static void prepare_channel(const Model& model, const int32_t* mixtures, int n, int channel,
                            const uint8_t* const* pixels, Prepared* prepared) {
    with_components(model, [&](auto components) {
        int32_t room[kConditionedRoom];
        for (int i = 0; i < n; ++i) {
            const int32_t* mixture = mixtures + size_t(i) * model.mixture_stride;
            if (i + kAhead < n) prefetch(mixture + size_t(kAhead) * model.mixture_stride + channel * 4 * components);
            Conditioned own = Search::conditioned(model, components, mixture, channel, pixels[i], room);
            own.components = components;
            Search::prepare(model.tables, own, prepared[i]);
        }
    });
}

template <class Search>
static void find_channel(const Model& model, ArithmeticDecoder& stream, const int32_t* mixtures,
                         const Prepared* prepared, int n, int channel, uint8_t* const* pixels) {
    with_components(model, [&](auto components) {
        ArithmeticDecoder decoder = stream;  // in registers
        for (int i = 0; i < n; ++i) {
            if (i + kAhead < n) prefetch(prepared + i + kAhead);
            Symbol symbol;
            if (!Search::find_near(prepared[i], decoder, symbol)) {
                int32_t room[kConditionedRoom];
                const int32_t* mixture = mixtures + size_t(i) * model.mixture_stride;
                Conditioned own = Search::conditioned(model, components, mixture, channel, pixels[i], room);
                symbol = Search::find_anywhere(model.tables, own, prepared[i], decoder);
            }
            take_symbol(decoder, symbol.c_low, symbol.c_high);
            pixels[i][channel] = uint8_t(symbol.value);
        }
        stream = decoder;
    });
}

static void intervals_of(const Model& model, const int32_t* mixtures, int n, const uint8_t* const* pixels,
                         uint32_t* out) {
    with_components(model, [&](auto components) {
        int32_t room[kMaxMixtures];
        for (int i = 0; i < n; ++i) {
            const int32_t* mixture = mixtures + size_t(i) * model.mixture_stride;
            for (int channel = 0; channel < model.channels; ++channel) {
                Conditioned own = conditioned(model, components, mixture, channel, pixels[i], room);
                const int32_t value = pixels[i][channel];
                uint32_t c_low = value ? cdf_point(model.tables, own, value) : 0;
                uint32_t c_high = value < 255 ? cdf_point(model.tables, own, value + 1) : kTotal;
                out[i * model.channels + channel] = c_low | (c_high - 1) << 16;
            }
        }
    });
}

}  // namespace p59
