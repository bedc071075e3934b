"""The kernel of models.fused, in Triton. A module of its own since importing Triton takes a while.

Letters: S side of the square that holds every layer's weights.
"""

from __future__ import annotations

import triton
import triton.language as tl

from models.frozen import LEAKY_MULTIPLIER, LEAKY_PRESHIFT, LEAKY_SHIFT

_PRESHIFT, _PREHALF = tl.constexpr(LEAKY_PRESHIFT), tl.constexpr(1 << LEAKY_PRESHIFT >> 1)
_SHIFT, _HALF = tl.constexpr(LEAKY_SHIFT), tl.constexpr(1 << LEAKY_SHIFT >> 1)
_MULTIPLIER = tl.constexpr(LEAKY_MULTIPLIER)


@triton.jit
def _sums(activations, weights, units, side: tl.constexpr):
    """activations (rows, S) int32 in the range of int16 -> sums (rows, S) int32 after their shift."""
    outputs = tl.arange(0, side)
    place = outputs[None, :] * side + tl.arange(0, side)[:, None]
    weight_high, weight_low = tl.load(weights + place), tl.load(weights + side * side + place)
    bias, shift = tl.load(units + outputs), tl.load(units + side + outputs)
    high, low = (activations >> 8).to(tl.int8), ((activations & 255) - 128).to(tl.int8)
    upper = tl.dot(high, weight_high, out_dtype=tl.int32)
    middle = tl.dot(low, weight_high, acc=tl.dot(high, weight_low, out_dtype=tl.int32), out_dtype=tl.int32)
    lower = tl.dot(low, weight_low, out_dtype=tl.int32)
    rest = 128 * tl.sum(activations - 128, 1)
    return ((upper << 16) + (middle << 8) + lower + rest[:, None] + bias[None, :]) >> shift[None, :]


@triton.jit
def _leaky_below(sums):
    """LeakyReLU of sums below zero; above zero nothing larger than the sum."""
    coarse = (tl.minimum(tl.maximum(sums, -(1 << 30)), 1 << 30) + _PREHALF) >> _PRESHIFT
    coarse = tl.minimum(tl.maximum(coarse, -32768), 32767)
    return (coarse * _MULTIPLIER + _HALF) >> _SHIFT


# A program for each side and size of blocks serves any architecture, but that residual blocks have their own.
@triton.jit(do_not_specialize=["columns_in", "columns_out", "layers", "leaky", "skip"])
def network(
    inputs,
    outputs,
    segments,
    weights,
    units,
    columns_in,
    columns_out,
    layers,
    leaky,
    skip,
    residual: tl.constexpr,
    side: tl.constexpr,
    rows: tl.constexpr,
):
    """A block of rows of one segment. Bit l of `leaky` and `skip` says what layer l does (layer_roles)."""
    segment = segments + 3 * tl.program_id(1)
    slot, first, count = tl.load(segment).to(tl.int64), tl.load(segment + 1), tl.load(segment + 2)
    start = tl.program_id(0) * rows
    if start < count:
        weights += slot * (layers * 2 * side * side)
        units += slot * (layers * 3 * side)
        column, row = tl.arange(0, side)[None, :], start + tl.arange(0, rows)[:, None]
        inside, row = row < count, (first + row).to(tl.int64)
        x = tl.load(inputs + row * columns_in + column, mask=inside & (column < columns_in), other=0).to(tl.int32)
        entered = tl.zeros((rows, side), tl.int32)  # not x: Triton would take what it is at first for what it stays
        for layer in range(layers - 1):
            own = units + layer * 3 * side
            y = _sums(x, weights + layer * 2 * side * side, own, side)
            limit = tl.load(own + 2 * side)
            y = tl.where(((leaky >> layer) & 1) != 0, tl.maximum(y, _leaky_below(y)), y)
            y = tl.minimum(tl.maximum(y, -limit), limit)
            if residual:
                y += tl.where(((skip >> layer) & 1) != 0, entered, 0)
                y = tl.minimum(tl.maximum(y, -limit), limit)
                entered = x
            x = y
        y = _sums(x, weights + (layers - 1) * 2 * side * side, units + (layers - 1) * 3 * side, side)
        tl.store(outputs + row * columns_out + column, y, mask=inside & (column < columns_out))
