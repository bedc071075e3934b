"""What tasks print: lines for people, and the table that long work ends in."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tabulate import tabulate


def say(line: str) -> None:
    """One line on standard output, shown at once; of several processes under torchrun only the first speaks."""
    if os.environ.get("RANK", "0") == "0":
        print(line, flush=True)


def complain(line: str) -> None:
    """One line on standard error."""
    print(line, file=sys.stderr, flush=True)


def table(rows: Sequence[Sequence], headers: Sequence[str], formats: Sequence[str]) -> str:
    """A plain table; `formats` are tabulate's number formats, "" for text, which stays as it is: 0e49 is no number."""
    texts = [at for at in range(len(headers)) if any(isinstance(row[at], str) for row in rows)]
    return tabulate(
        rows, headers, tablefmt="simple", floatfmt=tuple(formats), intfmt=",", disable_numparse=texts or False
    )


def timing_row(name: str, pixels: int, subpixels: int, size: int, seconds: float, *rest) -> list:
    """file, pixels, bytes, bpsp, seconds, MP/s."""
    return [name, pixels, size, 8 * size / subpixels, seconds, pixels / 1e6 / max(seconds, 1e-9), *rest]


TIMING_HEADERS = ["file", "pixels", "bytes", "bpsp", "seconds", "MP/s", "order", "model"]
TIMING_FORMATS = ["", "", "", ".4f", ".2f", ".2f", "", ""]
