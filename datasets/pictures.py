"""Pictures from Pillow images, arrays and files, and back."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImagePalette

from coders.container import MODE_NAMED, MOST_CHUNKS, PIXEL_LIMIT
from coders.picture import Picture
from datasets.deep import deep_samples
from datasets.images import image_opened
from datasets.metadata import info_of
from datasets.opened import levels_of, opened_anew, unspoilt
from datasets.said import Said, metadata_of, said_by_file, said_in_p59
from datasets.whole import check_whole
from utils.errors import FormatError, InputError, P59Error, RequestError
from utils.png_chunks import Chunk

#: Array (channels, dtype) -> mode.
MODE_OF_ARRAY = {
    (1, "uint8"): "L",
    (2, "uint8"): "LA",
    (3, "uint8"): "RGB",
    (4, "uint8"): "RGBA",
    (1, "uint16"): "I;16",
    (2, "uint16"): "LA;16",
    (3, "uint16"): "RGB;16",
    (4, "uint16"): "RGBA;16",
}
DIRECT_MODES = ("1", "L", "LA", "RGB", "RGBA", "P")
WIDE_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
#: What metadata that make no sense may raise.
NO_SENSE = (FormatError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, SyntaxError, OSError)
NO_SENSE += (struct.error,)
Result = TypeVar("Result")
ALLOWED = "1, L, LA, P, RGB, RGBA and 16-bit gray or colour"


def read_picture(path: Path, pixel_limit: int = PIXEL_LIMIT) -> Picture:
    """The picture in a file that Pillow reads, every bit of it.

    Raises InputError where it cannot be read, or has several frames, too many pixels or a mode that is not coded.
    """
    with image_opened(path, pixel_limit) as image:
        return _picture_of(image, image)


def picture_of(image: Image.Image, info: dict[str, Any] | None = None) -> Picture:
    """The picture of a Pillow image, with all bits of its file where it has not been changed; `info` replaces its.

    The image stays as it is, and is not loaded where its file is read instead. Raises InputError where its mode is not
    coded or it has several frames, and whatever Pillow raises on loading.
    """
    return _picture_of(image, opened_anew(image), info)


def _picture_of(image: Image.Image, fresh: Image.Image | None, info: dict[str, Any] | None = None) -> Picture:
    """The same, where the image's file opened anew is `fresh`: the image itself where nobody else has used it."""
    mode = image.mode
    if getattr(image, "is_animated", False):
        raise InputError(
            f"image has {image.n_frames} frames, one is coded; save its frames apart (in Pillow: frame.copy())"
        )
    if mode not in DIRECT_MODES + WIDE_MODES:
        raise InputError(f"image mode {mode} is not coded, {ALLOWED} are; convert it first, for example to RGB")
    if not image.width or not image.height:
        raise InputError(f"image of {image.height}x{image.width} pixels holds nothing; give one with pixels")
    check_whole(fresh or image)
    said, source = _sense(lambda: said_by_file(image, fresh)), unspoilt(image, fresh)
    if info is None and said and fresh is image:
        info = said.info
    deep, levels = deep_samples(source), levels_of(source)
    if deep is not None:
        return _with_facts(picture_of_samples(deep), image, source, info, said)
    source.load()
    if source.mode != mode:  # of a Macintosh icon, known only now
        return _picture_of(image, fresh, info)
    samples = np.asarray(source)
    if mode in WIDE_MODES:
        if mode == "I" and (samples.min() < 0 or samples.max() > 65535):
            raise InputError(f"image has samples {samples.min()}..{samples.max()}, 0..65535 are coded; scale it first")
        return _with_facts(picture_of_samples(samples.astype(np.uint16)), image, source, info, said)
    samples = samples.astype(np.uint8, copy=False).reshape(image.height, image.width, -1)
    palette = b""
    if mode == "P":
        palette = bytes(source.getpalette("RGB") or b"")[:768].ljust(3 * (int(samples.max()) + 1), b"\0")
    return _with_facts(Picture(MODE_NAMED[mode], samples, palette), image, source, info, said, levels)


def loaded_picture(image: Image.Image, info: dict[str, Any] | None = None) -> Picture:
    """The same, but whatever Pillow raises becomes an InputError too."""
    try:
        return picture_of(image, info)
    except P59Error:
        raise
    except Exception as error:  # Pillow's plugins raise many types for files that are damaged
        raise InputError(f"the image cannot be loaded ({error}); give one that Pillow reads") from error


def picture_of_samples(samples: np.ndarray) -> Picture:
    """The picture of an array (H, W) or (H, W, C), uint8 or uint16, C from 1 to 4: gray, gray and alpha, RGB, RGBA."""
    given = f"array {samples.shape} {samples.dtype}"
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if samples.ndim == 2:
        samples = samples[:, :, None]
    key = (samples.shape[-1], str(samples.dtype))
    if samples.ndim != 3 or not samples.size or key not in MODE_OF_ARRAY:
        raise InputError(f"{given} is no image; give (H, W) or (H, W, 1 to 4) of uint8 or uint16")
    return Picture(MODE_NAMED[MODE_OF_ARRAY[key]], np.ascontiguousarray(samples))


def image_of(picture: Picture) -> Image.Image:
    """The Pillow image of a picture, with `info`, which may be changed.

    Raises RequestError for 16-bit colour: Pillow has no mode for it.
    """
    name = picture.mode.name
    if picture.mode.wide and name != "I;16":
        raise RequestError(f"Pillow has no mode for {name}; p59.decode_array gives its samples")
    samples = picture.samples
    if name == "1":
        image = Image.fromarray(samples[:, :, 0].astype(bool))
    else:
        image = Image.fromarray(samples if samples.shape[2] > 1 else samples[:, :, 0])
    if image.readonly:  # it shares the picture's memory
        image = image.copy()
    if name == "P":
        image = image_with_palette(image, picture.palette)
    image.said = said_in_p59(name, picture.palette, picture.transparency, picture.metadata)
    image.info.update(image.said.info)
    return image


def image_with_palette(indices: Image.Image, palette: bytes) -> Image.Image:
    """A palette image of an L image's values."""
    image = indices.copy()
    image.putpalette(ImagePalette.ImagePalette("RGB", palette))
    return image


def _with_facts(
    picture: Picture,
    image: Image.Image,
    source: Image.Image,
    info: dict[str, Any] | None,
    said: Said | None,
    levels: int = 256,
) -> Picture:
    """The picture, of the samples of `source`, with transparency and metadata of a Pillow image, or this `info`.

    Its file said `said`, and has so many levels of gray. Raises InputError where they make no sense.
    """
    info = image.info if info is None else info

    def facts() -> tuple[bytes | None, tuple[Chunk, ...]]:
        facts, metadata = metadata_of(image, info, said, source)
        unchanged = said is None or facts.get("transparency") == said.facts.get("transparency")
        transparency = _transparency(source, facts, levels if unchanged else 256)
        if transparency is not None and picture.palette:  # of colours that there are
            transparency = transparency[: len(picture.palette) // 3] or None
        info_of(picture.mode.name, picture.palette, transparency, metadata)
        return transparency, metadata

    transparency, metadata = _sense(facts)
    if len(metadata) > MOST_CHUNKS // 2:
        raise InputError(f"image has {len(metadata)} texts, up to {MOST_CHUNKS // 2} are kept; remove some")
    return replace(picture, transparency=transparency, metadata=metadata)


def _sense(metadata: Callable[[], Result]) -> Result:
    """Metadata, told by an InputError where they make no sense."""
    try:
        return metadata()
    except NO_SENSE as error:
        raise InputError(
            f"the image's metadata cannot be read ({_reason(error)}); remove it or save the image anew"
        ) from error


def _reason(error: Exception) -> BaseException:
    """Of a FormatError what Pillow said."""
    return error.__cause__ or error if isinstance(error, FormatError) else error


def _transparency(image: Image.Image, info: dict[str, Any], levels: int) -> bytes | None:
    value = info.get("transparency")
    if image.mode == "P" and value is None and image.palette is not None and image.palette.mode == "RGBA":
        return bytes(image.getpalette("RGBA") or b"")[3::4]
    if value is None or image.mode in ("LA", "RGBA"):
        return None
    if image.mode == "P":
        if isinstance(value, bytes):
            return value[:256]
        if value not in range(256):
            raise ValueError(f"{value!r} is no transparent index")
        return b"\xff" * value + b"\0"
    if image.mode == "1":
        value = int(bool(value))
    if levels < 256:  # PNG: bits above a sample's are to be ignored
        value = value % levels * (255 // (levels - 1))
    values = value if isinstance(value, tuple | list) else (value,)
    if len(values) != (3 if image.mode == "RGB" else 1):
        raise ValueError(f"{value!r} is no transparent colour of mode {image.mode}")
    return struct.pack(f">{len(values)}H", *values)
