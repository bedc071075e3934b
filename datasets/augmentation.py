"""Augmentation of training crops towards photographs the training set lacks: flips, other sharpness, sensor noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a crop; each probability is of one crop.

    flips        "none", "horizontal", or "all" (the eight of flipping and transposing)
    noise        probability of added noise, up to `noise_levels` pixel values of standard deviation, in part common
                 to the channels and in part of each channel, as film grain and sensor noise are
    resize       probability of resampling (bicubic) by a random factor between the two of `resize_range`; half of the
                 crops that get noise too get it before, which makes it as coarse as the grain of a scanned film
    """

    flips: str = "all"
    noise: float = 0.0
    noise_levels: float = 3.0
    resize: float = 0.0
    resize_range: tuple[float, float] = (0.7, 1.6)

    def __call__(self, image: np.ndarray, side: int, generator: np.random.Generator) -> np.ndarray:
        """A random (side, side, C) crop of `image` (H, W, C) uint8, augmented. The image is at least side x side."""
        scale = 1.0
        if generator.random() < self.resize:
            scale = float(np.exp(generator.uniform(*np.log(self.resize_range))))
        needed = min(int(np.ceil(side / scale)), *image.shape[:2])
        row = int(generator.integers(0, image.shape[0] - needed + 1))
        column = int(generator.integers(0, image.shape[1] - needed + 1))
        crop = image[row : row + needed, column : column + needed]
        noisy, coarse = generator.random() < self.noise, generator.random() < 0.5
        if noisy and coarse:
            crop = self._noisy(crop, generator)
        if needed != side:
            crop = _resized(crop, side)
        if self.flips in ("horizontal", "all") and generator.random() < 0.5:
            crop = crop[:, ::-1]
        if self.flips == "all":
            crop = crop[::-1] if generator.random() < 0.5 else crop
            crop = crop.swapaxes(0, 1) if generator.random() < 0.5 else crop
        if noisy and not coarse:
            crop = self._noisy(crop, generator)
        return np.ascontiguousarray(crop)

    def _noisy(self, crop: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        deviation = self.noise_levels * generator.random()
        common = generator.random()
        height, width, channels = crop.shape
        grain = generator.standard_normal((height, width, 1), np.float32)
        own = generator.standard_normal((height, width, channels), np.float32)
        noise = deviation * (np.sqrt(common) * grain + np.sqrt(1 - common) * own)
        return np.clip(np.rint(crop + noise), 0, 255).astype(np.uint8)


def _resized(crop: np.ndarray, side: int) -> np.ndarray:
    planes = [
        Image.fromarray(crop[:, :, channel]).resize((side, side), Image.Resampling.BICUBIC)
        for channel in range(crop.shape[2])
    ]
    return np.stack([np.asarray(plane) for plane in planes], 2)
