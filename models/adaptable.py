"""A frozen network in floating point, with the numbers of an adaptation that fits it to an image, as arrays.

Letters: O rows and I columns of a layer, K outputs, R products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models.adaptation import HIGHEST, LOWEST, Adaptation, LayerAdaptation, row_groups
from models.frozen import FrozenModel, rounding_half
from models.output_units import output_units

#: What one unit of a number is worth, chosen on validation images. Offsets: of the hidden layers for activations of 14
#: bits, then of the outputs in their units (see models.fixed_point).
GAIN_EXPONENT, PRODUCT_EXPONENT, HIDDEN_OFFSET_EXPONENT = 6, 10, 4
OUTPUT_OFFSET_EXPONENTS = {"means": 2, "scales": 0, "logits": 2, "cross": 4}
#: Clamped scales have a unit of their own.
CLAMPED_SCALE_EXPONENT = 6
#: Standard deviation of the first numbers of `right`; those of `left` are 0.
RIGHT_DEVIATION = 3.0
#: A number's mean magnitude is taken as no smaller when its bits are estimated.
SMALLEST_MEAN = 0.15


class Numbers(NamedTuple):
    """Of a layer, float32: offsets (O,), gains (O,), left (O, R), right (I, R). Whoever improves them does so in
    place."""

    offsets: np.ndarray
    gains: np.ndarray
    left: np.ndarray
    right: np.ndarray


@dataclass(frozen=True, eq=False)
class AdaptableLayer:
    """A layer in its own integer units, float32: weight (O, I), bias (O,), and what one unit of an offset (O,) and of a
    product (O,) adds; `groups` of rows, whose offsets have these `exponents`."""

    weight: np.ndarray
    bias: np.ndarray
    offset_unit: np.ndarray
    product_unit: np.ndarray
    groups: tuple[slice, ...]
    exponents: tuple[int, ...]
    numbers: Numbers


class Adaptable:
    """The frozen network in floating point, and numbers of an adaptation with so many products, to be improved.

    `output_gain` and `output_offset`, (K,) float32, are as `output_units` gives them.
    """

    def __init__(self, model: FrozenModel, products: int, generator: np.random.Generator) -> None:
        self.description, self.products = model.description, products
        hidden = (max(0, HIDDEN_OFFSET_EXPONENT + model.limit.bit_length() - 14),)
        exponents = [hidden] * (len(model.layers) - 1) + [_output_exponents(model)]
        self.layers = []
        for layer, groups, of_groups in zip(model.layers, row_groups(model.description), exponents, strict=True):
            rows, columns = layer.weight.shape
            unit = np.ldexp(1.0, -layer.shift.astype(np.int32))
            offset_unit = np.zeros(rows)
            for group, exponent in zip(groups, of_groups, strict=True):
                offset_unit[group] = 2.0**exponent
            largest = np.abs(layer.weight.astype(np.int64)).max(1)
            arrays = (
                layer.weight * unit[:, None],
                (layer.bias - rounding_half(layer.shift)) * unit,
                offset_unit,
                largest * unit * 2.0**-PRODUCT_EXPONENT,
            )
            zeros = [np.zeros(shape, np.float32) for shape in (rows, rows, (rows, products))]
            right = RIGHT_DEVIATION * generator.standard_normal((columns, products), np.float32)
            arrays = [np.ascontiguousarray(array, np.float32) for array in arrays]
            self.layers.append(AdaptableLayer(*arrays, tuple(groups), of_groups, Numbers(*zeros, right)))
        self.output_gain, self.output_offset = (array.astype(np.float32) for array in output_units(model.description))

    def adaptation(self) -> Adaptation:
        """The numbers, rounded."""
        layers = []
        for layer in self.layers:
            offsets, gains, left, right = (
                np.rint(numbers.clip(LOWEST, HIGHEST)).astype(np.int8) for numbers in layer.numbers
            )
            used = left.any(0) & right.any(0)
            left, right = left[:, used], right[:, used]
            layers.append(
                LayerAdaptation(offsets, gains, left, right, layer.exponents, GAIN_EXPONENT, PRODUCT_EXPONENT)
            )
        return tuple(layers)


def _output_exponents(model: FrozenModel) -> tuple[int, ...]:
    """Offset exponents of the kinds of output that the model has."""
    rows, clamped = model.description.output_rows, model.description.scales == "clamped"
    kinds = OUTPUT_OFFSET_EXPONENTS | ({"scales": CLAMPED_SCALE_EXPONENT} if clamped else {})
    return tuple(exponent for kind, exponent in kinds.items() if rows[kind].stop > rows[kind].start)
