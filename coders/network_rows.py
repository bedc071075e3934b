"""Rows of pixels to bytes and back by a network: codings 8 to 13 of coders.planes.

coding 8..10   in the scan order of code 0..2: 16 bytes fingerprint of the model, arithmetic-coded stream
       11..13  the same with the model adapted to the image: 16 bytes fingerprint of the model that is adapted,
               length of the adaptation (LEB128), adaptation (see coders.side_information), stream
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from coders.backends import Backend
from coders.container import Reader, number
from coders.scan import SCAN_OF_CODE, SCANS, Scan
from coders.side_information import adaptation_of_bytes, adaptation_to_bytes
from models.adaptation import Adaptation, adapted
from models.frozen import FINGERPRINT_BYTES, FrozenModel
from models.neighbourhood import Tap
from utils.errors import FormatError, ModelError

NETWORK = 8
ADAPTED = NETWORK + len(SCANS)
#: No symbol's share of the arithmetic coder's 65,536 is more than 65,281, so no sub-pixel costs fewer bits than this.
LEAST_BITS = math.log2(65536 / 65281)
#: No adaptation is looked for where the network alone takes fewer bytes than this: it would save no more than it takes.
WORTH_ADAPTING = 1 << 11

Fit = Callable[[np.ndarray, FrozenModel, tuple[Tap, ...]], Adaptation]


@dataclass(frozen=True)
class NetworkCoding:
    """How rows may be coded by a network: in `scan` order; `models` gives one for rows (H, W, C) uint8, or None.

    `fit` (image, model, taps), where given, looks for an adaptation, which is used where it makes the file smaller.
    """

    models: Callable[[np.ndarray], FrozenModel | None]
    scan: Scan
    backend: Backend
    fit: Fit | None = None


def network_coding(coding: int) -> tuple[Scan | None, bool]:
    """The scan order of a coding, None where it is no network's, and whether its model is adapted."""
    is_adapted = ADAPTED <= coding < ADAPTED + len(SCANS)
    return SCAN_OF_CODE.get(coding - (ADAPTED if is_adapted else NETWORK)), is_adapted


def encode_rows(rows: np.ndarray, network: NetworkCoding, most: int) -> tuple[int, bytes] | None:
    """(coding, bytes) of rows (H, W, C) uint8; None where there is no model for them or `most` bytes cannot do."""
    if rows.size * LEAST_BITS / 8 + FINGERPRINT_BYTES > most:
        return None
    model = network.models(rows)
    if model is None:
        return None
    stream = network.backend.encode(rows, model, network.scan)
    return NETWORK + network.scan.code, model.fingerprint[:FINGERPRINT_BYTES] + stream


def encode_rows_adapted(rows: np.ndarray, network: NetworkCoding, size: int) -> tuple[int, bytes] | None:
    """The same with the model fitted to the rows, which may take more bytes; None where nothing is fitted.

    `size` is what the rows take without.
    """
    if network.fit is None or size < WORTH_ADAPTING:
        return None
    model = network.models(rows)
    if model is None:
        return None
    adaptation = network.fit(rows, model, network.scan.taps(model.description.taps))
    try:
        fitted = adapted(model, adaptation)
    except ModelError:  # too large for integers: nothing is lost but the time
        return None
    stream = network.backend.encode(rows, fitted, network.scan)
    side = adaptation_to_bytes(adaptation, model.description)
    return ADAPTED + network.scan.code, model.fingerprint[:FINGERPRINT_BYTES] + number(len(side)) + side + stream


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
    scan, has_adaptation = network_coding(coding)
    reader = Reader(data)
    fingerprint = reader.take(FINGERPRINT_BYTES)
    side = reader.take(reader.number()) if has_adaptation else b""
    stream = reader.rest()
    most = (8 * len(stream) + 64) / LEAST_BITS
    if math.prod(shape) > most:
        raise FormatError(
            f"a stream of {len(stream)} bytes cannot hold {shape[0]}x{shape[1]} pixels; get the file again"
        )
    model = find_model(fingerprint)
    if model.description.channels != shape[2] or model.fingerprint[:FINGERPRINT_BYTES] != fingerprint:
        raise FormatError(f"coded with model {fingerprint[:8].hex()}, not {model.name}; give that model")
    if has_adaptation:
        try:
            model = adapted(model, adaptation_of_bytes(side, model.description))
        except ModelError as error:
            raise FormatError(str(error)) from error
    return backend.decode(stream, shape[0], shape[1], model, scan)
