"""Plain lossless coding of bytes in rows, for what the network is bad at: flat, drawn, tiny and noisy images.

Every method has one defined result when it is decoded. Letters: H, W rows and columns; C bytes of a pixel, 1 to 4.
"""

from __future__ import annotations

import io
import lzma
import zlib
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from utils.errors import FormatError
from utils.png_chunks import image_chunks, image_data, png_chunks, png_file

#: Methods by their number in a file. RAW: the bytes. ROWS: a PNG image's rows, filtered and deflated as in its IDAT.
#: DIFFERENCES + d: LZMA2 of the bytes' differences along the axes of AXES[d], modulo 256.
RAW, ROWS, DIFFERENCES = 0, 1, 2
AXES = ((), (1,), (0,), (0, 1))
METHODS = range(DIFFERENCES + len(AXES))

#: PNG's colour type of rows with C bytes a pixel.
PNG_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
LARGEST_DICTIONARY = 1 << 25
#: More bytes than this are not tried with LZMA: it would take minutes.
LZMA_LIMIT = 1 << 26
#: At most so many bytes are tried with every kind of difference; of more bytes, the most promising kind.
LZMA_SMALL = 1 << 19


def encode_rows_fast(rows: np.ndarray) -> bytes:
    """(H, W, C) uint8 -> ROWS, by a quick search: about a tenth larger on photographs."""
    return _deflated_by_pillow(rows, compress_level=3)


def encode_rows(rows: np.ndarray) -> bytes:
    """(H, W, C) uint8 -> ROWS, never larger than the image data of Pillow's optimised PNG."""
    filtered = _deflated_by_pillow(rows, optimize=True)
    lines = np.zeros((rows.shape[0], 1 + rows[0].size), np.uint8)
    lines[:, 1:] = rows.reshape(len(rows), -1)
    return min(filtered, zlib.compress(lines, 9), key=len)


def encode_differences(rows: np.ndarray) -> tuple[int, bytes]:
    """(H, W, C) uint8 -> (method, bytes): LZMA2 of the kind of differences that takes the fewest bytes."""
    kinds = [_differences(rows, axes) for axes in AXES]
    numbers = range(len(AXES))
    if rows.size > LZMA_SMALL:
        numbers = [min(numbers, key=lambda number: len(zlib.compress(kinds[number], 1)))]
    filters = _lzma_filters(rows.size)
    coded = {number: lzma.compress(kinds[number], lzma.FORMAT_RAW, filters=filters) for number in numbers}
    best = min(coded, key=lambda number: len(coded[number]))
    return DIFFERENCES + best, coded[best]


def decode_plain(method: int, data: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """The rows (H, W, C) uint8 of `shape` that were coded. Raises FormatError where `data` is not of that size."""
    if method == RAW:
        size = shape[0] * shape[1] * shape[2]
        if len(data) != size:
            raise FormatError(f"planes of {len(data)} bytes where {size} are expected; get the file again")
        return np.frombuffer(data, np.uint8).reshape(shape)
    if method == ROWS:
        return _decode_rows(data, shape)
    return _decode_differences(data, shape, AXES[method - DIFFERENCES])


def _deflated_by_pillow(rows: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rows if rows.shape[2] > 1 else rows[:, :, 0]).save(buffer, "PNG", **options)
    return image_data(png_chunks(buffer.getvalue()))


def _decode_rows(data: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """Pillow undoes the filters; it looks less closely at what was deflated."""
    height, width, channels = shape
    lines = _decompressed(zlib.decompressobj(), data, height * (1 + width * channels)) if width else b""
    chunks = [*image_chunks(width, height, 8, PNG_COLOUR_TYPES[channels], zlib.compress(lines, 0)), (b"IEND", b"")]
    try:
        with PngImageFile(io.BytesIO(png_file(chunks))) as image:
            return np.asarray(image).reshape(shape)
    except Exception as error:  # Pillow's decoder raises many types for bytes that are no image
        raise FormatError(f"planes cannot be decoded ({error}); get the file again") from error


def _decode_differences(data: bytes, shape: tuple[int, int, int], axes: tuple[int, ...]) -> np.ndarray:
    size = shape[0] * shape[1] * shape[2]
    content = _decompressed(lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_lzma_filters(size)), data, size)
    rows = np.frombuffer(bytearray(content), np.uint8).reshape(shape)
    for axis in axes:
        np.add.accumulate(rows, axis, out=rows)
    return rows


def _decompressed(decompressor: Any, data: bytes, size: int) -> bytes:
    """What zlib or LZMA2 holds. Raises FormatError unless it is so many bytes, and all of `data`."""
    try:
        content = decompressor.decompress(data, size + 1)
    except (zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
        raise FormatError(f"planes cannot be decoded ({error}); get the file again") from error
    if len(content) != size or not decompressor.eof or decompressor.unused_data:
        raise FormatError(f"planes are not the {size} bytes that are expected; get the file again")
    return content


def _differences(rows: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    for axis in axes:
        rows = np.diff(rows, axis=axis, prepend=np.uint8(0))
    return np.ascontiguousarray(rows)


def _lzma_filters(size: int) -> list[dict]:
    dictionary = min(LARGEST_DICTIONARY, max(4096, 1 << max(0, size - 1).bit_length()))
    return [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": dictionary, "lc": 3, "lp": 0, "pb": 0}]
