"""Task: images to .p59 files."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from coders.backends import Backend
from coders.container import MAGIC, PIXEL_LIMIT, VERSION, Container
from coders.fitting import Fitting
from coders.image_codec import decode_picture, encode_picture, models_named, scan_named
from coders.picture import Picture, same_picture
from coders.planes import is_adapted
from coders.scan import Scan
from datasets.images import find_images, left_out, pixels_of
from datasets.metadata import same_metadata
from datasets.pictures import read_picture
from utils.errors import FormatError, InputError, LosslessError, RequestError
from utils.files import check_output, write_whole
from utils.tasks.files import conclude, run_files
from utils.tasks.models import ModelChoice
from utils.tasks.report import say

ENDING = ".p59"
#: Endings of one named file: ours, and that of the published configurations.
FILE_ENDINGS = (ENDING, ".bin")
START = MAGIC + bytes((VERSION,))
#: Up to so many numbered outputs are told one by one.
FEW_NUMBERED = 10


@dataclass(frozen=True)
class EncodeTask:
    """Encode `sources` into `target`: a directory, or one file (see `names_file`); `fit` adapts the network to each.

    With `turn` each is coded in the orientation that takes the fewest bits. An output that exists is replaced where it
    holds the same image and metadata, else only with `overwrite`. With `skip_existing` whole ones stay, whatever they
    hold, and damaged ones are replaced.
    """

    sources: str | list[str]
    target: Path
    scan: Scan
    models: ModelChoice
    backend: Backend
    fit: Fitting | None = None
    turn: bool = True
    verify: bool = True
    skip_existing: bool = False
    overwrite: bool = False
    pixel_limit: int = PIXEL_LIMIT
    into_directory: bool = False


def run(task: EncodeTask) -> int:
    """Encode all images; failures are told as they occur. Returns the exit status."""
    if names_file(task.target, task.into_directory) and task.target.suffix.lower() not in FILE_ENDINGS:
        path = str(task.target)
        raise RequestError(
            f"bitstream_path is {path!r}; one file's name ends in {' or '.join(FILE_ENDINGS)}, a directory's in /"
        )
    files = find_images(task.sources)
    outputs = output_paths(files, task.sources, task.target, ENDING, task.into_directory)
    if task.backend.note:
        say(task.backend.note)
    for line in (*left_out(task.sources), *numbered(files, outputs)):
        say(line)
    task.models.given()
    if task.fit and task.backend.at_once > 1 and len(files) > 1:
        task = replace(task, fit=task.fit.among_others())
    return conclude(run_files(partial(_encode_file, task), files, outputs, task.backend))


def _encode_file(task: EncodeTask, path: Path, output: Path) -> tuple[int, int, int, str, str] | None:
    check_output(output)
    if task.skip_existing and _container_in(output):
        return None
    with task.backend.room(pixels_of(path, task.pixel_limit)):
        return _encode_image(task, path, output)


def _encode_image(task: EncodeTask, path: Path, output: Path) -> tuple[int, int, int, str, str]:
    picture = read_picture(path, task.pixel_limit)
    if output.exists() and not (task.overwrite or _holds(output, picture)):
        if not (task.skip_existing and begins_as(output, START)):
            raise InputError(
                f"{str(output)!r} exists and does not hold this image with these metadata; name another "
                "bitstream_path, or replace it with overwrite=true"
            )
        say(f"{output} is damaged and is encoded anew")
    data, container = _encoded(picture, task)
    write_whole(output, data)
    return picture.height * picture.width, picture.samples.size, len(data), *coding_of(container)


def _holds(output: Path, picture: Picture) -> bool:
    """Whether a file is a .p59 of the picture: the same in everything, as far as checksums tell."""
    container = _container_in(output)
    return (
        container is not None
        and container.pixels == picture.checksum
        and same_metadata(container.metadata, picture.metadata)
    )


def _container_in(output: Path) -> Container | None:
    """A .p59 file, parsed and of any size; None where there is none or it is damaged."""
    try:
        return Container.from_bytes(output.read_bytes(), sys.maxsize)
    except (FormatError, OSError):
        return None


def begins_as(output: Path, start: bytes) -> bool:
    """Whether a file begins with `start`, or ends before it differs."""
    with output.open("rb") as file:
        return start.startswith(file.read(len(start)))


def coding_of(container: Container) -> tuple[str, str]:
    """For people: the scan order and whether a model is adapted, and the starts of the models' fingerprints.

    "plain" and nothing where no network is used.
    """
    scan, adapted = scan_named(container), any(map(is_adapted, container.planes))
    models = ", ".join(fingerprint[:4].hex() for fingerprint in models_named(container))
    return (scan.name if scan else "plain") + (", adapted" if adapted else ""), models


def _encoded(picture: Picture, task: EncodeTask) -> tuple[bytes, Container]:
    """The file, verified where that is asked for, and the same parsed."""
    task.models.check(_colours(picture))
    network = partial(task.models.network, task.scan, task.backend)
    data = encode_picture(picture, network, task.scan, task.backend, task.fit, task.turn)
    container = Container.from_bytes(data, task.pixel_limit)
    if task.verify and not same_picture(decode_picture(container, task.models.named, task.backend), picture):
        raise LosslessError("the file just encoded does not decode to the image; report this as a bug")
    return data, container


def _colours(picture: Picture) -> int:
    """Channels that the picture's colours need: 3, or 1 for gray, also where it is stored as RGB."""
    if not picture.mode.name.startswith("RGB"):
        return 1
    red, green, blue = (picture.samples[:, :, channel] for channel in range(3))
    return 1 if np.array_equal(red, green) and np.array_equal(green, blue) else 3


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
    order of the files. Raises RequestError where several inputs are to be one file, or an output is one of the inputs.
    """
    if not names_file(target, into_directory):
        outputs = _outputs_inside(files, sources, target, ending)
    elif len(files) == 1:
        outputs = [target]
    else:
        raise RequestError(f"{str(target)!r} names one file, but there are {len(files)} inputs; give a directory")
    inputs = {os.path.realpath(file) for file in files}  # Path.resolve fails on links that lead to themselves
    for output in outputs:
        if os.path.realpath(output) in inputs:
            raise RequestError(f"{str(output)!r} is an input and would be overwritten; name another output")
    return outputs


def _outputs_inside(files: list[Path], sources: str | list[str], target: Path, ending: str) -> list[Path]:
    named = [Path(source).expanduser() for source in ([sources] if isinstance(sources, str) else sources)]
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
