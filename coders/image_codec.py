"""Images to .p59 bytes and back: plane groups and container together, with the checks that make it lossless."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from coders.backends import Backend
from coders.container import MODE_NAMED, ChunkType, Container
from coders.network_rows import Fit, NetworkCoding, NetworkRows
from coders.picture import Picture, samples_of_groups
from coders.planes import decode_group, encode_group, network_rows_of
from coders.scan import Scan
from models.frozen import FrozenModel
from utils.errors import FormatError, LosslessError


def encode_picture(
    picture: Picture,
    models: Callable[[np.ndarray], FrozenModel | None],
    scan: Scan,
    backend: Backend,
    fit: Fit | None = None,
    turn: bool = True,
) -> bytes:
    """The whole .p59 file of a picture. `models` gives the network for rows (H, W, C) uint8 of 3 or 1
    channels, None where there is none.

    `fit` (see coders.fitting), where given, may adapt the network to each group of the picture. With `turn` each group
    is coded in the orientation that suits it.
    """
    chunks: list[tuple[int, bytes]] = [(ChunkType.METADATA, kind + data) for kind, data in picture.metadata]
    if picture.mode.name == "P":
        chunks.append((ChunkType.PALETTE, picture.palette))
    if picture.transparency is not None:
        chunks.append((ChunkType.TRANSPARENCY, picture.transparency))
    groups, network = picture.groups(), NetworkCoding(models, scan, backend, fit, turn)
    for number, group in enumerate(groups):
        data = encode_group(group, groups[:number], picture.palette, network, picture.mode.name == "1")
        chunks.append((ChunkType.PLANES, data))
    return Container(picture.mode, picture.height, picture.width, picture.checksum, tuple(chunks)).to_bytes()


def decode_picture(container: Container, find_model: Callable[[bytes], FrozenModel], backend: Backend) -> Picture:
    """The picture of a parsed file. `find_model` takes the first 16 bytes of a model's fingerprint.

    Raises FormatError where the file contradicts itself, LosslessError where the samples differ from those encoded,
    and what `find_model` raises.
    """
    groups: list[np.ndarray] = []
    for data, channels in zip(container.planes, container.mode.groups, strict=True):
        shape = (container.height, container.width, channels)
        groups.append(decode_group(data, shape, groups, container.palette, find_model, backend))
    samples = samples_of_groups(groups, container.mode)
    if container.mode.name == "1" and samples.max() > 1:
        raise FormatError("bilevel samples that are neither 0 nor 1; get the file again")
    picture = Picture(container.mode, samples, container.palette, container.transparency, container.metadata)
    if picture.checksum != container.pixels:
        raise LosslessError("decoded pixels differ from those encoded (checksum); the file is damaged or forged")
    return picture


def network_rows(container: Container) -> tuple[NetworkRows, ...]:
    """The plane groups of a file that networks code, in its order. Raises FormatError where one ends early."""
    return tuple(rows for rows in map(network_rows_of, container.planes) if rows)


def models_named(container: Container) -> tuple[bytes, ...]:
    """First 16 bytes of the fingerprints of the models that a file needs, each once; none where it is coded plainly."""
    return tuple(dict.fromkeys(rows.fingerprint for rows in network_rows(container)))


def scan_named(container: Container) -> Scan | None:
    """The scan order of a file's networks, or None where it is coded plainly."""
    return next((rows.coding.scan for rows in network_rows(container)), None)


def encode_image(
    image: np.ndarray, model: FrozenModel, scan: Scan, backend: Backend, fit: Fit | None = None, turn: bool = True
) -> bytes:
    """The whole .p59 file of samples (H, W, C) uint8. Raises FormatError where the model has other channels."""
    channels = model.description.channels
    if image.shape[2] != channels:
        raise FormatError(f"image has {image.shape[2]} channels, model {model.name} codes {channels}; choose another")
    picture = Picture(MODE_NAMED["RGB" if channels == 3 else "L"], image)
    return encode_picture(picture, lambda rows: model if rows.shape[2] == channels else None, scan, backend, fit, turn)
