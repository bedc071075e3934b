"""PNG files as lists of chunks."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Longer image data is spread over several IDAT chunks.
IDAT_BYTES = 1 << 30

Chunk = tuple[bytes, bytes]


def png_chunks(png: bytes) -> list[Chunk]:
    """(type, data) of the chunks of a PNG file, up to where it is damaged."""
    chunks, position = [], len(SIGNATURE)
    while position + 12 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        chunks.append((kind, png[position + 8 : position + 8 + length]))
        position += 12 + length
    return chunks


def chunks_but_samples(file: BinaryIO) -> tuple[list[Chunk], list[Chunk]]:
    """(type, data) of a PNG file's chunks before the first IDAT, and of those after it, up to where it is damaged.

    The file's position stays as it is.
    """
    before: list[Chunk] = []
    after: list[Chunk] = []
    chunks, place, given = before, len(SIGNATURE), file.tell()
    while file.seek(place) == place and len(head := file.read(8)) == 8 and head[4:] != b"IEND":
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IDAT":
            chunks = after
        elif len(data := file.read(length)) == length:
            chunks.append((kind, data))
        place += 12 + length
    file.seek(given)
    return before, after


def png_file(chunks: list[Chunk]) -> bytes:
    """The PNG file of these chunks."""
    parts = [SIGNATURE]
    for kind, data in chunks:
        parts += [struct.pack(">I4s", len(data), kind), data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))]
    return b"".join(parts)


def image_data(chunks: list[Chunk]) -> bytes:
    """The deflated rows in a PNG file's IDAT chunks."""
    return b"".join(data for kind, data in chunks if kind == b"IDAT")


def image_chunks(width: int, height: int, depth: int, colour_type: int, data: bytes) -> list[Chunk]:
    """IHDR and IDAT chunks of an image whose deflated rows are `data`."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    pieces = [data[start : start + IDAT_BYTES] for start in range(0, len(data), IDAT_BYTES)]
    return [(b"IHDR", header), *((b"IDAT", piece) for piece in pieces)]
