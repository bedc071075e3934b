"""What outputs are called."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from pathlib import Path

from utils.errors import RequestError

#: Up to so many numbered outputs are told one by one.
FEW_NUMBERED = 10


def names_file(target: Path, into_directory: bool) -> bool:
    """Whether `target` is one file: it has an ending and neither exists as a directory nor was written as one."""
    return bool(target.suffix) and not into_directory and not target.is_dir()


def output_paths(
    files: list[Path], sources: str | list[str], target: Path, ending: str, into_directory: bool = False
) -> list[Path]:
    """One output for each input: `target` itself where it names a file, else <target>/<sub-folders>/<stem><ending>.

    Sub-folders are those below a source directory. Where inputs of a folder differ in nothing but their endings, or in
    upper and lower case, which some file systems do not tell apart, their outputs keep the endings: <name><ending>. Of
    those that would still share an output all but the first are numbered: <name>~2<ending>. That does not depend on the
    order of the files. Raises RequestError where several inputs are to be one file, or a file is to be a directory.
    """
    if not names_file(target, into_directory):
        if target.exists() and not target.is_dir():
            raise RequestError(f"{str(target)!r} is a file where a directory is to be; name another")
        return _outputs_inside(files, sources, target, ending)
    if len(files) > 1:
        raise RequestError(f"{str(target)!r} names one file, but there are {len(files)} inputs; give a directory")
    return [target]


def check_against_inputs(files: list[Path], outputs: list[Path]) -> None:
    """Raises RequestError where an output is one of the inputs."""
    inputs = {os.path.realpath(file) for file in files}  # Path.resolve fails on links that lead to themselves
    for output in outputs:
        if os.path.realpath(output) in inputs:
            raise RequestError(f"{str(output)!r} is an input and would be overwritten; name another output")


def _outputs_inside(files: list[Path], sources: str | list[str], target: Path, ending: str) -> list[Path]:
    named = [Path(source) for source in ([sources] if isinstance(sources, str) else sources)]
    roots = {root: number for number, root in reversed(list(enumerate(named)))}
    inside = [file.relative_to(_first_of(roots, file)) for file in files]
    inside = [Path(file.name) if path == Path() else path for file, path in zip(files, inside, strict=True)]
    stems = Counter(_key(path.with_suffix("")) for path in inside)
    outputs: dict[Path, Path] = {}
    taken: set[str] = set()
    numbers: Counter[str] = Counter()
    for path, file in sorted(zip(inside, files, strict=True), key=lambda pair: tuple(map(str, pair))):
        alone = stems[_key(path.with_suffix(""))] == 1
        plain = output = target / (path.with_suffix(ending) if alone else path.with_name(path.name + ending))
        while _key(output) in taken:
            numbers[_key(plain)] += 1
            output = plain.with_name(f"{path.name}~{numbers[_key(plain)] + 1}{ending}")
        taken.add(_key(output))
        outputs[file] = output
    return [outputs[file] for file in files]


def may_be_anothers(path: Path, output: Path) -> bool:
    """Whether an output that exists may not be that of the input at `path`: its name depends on what else is there, or
    the input is newer."""
    return output.exists() and (output.stem != path.stem or path.stat().st_mtime > output.stat().st_mtime)


def numbered(files: list[Path], outputs: list[Path]) -> list[str]:
    """For people: the inputs whose outputs are numbered; not each where they are many."""
    pairs = [pair for pair in zip(files, outputs, strict=True) if pair[1].stem.startswith(f"{pair[0].name}~")]
    if len(files) == 1 or len(pairs) > FEW_NUMBERED:
        return [] if len(files) == 1 else [f"{len(pairs)} outputs are numbered, since others have their names"]
    return [f"{file} becomes {output}, since another has its name" for file, output in pairs]


def _first_of(roots: dict[Path, int], file: Path) -> Path:
    """The directory with the lowest number that holds a file; the file itself where none does."""
    return min((path for path in (file, *file.parents) if path in roots), key=roots.__getitem__, default=file)


def _key(path: Path) -> str:
    """The same for paths that a file system may take for one."""
    return unicodedata.normalize("NFC", str(path)).casefold()
