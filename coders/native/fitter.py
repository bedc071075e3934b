"""Fitting a network to an image in the native core: what coders.torch_fitting does in PyTorch."""

from __future__ import annotations

import numpy as np

from coders import native
from coders.native.gradients import architecture
from models.adaptable import GAIN_EXPONENT, SMALLEST_MEAN, Adaptable, AdaptableLayer
from models.adaptation import HIGHEST, LOWEST
from models.neighbourhood import Tap


class NativeSearch:
    """Improves the numbers of `adaptable` for an image (H, W, C) uint8 whose contexts are read at `taps`."""

    def __init__(
        self,
        kind: str,
        adaptable: Adaptable,
        image: np.ndarray,
        taps: tuple[Tap, ...],
        threads: int,
        largest_gradient: float,
        betas: tuple[float, float],
    ) -> None:
        description = adaptable.description
        self._adaptable = adaptable
        self._fitter = native.extension().Fitter(
            kind=kind,
            image=np.ascontiguousarray(image),
            padding=description.padding,
            taps=taps,
            **architecture(description),
            layers=[
                _layer(layer, roles) for layer, roles in zip(adaptable.layers, description.layer_roles, strict=True)
            ],
            output_gain=adaptable.output_gain,
            output_offset=adaptable.output_offset,
            products=adaptable.products,
            gain_unit=2.0**-GAIN_EXPONENT,
            penalty=1 / image.size,
            lowest=LOWEST,
            highest=HIGHEST,
            smallest_mean=SMALLEST_MEAN,
            largest_gradient=largest_gradient,
            betas=betas,
            threads=threads,
        )

    def step(self, places: np.ndarray, learning_rate: float, rounded: bool) -> float:
        """Returns the bits per sub-pixel of the pixels at `places` before the step."""
        return self._fitter.step(places, learning_rate, rounded)

    def finish(self) -> None:
        """The adaptable has the numbers found."""
        for layer, numbers in zip(self._adaptable.layers, self._fitter.numbers(), strict=True):
            for ours, theirs in zip(layer.numbers, numbers, strict=True):
                ours[...] = theirs

    def gradient(self) -> list[list[np.ndarray]]:
        """Of the last step, before it was cut: for each layer that of offsets, gains, left and right."""
        return self._fitter.gradient()


def _layer(layer: AdaptableLayer, roles: tuple[bool, bool]) -> tuple:
    """A layer as the extension takes it."""
    groups = [(rows.start, rows.stop) for rows in layer.groups]
    return (layer.weight, layer.bias, *roles, layer.offset_unit, layer.product_unit, groups, tuple(layer.numbers))
