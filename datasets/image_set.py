"""The usable ones of many image files, for training and validation: what cannot be used is skipped and named."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from coders.container import PIXEL_LIMIT
from datasets.deep import bits_of
from datasets.images import image_opened, read_image
from utils.errors import InputError, reason_of

#: Pillow's modes that convert to 8-bit RGB or gray without losing what the network should learn.
MODES_OF_8_BITS = frozenset(("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "La", "RGBa"))
LOSSY_FORMATS = frozenset(("JPEG", "MPO"))
#: Pillow's names of TIFF's compressions that lose what JPEG and WebP lose.
LOSSY_COMPRESSIONS = frozenset(("jpeg", "tiff_jpeg", "webp"))
#: Images stay in memory up to this many bytes, so that a set of half a gigapixel is read only once.
CACHE_BYTES = 1.5e9


class ImageSet:
    """Files that are images of 8 bits, of at least `smallest` x `smallest` pixels and at most `pixel_limit`; read as
    (H, W, channels) uint8.

    files       the usable ones
    skipped     file -> reason, for the others; grows where a file turns out broken when it is read
    pixels      of all usable files together
    lossy       how many of them were compressed with loss, as JPEG does
    """

    def __init__(
        self,
        files: list[Path],
        channels: int,
        smallest: int = 1,
        what: str = "image",
        cache_bytes: float = CACHE_BYTES,
        pixel_limit: int = PIXEL_LIMIT,
    ) -> None:
        self.channels, self.what, self.pixel_limit = channels, what, pixel_limit
        self.files: list[Path] = []
        self.skipped: dict[Path, str] = {}
        self.pixels = self.lossy = 0
        self._cache: dict[int, np.ndarray] = {}
        self._room = cache_bytes
        self._told: set[Path | None] = set()  # files whose skip was reported, and None once anything was
        for path in files:
            try:
                with image_opened(path, pixel_limit) as header:
                    (width, height), mode, lossy = header.size, header.mode, _is_lossy(header, path)
                    bits = bits_of(header) if mode in MODES_OF_8_BITS else None
            except InputError as error:
                self.skipped[path] = f"cannot be read ({reason_of(error.__cause__ or error)})"
                continue
            if min(width, height) < smallest:
                self.skipped[path] = f"{width}x{height} pixels are smaller than the patch of {smallest}x{smallest}"
            elif mode.startswith(("I", "F")):
                self.skipped[path] = f"its samples are not of 8 bits (Pillow's mode {mode})"
            elif mode not in MODES_OF_8_BITS:
                self.skipped[path] = f"its colours are not taken (Pillow's mode {mode}); convert it to RGB or gray"
            elif bits > 8:  # Pillow would drop the low ones
                self.skipped[path] = f"its samples are not of 8 bits but of {bits}"
            else:
                self.files.append(path)
                self.pixels += width * height
                self.lossy += lossy
        if not self.files:
            raise self._none_usable()

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> np.ndarray:
        """Image `index` of `files`. Raises InputError where it cannot be read after all, and lists it in `skipped`."""
        image = self._cache.get(index)
        if image is None:
            path = self.files[index]
            if path in self.skipped:
                raise InputError(f"{path}: {self.skipped[path]}")
            try:
                image = read_image(path, self.channels, self.pixel_limit)
            except InputError as error:
                self.skipped[path] = f"cannot be read ({reason_of(error.__cause__ or error)})"
                raise
            if image.size < self._room:
                self._room -= image.size
                self._cache[index] = image
        return image

    def shuffled(self, number: int, seed: int) -> np.ndarray:
        """Image `number` of an endless sequence, in which each pass over the files has an order of its own.

        A file that cannot be read gives way to the next of its pass. Raises InputError where none can.
        """
        a_pass, place = divmod(number, len(self.files))
        order = _permutation(seed, a_pass, len(self.files))
        for index in np.roll(order, -place):
            try:
                return self.read(int(index))
            except InputError:
                continue
        raise self._none_usable()

    @property
    def fingerprint(self) -> str:
        """A hash of the files' names and sizes in their order, the same wherever their folder is."""
        lines = "\n".join(f"{path.name} {path.stat().st_size}" for path in self.files)
        return sha256(lines.encode(errors="surrogateescape")).hexdigest()[:16]  # a name need not be UTF-8

    def report(self) -> list[str]:
        """Lines for the user, each once: lossy ones among the files, and what is skipped, counted and named."""
        lines = []
        if self.lossy and not self._told:
            lines.append(
                f"warning: {self.lossy} of the {self.what}s are JPEG or as lossy; their artefacts are learned too"
            )
        fresh = [f"  {path}: {reason}" for path, reason in self.skipped.items() if path not in self._told]
        if fresh:
            more = "more " if self._told - {None} else ""
            lines += [f"skipped {len(fresh)} {more}{self.what}{'s' if len(fresh) > 1 else ''}:", *fresh]
        self._told |= {*self.skipped, None}
        return lines

    def _none_usable(self) -> InputError:
        path, reason = next(iter(self.skipped.items()))
        return InputError(
            f"none of the {len(self.skipped)} {self.what}s can be used, for example {str(path)!r}: {reason}; "
            "give other images or a smaller patch_size"
        )


def _is_lossy(header: Image.Image, path: Path) -> bool:
    """Whether an opened file was compressed with loss; of animated WebP that is not known."""
    if header.format == "WEBP":
        return _webp_stream(path) == b"VP8 "
    return header.format in LOSSY_FORMATS or (
        header.format == "TIFF" and header.info.get("compression") in LOSSY_COMPRESSIONS
    )


def _webp_stream(path: Path) -> bytes:
    """The name of the chunk that holds a WebP file's image: VP8 with a space is lossy, VP8L lossless."""
    with path.open("rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8 and head[:4] not in (b"VP8 ", b"VP8L"):
            size = int.from_bytes(head[4:], "little")
            file.seek(size + size % 2, 1)
    return head[:4]


@lru_cache(4)
def _permutation(seed: int, a_pass: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, a_pass]).permutation(count)
