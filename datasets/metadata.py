"""What an image file says besides samples: colour profile, EXIF, resolution, gamma, texts. As chunks of PNG files.

Chunks are defined in the PNG specification (third edition, section 11.3); `Picture.metadata` holds them.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo, iTXt
from PIL.TiffImagePlugin import TiffImageFile

from utils.errors import FormatError
from utils.png_chunks import Chunk, image_chunks, png_file

#: Chunks that a file may carry; others are left out when it is read.
KINDS = frozenset((b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"pHYs", b"eXIf", b"tEXt", b"zTXt", b"iTXt"))
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
#: TIFF's fields that describe how its samples are stored, and those that `info` has; the rest is EXIF.
TIFF_LAYOUT = frozenset(
    [254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 282, 283, 284, 288, 289, 290]
    + [291, 292, 293, 296, 297, 301, 317, 318, 319, 320, 322, 323, 324, 325, 330, 332, 338, 339, 340, 341, 347, 529]
    + [530, 531, 532, 700, 34675, 37724]
)


def metadata_of(image: Image.Image) -> tuple[Chunk, ...]:
    """The metadata of an opened image. Raises ValueError, TypeError or struct.error where values make no sense."""
    info, chunks = image.info, []
    if profile := info.get("icc_profile"):
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile, 9)))
    elif info.get("srgb") is not None:
        chunks.append((b"sRGB", bytes((info["srgb"],))))
    if gamma := info.get("gamma"):
        chunks.append((b"gAMA", struct.pack(">I", round(gamma * 100000))))
    if chromaticity := info.get("chromaticity"):
        chunks.append((b"cHRM", struct.pack(">8I", *(round(value * 100000) for value in chromaticity))))
    if resolution := _resolution(info):
        chunks.append((b"pHYs", resolution))
    if exif := _exif(image):
        chunks.append((b"eXIf", exif))
    return (*chunks, *_texts(image))


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
    if "dpi" in info:
        per_metre = [round(float(value) / INCH) for value in info["dpi"]]
        return struct.pack(">IIB", *per_metre, 1) if all(value > 0 for value in per_metre) else None
    return struct.pack(">IIB", *info["aspect"], 0) if "aspect" in info else None


def _exif(image: Image.Image) -> bytes:
    exif = image.info.get("exif")
    if exif is None:
        fields = image.getexif()
        if isinstance(image, TiffImageFile):
            for field in TIFF_LAYOUT & set(fields):
                del fields[field]
        exif = fields.tobytes() if fields else b""
    return exif.removeprefix(b"Exif\0\0")


def _texts(image: Image.Image) -> list[Chunk]:
    texts = PngInfo()
    own = getattr(image, "text", None)
    own = (
        dict(own) if isinstance(own, dict) else {key: text for key, text in image.info.items() if _is_text(image, text)}
    )
    xmp = image.info.get("xmp")
    if xmp and XMP not in own:
        own[XMP] = iTXt(xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else xmp)
    for key, text in own.items():
        if isinstance(text, iTXt):
            texts.add_itxt(key, text, text.lang or "", text.tkey or "", zip=len(text) > 100)
        else:
            texts.add_text(key, text, zip=len(text) > 100)
    return [(kind, data) for kind, data, *_ in texts.chunks]


def _is_text(image: Image.Image, text: object) -> bool:
    """Whether an entry of `info` is a text chunk: only where no file format put its own strings there."""
    return image.format is None and isinstance(text, str)
