"""Drawn images are never more than 1 % larger than the better of Pillow's optimised PNG and the raw samples."""

from __future__ import annotations

import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image

import p59
from tests.drawn import drawn_images

IMAGES = drawn_images()


def png_bytes(image: Image.Image | np.ndarray) -> int:
    """Size of the optimised PNG file."""
    if isinstance(image, np.ndarray) and image.dtype == np.uint16 and image.ndim == 3:
        return len(imagecodecs.png_encode(np.ascontiguousarray(image), level=9))
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, "PNG", optimize=True)
    return len(buffer.getvalue())


def raw_bytes(image: Image.Image | np.ndarray) -> int:
    """Size of the samples alone, bilevel ones eight in a byte."""
    samples = np.asarray(image)
    return samples.shape[0] * -(-samples.shape[1] // 8) if samples.dtype == bool else samples.nbytes


@pytest.mark.parametrize("name", IMAGES)
def test_at_most_one_percent_above_png_and_raw(name):
    image = IMAGES[name]
    data = p59.encode(image, verify=True)
    assert len(data) <= 1.01 * min(png_bytes(image), raw_bytes(image))


@pytest.mark.parametrize("side", [1, 2, 3, 8, 16, 32])
def test_tiny_images_have_at_most_28_bytes_besides_their_samples(side):
    noise = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    assert len(p59.encode(noise, verify=True)) <= noise.nbytes + 28
    assert len(p59.encode(noise[:, :, 0].copy(), verify=True)) <= noise[:, :, 0].size + 28
