"""Colour images of more than 8 bits, which Pillow would read as 8: found, and read with imagecodecs or refused."""

from __future__ import annotations

import struct

import numpy as np
from PIL import Image

from utils.errors import InputError
from utils.png_chunks import png_chunks, png_file

REMEDY = "save it as PNG or TIFF of 16 bits"
#: Bytes at a file's start that are searched for the depth of JPEG 2000 and AVIF images.
HEAD_BYTES = 1 << 16


def deep_samples(image: Image.Image) -> np.ndarray | None:
    """Samples (H, W, C) uint16 of an opened file where Pillow would drop bits, else None.

    None too where the samples have been loaded already: the bits are lost by then. Raises InputError where they cannot
    be read.
    """
    if not getattr(image, "tile", None) or getattr(image, "fp", None) is None:
        return None
    bits = bits_of(image)
    if bits <= 8 or image.mode not in ("L", "LA", "RGB", "RGBA", "RGBX", "P"):
        return None
    if image.format not in READERS or bits != 16:
        raise InputError(f"{image.format} image of {bits} bits cannot be read without loss; {REMEDY}")
    try:
        samples = READERS[image.format](_content(image))
    except Exception as error:  # imagecodecs raises a type for each library beneath it
        raise InputError(f"{image.format} image of {bits} bits cannot be read ({error}); {REMEDY}") from error
    if samples.dtype != np.uint16 or samples.shape[:2] != (image.height, image.width) or samples.ndim != 3:
        raise InputError(f"{image.format} image of {bits} bits is laid out as {samples.shape}; {REMEDY}")
    return samples


def bits_of(image: Image.Image) -> int:
    """Bits of a sample as an opened file stores it, as far as it can be told; 8 where Pillow loses nothing."""
    if image.format == "TIFF":
        return max(image.tag_v2.get(258, (1,)))
    if image.format == "PPM":
        values = [tile.args[1] for tile in image.tile if isinstance(tile.args, tuple)]
        return max([8, *(int(value).bit_length() for value in values if isinstance(value, int))])
    if image.format in ("JPEG2000", "AVIF"):
        return _bits_in_head(_content(image, HEAD_BYTES), image.format)
    modes = [tile.args if isinstance(tile.args, str) else str((tile.args or ("",))[0]) for tile in image.tile]
    return 16 if any(";16" in mode for mode in modes) else 8


def _content(image: Image.Image, size: int = -1) -> bytes:
    """The first bytes, or all, of an opened image's file."""
    place = image.fp.tell()
    image.fp.seek(0)
    content = image.fp.read(size)
    image.fp.seek(place)
    return content


def _bits_in_head(head: bytes, kind: str) -> int:
    if kind == "AVIF":  # the av1C box: bit 6 of its third byte says 10 or 12 bits
        place = head.find(b"av1C")
        return 10 if 0 <= place < len(head) - 6 and head[place + 6] & 0x40 else 8
    place = head.find(b"\xff\x4f\xff\x51")  # JPEG 2000's SIZ: the depths stand 42 bytes after it, 3 bytes each
    if place < 0 or place + 42 > len(head):
        return 8
    (components,) = struct.unpack_from(">H", head, place + 40)
    return max([8, *((depth & 127) + 1 for depth in head[place + 42 : place + 42 + 3 * components : 3])])


def _png(data: bytes) -> np.ndarray:
    import imagecodecs

    opaque = [chunk for chunk in png_chunks(data) if chunk[0] != b"tRNS"]  # it would be made an alpha channel
    return imagecodecs.png_decode(png_file(opaque))


def _tiff(data: bytes) -> np.ndarray:
    import imagecodecs

    samples = imagecodecs.tiff_decode(data)
    planes_apart = samples.ndim == 3 and samples.shape[0] in (3, 4) and samples.shape[2] not in (3, 4)
    return samples.transpose(1, 2, 0) if planes_apart else samples


def _jpeg2000(data: bytes) -> np.ndarray:
    import imagecodecs

    return imagecodecs.jpeg2k_decode(data)


def _ppm(data: bytes) -> np.ndarray:
    fields, position = [], 0
    while len(fields) < 4:  # "P6", width, height, maxval; comments run to the end of a line
        while data[position : position + 1].isspace():
            position += 1
        end = position
        if data[position : position + 1] == b"#":
            position = data.index(b"\n", position)
            continue
        while not data[end : end + 1].isspace():
            end += 1
        fields.append(data[position:end])
        position = end
    if fields[0] != b"P6" or fields[3] != b"65535":
        raise ValueError(f"{fields[0].decode()} of largest value {fields[3].decode()}")
    shape = (int(fields[2]), int(fields[1]), 3)
    return np.frombuffer(data, ">u2", int(np.prod(shape)), position + 1).reshape(shape).astype(np.uint16)


READERS = {"PNG": _png, "TIFF": _tiff, "JPEG2000": _jpeg2000, "PPM": _ppm}
