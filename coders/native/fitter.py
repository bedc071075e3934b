"""Fitting a network to an image in the native core: what coders.fitting.TorchSearch does in PyTorch."""

from __future__ import annotations

import numpy as np
import torch

from coders import native
from coders.native.gradients import architecture
from models.adaptation import HIGHEST, LOWEST
from models.adapted_net import GAIN_EXPONENT, SMALLEST_MEAN, AdaptedNet
from models.neighbourhood import Tap


class NativeSearch:
    """Improves the numbers of `net` for an image (H, W, C) uint8 whose contexts are read at `taps`."""

    def __init__(
        self,
        kind: str,
        net: AdaptedNet,
        image: np.ndarray,
        taps: tuple[Tap, ...],
        threads: int,
        largest_gradient: float,
        betas: tuple[float, float],
    ) -> None:
        description = net.description
        self._net = net
        self._fitter = native.extension().Fitter(
            kind=kind,
            image=np.ascontiguousarray(image),
            padding=description.padding,
            taps=taps,
            **architecture(description),
            layers=[_layer(net, index) for index in range(len(net.offsets))],
            output_gain=net.output_gain.numpy(),
            output_offset=net.output_offset.numpy(),
            products=net.products,
            gain_unit=2.0**-GAIN_EXPONENT,
            penalty=1 / image.size,
            lowest=LOWEST,
            highest=HIGHEST,
            smallest_mean=SMALLEST_MEAN,
            largest_gradient=largest_gradient,
            betas=betas,
            threads=threads,
        )

    def step(self, places: torch.Tensor, learning_rate: float, rounded: bool) -> float:
        """Returns the bits per sub-pixel of the pixels at `places` before the step."""
        return self._fitter.step(places.numpy(), learning_rate, rounded)

    def finish(self) -> None:
        """The net has the numbers found."""
        with torch.no_grad():
            for index, numbers in enumerate(self._fitter.numbers()):
                for ours, theirs in zip(self._net.numbers(index), numbers, strict=True):
                    ours.copy_(torch.from_numpy(theirs))

    def gradient(self) -> list[list[np.ndarray]]:
        """Of the last step, before it was cut: for each layer that of offsets, gains, left and right."""
        return self._fitter.gradient()


def _layer(net: AdaptedNet, index: int) -> tuple:
    """A layer as the extension takes it."""
    weight, bias, offset_unit, product_unit = (
        getattr(net, f"{name}{index}").numpy() for name in ("weight", "bias", "offset_unit", "product_unit")
    )
    groups = [(rows.start, rows.stop) for rows in net.groups[index]]
    numbers = tuple(part.detach().numpy() for part in net.numbers(index))
    return (weight, bias, *net.description.layer_roles[index], offset_unit, product_unit.ravel(), groups, numbers)
