"""Searching a directory with its sub-folders, however deep they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from utils.errors import InputError


@dataclass
class Found:
    """What lies below a directory.

    files       all that is no directory: files, links to files or to nothing, pipes
    linked      links to directories, which are not followed
    unreadable  directories that cannot be listed
    """

    files: list[Path] = field(default_factory=list)
    linked: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)


def search(directory: Path) -> Found:
    """Everything below `directory`, in no order."""
    found, waiting = Found(), [directory]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(folder / entry.name)
                    elif entry.is_symlink() and os.path.isdir(entry.path):
                        found.linked.append(folder / entry.name)
                    else:
                        found.files.append(folder / entry.name)
        except OSError:
            found.unreadable.append(folder)
    return found


def files_below(directory: Path, endings: Collection[str]) -> list[Path]:
    """Sorted, the files below a directory that the user named whose endings, in lower case, are among `endings`; and
    the folders that cannot be listed, which fail when they are read.

    Raises InputError where the directory cannot be listed itself.
    """
    found = search(directory)
    if directory in found.unreadable:
        raise InputError(f"directory {str(directory)!r} cannot be listed; allow that, or name another one")
    named = (file for file in found.files if file.suffix.lower() in endings)
    return sorted([*(file for file in named if is_input(file)), *found.unreadable])


def is_input(path: Path) -> bool:
    """Whether something in a directory is to be read: a file, or what cannot be looked at, as a link to nothing, which
    the user shall know of."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True
