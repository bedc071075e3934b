// The frozen network on a batch of pixels, over an instruction set's primitives.
//
// A tile is Blocks x Pixels sums of 16 outputs each, kept in registers: every pair of inputs loads Blocks weights and
// broadcasts Pixels activations for Blocks * Pixels multiply-accumulates. Tiles walk over the batch's pixels before
// the next block of outputs, so that a block's weights stay in the first-level cache. A single pixel has nothing to share
// weights with and takes more blocks side by side instead.
//
// An instruction set `Isa` provides
//
//     kTilePixels, kTileBlocks, kSingleBlocks
//     Sums                                16 int32
//     Pairs load_pairs(p)                 16 outputs' weights for one pair of inputs
//     Pair broadcast_pair(p)              one pair of activations
//     Sums multiply_add(sums, pairs, pair)
//     Sums load_sums(p), void store_sums(p, sums)
//     Sums shift_right(sums, shifts)      arithmetic, each lane by its own
//     Values narrow(sums)                 16 int16, saturated
//     Values load_values(p), void store_values(p, values)
//     Sums coarse(sums)                   (sums + 2**5) >> 6, written so that it cannot overflow
//     Values leaky(values, coarse)        the larger of the value and its coarse form times kLeakyMultiplier / 2**15
//     Values clamp(values, limit), add(a, b)   add saturates
//     FinishTwo(work, block)(pixel, sums, sums)   may be missing: finish_tile of two blocks of a hidden layer at a time
#pragma once

#include <cstdint>
#include <utility>

#include "inline.hpp"
#include "model.hpp"

namespace p59 {

struct TileWork {
    const Layer* layer;
    const int16_t* inputs;  // first pixel's activations
    const int16_t* entered;  // what entered the layer before, or null
    int16_t* hidden;  // where activations go, or null in the last layer
    int32_t* outputs;  // where the last layer's sums go
    int activation_stride, output_stride, limit;
};

// What follows the sums of a tile: shift, and in hidden layers LeakyReLU, clamp and skip. Apart from the loop over the
// inputs, and through memory, because compilers otherwise run out of registers in that loop.
template <class Isa>
P59_NOINLINE static void finish_tile(const TileWork& work, int block, int pixel, int blocks, int pixels,
                                     const int32_t* sums) {
    const Layer& layer = *work.layer;
    for (int p = 0; p < pixels; ++p) {
        for (int b = 0; b < blocks; ++b, sums += kBlock) {
            const int first = (block + b) * kBlock;
            const typename Isa::Sums shifted =
                Isa::shift_right(Isa::load_sums(sums), layer.shift.data() + first);
            if (!work.hidden) {
                Isa::store_sums(work.outputs + size_t(pixel + p) * work.output_stride + first, shifted);
                continue;
            }
            const size_t position = size_t(pixel + p) * work.activation_stride + first;
            typename Isa::Values values = Isa::narrow(shifted);
            if (layer.leaky) values = Isa::leaky(values, Isa::narrow(Isa::coarse(shifted)));
            values = Isa::clamp(values, work.limit);
            if (layer.skip) {
                values = Isa::add(values, Isa::load_values(work.entered + position));
                values = Isa::clamp(values, work.limit);
            }
            Isa::store_values(work.hidden + position, values);
        }
    }
}

template <class Isa, int Blocks, int Pixels>
static void tile(const TileWork& work, int block, int pixel) {
    const Layer& layer = *work.layer;
    const int pairs = layer.pairs, stride = work.activation_stride;
    const size_t block_weights = size_t(pairs) * kBlock * 2;
    const int16_t* weights = layer.weights.data() + block * block_weights;
    const int16_t* inputs = work.inputs + size_t(pixel) * stride;

    typename Isa::Sums sums[Pixels][Blocks];
    unrolled<Blocks>([&](auto b) P59_INLINE {
        const typename Isa::Sums bias = Isa::load_sums(layer.bias.data() + (block + b) * kBlock);
        unrolled<Pixels>([&](auto p) P59_INLINE { sums[p][b] = bias; });
    });

    for (int pair = 0; pair < pairs; ++pair) {
        typename Isa::Pairs w[Blocks];
        unrolled<Blocks>(
            [&](auto b) P59_INLINE { w[b] = Isa::load_pairs(weights + b * block_weights + pair * kBlock * 2); });
        unrolled<Pixels>([&](auto p) P59_INLINE {
            const typename Isa::Pair a = Isa::broadcast_pair(inputs + p * stride + 2 * pair);
            unrolled<Blocks>([&](auto b) P59_INLINE { sums[p][b] = Isa::multiply_add(sums[p][b], w[b], a); });
        });
    }

    if constexpr (Blocks == 2 && requires { typename Isa::FinishTwo; }) {
        if (work.hidden) {
            const typename Isa::FinishTwo finish(work, block);
            unrolled<Pixels>([&](auto p) P59_INLINE { finish(pixel + p, sums[p][0], sums[p][1]); });
            return;
        }
    }
    alignas(64) int32_t finished[Pixels * Blocks * kBlock];
    unrolled<Pixels>([&](auto p) P59_INLINE {
        unrolled<Blocks>(
            [&](auto b) P59_INLINE { Isa::store_sums(finished + (p * Blocks + b) * kBlock, sums[p][b]); });
    });
    finish_tile<Isa>(work, block, pixel, Blocks, Pixels, finished);
}

// Calls tile<Isa, Blocks, pixels> for 1 <= pixels <= Isa::kTilePixels.
template <class Isa, int Blocks, int... Less>
static void tile_of(const TileWork& work, int block, int pixel, int pixels, std::integer_sequence<int, Less...>) {
    using Function = void (*)(const TileWork&, int, int);
    static constexpr Function functions[] = {tile<Isa, Blocks, Less + 1>...};
    functions[pixels - 1](work, block, pixel);
}

// All pixels of a batch for some blocks, in tiles of nearly equal size: a lone last pixel would be slow.
template <class Isa, int Blocks>
static void blocks_of_outputs(const TileWork& work, int block, int n) {
    const int tiles = (n + Isa::kTilePixels - 1) / Isa::kTilePixels;
    for (int i = 0, pixel = 0; i < tiles; ++i) {
        int pixels = (n - pixel + tiles - i - 1) / (tiles - i);
        tile_of<Isa, Blocks>(work, block, pixel, pixels, std::make_integer_sequence<int, Isa::kTilePixels>());
        pixel += pixels;
    }
}

template <class Isa>
static void layer_outputs(const TileWork& work, int n) {
    const int blocks = work.layer->blocks;
    int block = 0;
    if (n == 1) {
        for (; block + Isa::kSingleBlocks <= blocks; block += Isa::kSingleBlocks)
            tile<Isa, Isa::kSingleBlocks, 1>(work, block, 0);
    } else {
        for (; block + Isa::kTileBlocks <= blocks; block += Isa::kTileBlocks)
            blocks_of_outputs<Isa, Isa::kTileBlocks>(work, block, n);
    }
    for (; block < blocks; ++block) blocks_of_outputs<Isa, 1>(work, block, n);
}

template <class Isa>
static void network(const Model& model, Workspace& work, int n) {
    // Three activations in turn: what enters a layer, what entered the one before, and what leaves.
    int16_t *x = work.activations[0].data(), *entered = work.activations[1].data(), *y = work.activations[2].data();
    for (const Layer& layer : model.layers) {
        const bool last = &layer == &model.layers.back();
        TileWork tile_work{&layer,        x, entered, last ? nullptr : y, work.outputs.data(), model.activation_stride,
                           model.output_stride, model.limit};
        layer_outputs<Isa>(tile_work, n);
        int16_t* free = entered;
        entered = x;
        x = y;
        y = free;
    }
}

}  // namespace p59
