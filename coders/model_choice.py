"""Which of several models suits an image: the one that codes pieces of it in the fewest bits.

A file names the model it was coded with, so decoding knows nothing of a choice. Letters: H, W image size; C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from coders.backends import Backend
from coders.scan import Scan
from models.frozen import FrozenModel
from models.neighbourhood import BOTTOM, LEFT, RIGHT, TOP

#: Side of a piece, and how many of them at the most, spread evenly, stand for an image.
PIECE, PIECES = 32, 24
#: Which pieces are looked at in each round: every eighth, then those between, and so on.
ROUNDS = (slice(0, None, 8), slice(4, None, 8), slice(2, None, 4), slice(1, None, 2))


def best_model(models: Sequence[FrozenModel], image: np.ndarray, scan: Scan, backend: Backend) -> FrozenModel | None:
    """Of models with as many channels as the image (H, W, C) uint8, the best; the first of equals; None of none.

    Each round looks at more pieces for the better half of the models (successive halving, Karnin et al., 2013).
    Bits are compared as whole numbers, since sums of floats differ from machine to machine.
    """
    if len(models) < 2:
        return next(iter(models), None)
    pieces = list(pieces_of(image))
    bits, better = [0] * len(models), list(range(len(models)))
    for looked_at in ROUNDS:
        for index in better:
            bits[index] += bits_of_pieces(pieces[looked_at], models[index], scan, backend, inner=len(pieces) > 1)
        better = sorted(better, key=lambda index: (bits[index], index))[: max(2, -(-len(better) // 2))]
    return models[better[0]]


def bits_of_pieces(pieces: Sequence[np.ndarray], model: FrozenModel, scan: Scan, backend: Backend, inner: bool) -> int:
    """Bits that the model takes for all pieces, each (H, W, C) uint8 and rounded to a whole number.

    With `inner` pixels near the sides of a piece do not count, which are not sides of the image.
    """
    counted = _inner if inner else np.sum
    return sum(round(counted(backend.glance(piece, model, scan))) for piece in pieces)


def _inner(bits: np.ndarray) -> float:
    """Bits (H, W) of the pixels of a piece whose taps lie in it."""
    inner = bits[TOP : len(bits) - BOTTOM, LEFT : bits.shape[1] - RIGHT]
    return (inner if inner.size else bits).sum()


def pieces_of(image: np.ndarray, most: int = PIECES) -> Iterator[np.ndarray]:
    """Up to `most` pieces of an image (H, W, C) that stand for it."""
    height, width = image.shape[:2]
    tall, wide = min(PIECE, height), min(PIECE, width)
    down, across = _grid(height, width, height // tall, width // wide, most)
    for row in _spread(height - tall, down):
        for column in _spread(width - wide, across):
            yield np.ascontiguousarray(image[row : row + tall, column : column + wide])


def _grid(height: int, width: int, most_down: int, most_across: int, most: int) -> tuple[int, int]:
    """Rows and columns of the pieces: as many pieces as can be, at distances as alike as can be."""

    def worth(grid: tuple[int, int]) -> tuple[int, float]:
        distances = height / grid[0], width / grid[1]
        return grid[0] * grid[1], -max(distances) / min(distances)

    return max(((down, min(most // down, most_across)) for down in range(1, min(most, most_down) + 1)), key=worth)


def _spread(last: int, count: int) -> list[int]:
    """`count` places from 0 to `last`; a single one in the middle."""
    return [last * place // (count - 1) for place in range(count)] if count > 1 else [last // 2]
