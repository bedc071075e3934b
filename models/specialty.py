"""Which of several networks an image suits: the share of the images that each of them is trained on.

One network for all photographs is a compromise; several, each trained on what it codes better than the others do, need
none. That is k-means with code lengths as distances: images are assigned to networks, then networks are trained on what
is theirs, some times over. Letters: H, W image height and width, C channels.
"""

from __future__ import annotations

import numpy as np
import torch

from models.context_net import ContextNet
from models.contexts import inputs_at
from models.mixture import BITS, mixture_of
from models.neighbourhood import pad_image

#: Pixels of an image that tell whose it is: their rates differ by some percent, and all networks see the same ones.
SAMPLE = 256


class Specialty:
    """What the first of `nets`, which are on the CPU, codes better than each of the others."""

    def __init__(self, nets: list[ContextNet]) -> None:
        self.nets = nets

    @torch.no_grad()
    def excess(self, image: np.ndarray, generator: np.random.Generator) -> float:
        """Bits per sub-pixel that the first network spends beyond the best of the others, on a sample of an image
        (H, W, C) uint8. Negative where the image is the first network's."""
        height, width, channels = image.shape
        rows = torch.from_numpy(generator.integers(0, height, SAMPLE))
        columns = torch.from_numpy(generator.integers(0, width, SAMPLE))
        pixels = torch.from_numpy(image.reshape(-1, channels))[rows * width + columns]
        paddings = {net.description.padding for net in self.nets}
        padded = {padding: torch.from_numpy(pad_image(image, padding)) for padding in paddings}
        rates = []
        for net in self.nets:
            description = net.description
            inputs, reference = inputs_at(padded[description.padding], rows, columns, description)
            rates.append(BITS["coded"](mixture_of(net(inputs), pixels, reference, description), pixels).mean().item())
        return rates[0] - min(rates[1:])
