"""A frozen network in floating point with the numbers of its adaptation as parameters, for fitting it to an image.

Letters: N contexts, O rows and I columns of a layer, K outputs, R products.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from models.adaptation import HIGHEST, LOWEST, Adaptation, LayerAdaptation, row_groups
from models.context_net import LEAKY_SLOPE
from models.freeze import output_units
from models.frozen import FrozenModel, rounding_half

#: What one unit of a number is worth, chosen on validation images. Offsets: of the hidden layers for activations of 14
#: bits, then of the outputs in their units (see models.fixed_mixture).
GAIN_EXPONENT, PRODUCT_EXPONENT, HIDDEN_OFFSET_EXPONENT = 6, 10, 4
OUTPUT_OFFSET_EXPONENTS = {"means": 2, "scales": 0, "logits": 2, "cross": 4}
#: Clamped scales have a unit of their own.
CLAMPED_SCALE_EXPONENT = 6
#: Standard deviation of the first numbers of `right`; those of `left` are 0.
RIGHT_DEVIATION = 3.0
#: A number's mean magnitude is taken as no smaller when its bits are estimated.
SMALLEST_MEAN = 0.15


class AdaptedNet(nn.Module):
    """The frozen network in floating point, in its own integer units, with the adaptation's numbers as parameters.

    Rounding is left out, and so is the clamping of activations, which few of them reach.
    """

    def __init__(self, model: FrozenModel, products: int, generator: torch.Generator) -> None:
        super().__init__()
        self.description, self.rounded, self.products = model.description, False, products
        self.groups = row_groups(model.description)
        self.exponents = [
            (max(0, HIDDEN_OFFSET_EXPONENT + model.limit.bit_length() - 14),) for _ in model.layers[:-1]
        ] + [_output_exponents(model)]
        self.offsets, self.gains = nn.ParameterList(), nn.ParameterList()
        self.left, self.right = nn.ParameterList(), nn.ParameterList()
        for index, layer in enumerate(model.layers):
            rows, columns = layer.weight.shape
            unit = np.ldexp(1.0, -layer.shift.astype(np.int32))
            offset_unit = np.zeros(rows)
            for group, exponent in zip(self.groups[index], self.exponents[index], strict=True):
                offset_unit[group] = 2.0**exponent
            largest = np.abs(layer.weight.astype(np.int64)).max(1)
            for name, values in (
                ("weight", layer.weight * unit[:, None]),
                ("bias", (layer.bias - rounding_half(layer.shift)) * unit),
                ("offset_unit", offset_unit),
                ("product_unit", (largest * unit * 2.0**-PRODUCT_EXPONENT)[:, None]),
            ):
                self.register_buffer(f"{name}{index}", torch.from_numpy(values).float())
            self.offsets.append(nn.Parameter(torch.zeros(rows, dtype=torch.float32, device="cpu")))
            self.gains.append(nn.Parameter(torch.zeros(rows, dtype=torch.float32, device="cpu")))
            self.left.append(nn.Parameter(torch.zeros(rows, products, dtype=torch.float32, device="cpu")))
            right = torch.randn(columns, products, generator=generator, dtype=torch.float32, device="cpu")
            self.right.append(nn.Parameter(RIGHT_DEVIATION * right))
        gain, offset = output_units(model.description)
        self.register_buffer("output_gain", torch.from_numpy(gain).float())
        self.register_buffer("output_offset", torch.from_numpy(offset).float())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Integer inputs (N, I) -> outputs (N, K) in the frozen network's units."""
        x = entered = inputs.to(self.output_gain.dtype)
        for index, (leaky, skip) in enumerate(self.description.layer_roles):
            left, right = self._seen(self.left[index]), self._seen(self.right[index])
            factors = 1 + self._seen(self.gains[index])[:, None] * 2.0**-GAIN_EXPONENT
            weight = getattr(self, f"weight{index}") * factors + left @ right.T * getattr(self, f"product_unit{index}")
            bias = getattr(self, f"bias{index}") + self._seen(self.offsets[index]) * getattr(
                self, f"offset_unit{index}"
            )
            y = nn.functional.linear(x, weight, bias)
            if leaky:
                y = nn.functional.leaky_relu(y, LEAKY_SLOPE)
            if skip:
                y = y + entered
            entered, x = x, y
        return x

    def outputs_of(self, sums: torch.Tensor) -> torch.Tensor:
        """Outputs (N, K) in the float network's units, which `mixture_of` takes."""
        return (sums - self.output_offset) / self.output_gain

    def numbers(self, index: int) -> tuple[nn.Parameter, ...]:
        """Of a layer: offsets (O,), gains (O,), left (O, R), right (I, R)."""
        return self.offsets[index], self.gains[index], self.left[index], self.right[index]

    def penalty(self) -> torch.Tensor:
        """A sum whose gradient is that of the numbers' bits, under two-sided exponential distributions of the mean
        magnitudes they have now. Its value is not those bits.
        """
        total = torch.zeros((), device=self.output_gain.device)
        for numbers in self._coded_together():
            magnitudes = numbers.abs()
            means = magnitudes.detach().mean(0).clamp_min(SMALLEST_MEAN)
            total = total + (magnitudes.sum(0) / means).sum() / math.log(2)
        return total

    def adaptation(self) -> Adaptation:
        """The numbers, rounded."""
        layers = []
        for index, exponents in enumerate(self.exponents):
            offsets, gains, left, right = (
                np.rint(part.detach().cpu().clamp(LOWEST, HIGHEST).numpy()).astype(np.int8)
                for part in self.numbers(index)
            )
            used = left.any(0) & right.any(0)
            left, right = left[:, used], right[:, used]
            layers.append(LayerAdaptation(offsets, gains, left, right, exponents, GAIN_EXPONENT, PRODUCT_EXPONENT))
        return tuple(layers)

    def _seen(self, numbers: torch.Tensor) -> torch.Tensor:
        numbers = numbers.clamp(LOWEST, HIGHEST)
        return numbers + (numbers.round() - numbers).detach() if self.rounded else numbers

    def _coded_together(self) -> list[torch.Tensor]:
        """The numbers, those that share a spread in a column."""
        parts = []
        for index, groups in enumerate(self.groups):
            of_rows = torch.stack((self.offsets[index], self.gains[index]), 1)
            parts += [*(of_rows[rows] for rows in groups), self.left[index], self.right[index]]
        return parts


def _output_exponents(model: FrozenModel) -> tuple[int, ...]:
    """Offset exponents of the kinds of output that the model has."""
    rows, clamped = model.description.output_rows, model.description.scales == "clamped"
    kinds = OUTPUT_OFFSET_EXPONENTS | ({"scales": CLAMPED_SCALE_EXPONENT} if clamped else {})
    return tuple(exponent for kind, exponent in kinds.items() if rows[kind].stop > rows[kind].start)
