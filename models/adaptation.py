"""Adaptation: a frozen network made to suit one image, by some small integers that travel in the image's file.

Layer by layer, with W the integer weights (O rows, I columns) and m[o] the largest magnitude in row o,

    W'[o, i] = W[o, i] * (1 + gains[o] / 2**gain_exponent) + sum_r left[o, r] * right[i, r] * m[o] / 2**product_exponent
    s'[o]    = s[o] + offsets[o] * 2**offset_exponent          (s[o] as in models.frozen, before LeakyReLU)

rounded once, from exact integers. Where a row has become too large for int16 or the 32-bit bound, it is halved, and its
shift is one less, until it fits. What results is a frozen model like any other, of the same form and the same cost.
Which numbers suit an image is for the encoder to find (coders.fitting), in whatever way: applying them is exact.

A gain and an offset of each row, and a sum of few outer products, are the scaling, shifting and low-rank updates by
which large networks are fine-tuned (FiLM, Perez et al., 2018; LoRA, Hu et al., 2021). Letters: R products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.description import ModelDescription
from models.frozen import INPUT_LIMIT, INT32_MAX, FrozenLayer, FrozenModel, rounding_half
from utils.errors import ModelError

#: The numbers are of this range, exponents of 0..LARGEST_EXPONENT, and a layer has at most MOST_PRODUCTS products.
LOWEST, HIGHEST = -128, 127
LARGEST_EXPONENT, MOST_PRODUCTS = 15, 15


@dataclass(frozen=True, eq=False)
class LayerAdaptation:
    """offsets (O,), gains (O,), left (O, R), right (I, R) int8; an offset exponent for each of the layer's groups."""

    offsets: np.ndarray
    gains: np.ndarray
    left: np.ndarray
    right: np.ndarray
    offset_exponents: tuple[int, ...]
    gain_exponent: int
    product_exponent: int


Adaptation = tuple[LayerAdaptation, ...]


def row_groups(description: ModelDescription) -> tuple[tuple[slice, ...], ...]:
    """For each layer, the rows whose numbers are of one kind: all of a hidden layer, those of each kind of output."""
    hidden = tuple((slice(0, width),) for width in description.widths)
    kinds = (rows for rows in description.output_rows.values() if rows.stop > rows.start)
    return (*hidden, tuple(kinds))


def adapted(model: FrozenModel, adaptation: Adaptation) -> FrozenModel:
    """The model with its adaptation applied. Raises ModelError where a row cannot be represented."""
    groups = row_groups(model.description)
    layers = tuple(
        _adapted_layer(layer, numbers, rows, INPUT_LIMIT if index == 0 else model.limit, index)
        for index, (layer, numbers, rows) in enumerate(zip(model.layers, adaptation, groups, strict=True))
    )
    return FrozenModel(model.description, layers, model.limit)


def _adapted_layer(
    layer: FrozenLayer, numbers: LayerAdaptation, groups: tuple[slice, ...], entering: int, index: int
) -> FrozenLayer:
    weight, bias, shift = (array.astype(np.int64) for array in (layer.weight, layer.bias, layer.shift))
    largest = np.abs(weight).max(1, keepdims=True)
    products = numbers.left.astype(np.int64) @ numbers.right.astype(np.int64).T * largest
    factors = (1 << numbers.gain_exponent) + numbers.gains.astype(np.int64)
    # |exact| < 2**49, offsets << shift at most 2**53: int64 holds all of it.
    exact = (weight * factors[:, None] << numbers.product_exponent) + (products << numbers.gain_exponent)
    point = numbers.gain_exponent + numbers.product_exponent
    offsets = np.concatenate(
        [
            numbers.offsets[rows].astype(np.int64) << exponent
            for rows, exponent in zip(groups, numbers.offset_exponents, strict=True)
        ]
    )
    plain_bias = bias - rounding_half(shift) + (offsets << shift)
    halvings = np.zeros_like(shift)
    waiting = np.arange(len(shift))  # rows that do not fit yet
    for count in range(int(shift.max()) + 1):
        rows = _rounded(exact[waiting], point + count)
        biases = _rounded(plain_bias[waiting], count) + rounding_half(np.maximum(shift[waiting] - count, 0))
        fits = (np.abs(rows).max(1) <= 32767) & (np.abs(rows).sum(1) * entering + np.abs(biases) <= INT32_MAX)
        fits &= count <= shift[waiting]
        done = waiting[fits]
        weight[done], bias[done], halvings[done] = rows[fits], biases[fits], count
        waiting = waiting[~fits]
        if not len(waiting):
            break
    if len(waiting):
        raise ModelError(f"adaptation: layer {index} has rows too large for integers; get the file again")
    return FrozenLayer(
        weight.astype(np.int16),
        bias.astype(np.int32),
        (shift - halvings).astype(np.uint8),
        layer.leaky,
        layer.skip,
    )


def _rounded(values: np.ndarray, bits: int) -> np.ndarray:
    """values / 2**bits, halves upwards."""
    return (values + ((1 << bits) >> 1)) >> bits
