"""Freezing: a trained float network becomes an integer one.

Every row (output) of every hidden layer gets its own scale, chosen from the range seen on calibration images; the
scales are folded into the next layer's weights, whose rows then use as many bits as int16 and the 32-bit bound allow.
The last layer is scaled to the units of models.fixed_point. models.rounding rounds. Floats are used here and nowhere
later: the result is the integer model itself, and what reads a file is always that.

Letters: N contexts, O rows and I inputs of a layer, K outputs of the network; H, W image size, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from models.context_net import ContextNet
from models.contexts import inputs_at
from models.description import LEAKY_SLOPE, ModelDescription
from models.frozen import INPUT_LIMIT, INT32_MAX, LEAKY_FLOOR, FrozenLayer, FrozenModel, rounding_half
from models.frozen_net import IntegerLayer
from models.neighbourhood import pad_image
from models.output_units import output_units
from models.rounding import ENOUGH_CONTEXTS, remaining_bias, rounded_rows
from utils.errors import ModelError

#: Hidden activations are integers of magnitude up to this. Together with MARGINS it was chosen by measuring the loss
#: of rate on validation images (benchmarks/freezing.py).
ACTIVATION_LIMIT = 32767
#: Activations may exceed the largest one seen in calibration by this factor before they saturate: the first where few
#: contexts were seen, down to the second where MANY_CONTEXTS were.
MARGINS, MANY_CONTEXTS = (1.5, 1.0), 1 << 20
#: Contexts drawn from each calibration image.
CONTEXTS_PER_IMAGE = 8192
#: Activations of one layer that rounding looks at; bounds its memory where layers are wide.
MOST_NUMBERS = 1 << 23


@torch.no_grad()
def freeze(
    net: ContextNet, images: list[np.ndarray], limit: int = ACTIVATION_LIMIT, margin: float | None = None
) -> FrozenModel:
    """Freeze `net`, calibrated on `images`, each (H, W, C) uint8; `margin` replaces that of `margin_of`.

    Raises ModelError where there are no images, or a row's weights cannot be represented (not finite, or too large for
    its outputs' units).
    """
    if not images:
        raise ModelError("freeze: no calibration images; give some")
    description = net.description
    weights = [layer.weight.detach().double().numpy() for layer in net.layers]
    biases = [layer.bias.detach().double().numpy() for layer in net.layers]
    if not all(np.isfinite(array).all() for array in (*weights, *biases)):
        raise ModelError("freeze: the network has weights that are not finite; train it again")
    ranges = _tie_residual_scales(unit_ranges(net, images, limit), description)
    margin = margin_of(images) if margin is None else margin
    contexts = min(ENOUGH_CONTEXTS, MOST_NUMBERS // max(description.widths))
    inputs = torch.cat([_sample(image, description, -(-contexts // len(images))) for image in images])
    real = real_entered = net.scaled(inputs)
    x = entered = inputs.double()
    unit_of_input, entering = description.input_scales, INPUT_LIMIT
    layers = []
    for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        (leaky, skip), last = description.layer_roles[index], index == len(ranges)
        if last:
            gain, offset = output_units(description)
            unit, fixed = 1 / gain, True
        else:
            unit = np.maximum(ranges[index], 1e-6) * margin
            offset, fixed = np.zeros_like(unit), skip or (description.residual and index == 0)
        rows = _scaled(weight * unit_of_input, bias / unit + offset, unit, entering, fixed)
        sums = net.sums(index, real, real_entered)
        results = sums.double().numpy() / rows.unit + offset
        layer = _rounded(rows, entering, x.numpy(), results - entered.numpy() if skip else results, leaky, skip)
        layers.append(layer)
        entered, x = x, IntegerLayer(layer, limit, last)(x, entered)
        real_entered, real = real, net.activated(index, sums)
        unit_of_input, entering = rows.unit, limit
    return FrozenModel(description, tuple(layers), limit)


def margin_of(images: list[np.ndarray]) -> float:
    """The factor that activations may exceed the largest one seen on calibration images (H, W, C) by, see MARGINS."""
    seen = sum(_contexts(image) for image in images)
    return MARGINS[0] + (MARGINS[1] - MARGINS[0]) * min(1, seen / MANY_CONTEXTS)


def _contexts(image: np.ndarray) -> int:
    """How many contexts of an image are looked at."""
    return min(CONTEXTS_PER_IMAGE, image.shape[0] * image.shape[1])


@torch.no_grad()
def unit_ranges(net: ContextNet, images: list[np.ndarray], limit: int) -> list[np.ndarray]:
    """Smallest unit with which no activation of the images' contexts is clamped: one (width,) for each hidden layer.

    Activations are clamped to +-limit after LeakyReLU, which itself leaves nothing below -LEAKY_FLOOR.
    """
    roles = net.description.layer_roles
    units = [np.zeros(width) for width in net.description.widths]

    def observe(index: int, sums: torch.Tensor) -> None:
        slope = LEAKY_SLOPE if roles[index][0] else 1
        floor = min(limit, LEAKY_FLOOR) if roles[index][0] else limit
        needed = np.maximum(sums.amax(0).double().numpy() / limit, -sums.amin(0).double().numpy() * slope / floor)
        np.maximum(units[index], needed, out=units[index])

    for image in images:
        net(_sample(image, net.description, CONTEXTS_PER_IMAGE), observe)
    if not all(np.isfinite(unit).all() for unit in units):
        raise ModelError("freeze: the network's activations are not finite; train it again")
    return units


def _sample(image: np.ndarray, description: ModelDescription, most: int) -> torch.Tensor:
    """Inputs (N, I) int16 of contexts anywhere in an image: the first `most` of those drawn, always the same."""
    height, width = image.shape[:2]
    padded = torch.from_numpy(pad_image(image, description.padding))
    positions = np.random.default_rng(0).integers(0, height * width, _contexts(image))
    chosen = torch.from_numpy(positions[:most])
    return inputs_at(padded, chosen // width, chosen % width, description)[0]


def _tie_residual_scales(ranges: list[np.ndarray], description: ModelDescription) -> list[np.ndarray]:
    """Layers that are added to each other share one scale per row: the largest of their ranges."""
    if not description.residual:
        return ranges
    stream = np.max(ranges[0::2], 0)
    return [stream if index % 2 == 0 else own for index, own in enumerate(ranges)]


@dataclass(frozen=True, eq=False)
class _Scaled:
    """Rows of one layer, to be rounded: weight (O, I) and bias (O,) in units of unit / 2**shift, each (O,)."""

    weight: np.ndarray
    bias: np.ndarray
    shift: np.ndarray
    unit: np.ndarray


def _scaled(weight: np.ndarray, bias: np.ndarray, unit: np.ndarray, entering: int, fixed: bool) -> _Scaled:
    """`weight` per integer input, `bias` already in output units, `unit` the wanted size of one output.

    The shift is the largest that int16 weights and the 32-bit bound allow. Where even shift 0 is too fine and the unit
    is not `fixed`, the row's unit is enlarged.
    """
    rows = weight / unit[:, None]
    room = INT32_MAX - 2.0**24  # half a unit of the largest shift, which the bias holds besides, and rounding
    finest = np.minimum(
        32766 / np.maximum(np.abs(rows).max(1), 1e-30),
        room / np.maximum(np.abs(rows).sum(1) * entering + np.abs(bias) + 1, 1e-30),
    )
    if fixed and finest.min() < 1:
        raise ModelError(
            f"freeze: a row's weights are {1 / finest.min():.1f} times too large for integers; "
            "train with a smaller learning rate or a gradient limit"
        )
    grown = np.minimum(finest, 1)
    shift = np.clip(np.floor(np.log2(finest / grown)), 0, 24).astype(np.int64)
    scale = grown * np.exp2(shift)
    return _Scaled(rows * scale[:, None], bias * scale, shift, unit / grown)


def _rounded(
    rows: _Scaled, entering: int, inputs: np.ndarray, results: np.ndarray, leaky: bool, skip: bool
) -> FrozenLayer:
    """The integer layer with which inputs (N, I) give most nearly the results (N, O), in the rows' units."""
    sums = results * np.exp2(rows.shift)
    weight = rounded_rows(rows.weight, rows.bias, inputs, sums)
    bias = remaining_bias(weight, inputs, sums)
    bound = np.abs(weight).sum(1) * entering + np.abs(bias) + rounding_half(rows.shift) + 1
    plain = ~((np.abs(weight).max(1) <= 32767) & (bound <= INT32_MAX))
    weight[plain], bias[plain] = np.rint(rows.weight[plain]), rows.bias[plain]
    biases = (np.rint(bias) + rounding_half(rows.shift)).astype(np.int32)
    return FrozenLayer(weight.astype(np.int16), biases, rows.shift.astype(np.uint8), leaky, skip)
