"""The images a network is frozen on: what they show decides its activations' ranges and how weights are rounded."""

from __future__ import annotations

import numpy as np

from datasets.augmentation import Augmentation
from datasets.builtin import calibration_photographs
from datasets.images import find_images, read_image

#: Where there are more files, so many or up to twice as many, spread over them, are read.
FEWEST = 400
#: Side of the crop of each that is augmented; larger ones show little more and take long.
SIDE = 512


def calibration_images(
    sources: str | list[str] | None, channels: int, augmentation: Augmentation | None = None
) -> list[np.ndarray]:
    """Images (H, W, channels) uint8 of the sources, or built-in photographs where they are None.

    With an `augmentation` a square crop of each, augmented, the same ones in every run: a network meets the kinds of
    images that it was trained on, which plain photographs may not show.
    """
    if sources is None:
        images = calibration_photographs(channels)
    else:
        files = find_images(sources)
        images = [read_image(path, channels) for path in files[:: max(1, len(files) // FEWEST)]]
    if augmentation is None:
        return images
    return [
        augmentation(image, min(SIDE, *image.shape[:2]), np.random.default_rng([number]))
        for number, image in enumerate(images)
    ]
