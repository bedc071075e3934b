"""What an image file holds beside its image that P59 does not keep, so that whoever deletes originals knows of it.

Of the formats listed in FOUND_IN what is known to be in such files; of others nothing is known.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from datasets.images import image_opened
from datasets.metadata import KINDS
from utils.png_chunks import chunks_but_samples

#: Chunks of PNG files that hold neither samples nor what is kept, in words.
PNG_CHUNKS = {
    b"sBIT": "significant bits (sBIT)",
    b"bKGD": "background colour (bKGD)",
    b"tIME": "time (tIME)",
    b"oFFs": "offset (oFFs)",
    b"hIST": "histogram (hIST)",
    b"sPLT": "suggested palette (sPLT)",
}
#: Of what PNG files are made of.
PNG_KEPT = KINDS | {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
PNG_TEXTS, PNG_END = (b"tEXt", b"zTXt", b"iTXt"), bytes(4) + b"IEND\xaeB`\x82"
#: Segments of JPEG files by their first bytes: those that are kept or say how samples are coded, and others, in words.
JPEG_KEPT = (b"JFIF\0", b"Exif\0", b"ICC_PROFILE\0", b"Adobe")
JPEG_XMP, JPEG_END = b"http://ns.adobe.com/xap/1.0/\0", b"\xff\xd9"
JPEG_SEGMENTS = {
    b"Photoshop 3.0\0": "IPTC or other fields of Photoshop's",
    b"http://ns.adobe.com/xmp/extension/\0": "second part of XMP",
    b"MPF\0": "further images (MPF)",
}
LIBRARIES_COMMENT = b"Created by OpenJPEG"
#: Tags of TIFF files.
TIFF_TAGS = {330: "further images (SubIFDs)", 37724: "layers of Photoshop's"}
BEHIND, COMMENT = "bytes behind the image", "comment"
#: So many bytes of 0 at the end of a file are none that anybody put there.
PADDING = 1 << 12


def unkept(path: Path, pixel_limit: int) -> list[str]:
    """In words, each once; nothing where nothing is known. Raises InputError for a file that is no image."""
    with image_opened(path, pixel_limit) as image:
        return list(dict.fromkeys(FOUND_IN[image.format](image))) if image.format in FOUND_IN else []


def summary(found: Sequence[tuple[Path, list[str]]]) -> str | None:
    """For people: what `unkept` found in files, of each kind the first by name; None where it found nothing."""
    counts = Counter(what for _, each in found for what in each)
    if not counts:
        return None
    first = {what: min(path for path, each in found if what in each) for what in counts}
    listed = sorted(counts, key=lambda what: (-counts[what], what))
    kinds = ", ".join(f"{what} in {counts[what]:,} ({first[what]})" for what in listed)
    images = sum(bool(each) for _, each in found)
    return f"{images:,} images hold what is not kept: {kinds}; see docs/formats.md"


def _comment(image: Image.Image) -> list[str]:
    """What libraries say of themselves in every file is no comment."""
    comment = image.info.get("comment") or b""
    return [COMMENT] if comment and not bytes(comment).startswith(LIBRARIES_COMMENT) else []


def _behind(image: Image.Image, end: bytes) -> list[str]:
    """Whether a file goes on behind what ends its image."""
    size = image.fp.seek(0, os.SEEK_END)
    image.fp.seek(max(0, size - PADDING - len(end)))
    return [] if image.fp.read().rstrip(b"\0").endswith(end.rstrip(b"\0")) else [BEHIND]


def _in_jpeg(image: Image.Image) -> list[str]:
    found, packets = _comment(image), 0
    for marker, data in image.applist:
        packets += data.startswith(JPEG_XMP)
        kept = data.startswith(JPEG_KEPT) or (data.startswith(JPEG_XMP) and packets == 1)
        if marker.startswith("APP") and not kept:
            names = (what for start, what in JPEG_SEGMENTS.items() if data.startswith(start))
            found.append(next(names, f"segment {marker}"))
    return found + _behind(image, JPEG_END)


def _in_gif(image: Image.Image) -> list[str]:
    extension = image.info.get("extension", (b"",))[0]
    known = extension == b"" or extension.startswith(b"NETSCAPE2.0")
    return _comment(image) + ([] if known else [f"extension {extension[:11].decode('latin-1').strip()}"])


def _in_png(image: Image.Image) -> list[str]:
    early, late = chunks_but_samples(image.fp)
    chunks = [*early, *late]
    keys = [data.partition(b"\0")[0] for kind, data in chunks if kind in PNG_TEXTS]
    found = [PNG_CHUNKS.get(kind, f"chunk {kind.decode('latin-1')}") for kind, _ in chunks if kind not in PNG_KEPT]
    found += ["several texts of the same key"] * (len(set(keys)) < len(keys))
    return found + _behind(image, PNG_END)


def _in_tiff(image: Image.Image) -> list[str]:
    return [what for tag, what in TIFF_TAGS.items() if tag in image.tag_v2]


def _in_ico(image: Image.Image) -> list[str]:
    return ["smaller sizes"] if len(image.info.get("sizes", ())) > 1 else []


def _in_bmp(image: Image.Image) -> list[str]:
    """Pixels of four bytes whose last Pillow leaves out."""
    _, _, start, args = image.tile[0]
    if args[0] != "BGRX":
        return []
    image.fp.seek(start)
    return ["fourth bytes of pixels"] if any(image.fp.read(4 * image.width * image.height)[3::4]) else []


def _in_tga(image: Image.Image) -> list[str]:
    image.fp.seek(0)
    return ["name (image ID)"] if image.fp.read(1) != b"\0" else []


def _in_pnm(image: Image.Image) -> list[str]:
    start = image.tile[0].offset
    image.fp.seek(0)
    return [COMMENT] if b"#" in image.fp.read(start) else []


FOUND_IN = {
    "BMP": _in_bmp,
    "GIF": _in_gif,
    "ICO": _in_ico,
    "JPEG": _in_jpeg,
    "JPEG2000": _comment,
    "PNG": _in_png,
    "PPM": _in_pnm,
    "TGA": _in_tga,
    "TIFF": _in_tiff,
}
