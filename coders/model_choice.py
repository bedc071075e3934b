"""Which of several models suits an image: the one that codes pieces of it in the fewest bits.

A file names the model it was coded with, so decoding knows nothing of a choice. Letters: N pieces; H, W image size; C
channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from coders.backends import Backend
from coders.scan import Scan
from models.frozen import FrozenModel
from models.neighbourhood import BOTTOM, LEFT, RIGHT, TOP

#: Side of a piece, and how many of them at the most, spread evenly, stand for an image.
PIECE, PIECES = 32, 24
#: No tap is farther away, however a piece is turned.
REACH = max(TOP, BOTTOM, LEFT, RIGHT)
#: Which pieces are looked at in each round: every eighth, then those between, and so on.
ROUNDS = (slice(0, None, 8), slice(4, None, 8), slice(2, None, 4), slice(1, None, 2))


def best_model(models: Sequence[FrozenModel], image: np.ndarray, scan: Scan, backend: Backend) -> FrozenModel | None:
    """Of models with as many channels as the image (H, W, C) uint8, the best; the first of equals; None of none.

    Each round looks at more pieces for the better half of the models (successive halving, Karnin et al., 2013); the
    first one tells the phases of those that see parities. Bits are compared as whole numbers, since sums of floats
    differ from machine to machine.
    """
    if len(models) < 2:
        return next(iter(models), None)
    pieces = pieces_of(image)
    inner = len(pieces) > 1
    first = [best_phase(model, pieces[ROUNDS[0]], scan, backend, inner) for model in models]
    bits = [found for _, found in first]
    better = _better(range(len(models)), bits)
    for looked_at in ROUNDS[1:]:
        for index in better:
            in_phase = models[index].phases[first[index][0]]
            bits[index] += bits_of_pieces(pieces[looked_at], in_phase, scan, backend, inner)
        better = _better(better, bits)
    return models[better[0]]


def _better(indices: Iterable[int], bits: list[int]) -> list[int]:
    """The half of them, but two at the least, whose bits are fewest, fewest first; of equals the first."""
    ranked = sorted(indices, key=lambda index: (bits[index], index))
    return ranked[: max(2, -(-len(ranked) // 2))]


def best_phase(model: FrozenModel, pieces: np.ndarray, scan: Scan, backend: Backend, inner: bool) -> tuple[int, int]:
    """(phase, bits): of a model's phases the one that takes the fewest bits for pieces (N, H, W, C) uint8, the first
    of equals."""
    bits = [bits_of_pieces(pieces, in_phase, scan, backend, inner) for in_phase in model.phases]
    return bits.index(min(bits)), min(bits)


def bits_of_pieces(pieces: np.ndarray, model: FrozenModel, scan: Scan, backend: Backend, inner: bool) -> int:
    """Bits that the model takes for all pieces (N, H, W, C) uint8, those of each rounded to a whole number.

    With `inner` only pixels count whose taps lie in their piece, however it is turned, as its sides are not those of
    the image; all pixels where the piece is too small for that.
    """
    if not len(pieces):
        return 0
    margin = REACH if inner and min(pieces.shape[1:3]) > 2 * REACH else 0
    return sum(round(bits.sum()) for bits in backend.measure_pieces(pieces, model, scan, margin))


def pieces_of(image: np.ndarray, most: int = PIECES) -> np.ndarray:
    """Up to `most` pieces (N, H', W', C) that stand for an image (H, W, C), beginning at even rows and columns."""
    height, width = image.shape[:2]
    tall, wide = min(PIECE, height), min(PIECE, width)
    down, across = _grid(height, width, height // tall, width // wide, most)
    return np.stack(
        [
            image[row : row + tall, column : column + wide]
            for row in _spread(height - tall, down)
            for column in _spread(width - wide, across)
        ]
    )


def _grid(height: int, width: int, most_down: int, most_across: int, most: int) -> tuple[int, int]:
    """Rows and columns of the pieces: as many pieces as can be, at distances as alike as can be."""

    def worth(grid: tuple[int, int]) -> tuple[int, float]:
        distances = height / grid[0], width / grid[1]
        return grid[0] * grid[1], -max(distances) / min(distances)

    return max(((down, min(most // down, most_across)) for down in range(1, min(most, most_down) + 1)), key=worth)


def _spread(last: int, count: int) -> list[int]:
    """`count` even places from 0 to `last`; a single one in the middle."""
    places = [last * place // (count - 1) for place in range(count)] if count > 1 else [last // 2]
    return [place // 2 * 2 for place in places]
