"""Pictures as PNG files, with everything a picture holds."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from coders.container import MODE_NAMED
from coders.picture import Picture
from datasets.metadata import KINDS
from utils.png_chunks import png_chunks, png_file


def png_of(picture: Picture) -> bytes:
    """The PNG file of a picture."""
    header, *rest = png_chunks(_by_pillow(picture) if picture.mode.name in ("1", "P") else _by_libpng(picture))
    rest = [chunk for chunk in rest if chunk[0] in (b"PLTE", b"IDAT", b"IEND")]
    metadata = [chunk for chunk in picture.metadata if chunk[0] in KINDS]
    first = next(number for number, chunk in enumerate(rest) if chunk[0] == b"IDAT")
    opacities = picture.transparency
    if opacities and picture.palette:  # files of before may have more of them than colours
        opacities = opacities[: len(picture.palette) // 3]
    transparency = [(b"tRNS", opacities)] if opacities else []
    return png_file([header, *metadata, *rest[:first], *transparency, *rest[first:]])


def png_bytes(samples: np.ndarray) -> bytes:
    """The PNG file of gray or RGB samples (H, W, C) uint8."""
    return png_of(Picture(MODE_NAMED["L" if samples.shape[2] == 1 else "RGB"], samples))


def _by_pillow(picture: Picture) -> bytes:
    samples = picture.samples[:, :, 0]
    image = Image.fromarray(samples.astype(bool) if picture.mode.name == "1" else samples)
    if picture.mode.name == "P":
        image.putpalette(picture.palette)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _by_libpng(picture: Picture) -> bytes:
    """As many bytes as Pillow's, which keeps other threads from computing meanwhile."""
    import imagecodecs

    samples = picture.samples if picture.samples.shape[2] > 1 else picture.samples[:, :, 0]
    return imagecodecs.png_encode(np.ascontiguousarray(samples), level=6, strategy=imagecodecs.PNG.STRATEGY.FILTERED)
