"""A folder that one run at a time writes to."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from utils.errors import P59Error, RequestError
from utils.files import remedy_of

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def lock(directory: Path) -> BinaryIO | None:
    """An open file in `directory`, which is made where it is missing: until it is closed, or this process ends in
    whatever way, nobody else gets one. None where the system has no such locks.

    Raises RequestError where another run has it, P59Error where the folder cannot be written.
    """
    if fcntl is None:
        return None
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / ".lock").open("ab")
    except OSError as error:
        raise P59Error(f"cannot write {str(directory)!r} ({error.strerror}); {remedy_of(error)}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise RequestError(
            f"another run is writing to {directory}; let it end first, or choose another exp_name"
        ) from error
    except OSError:  # a file system without locks
        pass
    return file
