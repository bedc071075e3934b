"""Keywords of Pillow's `save` that replace what an image says: checked, and as its `info` would have them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from PIL import Image

from datasets.exif import BEGINNINGS
from datasets.metadata import INCH, NAMES
from utils.errors import RequestError

#: PNG's numbers are below this.
LIMIT = 1 << 31


def replacing_info(options: dict[str, Any], mode: str) -> dict[str, Any]:
    """Those among the keywords of `save`, of an image of a mode. None removes what an image says.

    Raises RequestError for a value that is not allowed.
    """
    found = {key: options[key] for key in NAMES & options.keys()}
    for key, value in found.items():
        allowed, taken = _transparency(mode) if key == "transparency" else TAKEN[key]
        if value is not None:
            try:
                found[key] = taken(value)
            except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
                raise RequestError(f"{key} is {value!r:.60}; give {allowed}, or None to leave it out") from error
    return found


def _exif(value: bytes | Image.Exif) -> bytes:
    exif = value.tobytes() if isinstance(value, Image.Exif) else _bytes(value)
    if exif and not exif.startswith(BEGINNINGS):
        raise ValueError
    return exif


def _bytes(value: bytes) -> bytes:
    return bytes(memoryview(value))


def _xmp(value: str | bytes) -> bytes:
    xmp = value.encode("utf-8") if isinstance(value, str) else _bytes(value)
    xmp.decode("utf-8")
    return xmp


def _numbers(count: int, unit: float, least: int) -> Callable[[Any], tuple[float, ...]]:
    """Takes so many numbers, each `least` or more in this unit."""

    def taken(values: Any) -> tuple[float, ...]:
        numbers = tuple(value / 1.0 for value in values)
        if len(numbers) != count or not all(least <= round(number / unit) < LIMIT for number in numbers):
            raise ValueError
        return tuple(map(float, numbers))

    return taken


def _whole(count: int, least: int, most: int) -> Callable[[Any], tuple[int, ...]]:
    """Takes so many whole numbers of `least` to `most`."""

    def taken(values: Any) -> tuple[int, ...]:
        numbers = tuple(map(operator.index, values))
        if len(numbers) != count or not all(least <= number <= most for number in numbers):
            raise ValueError
        return numbers

    return taken


def _only(taken: Callable[[Any], tuple]) -> Callable[[Any], Any]:
    """Takes the value that a tuple would hold alone."""
    return lambda value: taken((value,))[0]


def _transparency(mode: str) -> tuple[str, Callable[[Any], Any]]:
    level, index, colour = _only(_whole(1, 0, 65535)), _only(_whole(1, 0, 255)), _whole(3, 0, 65535)
    if mode in ("LA", "RGBA"):
        return "it to images without alpha", _whole(0, 0, 0)
    if mode == "P":
        return "an index of 0 to 255 or bytes", lambda value: value if isinstance(value, bytes) else index(value)
    return ("three whole numbers of 0 to 65535", colour) if mode == "RGB" else ("a whole number of 0 to 65535", level)


#: Keyword -> what is allowed, and what makes an entry of `info` of it or raises.
TAKEN: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "aspect": ("two whole numbers above 0", _whole(2, 1, LIMIT - 1)),
    "chromaticity": ("eight numbers, of 0 and more", _numbers(8, 1e-5, 0)),
    "dpi": ("two numbers above 0", _numbers(2, INCH, 1)),
    "exif": ("Image.Exif or its tobytes()", _exif),
    "gamma": ("a number above 0", _only(_numbers(1, 1e-5, 1))),
    "icc_profile": ("bytes", _bytes),
    "srgb": ("a whole number of 0 to 3", _only(_whole(1, 0, 3))),
    "xmp": ("UTF-8 as bytes or str", _xmp),
}
