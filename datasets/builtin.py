"""Photographs that scikit-image carries (public domain or CC0), for the demo and for calibrating without images."""

from __future__ import annotations

import numpy as np


def builtin_photographs(channels: int) -> list[np.ndarray]:
    """A few photographs (H, W, channels) uint8, stored losslessly so that every machine reads the same samples."""
    from skimage import data

    photographs = [data.astronaut(), data.chelsea(), data.coffee(), data.immunohistochemistry()]
    photographs.append(data.stereo_motorcycle()[0])
    if channels == 3:
        return photographs
    return [photograph[:, :, 1:2].copy() for photograph in photographs]


def demo_photographs() -> dict[str, np.ndarray]:
    """Name -> photograph (H, W, C): three in colour, one gray."""
    from skimage import data

    return {
        "astronaut": data.astronaut(),
        "cat": data.chelsea(),
        "coffee": data.coffee(),
        "camera": data.camera()[:, :, None],
    }
