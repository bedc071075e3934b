"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import takewhile
from pathlib import Path

from utils.errors import P59Error
from utils.fork_safe import ForkSafe

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
DENIED = (errno.EROFS, errno.EACCES, errno.EPERM)
#: To open a file that must not exist yet, for bytes (on Windows lines would end in others).
NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)


class UnwritableError(P59Error):
    """A file cannot be written; where the system says so, its error is the cause."""


class TakenError(P59Error):
    """There is a file already where a new one was to be."""


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, then rename: readers see the old file or the new one, never half of it.

    A link is replaced, what it leads to stays. Raises UnwritableError where it cannot be written; nothing is left
    behind.
    """
    with _writing(path) as (beside, mode):
        if not _write_nameless(beside, data, mode):
            _write_named(beside, data, mode)
        os.replace(beside, path)


def write_new(path: Path, data: bytes) -> None:
    """The same where there is no file yet, even if another process makes one at the same time.

    Raises TakenError where there is one.
    """
    with _writing(path) as (beside, mode):
        try:
            if path.exists():  # before all is written for nothing
                raise FileExistsError
            if not _write_nameless(path, data, mode):
                _write_named(beside, data, mode)
                _put_where_none_is(beside, path)
        except FileExistsError as error:
            raise TakenError(f"{str(path)!r} exists; choose another path") from error


@contextmanager
def _writing(path: Path) -> Iterator[tuple[Path, int]]:
    """Where a file may be written beside `path`, of which nothing is left in the end, and the mode it is to have."""
    check_output(path)
    with _asking.lock:  # before anything is made: while one thread asks, another's folder would be everybody's to write
        mode = 0o666 & ~_umask()
    try:
        _make(path.parent)
        beside = path.parent / f".p59.{secrets.token_hex(8)}.part"
        try:
            yield beside, mode
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise UnwritableError(f"cannot write {str(path)!r} ({error.strerror}); {remedy_of(error)}") from error


def _write_nameless(path: Path, data: bytes, mode: int) -> bool:
    """Writes a file that has no name before it is whole, so that a killed process leaves nothing.

    False where the system has no such files. Raises FileExistsError where there is a file.
    """
    handle = None
    if hasattr(os, "O_TMPFILE"):
        with suppress(OSError):  # the file system has none
            handle = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o600)
    if handle is None:
        return False
    with _filled(handle, data):
        os.fchmod(handle, mode)
        try:
            os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=handle, follow_symlinks=True)
        except FileExistsError:
            raise
        except OSError:  # without /proc it cannot be named
            return False
    return True


def _write_named(path: Path, data: bytes, mode: int) -> None:
    with _filled(os.open(path, NEW, 0o600), data):
        pass
    os.chmod(path, mode)


@contextmanager
def _filled(handle: int, data: bytes) -> Iterator[None]:
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        yield


def _put_where_none_is(beside: Path, path: Path) -> None:
    """Raises FileExistsError where there is a file."""
    try:
        os.link(beside, path)
        return
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: an empty file takes the place first
        os.close(os.open(path, NEW, 0o600))
    try:
        os.replace(beside, path)
    except BaseException:
        if not path.stat().st_size:
            path.unlink()
        raise


def check_output(path: Path) -> None:
    """Raises UnwritableError where something other than a file or a link to one is at `path`, or other than a directory
    above it. Reading such a thing might never end, and it is not to be replaced.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        mode = stat.S_IFREG  # there is none, or whoever opens it will say why not
    if path.is_symlink() and not os.path.exists(path):
        raise UnwritableError(f"cannot write {str(path)!r}: it is a link to nothing; remove it or choose another path")
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


_asking = ForkSafe()


@cache
def _umask() -> int:
    current = os.umask(0)  # it can be asked for only by setting it, for all threads
    os.umask(current)
    return current
