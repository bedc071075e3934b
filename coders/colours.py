"""Few colours: tables of them, indices into tables, and indices of few bits packed into bytes.

Letters: H, W image size; C bytes of a colour, at most 4; n colours of a table.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

#: Pixels looked at together; bounds the memory of what stands for them meanwhile.
BLOCK_PIXELS = 1 << 20


def table_of(image: np.ndarray, most: int = 256) -> np.ndarray | None:
    """The different colours (n, C) uint8 of an image (H, W, C) uint8, or None where there are more than `most`."""
    keys = np.zeros(0, np.uint32)
    for block in _blocks(image):
        # Not np.union1d: NumPy's hash tables abort a process that ends while a daemon thread is in them.
        keys = np.sort(np.concatenate((keys, _keys(block)), axis=None))
        keys = keys[np.append(True, keys[1:] != keys[:-1])]
        if len(keys) > most:
            return None
    shifts = 8 * np.arange(image.shape[2], dtype=np.uint32)
    return (keys[:, None] >> shifts).astype(np.uint8)


def indices_in(table: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The lowest index (H, W, 1) uint8 in a table (n, C) of each colour of an image (H, W, C).

    A colour that the table does not have gets whichever index.
    """
    known, first = np.unique(_keys(table), return_index=True)
    lowest, most = first.astype(np.uint8), len(known) - 1
    parts = [lowest[np.searchsorted(known, _keys(block)).clip(max=most)] for block in _blocks(image)]
    return np.concatenate(parts)[:, :, None]


def pack(values: np.ndarray, bits: int) -> np.ndarray:
    """Values (H, W, 1) below 2**bits -> (H, ceil(W * bits / 8), 1) uint8, the first one in the highest bits."""
    if bits == 8:
        return values
    if bits == 0:
        return values[:, :0]
    each = 8 // bits
    height, width = values.shape[:2]
    padded = np.zeros((height, -(-width // each) * each), np.uint8)
    padded[:, :width] = values[:, :, 0]
    rows = np.zeros((height, padded.shape[1] // each), np.uint8)
    for place in range(each):
        rows |= padded[:, place::each] << (8 - bits * (place + 1))
    return rows[:, :, None]


def unpack(rows: np.ndarray, bits: int, width: int) -> np.ndarray:
    """The values (H, width, 1) uint8 that `pack` packed."""
    if bits == 8:
        return rows
    values = np.zeros((len(rows), width, 1), np.uint8)
    each = 8 // bits if bits else 0
    for place in range(each):
        count = len(range(place, width, each))
        values[:, place::each] = rows[:, :count] >> (8 - bits * (place + 1)) & ((1 << bits) - 1)
    return values


def _blocks(image: np.ndarray) -> Iterator[np.ndarray]:
    rows = max(1, BLOCK_PIXELS // image.shape[1])
    for start in range(0, len(image), rows):
        yield image[start : start + rows]


def _keys(colours: np.ndarray) -> np.ndarray:
    """Colours (..., C) -> one number each."""
    keys = np.zeros(colours.shape[:-1], np.uint32)
    for channel in range(colours.shape[-1]):
        keys |= colours[..., channel].astype(np.uint32) << (8 * channel)
    return keys
