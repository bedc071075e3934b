"""The eight orientations of an image, and which of them takes the fewest bits.

A network sees what lies above and to the left. Photographs are not the same in all directions, so that one of their
mirror images or transpositions often takes some tenths of a percent less. Letters: H, W image size; C channels.

    orientation   bit 0   the order of columns is reversed
                  bit 1   the order of rows is reversed
                  bit 2   then rows and columns are exchanged
"""

from __future__ import annotations

import numpy as np

from coders.backends import Backend
from coders.model_choice import bits_of_pieces, pieces_of
from coders.scan import Scan
from models.frozen import FrozenModel

ORIENTATIONS = 8
#: Pieces of an image that are looked at: every other one in all orientations, then the rest in the better ones.
PIECES, BETTER = 48, 2


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """An image (H, W, C) in another orientation."""
    image = image[:: -1 if orientation & 2 else 1, :: -1 if orientation & 1 else 1]
    return np.ascontiguousarray(image.swapaxes(0, 1) if orientation & 4 else image)


def turned_back(image: np.ndarray, orientation: int) -> np.ndarray:
    """The image that `turned` turned."""
    image = image.swapaxes(0, 1) if orientation & 4 else image
    return np.ascontiguousarray(image[:: -1 if orientation & 2 else 1, :: -1 if orientation & 1 else 1])


def best_orientation(model: FrozenModel, image: np.ndarray, scan: Scan, backend: Backend) -> int:
    """The one in which the model takes the fewest bits for pieces of an image (H, W, C) uint8; the first of equals."""
    pieces = list(pieces_of(image, PIECES))
    bits, better = [0] * ORIENTATIONS, list(range(ORIENTATIONS))
    for looked_at in (slice(0, None, 2), slice(1, None, 2)):
        for orientation in better:
            own = [turned(piece, orientation) for piece in pieces[looked_at]]
            bits[orientation] += bits_of_pieces(own, model, scan, backend, inner=len(pieces) > 1)
        better = sorted(better, key=lambda orientation: (bits[orientation], orientation))[:BETTER]
    return better[0]
