"""Pillow's plugin: Image.open("x.p59") and image.save("x.p59"). What decodes and encodes is told by `register`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import IO

from PIL import Image, ImageFile, ImagePalette

from coders.container import MAGIC, Container
from coders.picture import Picture
from datasets.pictures import image_of, loaded_picture
from datasets.said import REPLACED, said_in_p59
from datasets.save_options import replacing_info
from utils.errors import P59Error

#: Keywords of `save` that say how to encode; others replace entries of an image's `info` (see `save_options`).
ENCODING = frozenset(("order", "model", "threads", "device", "adapt_steps", "turn", "verify", "pixel_limit"))


class P59ImageFile(ImageFile.ImageFile):
    """Pillow's view of a .p59 file: size, mode and info are known when it is opened, samples decoded when first used.

    How many pixels it may have is Pillow's to say (Image.MAX_IMAGE_PIXELS), as of its own formats. Raises
    OSError, as Pillow's own plugins do, where the file or its model cannot be used.
    """

    format = "P59"
    format_description = "P59 learned lossless image"
    #: The picture in a file.
    decode: Callable[[Container], Picture]

    def _open(self) -> None:
        data = self.fp.read()
        if not is_p59(data):
            raise SyntaxError("not a P59 file")
        self._container = container = _as_os_error(partial(Container.from_bytes, data, sys.maxsize))
        if container.mode.wide and container.mode.name != "I;16":
            raise OSError(f"Pillow has no mode for {container.mode.name}; use p59.decode_array")
        self._mode, self._size = container.mode.name, (container.width, container.height)
        facts = (self.mode, container.palette, container.transparency, container.metadata)
        self.said = _as_os_error(partial(said_in_p59, *facts))
        self.info.update(self.said.info)
        if container.palette:
            self.palette = ImagePalette.ImagePalette("RGB", container.palette)
        self.tile = []

    def load(self):
        if self._im is None:
            picture = _as_os_error(partial(type(self).decode, self._container))
            self.im, self.readonly = image_of(picture).im, 0
            if self.fp is not None and self._exclusive_fp:  # as Pillow does once all is loaded
                self.fp.close()
            self.fp = None
        return Image.Image.load(self)


def register(decode: Callable[[Container], Picture], encode: Callable[..., bytes]) -> None:
    """From now on Pillow opens and saves .p59 files by these: `encode` takes a picture and the keywords ENCODING."""
    P59ImageFile.decode = staticmethod(decode)
    Image.register_open(P59ImageFile.format, P59ImageFile, is_p59)
    Image.register_save(P59ImageFile.format, partial(_save, encode))
    Image.register_save_all(P59ImageFile.format, partial(_save_all, encode))
    Image.register_extension(P59ImageFile.format, ".p59")
    Image.register_mime(P59ImageFile.format, "image/x-p59")


def is_p59(prefix: bytes) -> bool:
    """Whether a file that begins so is a .p59 file."""
    return prefix[: len(MAGIC)] == MAGIC


def _save(encode: Callable[..., bytes], image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Keywords: ENCODING, and those that replace entries of `info`. Others are for other formats."""
    keywords = {key: value for key, value in image.encoderinfo.items() if key in ENCODING}
    options = _as_os_error(lambda: replacing_info(image.encoderinfo, image.mode))
    gone = {other for key in options for other in REPLACED.get(key, ())}
    info = {key: value for key, value in image.info.items() if key not in gone} | options
    file.write(_as_os_error(lambda: encode(loaded_picture(image, info), **keywords)))


def _save_all(encode: Callable[..., bytes], image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """The same, for a file of one image."""
    if count := len(list(image.encoderinfo.get("append_images") or ())):
        raise OSError(f"append_images has {count} more, a .p59 file holds one image; save each in a file of its own")
    _save(encode, image, file, filename)


def _as_os_error(action: Callable):
    try:
        return action()
    except P59Error as error:
        raise OSError(str(error)) from error
