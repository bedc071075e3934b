"""What an image file says besides samples: colour profile, EXIF, resolution, gamma, texts. As chunks of PNG files.

Chunks are defined in the PNG specification (third edition, section 11.3); `Picture.metadata` holds them.
"""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo, iTXt
from PIL.TiffImagePlugin import TiffImageFile

from datasets.deep import content_of, jpeg2000_profile
from datasets.tiff import exif_of_tiff
from utils.errors import FormatError
from utils.png_chunks import Chunk, chunks_before_samples, image_chunks, png_file

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
#: Entries of `info` that are no texts.
NAMES = frozenset(("icc_profile", "srgb", "gamma", "chromaticity", "dpi", "aspect", "exif", "xmp", "transparency"))
#: Entries of `info` that are no texts although they are strings.
NO_TEXTS = frozenset(("compression", "xmp"))
#: Characters of a text's key (PNG specification, section 11.3.3).
LONGEST_KEY = 79
#: Pillow reads no more of a compressed part of a PNG file.
LONGEST_INFLATED = 1 << 20
#: Chunks that Pillow passes over: how colours are to be shown.
PASSED_OVER = frozenset((b"cICP", b"mDCV", b"cLLI"))


def passed_over(image: Image.Image) -> tuple[Chunk, ...]:
    """Metadata that Pillow does not read of an opened file that has not been loaded yet, or of a .p59 file."""
    if image.format == "P59":
        return tuple(chunk for chunk in image.metadata if chunk[0] in PASSED_OVER)
    if getattr(image, "fp", None) is None:
        return ()
    if image.format == "PNG":
        return tuple(chunk for chunk in chunks_before_samples(image.fp) if chunk[0] in PASSED_OVER)
    profile = jpeg2000_profile(content_of(image)) if image.format == "JPEG2000" else b""
    return (_profile_chunk(profile),) if profile else ()


def facts_of(image: Image.Image, info: dict[str, Any]) -> dict[str, Any]:
    """The entries of an image's `info` that say something: texts of a PNG file may have the names of other entries."""
    texts = image.format in ("PNG", "P59")
    return {
        key: value
        for key, value in info.items()
        if value is not None and not (texts and isinstance(value, str) and key in NAMES)
    }


def metadata_of(image: Image.Image, info: dict[str, Any], more: tuple[Chunk, ...] = ()) -> tuple[Chunk, ...]:
    """The metadata of an opened image, of which `info` are the facts (see `facts_of`), and `more` of its file (see
    `passed_over`).

    Raises ValueError, TypeError, ArithmeticError or struct.error where values make no sense.
    """
    chunks = list(more)
    if profile := info.get("icc_profile"):
        chunks.append(_profile_chunk(profile))
    elif info.get("srgb") is not None:
        chunks.append((b"sRGB", bytes((info["srgb"],))))
    if gamma := info.get("gamma"):
        chunks.append((b"gAMA", struct.pack(">I", round(gamma * 100000))))
    if chromaticity := info.get("chromaticity"):
        chunks.append((b"cHRM", struct.pack(">8I", *(round(value * 100000) for value in chromaticity))))
    if resolution := _resolution(info):
        chunks.append((b"pHYs", resolution))
    if exif := _exif(image, info):
        chunks.append((b"eXIf", exif))
    return (*chunks, *_texts(image, info))


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


def _profile_chunk(profile: bytes) -> Chunk:
    return b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile, 9)


def info_of(mode: str, palette: bytes, transparency: bytes | None, metadata: tuple[Chunk, ...]) -> dict[str, Any]:
    """What Pillow's `info` says of a PNG file with these facts. Raises FormatError where they make no sense."""
    depth, colour_type, size = PIXELS[mode]
    header, data = image_chunks(1, 1, depth, colour_type, zlib.compress(bytes(1 + size)))
    chunks = [header, *(chunk for chunk in metadata if chunk[0] in KINDS)]
    if palette:
        chunks.append((b"PLTE", palette))
    if transparency is not None:
        chunks.append((b"tRNS", transparency))
    try:
        with PngImageFile(io.BytesIO(png_file([*chunks, data, (b"IEND", b"")]))) as image:
            image.load()
            return dict(image.info)
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


def _exif(image: Image.Image, info: dict[str, Any]) -> bytes:
    exif = info.get("exif")
    if exif is None:
        if isinstance(image.info.get("xmp"), str):  # a text, among which `getexif` would look for bytes
            return b""
        fields = image.getexif()
        exif = exif_of_tiff(fields) if isinstance(image, TiffImageFile) else fields.tobytes() if fields else b""
    return exif.removeprefix(b"Exif\0\0")


def _texts(image: Image.Image, info: dict[str, Any]) -> list[Chunk]:
    texts = PngInfo()
    own = getattr(image, "text", None)
    if isinstance(own, dict):
        own = {key: text for key, text in own.items() if key in info or key in NAMES}
    elif image.format in (None, "P59"):  # other formats put their own strings there
        own = {key: text for key, text in info.items() if isinstance(text, str) and key not in NO_TEXTS}
    else:
        own = {}
    xmp = info.get("xmp")
    if xmp and XMP not in own:
        own[XMP] = iTXt(xmp.decode("utf-8") if isinstance(xmp, bytes) else xmp)
    for key, text in own.items():
        if not 1 <= len(key) <= LONGEST_KEY or "\0" in key:
            raise ValueError(f"text key {key!r} is not of 1 to {LONGEST_KEY} characters")
        if isinstance(text, iTXt):
            texts.add_itxt(key, text, text.lang or "", text.tkey or "", zip=len(text) > 100)
        else:
            texts.add_text(key, text, zip=len(text) > 100)
    return [(kind, data) for kind, data, *_ in texts.chunks]
