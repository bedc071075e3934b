"""The codecs P59 is compared with: each one small value in a table, image (H, W, C) uint8 -> bytes -> image.

All are lossless; what each was asked for stands in its `settings`.
Letters: H, W image size; C channels, 1 or 3.
"""

from __future__ import annotations

import importlib.metadata
import io
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, features

from utils.errors import P59Error

#: Name of this project's own codec in results and tables.
OURS = "P59"


@dataclass(frozen=True)
class Codec:
    """One codec to compare with.

    encode    (image, threads) -> bytes
    decode    (bytes, threads) -> image
    version   () -> the libraries that do the work, with their versions
    settings  what a reader needs to repeat it
    threaded  whether it uses more than one thread when given them
    gray      whether it codes one channel; where not, gray images are given to it as RGB
    missing   () -> why it cannot be used here, or None
    """

    name: str
    encode: Callable[[np.ndarray, int], bytes]
    decode: Callable[[bytes, int], np.ndarray]
    version: Callable[[], str]
    settings: str
    threaded: bool = False
    gray: bool = True
    missing: Callable[[], str | None] = lambda: None


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _samples(decoded: np.ndarray) -> np.ndarray:
    return decoded.reshape(*decoded.shape[:2], -1)


def _pillow(form: str, **settings) -> Callable[[np.ndarray, int], bytes]:
    def encode(image: np.ndarray, threads: int) -> bytes:
        buffer = io.BytesIO()
        _picture(image).save(buffer, form, **settings)
        return buffer.getvalue()

    return encode


def _pillow_decode(data: bytes, threads: int) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        return _samples(np.asarray(picture))


def _pillow_version(feature: str | None = None) -> str:
    version = f"Pillow {importlib.metadata.version('Pillow')}"
    return version if feature is None else f"{version}, {feature} {features.version(feature)}"


def _imagecodecs_version(library: str) -> str:
    import imagecodecs

    found = [part for part in imagecodecs.version().split(", ") if part.startswith(f"{library}-")]
    return f"imagecodecs {importlib.metadata.version('imagecodecs')}, " + " ".join(found).replace("-", " ", 1)


def _jpeg_xl(effort: int) -> Callable[[np.ndarray, int], bytes]:
    def encode(image: np.ndarray, threads: int) -> bytes:
        import imagecodecs

        return imagecodecs.jpegxl_encode(np.asarray(_picture(image)), lossless=True, effort=effort, numthreads=threads)

    return encode


def _jpeg_xl_decode(data: bytes, threads: int) -> np.ndarray:
    import imagecodecs

    return _samples(imagecodecs.jpegxl_decode(data, numthreads=threads))


def _qoi(image: np.ndarray, threads: int) -> bytes:
    import imagecodecs

    return imagecodecs.qoi_encode(image)


def _qoi_decode(data: bytes, threads: int) -> np.ndarray:
    import imagecodecs

    return _samples(imagecodecs.qoi_decode(data))


def subtract_green(image: np.ndarray) -> np.ndarray:
    """The colour transform in front of JPEG-LS: R - G + 128 and B - G + 128 modulo 256, G as it is."""
    green = image[:, :, 1] - np.uint8(128)
    return np.stack((image[:, :, 0] - green, image[:, :, 1], image[:, :, 2] - green), 2)


def add_green(planes: np.ndarray) -> np.ndarray:
    """The inverse of `subtract_green`."""
    green = planes[:, :, 1] - np.uint8(128)
    return np.stack((planes[:, :, 0] + green, planes[:, :, 1], planes[:, :, 2] + green), 2)


def _jpeg_ls(image: np.ndarray, threads: int) -> bytes:
    """Each transformed plane as a JPEG-LS file, one after another, each behind its length (4 bytes)."""
    import imagecodecs

    planes = subtract_green(image) if image.shape[2] == 3 else image
    files = [imagecodecs.jpegls_encode(np.ascontiguousarray(planes[:, :, c])) for c in range(planes.shape[2])]
    return b"".join(struct.pack("<I", len(file)) + file for file in files)


def _jpeg_ls_decode(data: bytes, threads: int) -> np.ndarray:
    import imagecodecs

    planes, position = [], 0
    while position < len(data):
        (length,) = struct.unpack_from("<I", data, position)
        planes.append(imagecodecs.jpegls_decode(data[position + 4 : position + 4 + length]))
        position += 4 + length
    image = np.stack(planes, 2)
    return add_green(image) if image.shape[2] == 3 else image


def _flif(arguments: list[str], data: bytes, before: str, after: str) -> bytes:
    """Run `flif` on a file that holds `data`; what it wrote. Raises P59Error with its own words where it fails."""
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory) / f"in.{before}", Path(directory) / f"out.{after}"
        source.write_bytes(data)
        done = subprocess.run(["flif", *arguments, source, target], capture_output=True, text=True, check=False)
        if done.returncode or not target.is_file():
            raise P59Error(f"flif returned {done.returncode}: {' '.join((done.stderr or done.stdout).split())[:200]}")
        return target.read_bytes()


def _flif_encode(image: np.ndarray, threads: int) -> bytes:
    return _flif(["-e", "-N"], _pillow("PNG")(image, threads), "png", "flif")


def _flif_decode(data: bytes, threads: int) -> np.ndarray:
    return _pillow_decode(_flif(["-d"], data, "flif", "png"), threads)


def _flif_version() -> str:
    done = subprocess.run(["flif", "--version"], capture_output=True, text=True, check=False)
    return " ".join((done.stdout or done.stderr).split("\n")[0].split()) or "FLIF"


_JXL = {"decode": _jpeg_xl_decode, "version": lambda: _imagecodecs_version("libjxl"), "threaded": True}

CODECS = {
    codec.name: codec
    for codec in (
        Codec("QOI", _qoi, _qoi_decode, lambda: _imagecodecs_version("qoi"), "imagecodecs", gray=False),
        Codec("QOI (Pillow)", _pillow("QOI"), _pillow_decode, lambda: _pillow_version(), "Pillow", gray=False),
        Codec(
            "PNG",
            _pillow("PNG", optimize=True),
            _pillow_decode,
            lambda: _pillow_version("zlib"),
            "Pillow, optimize=True",
        ),
        Codec(
            "JPEG-LS",
            _jpeg_ls,
            _jpeg_ls_decode,
            lambda: _imagecodecs_version("charls"),
            "CharLS, each plane apart, after subtracting green from red and blue modulo 256",
        ),
        Codec(
            "JPEG 2000",
            _pillow("JPEG2000", irreversible=False, mct=1),
            _pillow_decode,
            lambda: _pillow_version("jpg_2000"),
            "OpenJPEG, reversible 5/3 wavelet with its reversible colour transform",
        ),
        Codec(
            "WebP",
            _pillow("WEBP", lossless=True, method=6, quality=100, exact=True),
            _pillow_decode,
            lambda: _pillow_version("webp"),
            "lossless, method 6, quality 100",
            gray=False,
        ),
        Codec(
            "FLIF",
            _flif_encode,
            _flif_decode,
            _flif_version,
            "program on the PATH, default effort, not interlaced; times include starting it",
            missing=lambda: None if shutil.which("flif") else "no program flif on the PATH",
        ),
        Codec("JPEG XL e7", _jpeg_xl(7), settings="libjxl, lossless, effort 7", **_JXL),
        Codec("JPEG XL e9", _jpeg_xl(9), settings="libjxl, lossless, effort 9", **_JXL),
    )
}
