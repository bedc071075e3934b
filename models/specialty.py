"""Which of several networks an image suits: the share of the images that each of them is trained on.

One network for all photographs is a compromise; several, each trained on what it codes better than the others do, need
none. That is k-means with code lengths as distances: images are assigned to networks, then networks are trained on what
is theirs, some times over. Letters: S networks, H, W image height and width, C channels.
"""

from __future__ import annotations

import numpy as np
import torch

from models.context_net import ContextNet, integer_inputs
from models.mixture import BITS, mixture_of
from models.neighbourhood import gather_contexts, pad_image

#: Pixels of an image that tell whose it is: their rates differ by some percent, and all networks see the same ones.
SAMPLE = 256


class Specialty:
    """What the first of `nets` codes better than each of the others. All are of one description."""

    def __init__(self, nets: list[ContextNet]) -> None:
        self.nets = nets

    @torch.no_grad()
    def excess(self, image: np.ndarray, generator: np.random.Generator) -> float:
        """Bits per sub-pixel that the first network spends beyond the best of the others, on a sample of an image
        (H, W, C) uint8. Negative where the image is the first network's."""
        description = self.nets[0].description
        device = next(self.nets[0].parameters()).device
        height, width, channels = image.shape
        rows = torch.from_numpy(generator.integers(0, height, SAMPLE))
        columns = torch.from_numpy(generator.integers(0, width, SAMPLE))
        padded = torch.from_numpy(pad_image(image, description.padding))
        contexts = gather_contexts(padded, rows, columns, description.taps).to(device)
        pixels = torch.from_numpy(image.reshape(-1, channels))[rows * width + columns].to(device)
        inputs, reference = integer_inputs(contexts, description)
        rates = [
            BITS["coded"](mixture_of(net(inputs), pixels, reference, description), pixels).mean().item()
            for net in self.nets
        ]
        return rates[0] - min(rates[1:])
