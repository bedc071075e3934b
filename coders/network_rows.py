"""Rows of pixels to bytes and back by a network: codings 8 to 14 of coders.planes.

coding 8..10   in the scan order of code 0..2: 16 bytes fingerprint of the model, arithmetic-coded stream
       11..13  the same with the model adapted to the image: 16 bytes fingerprint of the model that is adapted,
               length of the adaptation (LEB128), adaptation (see coders.side_information), stream
       14      placed: 1 byte, high nibble one of the codings above, low nibble the orientation in which its rows are
               (0..7, see coders.placement), plus 8 where 1 byte with their phase follows (1..3), then as in that
               coding; orientation 0 without a phase is not written
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from coders.backends import Backend
from coders.fields import Reader, number
from coders.placement import Placement, best_placement, turned, turned_back
from coders.scan import SCAN_OF_CODE, SCANS, Scan, is_too_large
from coders.side_information import adaptation_of_bytes, adaptation_to_bytes
from models.adaptation import Adaptation, adapted
from models.frozen import FINGERPRINT_BYTES, FrozenModel
from models.neighbourhood import PARITIES, Tap
from utils.errors import FormatError, ModelError

NETWORK = 8
ADAPTED = NETWORK + len(SCANS)
PLACED = ADAPTED + len(SCANS)
#: Added to the orientation where a byte with the phase follows; phases that are written.
WITH_PHASE, PHASES = 8, range(1, 1 << PARITIES)
#: No symbol's share of the arithmetic coder's 65,536 is more than 65,281, so no sub-pixel costs fewer bits than this.
LEAST_BITS = math.log2(65536 / 65281)
#: No adaptation is looked for where the network alone takes fewer bytes than this: it would save no more than it takes.
WORTH_ADAPTING = 1 << 11

Fit = Callable[[np.ndarray, FrozenModel, tuple[Tap, ...]], Adaptation]


@dataclass(frozen=True)
class NetworkCoding:
    """How rows may be coded by a network: in `scan` order; `models` gives one for rows (H, W, C) uint8, or None.

    `fit` (image, model, taps), where given, looks for an adaptation, which is used where it makes the file smaller.
    With `turn` rows are coded in the orientation that suits them best.
    """

    models: Callable[[np.ndarray], FrozenModel | None]
    scan: Scan
    backend: Backend
    fit: Fit | None = None
    turn: bool = True


class Coding(NamedTuple):
    """How rows are coded by a network."""

    scan: Scan
    is_adapted: bool
    placement: Placement

    @property
    def header(self) -> int:
        """Bytes before the model's fingerprint."""
        return len(_place_bytes(0, self.placement))


class NetworkRows(NamedTuple):
    """The parts of coded rows: how they are coded, the first 16 bytes of the model's fingerprint, the adaptation (empty
    where there is none) and the arithmetic-coded stream."""

    coding: Coding
    fingerprint: bytes
    adaptation: bytes
    stream: bytes


def _coding(coding: int, data: bytes) -> Coding | None:
    """What a coding and the bytes after it say; None where it is no network's."""
    placement = Placement()
    if coding == PLACED and data:
        coding, low = divmod(data[0], 16)
        with_phase, orientation = divmod(low, WITH_PHASE)
        placement = Placement(orientation, data[1] if with_phase and len(data) > 1 else 0)
        if placement.phase not in PHASES if with_phase else not orientation:
            return None
    is_adapted = ADAPTED <= coding < PLACED
    scan = SCAN_OF_CODE.get(coding - (ADAPTED if is_adapted else NETWORK))
    return None if scan is None else Coding(scan, is_adapted, placement)


def encode_rows(rows: np.ndarray, network: NetworkCoding, most: int) -> tuple[int, bytes, FrozenModel] | None:
    """(coding, bytes, model) of rows (H, W, C) uint8; None where there is no model for them, they are too large for
    one, or `most` bytes cannot do."""
    if rows.size * LEAST_BITS / 8 + FINGERPRINT_BYTES > most or is_too_large(*rows.shape[:2]):
        return None
    model = network.models(rows)
    if model is None:
        return None
    placement = Placement()
    if network.turn or model.description.parities:
        placement = best_placement(model, rows, network.scan, network.backend, network.turn)
    in_phase = model.phases[placement.phase]
    stream = network.backend.encode(turned(rows, placement.orientation), in_phase, network.scan)
    return *_placed(NETWORK + network.scan.code, placement, model.file_id + stream), model


def encode_rows_adapted(
    rows: np.ndarray, network: NetworkCoding, model: FrozenModel, placement: Placement, size: int
) -> tuple[int, bytes] | None:
    """(coding, bytes) with the model fitted to the rows, which may take more bytes; None where nothing is fitted.

    `model` and `placement` are what `encode_rows` found for the rows, `size` the bytes they take by it.
    """
    if network.fit is None or size < WORTH_ADAPTING:
        return None
    rows, in_phase = turned(rows, placement.orientation), model.phases[placement.phase]
    adaptation = network.fit(rows, in_phase, network.scan.taps(model.description.taps))
    try:
        fitted = adapted(in_phase, adaptation)
    except ModelError:  # too large for integers: nothing is lost but the time
        return None
    stream = network.backend.encode(rows, fitted, network.scan)
    side = adaptation_to_bytes(adaptation, model.description)
    data = model.file_id + number(len(side)) + side + stream
    return _placed(ADAPTED + network.scan.code, placement, data)


def _placed(coding: int, placement: Placement, data: bytes) -> tuple[int, bytes]:
    header = _place_bytes(coding, placement)
    return (PLACED if header else coding), header + data


def _place_bytes(coding: int, placement: Placement) -> bytes:
    """What stands before the data of a coding: nothing where the rows lie as they are."""
    if placement.phase:
        return bytes((coding << 4 | WITH_PHASE | placement.orientation, placement.phase))
    return bytes((coding << 4 | placement.orientation,)) if placement.orientation else b""


def parsed_rows(coding: int, data: bytes) -> NetworkRows | None:
    """The parts of rows that were coded to `data`; None where not by a network. Raises FormatError where they end
    early."""
    named = _coding(coding, data)
    if named is None:
        return None
    reader = Reader(data, named.header)
    fingerprint = reader.take(FINGERPRINT_BYTES)
    adaptation = reader.take(reader.number()) if named.is_adapted else b""
    return NetworkRows(named, fingerprint, adaptation, reader.rest())


def decode_rows(
    coding: int,
    data: bytes,
    shape: tuple[int, int, int],
    find_model: Callable[[bytes], FrozenModel],
    backend: Backend,
) -> np.ndarray:
    """The rows of `shape` (H, W, C) that were coded to `data`.

    Raises FormatError where these are not rows of that shape, and what `find_model` raises.
    """
    parsed = parsed_rows(coding, data)
    if parsed is None:
        raise FormatError(f"planes of unknown coding {coding}; use a newer release")
    named, fingerprint, side, stream = parsed
    most = (8 * len(stream) + 64) / LEAST_BITS
    if math.prod(shape) > most:
        raise FormatError(
            f"a stream of {len(stream)} bytes cannot hold {shape[0]}x{shape[1]} pixels; get the file again"
        )
    if is_too_large(*shape[:2]):
        raise FormatError(f"{shape[0]}x{shape[1]} pixels are more than networks code; get the file again")
    model = find_model(fingerprint)
    if model.description.channels != shape[2] or model.file_id != fingerprint:
        raise FormatError(f"coded with model {fingerprint[:8].hex()}, not {model.name}; give that model")
    if named.placement.phase:
        if not model.description.parities:
            raise FormatError(f"model {model.name} sees no parities, the file says in which phase; get the file again")
        model = model.phases[named.placement.phase]
    if named.is_adapted:
        try:
            model = adapted(model, adaptation_of_bytes(side, model.description))
        except ModelError as error:
            raise FormatError(str(error)) from error
    orientation = named.placement.orientation
    height, width = (shape[1], shape[0]) if orientation & 4 else shape[:2]
    return turned_back(backend.decode(stream, height, width, model, named.scan), orientation)
