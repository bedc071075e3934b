"""Task: .p59 files to PNG images."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from coders.backends import Backend
from coders.container import PIXEL_LIMIT, Container
from coders.image_codec import decode_picture
from coders.picture import Picture, same_picture
from datasets.images import image_opened
from datasets.metadata import same_metadata
from datasets.pictures import read_picture
from datasets.png import png_of
from utils.errors import FormatError, InputError, P59Error, RequestError
from utils.files import TakenError, check_output, write_new, write_whole
from utils.png_chunks import SIGNATURE
from utils.search import files_below
from utils.tasks.encode import ENDING, begins_as, coding_of
from utils.tasks.files import conclude, run_files
from utils.tasks.models import ModelChoice
from utils.tasks.names import check_against_inputs, may_be_anothers, names_file, numbered, output_paths
from utils.tasks.report import say


@dataclass(frozen=True)
class DecodeTask:
    """Decode `source`, one .p59 file or a directory of them, into `target`: a directory or one file.

    `height` and `width`, where given, must be those of every file. An output that exists stays where it is the same
    picture; another one is replaced only with `overwrite`. With `skip_existing` whole PNG files stay, and damaged ones
    are replaced; those that may be of another file are compared with theirs.
    """

    source: Path
    target: Path
    models: ModelChoice
    backend: Backend
    height: int | None = None
    width: int | None = None
    skip_existing: bool = False
    overwrite: bool = False
    pixel_limit: int = PIXEL_LIMIT
    into_directory: bool = False


def run(task: DecodeTask) -> int:
    """Decode all files; failures are told as they occur. Returns the exit status."""
    if names_file(task.target, task.into_directory) and task.target.suffix.lower() != ".png":
        path = str(task.target)
        raise RequestError(f"output_path is {path!r}; restored images are PNG files, name a .png or a directory")
    files = find_streams(task.source)
    outputs = output_paths(files, str(task.source), task.target, ".png", task.into_directory)
    check_against_inputs(files, outputs)
    if task.backend.note:
        say(task.backend.note)
    for line in numbered(files, outputs):
        say(line)
    task.models.given()
    return conclude(run_files(partial(_decode_file, task), files, outputs, task.backend))


def _decode_file(task: DecodeTask, path: Path, output: Path) -> tuple[int, int, int, str, str] | None:
    check_output(output)
    if task.skip_existing and not may_be_anothers(path, output) and _is_whole(output):
        return None
    data = read_stream(path)
    container = Container.from_bytes(data, task.pixel_limit)
    _check_size(container, task)
    with task.backend.room(container.height * container.width):
        return _decode_container(task, container, len(data), output)


def _decode_container(
    task: DecodeTask, container: Container, size: int, output: Path
) -> tuple[int, int, int, str, str] | None:
    picture = decode_picture(container, task.models.named, task.backend)
    if not _put(task, picture, output) and task.skip_existing:
        return None
    pixels = container.height * container.width
    return pixels, picture.samples.size, size, *coding_of(container)


def _put(task: DecodeTask, picture: Picture, output: Path) -> bool:
    """Writes the picture, unless it is there already, which another process may have done meanwhile; whether it did.

    Raises InputError where what is there is something else.
    """
    there = output.exists()
    if task.overwrite:
        write_whole(output, png_of(picture))
        return True
    if not there:
        with suppress(TakenError):
            write_new(output, png_of(picture))
            return True
    if _holds(output, picture, task.pixel_limit):
        return False
    if there and task.skip_existing and begins_as(output.read_bytes(), SIGNATURE) and not _is_whole(output):
        say(f"{output} is damaged and is decoded anew")
        write_whole(output, png_of(picture))
        return True
    raise InputError(
        f"{str(output)!r} exists and is another picture, or damaged; name another output_path, or replace it with "
        "overwrite=true"
    )


def _holds(output: Path, picture: Picture, pixel_limit: int) -> bool:
    """Whether an image file is the picture in everything that P59 keeps."""
    try:
        found = read_picture(output, pixel_limit)
    except P59Error:
        return False
    alike = replace(found, metadata=picture.metadata)  # which may be compressed otherwise
    return same_picture(alike, picture) and same_metadata(found.metadata, picture.metadata)


def _is_whole(output: Path) -> bool:
    """Whether there is a PNG file, of any size, whose checksums are right; its samples are not decoded."""
    try:
        with image_opened(output, sys.maxsize) as image:
            image.verify()
            return image.format == "PNG"
    except InputError:
        return False


def find_streams(source: Path) -> list[Path]:
    """The .p59 files of a path, and folders below it that cannot be listed, which fail when they are read.

    Raises InputError where there are none, or it cannot be listed itself.
    """
    if source.is_file():
        return [source]
    found = files_below(source, (ENDING,)) if source.is_dir() else []
    if not found:
        what = "holds no .p59 file" if source.is_dir() else "does not exist"
        raise InputError(f"bitstream_path {str(source)!r} {what}; give a .p59 file or a directory of them")
    return found


def read_stream(path: Path) -> bytes:
    """The bytes of a .p59 file. Raises InputError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error


def _check_size(container: Container, task: DecodeTask) -> None:
    for key, asked, found in (("H", task.height, container.height), ("W", task.width, container.width)):
        if asked is not None and asked != found:
            raise FormatError(f"{key} is {asked} in the configuration, {found} in the file; correct or remove {key}")
