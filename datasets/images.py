"""Image files: finding, opening, reading as arrays."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from coders.container import PIXEL_LIMIT
from datasets.deep import bits_of
from utils.errors import InputError, P59Error
from utils.fork_safe import after_fork
from utils.search import Found, files_below, is_input, search

#: File endings taken for images when a directory is searched.
IMAGE_ENDINGS = frozenset(
    (
        *(".png", ".apng", ".webp", ".avif", ".ppm", ".pgm", ".pbm", ".pnm", ".bmp", ".tif", ".tiff", ".gif", ".qoi"),
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".tga", ".pcx", ".sgi"),
    )
)


def find_images(sources: str | list[str]) -> list[Path]:
    """Image files of one path or a list of paths, each a file or a directory (searched with its sub-folders).

    Sorted inside each directory, whose sub-folders that cannot be listed are among them: they fail when they are read.
    A file that several sources name is found once, as the first of them names it. Raises InputError for a path that
    does not exist, a directory without images, or one that cannot be listed itself.
    """
    found: list[Path] = []
    for source in [sources] if isinstance(sources, str | Path) else sources:
        path = Path(source)
        if path.is_dir():
            inside = files_below(path, IMAGE_ENDINGS)
            if not inside:
                reasons = "; ".join((f"no image in directory {str(path)!r}", *left_out(source)))
                raise InputError(f"{reasons}; known endings: {' '.join(sorted(IMAGE_ENDINGS))}")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"image {str(path)!r} does not exist; give a file or a directory of images")
    folders = {folder: folder.resolve() for folder in {file.parent for file in found}}
    once: dict[Path, Path] = {}
    for file in found:
        once.setdefault(folders[file.parent] / file.name, file)
    return list(once.values())


def left_out(sources: str | list[str]) -> list[str]:
    """For people: what `find_images` left out of each directory: linked directories, pipes and the like that are named
    as images are, and files, by their endings."""
    lines = []
    for source in [sources] if isinstance(sources, str | Path) else sources:
        path = Path(source)
        below = search(path) if path.is_dir() else Found()
        others = (file for file in below.files if file.suffix.lower() not in IMAGE_ENDINGS and os.path.isfile(file))
        special = [file for file in below.files if file.suffix.lower() in IMAGE_ENDINGS and not is_input(file)]
        counts = Counter(file.suffix.lower() or "no ending" for file in others)
        if below.linked:
            linked = f"{len(below.linked)} linked directories in it are not searched"
            lines.append(f"{path}: {linked}; name them to have them searched")
        if special:
            lines.append(f"{path}: {len(special)} pipes, devices or sockets with endings of images are not read")
        if counts:
            named = ", ".join(f"{count} {ending}" for ending, count in sorted(counts.items()))
            lines.append(f"{path}: {named} not taken for images by their endings; name a file to have it read anyway")
    return lines


def read_image(path: Path, channels: int, pixel_limit: int = PIXEL_LIMIT) -> np.ndarray:
    """Read a file as (H, W, channels) uint8, converting colours where it must (for training and measuring).

    Raises InputError where Pillow cannot read it or it is larger than the limit.
    """
    with open_image(path, pixel_limit) as image:
        converted = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    return converted.reshape(*converted.shape[:2], channels)


def open_image(path: Path, pixel_limit: int = PIXEL_LIMIT) -> Image.Image:
    """Open and load a file with Pillow. Raises InputError where it cannot be read or is larger than the limit."""
    with image_opened(path, pixel_limit) as image:
        image.load()
    return image


@contextmanager
def image_opened(path: Path, pixel_limit: int = PIXEL_LIMIT) -> Iterator[Image.Image]:
    """A file opened with Pillow, its samples not yet read; whatever Pillow raises inside becomes an InputError.

    Pillow's own limit on pixels is replaced by ours.
    """
    try:
        with _pillow_limit.lifted(), Image.open(path) as image:
            check_size(image, pixel_limit)
            yield image
    except P59Error:
        raise
    except Exception as error:  # Pillow's plugins raise many types for files that are damaged
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"cannot read {str(path)!r} as an image ({reason}); give a file that Pillow reads") from error


def pixels_of(path: Path, pixel_limit: int = PIXEL_LIMIT) -> int:
    """How many pixels a file says it has; none where it cannot be read, which reading it tells."""
    try:
        with image_opened(path, pixel_limit) as image:
            return image.width * image.height
    except InputError:
        return 0


class _PillowLimit:
    """Pillow's limit on pixels, one for the whole process: lifted while any thread reads."""

    def __init__(self) -> None:
        self._lock, self._readers, self._theirs, self._forks = threading.Lock(), 0, None, 0
        after_fork(self._end)

    @contextmanager
    def lifted(self) -> Iterator[None]:
        with self._lock:
            if self._readers == 0:
                self._theirs = Image.MAX_IMAGE_PIXELS
            self._readers += 1
            Image.MAX_IMAGE_PIXELS, forks = None, self._forks
        try:
            yield
        finally:
            with self._lock:
                if forks == self._forks:  # else a fork ended it
                    self._readers -= 1
                    if self._readers == 0:
                        Image.MAX_IMAGE_PIXELS = self._theirs

    def _end(self) -> None:
        """In a forked process nobody reads."""
        if self._readers:
            Image.MAX_IMAGE_PIXELS = self._theirs
        self._lock, self._readers, self._forks = threading.Lock(), 0, self._forks + 1


_pillow_limit = _PillowLimit()


def check_size(image: Image.Image, pixel_limit: int) -> None:
    """Raises InputError for more than `pixel_limit` pixels."""
    if image.width * image.height > pixel_limit:
        raise InputError(
            f"{image.height}x{image.width} pixels are more than the limit of {pixel_limit}; raise pixel_limit"
        )


def read_samples(path: Path, pixel_limit: int = PIXEL_LIMIT) -> np.ndarray:
    """The samples (H, W, C) uint8 of a file that holds an RGB or gray image of 8 bits, nothing converted.

    Raises InputError for other images, what Pillow cannot read, and more than `pixel_limit` pixels.
    """
    with image_opened(path, pixel_limit) as image:
        channels = measured_channels(image)
        return np.ascontiguousarray(np.asarray(image).reshape(image.height, image.width, channels))


def measured_channels(image: Image.Image) -> int:
    """Channels, 3 or 1, of an opened file whose samples are not yet read. Raises InputError for other images."""
    if getattr(image, "n_frames", 1) > 1:
        raise InputError(f"file of {image.n_frames} images is not measured; save each in a file of its own")
    if image.mode not in ("RGB", "L"):
        raise InputError(f"image mode {image.mode} is not measured; convert it to 8-bit RGB or gray (L) first")
    if (bits := bits_of(image)) > 8:
        raise InputError(f"image of {bits} bits is not measured, images of 8 bits are; convert it first")
    return len(image.getbands())
