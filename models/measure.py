"""Ideal code lengths of images under the float model."""

from __future__ import annotations

import numpy as np
import torch

from models.context_net import ContextNet
from models.contexts import inputs_at
from models.mixture import BITS, mixture_of
from models.neighbourhood import Tap, pad_image

#: Pixels evaluated at once; bounds the memory of a measurement.
BLOCK = 1 << 16


@torch.no_grad()
def image_bits(
    net: ContextNet,
    image: np.ndarray,
    taps: tuple[Tap, ...] | None = None,
    kinds: tuple[str, ...] = tuple(BITS),
    precision: torch.dtype = torch.float64,
) -> dict[str, np.ndarray]:
    """Bits of each channel of `image` (H, W, C) uint8, summed over pixels: (C,) float64 for each kind of BITS.

    `taps` replaces the description's where an order does not know all of them (see coders.scan).
    """
    description = net.description
    device = next(net.parameters()).device
    padded = torch.from_numpy(pad_image(image, description.padding)).to(device)
    height, width, channels = image.shape
    values = torch.from_numpy(image.copy()).reshape(-1, channels).to(device)
    totals = {kind: np.zeros(channels) for kind in kinds}
    for start in range(0, height * width, BLOCK):
        positions = torch.arange(start, min(start + BLOCK, height * width), device=device)
        inputs, reference = inputs_at(padded, positions // width, positions % width, description, taps)
        pixels = values[start : start + BLOCK]
        outputs = net(inputs).to(precision)
        mixture = mixture_of(outputs, pixels, reference, description)
        for kind in kinds:
            totals[kind] += BITS[kind](mixture, pixels).sum(0).double().cpu().numpy()
    return totals
