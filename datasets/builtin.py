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


def calibration_photographs(channels: int) -> list[np.ndarray]:
    """The photographs and what they lack: other colours, vivid colours, light for dark. (H, W, channels) uint8 each.

    A few photographs show few colours; without these, images of other colours would saturate a model frozen on them.
    """
    photographs = builtin_photographs(channels)
    if channels == 1:
        return photographs + [255 - photograph for photograph in photographs]
    recoloured = [np.roll(photograph, 1, 2) for photograph in photographs]
    recoloured += [np.ascontiguousarray(photograph[:, :, ::-1]) for photograph in photographs]
    vivid = [_vivid(photograph) for photograph in photographs + recoloured]
    return photographs + recoloured + vivid + [255 - photograph for photograph in photographs]


def _vivid(photograph: np.ndarray) -> np.ndarray:
    """Four times the distance from gray."""
    values = photograph.astype(np.int32)
    gray = values.sum(2, keepdims=True) // 3
    return np.clip(gray + 4 * (values - gray), 0, 255).astype(np.uint8)


def demo_photographs() -> dict[str, np.ndarray]:
    """Name -> photograph (H, W, C): three in colour, one gray."""
    from skimage import data

    return {
        "astronaut": data.astronaut(),
        "cat": data.chelsea(),
        "coffee": data.coffee(),
        "camera": data.camera()[:, :, None],
    }
