"""Augmentation of crops towards photographs the training set lacks: flips, sharpness, noise, coarse colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a crop; each probability is of one crop.

    flips        "none", "horizontal", or "all" (the eight of flipping and transposing)
    noise        probability of added noise, up to `noise_levels` pixel values of standard deviation, in part common
                 to the channels and in part of each channel, as film grain and sensor noise are
    resize       probability of resampling (bicubic) by a random factor between the two of `resize_range`; half of the
                 crops that get noise too get it before, which makes it as coarse as the grain of a scanned film
    sharpen      probability of an unsharp mask, as cameras, scanners and photographers apply it
    half_colour  probability of colour at half the resolution of brightness (only of crops with three channels), as
                 JPEG, video and Photo CD store it
    """

    flips: str = "all"
    noise: float = 0.0
    noise_levels: float = 3.0
    resize: float = 0.0
    resize_range: tuple[float, float] = (0.7, 1.6)
    sharpen: float = 0.0
    half_colour: float = 0.0

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
        if self.sharpen and generator.random() < self.sharpen:
            crop = _sharpened(crop, radius=generator.uniform(0.5, 1.5), percent=generator.uniform(30, 150))
        if self.half_colour and generator.random() < self.half_colour and crop.shape[2] == 3:
            crop = _with_half_colour(crop, rounded=generator.random() < 0.5)
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


def _sharpened(crop: np.ndarray, radius: float, percent: float) -> np.ndarray:
    mask = ImageFilter.UnsharpMask(radius, round(percent), 0)
    planes = [Image.fromarray(crop[:, :, channel]).filter(mask) for channel in range(crop.shape[2])]
    return np.stack([np.asarray(plane) for plane in planes], 2)


def _with_half_colour(crop: np.ndarray, rounded: bool) -> np.ndarray:
    """Differences from brightness (ITU-R BT.601) reduced to half the side and enlarged again.

    `rounded` to the 8 bits in which files hold them.
    """
    values = crop.astype(np.float32)
    brightness = values @ np.float32([0.299, 0.587, 0.114])
    red, blue = ((values[:, :, channel] - brightness) * scale for channel, scale in ((0, 0.713), (2, 0.564)))
    red, blue = (_through_half(difference) for difference in (red, blue))
    if rounded:
        brightness, red, blue = (np.rint(plane) for plane in (brightness, red, blue))
    red, blue = brightness + red / 0.713, brightness + blue / 0.564
    green = (brightness - 0.299 * red - 0.114 * blue) / 0.587
    return np.clip(np.rint(np.stack((red, green, blue), 2)), 0, 255).astype(np.uint8)


def _through_half(plane: np.ndarray) -> np.ndarray:
    height, width = plane.shape
    half = Image.fromarray(plane).resize((max(1, width // 2), max(1, height // 2)), Image.Resampling.BOX)
    return np.asarray(half.resize((width, height), Image.Resampling.BILINEAR))
