"""The images a network is frozen on: what they show decides its activations' ranges and how weights are rounded."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from coders.container import PIXEL_LIMIT
from datasets.augmentation import Augmentation
from datasets.builtin import calibration_photographs
from datasets.image_set import ImageSet
from datasets.images import find_images
from utils.errors import InputError

#: Where there are more files, so many or up to twice as many, spread over them, are read.
FEWEST = 400
#: Side of the crop of each that is augmented; larger ones show little more and take long.
SIDE = 512


def calibration_images(
    sources: str | list[str] | None,
    channels: int,
    augmentation: Augmentation | None = None,
    pixel_limit: int = PIXEL_LIMIT,
) -> tuple[list[np.ndarray], dict[Path, str]]:
    """Images (H, W, channels) uint8 of the sources, or built-in photographs where they are None; and the files that
    cannot be used, each with the reason.

    With an `augmentation` a square crop of each, augmented, the same ones in every run: a network meets the kinds of
    images that it was trained on, which plain photographs may not show. Raises InputError where no file can be used.
    """
    images, skipped = (
        (calibration_photographs(channels), {}) if sources is None else _read(sources, channels, pixel_limit)
    )
    if augmentation is None:
        return images, skipped
    crops = [
        augmentation(image, min(SIDE, *image.shape[:2]), np.random.default_rng([number]))
        for number, image in enumerate(images)
    ]
    return crops, skipped


def _read(sources: str | list[str], channels: int, pixel_limit: int) -> tuple[list[np.ndarray], dict[Path, str]]:
    files = find_images(sources)
    spread = files[:: max(1, len(files) // FEWEST)]
    usable = ImageSet(spread, channels, what="calibration image", cache_bytes=0, pixel_limit=pixel_limit)
    images = []
    for index in range(len(usable)):
        with suppress(InputError):  # it is then among those skipped
            images.append(usable.read(index))
    return images, usable.skipped
