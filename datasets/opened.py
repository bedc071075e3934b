"""The file of an opened image, read anew: Pillow's image says less than it once it is loaded."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from pathlib import Path

from PIL import Image, ImageFile

from datasets.deep import HELD, READERS, bits_of, content_of
from utils.errors import InputError

#: Levels of gray that Pillow scales to 0 to 255 in a PNG file, but not the transparent one; by its raw mode.
FEW_LEVELS = {"L;2": 4, "L;4": 16}


def opened_anew(image: Image.Image) -> ImageFile.ImageFile | None:
    """The file of an opened image, opened again and not loaded, in the formats of which Pillow leaves something out.

    None where it is not at hand, or is of another size or mode by now. The image itself stays as it is.
    """
    if not isinstance(image, ImageFile.ImageFile) or image.format not in READERS:
        return None
    with suppress(Exception):  # a file that cannot be opened again raises what it likes
        fresh = type(image)(io.BytesIO(_content(image)))
        if (fresh.format, fresh.mode, fresh.size) == (image.format, image.mode, image.size):
            return fresh
    return None


def unspoilt(image: Image.Image, fresh: ImageFile.ImageFile | None) -> Image.Image:
    """What to take an image's samples from: `fresh`, its file opened anew, where these are the same or have been lost
    in part as the image was loaded; the image itself where it has been changed since.
    """
    if fresh is None or (not waits(image) and not (_loses(fresh) and _same(image, opened_anew(image)))):
        return image
    return fresh


def waits(image: Image.Image) -> bool:
    """Whether an opened image has not been loaded yet."""
    return getattr(image, "fp", None) is not None


def levels_of(image: Image.Image) -> int:
    """Levels of gray of an opened file that has not been loaded yet, as far as they matter."""
    tiles = image.tile if image.format == "PNG" else ()
    return FEW_LEVELS.get(tiles[0].args, 256) if tiles else 256


def _content(image: ImageFile.ImageFile) -> bytes:
    if waits(image):
        return content_of(image)
    file = None if image.filename else image._fp  # of Pillow's formats that keep it
    if file is None or file.closed:
        return Path(os.fsdecode(image.filename or file.name)).read_bytes()
    place = file.tell()
    file.seek(0)
    try:
        return file.read()
    finally:
        file.seek(place)


def _loses(fresh: ImageFile.ImageFile) -> bool:
    """Whether a file has more than Pillow's image of it, once loaded."""
    try:
        return levels_of(fresh) < 256 or bits_of(fresh) > HELD.get(fresh.mode, 16)
    except InputError:  # told when it is read
        return True


def _same(image: Image.Image, fresh: ImageFile.ImageFile | None) -> bool:
    return (
        fresh is not None
        and fresh.tobytes() == image.tobytes()
        and fresh.getpalette("RGBA") == image.getpalette("RGBA")
    )
