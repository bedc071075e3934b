"""The published setting's crops: torchvision's random crop and horizontal flip, and the centre crop of validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from datasets.torchvision_import import transforms


@dataclass(frozen=True)
class PublishedCrop:
    """A random crop, flipped horizontally with probability 1/2; called as `datasets.augmentation.Augmentation` is."""

    def __call__(self, image: np.ndarray, side: int, generator: np.random.Generator) -> np.ndarray:
        """A random (side, side, C) crop of `image` (H, W, C) uint8, writable, at least side x side.

        torchvision draws from PyTorch's global generator, which is therefore set from `generator` for each crop.
        """
        torch.default_generator.manual_seed(int(generator.integers(1 << 63)))
        crop = _random_crop(side)(torch.from_numpy(image).permute(2, 0, 1))
        return crop.permute(1, 2, 0).contiguous().numpy()


@cache
def _random_crop(side: int) -> Callable[[torch.Tensor], torch.Tensor]:
    known = transforms()
    return known.Compose([known.RandomCrop(side), known.RandomHorizontalFlip()])


def centre_crop(image: np.ndarray, side: int) -> np.ndarray:
    """The (at most side x side) centre of `image` (H, W, C)."""
    size = [min(side, length) for length in image.shape[:2]]
    crop = transforms().CenterCrop(size)(torch.from_numpy(image.copy()).permute(2, 0, 1))  # PyTorch wants it writable
    return crop.permute(1, 2, 0).contiguous().numpy()
