"""The .p59 file: everything that decoding needs besides the model. docs/file_format.md describes all of its bytes.

A number n is a LEB128 integer: seven bits a byte, lowest first, the top bit set in all bytes but the last, no needless
byte. Checksums are as their algorithms write them.

    bytes  field
        4  magic           89 50 35 39  ("\\x89P59")
        1  version         1
        1  mode            low nibble: 0 bilevel, 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA, 5 palette indices;
                           high nibble: 0 for samples of 8 bits (bilevel: 1), 1 for samples of 16 bits
        n  height H        1 ..
        n  width W         1 ..
      4|8  pixels          BLAKE2b of mode, size, palette, transparency and samples (see `pixel_checksum`);
                           8 bytes for images of 65,536 pixels or more
           chunks          one after another: tRNS-like facts first, then what codes the samples
        4  CRC-32          of all bytes before it, little-endian; ends the file

    A chunk:  1  type      below 128: a reader that does not know the type refuses the file; from 128 on it skips it
              n  length L
              L  data

    type  data                                                                         how often
       1  PLANES          the planes of one group, coded: see coders.planes            once for each group, in order
       2  PALETTE         colours R G B of 8 bits, 1 to 256 of them; mode 5 only       once, before PLANES
       3  TRANSPARENCY    as in PNG's tRNS chunk                                       at most once, before PLANES
     128  METADATA        the 4-byte type and the data of one PNG chunk such as iCCP   any number, before PLANES

A photograph coded by one network has 43 bytes besides its arithmetic-coded stream, 1 more where it is turned or 2 where
it has a phase (see coders.network_rows), and 1 more where its planes take 2 MiB or more; that is for 65,536 pixels or
more, sides of 128 to 16,383 and planes of 16 KiB to 256 MiB. A tiny image coded plainly has 19 or 20 bytes besides its
rows. A photograph coded by a network that was adapted to it has the adaptation and its length besides. What bytes
mean does not change within a version: what is new gets numbers (of modes, chunks, forms, codings) that older readers
refuse. Readers keep reading what older encoders wrote; which of the possible files of an image an encoder writes may
change.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b

import numpy as np

from coders.fields import Reader, number
from utils.errors import FormatError

MAGIC = b"\x89P59"
VERSION = 1
LARGE_PIXELS = 1 << 16
CRC_BYTES = 4
#: Images of more pixels are refused unless the caller allows more (compare Pillow's decompression bomb check).
PIXEL_LIMIT = 1 << 28
#: Files of more chunks are refused: each takes far more memory than its two bytes.
MOST_CHUNKS = 1 << 16


ANCILLARY = 128


class ChunkType(IntEnum):
    PLANES = 1
    PALETTE = 2
    TRANSPARENCY = 3
    METADATA = 128


@dataclass(frozen=True)
class Mode:
    """What the samples of an image mean. `code` is the file's byte; `name` is Pillow's, or has ";16" appended.

    `groups` are the numbers of channels of the plane groups, 8 bits each: 16-bit samples are the groups of their high
    bytes and then those of their low bytes; colour and alpha are groups of their own.
    """

    code: int
    name: str
    groups: tuple[int, ...]

    @property
    def wide(self) -> bool:
        """Whether samples have 16 bits."""
        return self.code >= 16

    @property
    def channels(self) -> int:
        """Channels C of the samples (H, W, C)."""
        return sum(self.groups) // (2 if self.wide else 1)


MODES = (
    Mode(0, "1", (1,)),
    Mode(1, "L", (1,)),
    Mode(2, "LA", (1, 1)),
    Mode(3, "RGB", (3,)),
    Mode(4, "RGBA", (3, 1)),
    Mode(5, "P", (1,)),
    Mode(17, "I;16", (1, 1)),
    Mode(18, "LA;16", (1, 1, 1, 1)),
    Mode(19, "RGB;16", (3, 3)),
    Mode(20, "RGBA;16", (3, 1, 3, 1)),
)
MODE_NAMED = {mode.name: mode for mode in MODES}
MODE_OF_CODE = {mode.code: mode for mode in MODES}


@dataclass(frozen=True)
class Container:
    """A parsed or to-be-written file. `pixels` is its checksum of the pixels; `chunks` are (type, data) in order."""

    mode: Mode
    height: int
    width: int
    pixels: bytes
    chunks: tuple[tuple[int, bytes], ...]

    def to_bytes(self) -> bytes:
        parts = [MAGIC, bytes((VERSION,)), header_of(self.mode, self.height, self.width), self.pixels]
        for kind, data in self.chunks:
            parts += [bytes((kind,)), number(len(data)), data]
        crc = 0
        for part in parts:
            crc = zlib.crc32(part, crc)
        return b"".join([*parts, crc.to_bytes(CRC_BYTES, "little")])

    @classmethod
    def from_bytes(cls, data: bytes, pixel_limit: int = PIXEL_LIMIT) -> Container:
        """Parse and check a file; coded planes are not looked into.

        Raises FormatError, which says what is wrong and what may be done.
        """
        if data[:4] != MAGIC:
            raise FormatError("not a .p59 file (its first bytes are others); give a file that P59 encoded")
        reader = Reader(data[: max(4, len(data) - CRC_BYTES)], 4)
        version = reader.byte()
        if version != VERSION:
            raise FormatError(f"container version {version}, this release reads {VERSION}; use a newer release")
        if zlib.crc32(memoryview(data)[:-CRC_BYTES]) != int.from_bytes(data[-CRC_BYTES:], "little"):
            raise FormatError("damaged or truncated (the file's checksum differs); get the file again")
        code, height, width = reader.byte(), reader.number(), reader.number()
        if code not in MODE_OF_CODE or not height or not width:
            raise FormatError(f"header not valid (mode {code}, size {height}x{width}); use a newer release")
        if height * width > pixel_limit:
            raise FormatError(f"{height}x{width} pixels are more than the limit of {pixel_limit}; raise pixel_limit")
        pixels, chunks = reader.take(checksum_bytes(height * width)), []
        while reader.left:
            chunks.append((reader.byte(), reader.take(reader.number())))
            if len(chunks) > MOST_CHUNKS:
                raise FormatError(f"more than {MOST_CHUNKS} chunks; get the file again")
        container = cls(MODE_OF_CODE[code], height, width, pixels, tuple(chunks))
        container._check_chunks()
        return container

    def _check_chunks(self) -> None:
        kinds = [kind for kind, _ in self.chunks if kind < ANCILLARY or kind == ChunkType.METADATA]
        planes = kinds.index(ChunkType.PLANES) if ChunkType.PLANES in kinds else len(kinds)
        before, coded = kinds[:planes], kinds[planes:]
        palettes = 1 if self.mode.name == "P" else 0
        if (
            coded != [ChunkType.PLANES] * len(self.mode.groups)
            or before.count(ChunkType.PALETTE) != palettes
            or before.count(ChunkType.TRANSPARENCY) > 1
            or not set(before) <= {ChunkType.PALETTE, ChunkType.TRANSPARENCY, ChunkType.METADATA}
        ):
            found = " ".join(map(str, kinds))
            raise FormatError(f"chunks ({found}) are not those of version {VERSION}; use a newer release")
        if any(len(data) < 4 for data in self.chunks_of(ChunkType.METADATA)):
            raise FormatError("metadata without the type of a PNG chunk; get the file again")
        if palettes and (len(self.palette) % 3 or not 3 <= len(self.palette) <= 768):
            raise FormatError(
                f"palette of {len(self.palette)} bytes, allowed are 3 to 768 in threes; get the file again"
            )

    def chunks_of(self, kind: ChunkType) -> tuple[bytes, ...]:
        """Data of all chunks of a type, in order."""
        return tuple(data for each, data in self.chunks if each == kind)

    @property
    def planes(self) -> tuple[bytes, ...]:
        """Coded planes of each group."""
        return self.chunks_of(ChunkType.PLANES)

    @property
    def palette(self) -> bytes:
        """Colours R G B of mode P; empty in other modes."""
        return b"".join(self.chunks_of(ChunkType.PALETTE))

    @property
    def transparency(self) -> bytes | None:
        """The content of PNG's tRNS chunk, if there is one."""
        return next(iter(self.chunks_of(ChunkType.TRANSPARENCY)), None)

    @property
    def metadata(self) -> tuple[tuple[bytes, bytes], ...]:
        """(type, data) of PNG chunks."""
        return tuple((data[:4], data[4:]) for data in self.chunks_of(ChunkType.METADATA))


def checksum_bytes(pixels: int) -> int:
    """Bytes of the pixel checksum of an image of so many pixels."""
    return 8 if pixels >= LARGE_PIXELS else 4


def pixel_checksum(
    samples: np.ndarray, palette: bytes = b"", transparency: bytes | None = None, header: bytes = b""
) -> bytes:
    """BLAKE2b of a file's mode, height and width (see `header_of`), palette, transparency and samples (H, W, C).

    Without mode and size, the same samples could pass for an image of another shape. The samples go in row by row,
    channels interleaved, 16-bit ones with the high byte first.
    """
    digest = blake2b(header + palette, digest_size=checksum_bytes(samples.shape[0] * samples.shape[1]))
    digest.update(transparency or b"")
    digest.update(np.ascontiguousarray(samples, samples.dtype.newbyteorder(">")))
    return digest.digest()


def header_of(mode: Mode, height: int, width: int) -> bytes:
    """Mode, height and width as they stand in a file."""
    return b"".join((bytes((mode.code,)), number(height), number(width)))
