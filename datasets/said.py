"""What an image's file says, and what its caller has changed of that in Pillow's `info` since it was opened."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngImageFile, iTXt
from PIL.TiffImagePlugin import COMPRESSION_INFO

from datasets.deep import content_of, jpeg2000_profile
from datasets.exif import BEGINNINGS, PREFIX, exif_of
from datasets.metadata import FACTS, KINDS, NAMES, XMP, chunks_saying, info_and_texts, profile_chunk, with_palette
from datasets.opened import waits
from utils.png_chunks import Chunk, chunks_but_samples

#: Chunks that Pillow passes over: how colours are to be shown.
PASSED_OVER = frozenset((b"cICP", b"mDCV", b"cLLI"))
TEXTS = frozenset((b"tEXt", b"zTXt", b"iTXt"))
#: Other entries of `info` that say what one of FACTS says.
REPLACED = {
    "dpi": ("aspect", "resolution", "jfif_density"),
    "aspect": ("dpi", "resolution", "jfif_density"),
    "icc_profile": ("srgb",),
    "srgb": ("icc_profile",),
    "xmp": (XMP,),
}
#: Formats of whose `info` strings are no texts; and what Pillow says so of how a file was compressed.
NO_TEXTS = frozenset(("EPS", "IM"))
COMPRESSIONS = frozenset((*COMPRESSION_INFO.values(), "tga_rle"))
#: Texts in which some programs put EXIF, where Pillow finds it too.
RAW_EXIF = "Raw profile type exif"


@dataclass(frozen=True)
class Said:
    """info         as Pillow gives it of the file
    facts        entries of `info`, also those that a text of the same name hides
    texts        all of the file, also those that another entry hides
    passed_over  chunks of which Pillow says nothing
    exact        the file's metadata, to be kept as it is while nothing is changed; None where it is made anew
    """

    info: dict[str, Any]
    facts: dict[str, Any]
    texts: dict[str, str]
    passed_over: tuple[Chunk, ...] = ()
    exact: tuple[Chunk, ...] | None = None


def said_in_p59(mode: str, palette: bytes, transparency: bytes | None, metadata: tuple[Chunk, ...]) -> Said:
    """What a .p59 file says. Raises FormatError where that makes no sense."""
    chunks = with_palette(palette, transparency, metadata)
    info, facts, texts = _said(mode, chunks)
    others = tuple(chunk for chunk in metadata if chunk[0] in PASSED_OVER or chunk[0] not in KINDS)
    return Said(info, facts, texts, others, metadata)


def said_by_file(image: Image.Image, fresh: Image.Image | None) -> Said | None:
    """What the file of an opened image says, `fresh` being that file opened anew (or the image, which nobody else has
    used); None where that is not known.

    Raises FormatError where it makes no sense.
    """
    if isinstance(said := getattr(image, "said", None), Said):
        return said
    if isinstance(fresh, PngImageFile):
        loaded = not waits(image)
        said = _said_in_png(fresh, loaded or fresh is image)
        texts = getattr(image, "text", None) if loaded else None  # which the caller may have changed
        return replace(said, texts=dict(texts)) if isinstance(texts, dict) else said
    if fresh is not None and fresh.format == "JPEG2000":
        profile = jpeg2000_profile(content_of(fresh))
        return Said(fresh.info, _facts(fresh.info), {}, (profile_chunk(profile),) if profile else ())
    return None


def _said_in_png(fresh: PngImageFile, loaded: bool) -> Said:
    """What a PNG file says; Pillow sees chunks behind the samples when it has loaded them."""
    early, late = (
        [chunk for chunk in chunks if chunk[0] in KINDS or chunk[0] in (b"PLTE", b"tRNS")]
        for chunks in chunks_but_samples(fresh.fp)
    )
    info, facts, texts = _said(fresh.mode, [*early, *late])
    seen = info if loaded or not late else info_and_texts(fresh.mode, early)[0]
    return Said(seen, facts, texts, tuple(chunk for chunk in early if chunk[0] in PASSED_OVER))


def _said(mode: str, chunks: list[Chunk]) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Info, facts and texts, see `Said`."""
    info, texts = info_and_texts(mode, chunks)
    plain = info_and_texts(mode, [chunk for chunk in chunks if chunk[0] not in TEXTS])[0] if texts else info
    return info, _facts(plain), texts


def _facts(info: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in info.items() if key in FACTS and not isinstance(value, str | None)}


def metadata_of(
    image: Image.Image, info: dict[str, Any], said: Said | None, source: Image.Image
) -> tuple[dict[str, Any], tuple[Chunk, ...]]:
    """(facts, metadata) of an image with this `info`, whose file said `said` (None: not known).

    `source` is that file opened anew, or the image. Raises ValueError, TypeError, ArithmeticError or struct.error where
    they make no sense.
    """
    changed = _changed(info, said.info) if said else {}
    facts, texts = _with_changes(said, changed, info) if said else _in_info(image, info)
    exif, edited = exif_of(image, source, info, facts.get("exif"))
    if edited:
        texts.pop(RAW_EXIF, None)
    elif said and said.exact is not None and not changed:
        return facts, said.exact
    more = said.passed_over if said else ()
    if facts.get("icc_profile") or facts.get("srgb") is not None:
        more = tuple(chunk for chunk in more if chunk[0] != b"iCCP")
    return facts, (*more, *chunks_saying(facts, texts, exif))


def _changed(info: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The entries of `info` that were not so before, and None for those that are gone."""
    gone = dict.fromkeys(before.keys() - info.keys())
    return gone | {key: value for key, value in info.items() if key not in before or before[key] != value}


def _with_changes(said: Said, changed: dict[str, Any], info: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Facts and texts of a file with these entries of `info` changed."""
    facts, texts = dict(said.facts), dict(said.texts)
    for key, value in changed.items():
        is_fact = key in FACTS and not isinstance(value, str)
        if key in texts and not is_fact and not isinstance(value, str | None):
            raise ValueError(f"the text {key!r} is {value!r}, which is no text")
        if not is_fact or key not in info:
            texts.pop(key, None)
        facts.pop(key, None)
        if isinstance(value, str):
            texts[key] = iTXt(value) if key == XMP else value
        elif is_fact:
            others = REPLACED.get(key, ()) if value is not None or key == "xmp" else ()
            for other in others:
                if changed.get(other) is None:
                    facts.pop(other, None)
                    texts.pop(other, None)
            if value is not None:
                facts[key] = value
    return _with_xmp(facts, texts)


def _in_info(image: Image.Image, info: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Facts and texts where `info`, and of PNG `text`, are all there is: strings are texts, whatever they are named."""
    facts = _facts(info)
    texts = {key: text for key, text in info.items() if isinstance(text, str) and image.format not in NO_TEXTS}
    if texts.get("compression") in COMPRESSIONS:
        del texts["compression"]
    if isinstance(shown_texts := getattr(image, "text", None), dict):  # a PNG file, but not one that was pickled
        for key, text in shown_texts.items():
            shown = info.get(key) in (text, text.encode("latin-1", "replace"))
            if shown and key in NAMES - {"xmp"}:
                raise ValueError(f"the text {key!r} may hide what Pillow calls so; give the image's file")
            if shown or key in facts:
                texts[key] = text
    elif image.format is None and not (facts.get("exif") or PREFIX).startswith(BEGINNINGS):
        raise ValueError(f"exif begins with {facts['exif'][:8]!r}, which is no EXIF")
    return _with_xmp(facts, texts)


def _with_xmp(facts: dict[str, Any], texts: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """XMP is among PNG's texts."""
    if xmp := facts.pop("xmp", None):
        text = iTXt(xmp.decode("utf-8"))
        if texts.get(XMP, text) != text:
            raise ValueError(f"info['xmp'] and info[{XMP!r}] differ; remove one")
        if not isinstance(texts.get(XMP), iTXt):
            texts[XMP] = text
    return facts, texts
