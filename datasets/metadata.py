"""What an image file says besides samples: colour profile, EXIF, resolution, gamma, texts. As chunks of PNG files.

Chunks are defined in the PNG specification (third edition, section 11.3); `Picture.metadata` holds them.
"""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from typing import Any

from PIL.PngImagePlugin import PngImageFile, PngInfo, iTXt

from utils.errors import FormatError
from utils.png_chunks import Chunk, image_chunks, png_file

#: Chunks that a file may carry; others are left out when it is read.
KINDS = frozenset((b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV", b"cLLI", b"pHYs", b"eXIf"))
KINDS |= frozenset((b"tEXt", b"zTXt", b"iTXt"))
#: Bits of a sample, PNG colour type and bytes of one pixel of a mode.
PIXELS = {
    "1": (1, 0, 1),
    "L": (8, 0, 1),
    "LA": (8, 4, 2),
    "P": (8, 3, 1),
    "RGB": (8, 2, 3),
    "RGBA": (8, 6, 4),
    "I;16": (16, 0, 2),
    "LA;16": (16, 4, 4),
    "RGB;16": (16, 2, 6),
    "RGBA;16": (16, 6, 8),
}
XMP = "XML:com.adobe.xmp"
INCH = 0.0254
#: Entries of `info` that are no texts, unless they are strings.
NAMES = frozenset(("icc_profile", "srgb", "gamma", "chromaticity", "dpi", "aspect", "exif", "xmp", "transparency"))
FACTS = NAMES | {"resolution", "jfif_unit", "jfif_density"}
#: Characters of a text's key (PNG specification, section 11.3.3).
LONGEST_KEY = 79
#: Pillow reads no more of a compressed part of a PNG file.
LONGEST_INFLATED = 1 << 20


def chunks_saying(facts: dict[str, Any], texts: dict[str, str], exif: bytes) -> list[Chunk]:
    """What says these facts (named as entries of `info`, FACTS), EXIF and texts.

    Raises ValueError, TypeError, ArithmeticError or struct.error where values make no sense.
    """
    chunks: list[Chunk] = []
    if profile := facts.get("icc_profile"):
        chunks.append(profile_chunk(profile))
    elif facts.get("srgb") is not None:
        chunks.append((b"sRGB", bytes((facts["srgb"],))))
    if gamma := facts.get("gamma"):
        chunks.append((b"gAMA", struct.pack(">I", round(gamma * 100000))))
    if chromaticity := facts.get("chromaticity"):
        chunks.append((b"cHRM", struct.pack(">8I", *(round(value * 100000) for value in chromaticity))))
    if resolution := _resolution(facts):
        chunks.append((b"pHYs", resolution))
    if exif:
        chunks.append((b"eXIf", exif))
    return [*chunks, *_texts(texts)]


def same_metadata(one: tuple[Chunk, ...], other: tuple[Chunk, ...]) -> bool:
    """Whether two pictures' metadata say the same; another library may have compressed them to other bytes."""
    return [_inflated(*chunk) for chunk in one] == [_inflated(*chunk) for chunk in other]


def _inflated(kind: bytes, data: bytes) -> tuple[bytes, ...]:
    """A chunk with its compressed part, if it has one, inflated: after the key, and in iTXt after its other fields."""
    key, _, rest = data.partition(b"\0")
    parts = (rest[:1], rest[1:])
    if kind == b"iTXt":
        language, translated, text = (*rest[2:].split(b"\0", 2), b"", b"")[:3]
        parts = (rest[:2] + language + b"\0" + translated, text)
    if kind in (b"iCCP", b"zTXt") or (kind == b"iTXt" and rest[:1] == b"\1"):
        with suppress(zlib.error):
            return kind, key, parts[0], zlib.decompressobj().decompress(parts[1], LONGEST_INFLATED)
    return kind, data


def profile_chunk(profile: bytes) -> Chunk:
    return b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile, 9)


def info_of(mode: str, palette: bytes, transparency: bytes | None, metadata: tuple[Chunk, ...]) -> dict[str, Any]:
    """What Pillow's `info` says of a PNG file with these facts. Raises FormatError where they make no sense."""
    return info_and_texts(mode, with_palette(palette, transparency, metadata))[0]


def with_palette(palette: bytes, transparency: bytes | None, metadata: tuple[Chunk, ...]) -> list[Chunk]:
    """Metadata, palette and transparency as chunks."""
    chunks = [chunk for chunk in metadata if chunk[0] in KINDS]
    if palette:
        chunks.append((b"PLTE", palette))
    if transparency is not None:
        chunks.append((b"tRNS", transparency))
    return chunks


def info_and_texts(mode: str, chunks: list[Chunk]) -> tuple[dict[str, Any], dict[str, str]]:
    """Pillow's `info` and `text` of a PNG file with these chunks. Raises FormatError where they make no sense."""
    depth, colour_type, size = PIXELS[mode]
    header, data = image_chunks(1, 1, depth, colour_type, zlib.compress(bytes(1 + size)))
    try:
        with PngImageFile(io.BytesIO(png_file([header, *chunks, data, (b"IEND", b"")]))) as image:
            info = dict(image.info)
            return info, dict(image.text)
    except Exception as error:  # Pillow raises many types for chunks that are none
        raise FormatError(f"metadata cannot be read ({error}); get the file again") from error


def _resolution(info: dict[str, Any]) -> bytes | None:
    if info.get("dpi") == info.get("resolution") == (1, 1):  # how Pillow says that a TIFF file has none
        return None
    if "dpi" in info:
        per_metre = [round(float(value) / INCH) for value in info["dpi"]]
        return struct.pack(">IIB", *per_metre, 1) if all(value > 0 for value in per_metre) else None
    if "aspect" in info:
        return struct.pack(">IIB", *info["aspect"], 0)
    # JPEG and TIFF without a unit: only the pixels' shape counts
    across, down = (info.get("jfif_density") if info.get("jfif_unit") == 0 else info.get("resolution")) or (1, 1)
    if across == down or not (across > 0 and down > 0):
        return None
    scale = 1 if float(across).is_integer() and float(down).is_integer() else 10000
    shape = round(across * scale), round(down * scale)
    return struct.pack(">IIB", *shape, 0) if min(shape) >= 1 and max(shape) < 1 << 32 else None


def _texts(named: dict[str, str]) -> list[Chunk]:
    texts = PngInfo()
    for key, text in named.items():
        if not 1 <= len(key) <= LONGEST_KEY or "\0" in key:
            raise ValueError(f"text key {key!r} is not of 1 to {LONGEST_KEY} characters")
        if isinstance(text, iTXt):
            texts.add_itxt(key, text, text.lang or "", text.tkey or "", zip=len(text) > 100)
        else:
            texts.add_text(key, text, zip=len(text) > 100)
    return [(kind, data) for kind, data, *_ in texts.chunks]
