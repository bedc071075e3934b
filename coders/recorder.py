"""A symbol coder for looking at an image: keeps what each sub-pixel costs and what was predicted for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from coders.codec import BLOCK_PIXELS, ideal_bits, traverse
from coders.scan import Scan
from models.contexts import Canvas
from models.fixed_point import MEAN_BITS, WEIGHT_BITS
from models.frozen import FrozenModel


@dataclass(frozen=True, eq=False)
class Record:
    """What each sub-pixel of an image costs and what was predicted for it.

    bits         (H, W, C) float64, ideal
    prediction   (H, W, C) float64, pixel values: the mean of the Gaussians given the pixel's channels before this one;
                 it may lie outside 0..255
    """

    bits: np.ndarray
    prediction: np.ndarray


class SymbolRecorder:
    """Records bits and predictions, in the order of the traversal, a list of blocks for each channel."""

    values_known = True

    def __init__(self, channels: int) -> None:
        self.bits: list[list[torch.Tensor]] = [[] for _ in range(channels)]
        self.predictions: list[list[torch.Tensor]] = [[] for _ in range(channels)]

    def code(self, channel, means, scales, weights, values):
        self.bits[channel].append(ideal_bits(means, scales, weights, values))
        mean = (means * weights).sum(1).to(torch.float64) / (1 << (MEAN_BITS + WEIGHT_BITS))
        self.predictions[channel].append(mean)
        return values

    def end_block(self, steps: np.ndarray) -> None:
        pass


def record(image: np.ndarray, model: FrozenModel, scan: Scan, device: str = "cpu") -> Record:
    """What coding an image (H, W, C) uint8 in the order `scan` costs and predicts at every sub-pixel."""
    height, width, channels = image.shape
    recorder = SymbolRecorder(channels)
    traverse(Canvas.of(image, model.description.padding), model, scan, recorder, device, BLOCK_PIXELS)
    ((rows, columns, _),) = scan.blocks(height, width, height * width)
    record = Record(np.empty(image.shape), np.empty(image.shape))
    for kept, target in ((recorder.bits, record.bits), (recorder.predictions, record.prediction)):
        target[rows, columns] = torch.stack([torch.cat(blocks) for blocks in kept], 1).numpy()
    return record
