// A product of matrices of floats over an instruction set's primitives, made by one tile.
//
// A tile is Blocks x Rows sums of 16 numbers, kept in registers: every group of factors loads Blocks vectors and
// broadcasts Rows numbers.
//
// An instruction set `Isa` provides
//
//     Element, kGroup                     numbers as factors are stored; how many of them are multiplied and added at once
//     kTileRows, kTileBlocks
//     Sums                                16 floats
//     Factors load_factors(p)             16 groups
//     Factor broadcast_factor(p)          one group
//     Sums multiply_add(sums, factors, factor)
#pragma once

#include <cstddef>

#include "inline.hpp"

namespace p59 {

template <class Isa>
struct Product {
    using Element = typename Isa::Element;

    // Broadcast: from one row, and from one group, to the next. Vectors: from one block of 16, and from one group, to the
    // next. In elements.
    const Element* broadcast;
    size_t broadcast_row, broadcast_group;
    const Element* vectors;
    size_t vectors_block, vectors_group;
    int groups;

    // start(row, block) -> sums; finish(row, block, sums).
    template <class Start, class Finish>
    P59_INLINE void run(int rows, int blocks, const Start& start, const Finish& finish) const {
        int block = 0;
        for (; block + Isa::kTileBlocks <= blocks; block += Isa::kTileBlocks)
            rows_of<Isa::kTileBlocks>(rows, block, start, finish);
        for (; block < blocks; ++block) rows_of<1>(rows, block, start, finish);
    }

private:
    static constexpr int kFew = 4;

    template <int Blocks, class Start, class Finish>
    P59_INLINE void rows_of(int rows, int block, const Start& start, const Finish& finish) const {
        int row = 0;
        for (; row + Isa::kTileRows <= rows; row += Isa::kTileRows)
            tile<Blocks, Isa::kTileRows>(row, block, start, finish);
        for (; row + kFew <= rows; row += kFew) tile<Blocks, kFew>(row, block, start, finish);
        for (; row < rows; ++row) tile<Blocks, 1>(row, block, start, finish);
    }

    template <int Blocks, int Rows, class Start, class Finish>
    P59_INLINE void tile(int row, int block, const Start& start, const Finish& finish) const {
        const Element* one = broadcast + row * broadcast_row;
        const Element* many = vectors + block * vectors_block;
        typename Isa::Sums sums[Rows][Blocks];
        unrolled<Rows>([&](auto r) P59_INLINE {
            unrolled<Blocks>([&](auto b) P59_INLINE { sums[r][b] = start(row + r, block + b); });
        });
        for (int group = 0; group < groups; ++group, one += broadcast_group, many += vectors_group) {
            typename Isa::Factors factors[Blocks];
            unrolled<Blocks>([&](auto b) P59_INLINE { factors[b] = Isa::load_factors(many + b * vectors_block); });
            unrolled<Rows>([&](auto r) P59_INLINE {
                const typename Isa::Factor factor = Isa::broadcast_factor(one + r * broadcast_row);
                unrolled<Blocks>(
                    [&](auto b) P59_INLINE { sums[r][b] = Isa::multiply_add(sums[r][b], factors[b], factor); });
            });
        }
        unrolled<Rows>([&](auto r) P59_INLINE {
            unrolled<Blocks>([&](auto b) P59_INLINE { finish(row + r, block + b, sums[r][b]); });
        });
    }
};

}  // namespace p59
