"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
import threading
from functools import cache
from itertools import takewhile
from pathlib import Path

from utils.errors import P59Error


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, then rename: readers see the old file or the new one, never half of it.

    Raises P59Error where it cannot be written; nothing is left behind.
    """
    with _asking:  # before anything is made: while one thread asks, another's folder would be everybody's to write
        mode = 0o666 & ~_umask()
    try:
        _make(path.parent)
        handle, beside = tempfile.mkstemp(prefix=".p59.", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(beside, mode)
            os.replace(beside, path)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise P59Error(f"cannot write {str(path)!r} ({error.strerror}); free space or choose another path") from error


def _make(directory: Path) -> None:
    """A directory and those above it, also a thousand of them, for each of which `mkdir(parents=True)` calls itself."""
    missing = list(takewhile(lambda each: not each.exists(), (directory, *directory.parents)))
    for each in reversed(missing):
        each.mkdir(exist_ok=True)


_asking = threading.Lock()


@cache
def _umask() -> int:
    current = os.umask(0)  # it can be asked for only by setting it, for all threads
    os.umask(current)
    return current
