"""The .p59 file: everything that decoding needs besides the model. All integers little-endian.

    offset  bytes  field
         0      4  magic           89 50 35 39  ("\\x89P59")
         4      1  version         1
         5      1  scan order      0 sequential, 1 wavefront, 2 diagonal
         6      1  channels C      1 or 3
         7      1  sample depth    8 bits
         8      4  height H        1 ..
        12      4  width W         1 ..
        16     16  model           first bytes of the model's fingerprint (SHA-256, models.frozen)
        32      8  pixels          BLAKE2b-64 of the H*W*C samples, row by row, channels interleaved
        40      4  chunk count
        44      4  CRC-32 of bytes 0 .. 43
        48         chunks, one after another to the end of the file

    A chunk:     4  type           ASCII letters; a lower-case first letter may be skipped by a reader that does not
                                   know the type, an upper-case one must not
                 8  length L
                 L  data
                 4  CRC-32 of type, length and data

    Chunk types of version 1:      "DATA" the arithmetic-coded stream, exactly one

A change of any byte that encoding produces is a new version; readers keep reading the old ones.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from coders.scan import SCAN_OF_CODE, Scan
from utils.errors import FormatError

MAGIC = b"\x89P59"
VERSION = 1
HEADER = struct.Struct("<4sBBBBII16s8sI")
HEADER_BYTES = HEADER.size + 4
CHUNK = struct.Struct("<4sQ")
STREAM = b"DATA"
#: Images of more pixels are refused unless the caller allows more (compare Pillow's decompression bomb check).
PIXEL_LIMIT = 1 << 30


@dataclass(frozen=True)
class Container:
    """A parsed or to-be-written file. `model` holds 16 bytes, `pixels` 8 (see `pixel_checksum`)."""

    scan: Scan
    height: int
    width: int
    channels: int
    model: bytes
    pixels: bytes
    stream: bytes
    chunks: tuple[tuple[bytes, bytes], ...] = field(default=())

    def to_bytes(self) -> bytes:
        chunks = (*self.chunks, (STREAM, self.stream))
        header = HEADER.pack(
            MAGIC,
            VERSION,
            self.scan.code,
            self.channels,
            8,
            self.height,
            self.width,
            self.model,
            self.pixels,
            len(chunks),
        )
        parts = [header, struct.pack("<I", zlib.crc32(header))]
        for kind, data in chunks:
            head = CHUNK.pack(kind, len(data))
            parts += [head, data, struct.pack("<I", zlib.crc32(data, zlib.crc32(head)))]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes, pixel_limit: int = PIXEL_LIMIT) -> Container:
        """Parse and check a file. Raises FormatError, which says what is wrong and what may be done."""
        if data[:4] != MAGIC:
            raise FormatError("not a .p59 file (its first bytes are others); give a file that P59 encoded")
        if len(data) < HEADER_BYTES:
            raise FormatError(f"truncated: {len(data)} bytes, the header alone has {HEADER_BYTES}; get the whole file")
        _, version, order, channels, depth, height, width, model, pixels, count = HEADER.unpack_from(data)
        if version != VERSION:
            raise FormatError(f"container version {version}, this release reads {VERSION}; use a newer release")
        if zlib.crc32(data[: HEADER.size]) != int.from_bytes(data[HEADER.size : HEADER_BYTES], "little"):
            raise FormatError("header damaged (its checksum differs); get the file again")
        if order not in SCAN_OF_CODE or channels not in (1, 3) or depth != 8 or not height or not width:
            raise FormatError(
                f"header not valid (order {order}, channels {channels}, depth {depth}, size {height}x{width}); "
                "use a newer release"
            )
        if height * width > pixel_limit:
            raise FormatError(f"{height}x{width} pixels are more than the limit of {pixel_limit}; raise pixel_limit")
        chunks = list(_chunks(data, count))
        streams = [content for kind, content in chunks if kind == STREAM]
        unknown = [kind for kind, _ in chunks if kind != STREAM and not kind[:1].islower()]
        if len(streams) != 1 or unknown:
            found = " ".join(kind.decode("ascii", "replace") for kind, _ in chunks)
            raise FormatError(f"chunks ({found}) are not those of version {VERSION}; use a newer release")
        others = tuple(chunk for chunk in chunks if chunk[0] != STREAM)
        return cls(SCAN_OF_CODE[order], height, width, channels, model, pixels, streams[0], others)


def _chunks(data: bytes, count: int):
    position = HEADER_BYTES
    for _ in range(count):
        if position + CHUNK.size > len(data):
            raise FormatError(f"truncated after {len(data)} bytes; get the whole file")
        kind, length = CHUNK.unpack_from(data, position)
        start, end = position + CHUNK.size, position + CHUNK.size + length
        if end + 4 > len(data):
            raise FormatError(f"truncated after {len(data)} bytes, {end + 4} are expected; get the whole file")
        if zlib.crc32(data[position:end]) != int.from_bytes(data[end : end + 4], "little"):
            raise FormatError(f"chunk {kind.decode('ascii', 'replace')} damaged (checksum differs); get the file again")
        yield kind, data[start:end]
        position = end + 4
    if position != len(data):
        raise FormatError(f"{len(data) - position} bytes after the end of the file's last chunk; get the file again")


def pixel_checksum(image: np.ndarray) -> bytes:
    """BLAKE2b-64 of the samples of an image (H, W, C) uint8."""
    return blake2b(np.ascontiguousarray(image), digest_size=8).digest()
