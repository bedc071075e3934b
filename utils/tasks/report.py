"""What tasks print: lines for people, and the table that long work ends in."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO

from tabulate import tabulate

from utils.printable import in_one_line, printable
from utils.processes import started


def say(line: str) -> None:
    """A line, or a table, on standard output, shown at once; of several processes under torchrun only the first speaks.

    Where it cannot be written, to a full disk or a closed pipe, a complaint says so, and the work goes on.
    """
    if not started().first:
        return
    try:
        if sys.stdout is None:  # it was closed before Python began
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        print(printable(line) + "\n", end="", flush=True)  # in one piece, whatever other threads print
    except OSError as error:
        _discard(sys.stdout)
        _lost.append(error)
        complain(f"standard output cannot be written ({error.strerror}); the work goes on, what it prints is lost")


def complain(line: str) -> None:
    """One line on standard error, where that can be written."""
    try:
        print(in_one_line(line) + "\n", end="", file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def all_said() -> bool:
    """Whether all lines on standard output could be written."""
    return not _lost


_lost: list[OSError] = []


def _discard(stream: TextIO) -> None:
    """What the stream holds back and all that follows goes nowhere, also when Python ends."""
    with suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def table(rows: Sequence[Sequence], headers: Sequence[str], formats: Sequence[str]) -> str:
    """A plain table; `formats` are tabulate's number formats, "" for text, which stays as it is: 0e49 is no number."""
    texts = [at for at in range(len(headers)) if any(isinstance(row[at], str) for row in rows)]
    cells = [[in_one_line(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    return tabulate(
        cells, headers, tablefmt="simple", floatfmt=tuple(formats), intfmt=",", disable_numparse=texts or False
    )


def timing_row(name: str, pixels: int, subpixels: int, size: int, seconds: float, *rest) -> list:
    """file, pixels, bytes, bpsp, seconds, MP/s."""
    return [name, pixels, size, 8 * size / subpixels, seconds, pixels / 1e6 / max(seconds, 1e-9), *rest]


TIMING_HEADERS = ["file", "pixels", "bytes", "bpsp", "seconds", "MP/s", "order", "model"]
TIMING_FORMATS = ["", "", "", ".4f", ".2f", ".2f", "", ""]
