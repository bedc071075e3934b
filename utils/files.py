"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import threading
from functools import cache
from itertools import takewhile
from pathlib import Path

from utils.errors import P59Error

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
DENIED = (errno.EROFS, errno.EACCES, errno.EPERM)


class UnwritableError(P59Error):
    """A file cannot be written; where the system says so, its error is the cause."""


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, then rename: readers see the old file or the new one, never half of it.

    Raises UnwritableError where it cannot be written; nothing is left behind.
    """
    check_output(path)
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
        raise UnwritableError(f"cannot write {str(path)!r} ({error.strerror}); {remedy_of(error)}") from error


def check_output(path: Path) -> None:
    """Raises UnwritableError where something other than a file or a link to one is at `path`, or other than a directory
    above it. Reading such a thing might never end, and it is not to be replaced.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        mode = stat.S_IFREG  # there is none, or whoever opens it will say why not
    if not stat.S_ISREG(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "no file but a device, pipe or socket"
        raise UnwritableError(f"cannot write {str(path)!r}: it is {what}; choose another path")
    above = next((each for each in path.parents if os.path.lexists(each)), None)
    if above is not None and not os.path.isdir(above):
        what = "no directory" if os.path.exists(above) else "a link to nothing"
        raise UnwritableError(f"cannot write {str(path)!r}: {str(above)!r} is {what}; choose another path")


def remedy_of(error: OSError) -> str:
    """For people: what to do where something cannot be written."""
    if error.errno in NO_SPACE:
        return "free space or choose another path"
    return "allow that or choose another path" if error.errno in DENIED else "choose another path"


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
