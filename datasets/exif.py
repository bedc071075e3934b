"""An image's EXIF: as its file has it, or as the caller has changed what Pillow's `getexif` gave."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational, TiffImageFile

from datasets.tiff import exif_of_tiff

PREFIX = b"Exif\0\0"
#: What EXIF begins with: a TIFF file of either byte order.
BEGINNINGS = (PREFIX, b"II*\0", b"MM\0*")
#: Directories below the first.
DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop)


def exif_of(image: Image.Image, source: Image.Image, info: dict[str, Any], given: bytes | None) -> tuple[bytes, bool]:
    """(the content of an eXIf chunk, whether the caller has changed it) of an image.

    `given` is EXIF as its file or `info` has it, `info` the image's own or what replaces it, `source` the image or its
    file opened anew. Raises ValueError where `info` and `getexif` were changed to say different things.
    """
    own = getattr(image, "_exif", None)  # `getexif` would read it
    if isinstance(image, TiffImageFile):
        if "exif" not in info:
            fields = source.getexif() if own is None else image.getexif()
            return exif_of_tiff(fields).removeprefix(PREFIX), False
    elif own is not None and info.get("exif", "") == image.info.get("exif", ""):
        fields, before, now = _fields(own), _fields_in(own._loaded_exif, info), _fields_in(info.get("exif"), info)
        if fields not in (before, now):
            if now != before:
                raise ValueError("info['exif'] and getexif() were both changed; set the first to the other's tobytes()")
            return own.tobytes().removeprefix(PREFIX) if fields else b"", True
    return (given or b"").removeprefix(PREFIX), False


def _fields_in(exif: bytes | None, info: dict[str, Any]) -> dict[int, Any]:
    """What `getexif` says of an image with this EXIF and `info`: an orientation may come from XMP."""
    image = Image.Image()
    image.info = {key: value for key, value in info.items() if key != "exif"}
    if exif is not None:
        image.info["exif"] = exif
    with suppress(Exception):  # of what is no EXIF there are no fields
        return _fields(image.getexif())
    return {}


def _fields(exif: Image.Exif) -> dict[int, Any]:
    exif = copy.deepcopy(exif)  # being looked at changes it
    found = {tag: _plain(value) for tag, value in exif.items() if tag not in DIRECTORIES}
    for tag in DIRECTORIES:
        if directory := exif.get_ifd(tag):
            found[tag] = _plain(directory)
    return found


def _plain(value: Any) -> Any:
    """A field's value so that it is equal to another where it says the same."""
    if isinstance(value, dict):
        return {tag: _plain(each) for tag, each in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_plain(each) for each in value)
    if isinstance(value, IFDRational):
        return "rational", value.numerator, value.denominator
    return value
