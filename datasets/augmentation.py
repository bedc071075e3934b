"""Augmentation of crops towards photographs the training set lacks: flips, sharpness, noise, coarse colour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from utils.errors import ModelError

#: The probabilities of an Augmentation, by the names that they have in a configuration.
CHANCES = ("noise", "resize", "sharpen", "half_colour")


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
            crop = _with_half_colour(crop, generator)
        return np.ascontiguousarray(crop)

    def _noisy(self, crop: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        deviation = self.noise_levels * generator.random()
        common = generator.random()
        height, width, channels = crop.shape
        grain = generator.standard_normal((height, width, 1), np.float32)
        own = generator.standard_normal((height, width, channels), np.float32)
        noise = deviation * (np.sqrt(common) * grain + np.sqrt(1 - common) * own)
        return np.clip(np.rint(crop + noise), 0, 255).astype(np.uint8)


def augmentation_of(settings: Mapping[str, Any]) -> Augmentation | None:
    """How a training run of these settings changed its crops, apart from their direction; None where it did not.

    Raises ModelError where they are no probabilities.
    """
    chances = {name: settings.get(name, 0.0) for name in CHANCES}
    if not all(type(chance) in (int, float) and 0 <= chance <= 1 for chance in chances.values()):
        raise ModelError(f"checkpoint: settings {chances} are no probabilities; give another checkpoint")
    return Augmentation("none", **chances) if any(chances.values()) else None


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


#: What one step of brightness, of blue - brightness and of red - brightness is worth in files, in pixel values: full
#: range (JPEG), the range of video (both ITU-R BT.601), and Photo CD (Kodak, PhotoYCC Color Encoding).
COLOUR_STEPS = ((1, 1.772, 1.402), (255 / 219, 1.772 * 255 / 224, 1.402 * 255 / 224), (1.3584, 2.2179, 1.8215))


def _with_half_colour(crop: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Differences from brightness (ITU-R BT.601) reduced to half the side and enlarged again, as files do it.

    Half of them are in whole steps, as files hold them. Of half of the crops the samples of colour lie between pixels,
    as in JPEG, else on those of even rows and columns, as on Photo CD and in much video.
    """
    steps = COLOUR_STEPS[generator.integers(len(COLOUR_STEPS))] if generator.random() < 0.5 else None
    through_half = _between if generator.random() < 0.5 else _on_even
    values = crop.astype(np.float32)
    brightness = values @ np.float32([0.299, 0.587, 0.114])
    blue, red = (values[:, :, channel] - brightness for channel in (2, 0))
    if steps is None:
        blue, red = through_half(blue, 0), through_half(red, 0)
    else:
        brightness = _in_steps(brightness, steps[0])
        blue, red = through_half(blue, steps[1]), through_half(red, steps[2])
    blue, red = brightness + blue, brightness + red
    green = (brightness - 0.299 * red - 0.114 * blue) / 0.587
    return np.clip(np.rint(np.stack((red, green, blue), 2)), 0, 255).astype(np.uint8)


def _in_steps(plane: np.ndarray, step: float) -> np.ndarray:
    return np.rint(plane / step) * step if step else plane


def _between(plane: np.ndarray, step: float) -> np.ndarray:
    """(H, W) through half the side, samples in the middle of four pixels, bilinearly enlarged; `step` 0: any value."""
    height, width = plane.shape
    half = Image.fromarray(plane).resize((max(1, width // 2), max(1, height // 2)), Image.Resampling.BOX)
    half = Image.fromarray(_in_steps(np.asarray(half), step))
    return _in_steps(np.asarray(half.resize((width, height), Image.Resampling.BILINEAR)), step)


def _on_even(plane: np.ndarray, step: float) -> np.ndarray:
    """The same with samples on pixels of even rows and columns; the others are the means of their neighbours."""
    shape = plane.shape
    for axis in (0, 1):
        lines = np.pad(np.moveaxis(plane, axis, 0), ((1, 1), (0, 0)), "edge")
        plane = np.moveaxis((lines[:-2] / 4 + lines[1:-1] / 2 + lines[2:] / 4)[::2], 0, axis)
    plane = _in_steps(plane, step)
    for axis, length in enumerate(shape):
        samples = np.moveaxis(plane, axis, 0)
        lines = np.repeat(samples, 2, 0)
        lines[1:-1:2] = (samples[:-1] + samples[1:]) / 2
        plane = np.moveaxis(lines[:length], 0, axis)
    return _in_steps(plane, step)
