"""What an image file holds beside its image that P59 does not keep, so that whoever deletes originals knows of it."""

from __future__ import annotations

from collections import Counter
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
PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
#: Begin segments of JPEG files: their marker, their first bytes, what they are.
JPEG_SEGMENTS = (
    ("APP13", b"Photoshop 3.0\0", "IPTC or other fields of Photoshop's"),
    ("APP1", b"http://ns.adobe.com/xmp/extension/\0", "second part of XMP"),
)
LIBRARIES_COMMENT = b"Created by OpenJPEG"
#: Tags of TIFF files.
TIFF_TAGS = {330: "smaller copies (SubIFDs)", 37724: "layers of Photoshop's"}


def unkept(path: Path, pixel_limit: int) -> list[str]:
    """In words, each once; nothing where nothing is known. Raises InputError for a file that is no image."""
    with image_opened(path, pixel_limit) as image:
        return list(dict.fromkeys(READERS[image.format](image))) if image.format in READERS else []


def summary(found: list[list[str]]) -> str | None:
    """For people: what `unkept` found in each of some files, or None where it found nothing."""
    counts = Counter(what for each in found for what in each)
    if not counts:
        return None
    listed = ", ".join(f"{what} in {count:,}" for what, count in counts.most_common())
    return f"{sum(map(bool, found)):,} images hold what is not kept: {listed}; see docs/formats.md"


def _comment(image: Image.Image) -> list[str]:
    """What libraries say of themselves in every file is no comment."""
    comment = image.info.get("comment") or b""
    return ["comment"] if comment and not bytes(comment).startswith(LIBRARIES_COMMENT) else []


def _in_jpeg(image: Image.Image) -> list[str]:
    return _comment(image) + [
        what
        for marker, data in getattr(image, "applist", [])
        for segment, start, what in JPEG_SEGMENTS
        if marker == segment and data.startswith(start)
    ]


def _in_png(image: Image.Image) -> list[str]:
    early, late = chunks_but_samples(image.fp)
    chunks = [*early, *late]
    keys = [data.partition(b"\0")[0] for kind, data in chunks if kind in PNG_TEXTS]
    found = [PNG_CHUNKS.get(kind, f"chunk {kind.decode('latin-1')}") for kind, _ in chunks if kind not in PNG_KEPT]
    return found + ["several texts of the same key"] * (len(set(keys)) < len(keys))


def _in_tiff(image: Image.Image) -> list[str]:
    return [what for tag, what in TIFF_TAGS.items() if tag in image.tag_v2]


def _in_ico(image: Image.Image) -> list[str]:
    return ["smaller sizes"] if len(image.info.get("sizes", ())) > 1 else []


READERS = {"JPEG": _in_jpeg, "JPEG2000": _comment, "GIF": _comment, "PNG": _in_png, "TIFF": _in_tiff, "ICO": _in_ico}
