"""How an image lies before the network, and in which way that takes the fewest bits.

A network sees what lies above and to the left. Photographs are not the same in all directions, so that one of their
mirror images or transpositions often takes some tenths of a percent less. A network that sees the parities of rows and
columns takes far fewer where they are as it knows them: which rows are even depends on where an image was cut.
Letters: H, W image size; C channels.

    orientation   bit 0   the order of columns is reversed
                  bit 1   the order of rows is reversed
                  bit 2   then rows and columns are exchanged

    phase         of the turned image
                  bit 0   even columns are taken for odd ones, odd ones for even ones
                  bit 1   so are rows
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from coders.backends import Backend
from coders.model_choice import bits_of_pieces, pieces_of
from coders.scan import Scan
from models.frozen import FrozenModel

ORIENTATIONS = 8
#: Pieces of an image that are looked at: every other one in all orientations, then the rest in the better ones. Every
#: fourth one tells the phase.
PIECES, BETTER = 48, 2
#: Images of no more pixels are looked at as a whole, for pieces say little of them.
WHOLE = 1 << 13


class Placement(NamedTuple):
    """An orientation 0..7 and a phase 0..3, see above."""

    orientation: int = 0
    phase: int = 0


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """An image (H, W, C) in another orientation."""
    image = image[:: -1 if orientation & 2 else 1, :: -1 if orientation & 1 else 1]
    return np.ascontiguousarray(image.swapaxes(0, 1) if orientation & 4 else image)


def turned_back(image: np.ndarray, orientation: int) -> np.ndarray:
    """The image that `turned` turned."""
    image = image.swapaxes(0, 1) if orientation & 4 else image
    return np.ascontiguousarray(image[:: -1 if orientation & 2 else 1, :: -1 if orientation & 1 else 1])


def turned_phase(phase: int, height: int, width: int, orientation: int) -> int:
    """The phase in which a turned image keeps the parities that phase `phase` gives an image of that size."""
    rows, columns = phase >> 1, phase & 1
    if orientation & 1:
        columns ^= width - 1 & 1
    if orientation & 2:
        rows ^= height - 1 & 1
    if orientation & 4:
        rows, columns = columns, rows
    return rows << 1 | columns


def best_placement(model: FrozenModel, image: np.ndarray, scan: Scan, backend: Backend, turn: bool = True) -> Placement:
    """The one in which the model takes the fewest bits for an image (H, W, C) uint8, or for pieces of it; the first of
    equals.

    The phase is looked for as the image stands and again as it is turned. Only orientation 0 is tried where `turn` is
    false.
    """
    pieces = image[None] if image.shape[0] * image.shape[1] <= WHOLE else pieces_of(image, PIECES)

    def bits_of(looked_at: slice, orientation: int, phase: int) -> int:
        own = np.array([turned(piece, orientation) for piece in pieces[looked_at]])
        in_phase = model.phases[_phase_of(model, phase, pieces[0], orientation)]
        return bits_of_pieces(own, in_phase, scan, backend, inner=len(pieces) > 1)

    def phase_in(orientation: int) -> int:
        phases = range(len(model.phases))
        return min(phases, key=lambda phase: (bits_of(slice(0, None, 4), orientation, phase), phase))

    phase = phase_in(0) if model.description.parities else 0
    if not turn:
        return Placement(0, phase)
    bits, better = [0] * ORIENTATIONS, list(range(ORIENTATIONS))
    for looked_at in (slice(0, None, 2), slice(1, None, 2)):
        for orientation in better:
            bits[orientation] += bits_of(looked_at, orientation, phase)
        better = sorted(better, key=lambda orientation: (bits[orientation], orientation))[:BETTER]
    orientation = better[0]
    if orientation and model.description.parities:
        phase = phase_in(orientation)
    return Placement(orientation, _phase_of(model, phase, image, orientation))


def _phase_of(model: FrozenModel, phase: int, image: np.ndarray, orientation: int) -> int:
    """`turned_phase` for an image (H, W, C); 0 where the model sees no parities."""
    return turned_phase(phase, *image.shape[:2], orientation) if model.description.parities else 0
