"""A network with the numbers of an adaptation as parameters, for fitting it to an image with PyTorch.

Letters: N contexts, O rows and I columns of a layer, K outputs, R products.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from models.adaptable import GAIN_EXPONENT, SMALLEST_MEAN, Adaptable
from models.adaptation import HIGHEST, LOWEST
from models.description import LEAKY_SLOPE


class AdaptedNet(nn.Module):
    """An Adaptable's network in its integer units, and its numbers as parameters, which share memory on a CPU.

    Rounding is left out, and so is the clamping of activations, which few of them reach.
    """

    def __init__(self, adaptable: Adaptable) -> None:
        super().__init__()
        self.adaptable, self.description, self.rounded = adaptable, adaptable.description, False
        self.offsets, self.gains = nn.ParameterList(), nn.ParameterList()
        self.left, self.right = nn.ParameterList(), nn.ParameterList()
        for index, layer in enumerate(adaptable.layers):
            for name, values in (
                ("weight", layer.weight),
                ("bias", layer.bias),
                ("offset_unit", layer.offset_unit),
                ("product_unit", layer.product_unit[:, None]),
            ):
                self.register_buffer(f"{name}{index}", torch.from_numpy(values))
            parts = (self.offsets, self.gains, self.left, self.right)
            for part, numbers in zip(parts, layer.numbers, strict=True):
                part.append(nn.Parameter(torch.from_numpy(numbers)))
        self.register_buffer("output_gain", torch.from_numpy(adaptable.output_gain))
        self.register_buffer("output_offset", torch.from_numpy(adaptable.output_offset))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Integer inputs (N, I) -> outputs (N, K) in the frozen network's units."""
        x = entered = inputs.to(self.output_gain.dtype)
        for index, (leaky, skip) in enumerate(self.description.layer_roles):
            offsets, gains, left, right = map(self._seen, self.numbers(index))
            factors = 1 + gains[:, None] * 2.0**-GAIN_EXPONENT
            weight = getattr(self, f"weight{index}") * factors + left @ right.T * getattr(self, f"product_unit{index}")
            bias = getattr(self, f"bias{index}") + offsets * getattr(self, f"offset_unit{index}")
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

    def put_back(self) -> None:
        """The Adaptable's numbers become these, wherever they are."""
        for index, layer in enumerate(self.adaptable.layers):
            for theirs, ours in zip(layer.numbers, self.numbers(index), strict=True):
                theirs[...] = ours.detach().cpu().numpy()

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

    def _seen(self, numbers: torch.Tensor) -> torch.Tensor:
        numbers = numbers.clamp(LOWEST, HIGHEST)
        return numbers + (numbers.round() - numbers).detach() if self.rounded else numbers

    def _coded_together(self) -> list[torch.Tensor]:
        """The numbers, those that share a spread in a column."""
        parts = []
        for index, layer in enumerate(self.adaptable.layers):
            of_rows = torch.stack((self.offsets[index], self.gains[index]), 1)
            parts += [*(of_rows[rows] for rows in layer.groups), self.left[index], self.right[index]]
        return parts
