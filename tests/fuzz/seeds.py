"""Tiny .p59 files of every mode and method, and what decoding one must give or raise."""

from __future__ import annotations

import zlib
from dataclasses import replace
from functools import cache

import numpy as np

from coders import plain
from coders.backends import backend_for
from coders.container import MODE_NAMED, ChunkType, Container
from coders.fields import number as number_bytes
from coders.image_codec import decode_picture, encode_picture
from coders.network_rows import ADAPTED, NETWORK, PLACED, WITH_PHASE
from coders.picture import Picture, same_picture
from coders.placement import ORIENTATIONS, turned
from coders.planes import COPY, EXPANDED, ITSELF, ONE_CHANNEL, PACKED, TABLE
from coders.scan import SCANS, Scan
from coders.side_information import adaptation_to_bytes
from models.adaptation import adapted
from models.frozen import FINGERPRINT_BYTES, FrozenModel
from tests.helpers import TINY, random_adaptation, random_frozen
from utils.errors import ModelError, P59Error

#: No small file may keep the decoder busy; larger images are refused at once.
PIXEL_LIMIT = 4096
MODELS = {3: random_frozen(TINY["west"]), 1: random_frozen(TINY["gray"])}
#: A colour model whose files are in phases.
SEEING = random_frozen(TINY["parities"])
_FOUND = {model.file_id: model for model in (*MODELS.values(), SEEING)}
BACKEND = backend_for("cpu", 1)


def find_model(fingerprint: bytes) -> FrozenModel:
    """The models of the seeds, for any file: a mutated fingerprint must not hide what lies behind it."""
    if fingerprint in _FOUND:
        return _FOUND[fingerprint]
    raise ModelError("no such model; give it")


@cache
def seeds() -> tuple[tuple[bytes, Picture], ...]:
    """Files with their pictures: whole ones as encoding writes them, and each method by itself."""
    random = np.random.default_rng(0)
    row, column = np.mgrid[:6, :9]
    smooth = np.stack([row * 9 + column, row * 5, column * 7], 2)
    metadata = ((b"gAMA", b"\0\0\xb1\x8f"), (b"tEXt", b"a\0b"), (b"eXIf", b"MM\0*\0\0\0\x08\0\0\0\0\0\0"))
    pictures = [
        Picture(MODE_NAMED["1"], random.integers(0, 2, (5, 11, 1), np.uint8)),
        Picture(MODE_NAMED["L"], smooth[:, :, :1].astype(np.uint8), transparency=b"\0\7", metadata=metadata),
        Picture(MODE_NAMED["LA"], smooth[:, :, :2].astype(np.uint8)),
        Picture(MODE_NAMED["RGB"], random.integers(0, 256, (4, 5, 3), np.uint8), metadata=metadata[:1]),
        Picture(MODE_NAMED["RGBA"], np.dstack([smooth, row]).astype(np.uint8)),
        Picture(MODE_NAMED["P"], random.integers(0, 3, (6, 9, 1), np.uint8), random.bytes(9), b"\0\x80\xff"),
        Picture(MODE_NAMED["I;16"], (smooth[:, :, :1] * 700).astype(np.uint16)),
        Picture(MODE_NAMED["RGB;16"], (smooth * 257).astype(np.uint16)),
        Picture(MODE_NAMED["RGBA;16"], random.integers(0, 65536, (3, 4, 4)).astype(np.uint16)),
    ]
    files = [
        (encode_picture(picture, lambda rows: MODELS.get(rows.shape[2]), SCANS["wavefront"], BACKEND), picture)
        for picture in pictures
    ]
    files += [(_by_hand(picture, group), picture) for picture, group in _each_method(random, smooth.astype(np.uint8))]
    for data, picture in files:
        assert same_picture(decode(data), picture)
    return tuple(files)


def decode(data: bytes) -> Picture:
    """Raises P59Error, and nothing else."""
    return decode_picture(Container.from_bytes(data, PIXEL_LIMIT), find_model, BACKEND)


def judged(data: bytes, picture: Picture) -> str | None:
    """What is wrong with how a changed file is decoded: None where it is refused or gives the same pixels.

    Metadata may change with the bytes that hold it; pixels, palette and transparency may not.
    """
    try:
        result = decode(data)
    except P59Error as error:
        return None if "\n" not in str(error) else f"message of several lines: {error!r}"
    except Exception as error:  # what the fuzzer is for
        return f"{type(error).__name__}: {error}"
    if same_picture(replace(result, metadata=picture.metadata), picture):
        return None
    forged = Container.from_bytes(data, PIXEL_LIMIT).pixels != picture.checksum
    return None if forged else "wrong pixels accepted"


def with_crc(data: bytes) -> bytes:
    """The file with the checksum of what it holds, so that changes get past it."""
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


def _each_method(random: np.random.Generator, smooth: np.ndarray):
    """(picture, its coded group) for each form and coding."""
    rgb, gray = MODE_NAMED["RGB"], MODE_NAMED["L"]
    for scan in SCANS.values():
        for mode, model, image in ((rgb, MODELS[3], smooth), (gray, MODELS[1], smooth[:, :, :1].copy())):
            stream = model.file_id + BACKEND.encode(image, model, scan)
            yield Picture(mode, image), bytes((ITSELF << 4 | NETWORK + scan.code,)) + stream
            yield Picture(mode, image), bytes((ITSELF << 4 | ADAPTED + scan.code,)) + _adapted(image, model, scan)
    for orientation in range(1, ORIENTATIONS):
        scan, image = list(SCANS.values())[orientation % 3], turned(smooth, orientation)
        inner = (NETWORK if orientation % 2 else ADAPTED) + scan.code
        stream = MODELS[3].file_id + BACKEND.encode(image, MODELS[3], scan)
        data = stream if orientation % 2 else _adapted(image, MODELS[3], scan)
        yield Picture(rgb, smooth), bytes((ITSELF << 4 | PLACED, inner << 4 | orientation)) + data
    for phase in range(1, len(SEEING.phases)):
        orientation, scan = phase - 1, SCANS["diagonal"]
        stream = BACKEND.encode(turned(smooth, orientation), SEEING.phases[phase], scan)
        place = bytes((ITSELF << 4 | PLACED, NETWORK + scan.code << 4 | WITH_PHASE | orientation, phase))
        yield Picture(rgb, smooth), place + SEEING.file_id + stream
    place = bytes((ITSELF << 4 | PLACED, ADAPTED + scan.code << 4 | WITH_PHASE, 3))
    data = _adapted(smooth, SEEING.phases[3], scan)
    yield Picture(rgb, smooth), place + SEEING.file_id + data[FINGERPRINT_BYTES:]
    first = np.ascontiguousarray(smooth[:, :, :1])
    one = MODELS[1].file_id + BACKEND.encode(first, MODELS[1], SCANS["wavefront"])
    yield Picture(rgb, np.repeat(first, 3, 2)), bytes((ONE_CHANNEL << 4 | NETWORK + 1,)) + one
    yield Picture(rgb, smooth), bytes((ITSELF << 4 | plain.RAW,)) + smooth.tobytes()
    yield Picture(rgb, smooth), bytes((ITSELF << 4 | plain.ROWS,)) + plain.encode_rows(smooth)
    coding, differences = plain.encode_differences(smooth)
    yield Picture(rgb, smooth), bytes((ITSELF << 4 | coding,)) + differences
    packed = random.integers(0, 4, (5, 7, 1), np.uint8)
    rows = np.zeros((5, 2, 1), np.uint8)
    for place in range(7):
        rows[:, place // 4, 0] |= packed[:, place, 0] << (6 - 2 * (place % 4))
    yield Picture(gray, packed), bytes((PACKED + 1 << 4,)) + rows.tobytes()
    yield Picture(rgb, np.full((5, 7, 3), 9, np.uint8)), bytes((TABLE << 4, 0, 9, 9, 9))
    yield Picture(gray, packed * 40), bytes((TABLE << 4, 3, 0, 40, 80, 120)) + rows.tobytes()
    palette = bytes(range(0, 120, 10))
    expanded = np.frombuffer(palette, np.uint8).reshape(-1, 3)[packed[:, :, 0]]
    stream = MODELS[3].file_id + BACKEND.encode(expanded, MODELS[3], SCANS["wavefront"])
    yield Picture(MODE_NAMED["P"], packed, palette), bytes((EXPANDED << 4 | NETWORK + 1,)) + stream
    alpha = np.repeat(first, 2, 2)
    yield Picture(MODE_NAMED["LA"], alpha), bytes((ITSELF << 4,)) + first.tobytes()


def _adapted(image: np.ndarray, model: FrozenModel, scan: Scan) -> bytes:
    """What follows a group's coding where its model is adapted: here by random numbers."""
    adaptation = random_adaptation(model.description, scan.code, products=scan.code)
    side = adaptation_to_bytes(adaptation, model.description)
    stream = BACKEND.encode(image, adapted(model, adaptation), scan)
    return model.file_id + number_bytes(len(side)) + side + stream


def _by_hand(picture: Picture, group: bytes) -> bytes:
    chunks = [(ChunkType.PALETTE, picture.palette)] if picture.palette else []
    chunks.append((ChunkType.PLANES, group))
    chunks += [(ChunkType.PLANES, bytes((COPY << 4, 0)))] * (len(picture.mode.groups) - 1)
    return Container(picture.mode, picture.height, picture.width, picture.checksum, tuple(chunks)).to_bytes()
