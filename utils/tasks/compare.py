"""Task: whether .p59 files hold exactly the images that they were made of, and what the images' own files hold besides.
Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from coders.backends import Backend
from coders.container import PIXEL_LIMIT, Container
from coders.image_codec import decode_picture
from coders.picture import same_picture
from datasets.images import find_images, left_out, pixels_of
from datasets.pictures import read_picture
from datasets.unkept import summary, unkept
from utils.errors import FormatError, InputError, LosslessError, ModelError
from utils.printable import in_one_line
from utils.tasks.encode import ENDING, coding_of, holds
from utils.tasks.files import conclude, run_files
from utils.tasks.models import ModelChoice
from utils.tasks.names import numbered, output_paths
from utils.tasks.report import say


@dataclass(frozen=True)
class CompareTask:
    """Compare the images `sources` with the files that encoding them into `target` made: each is decoded, and must give
    the image's samples and metadata."""

    sources: str | list[str]
    target: Path
    models: ModelChoice
    backend: Backend
    pixel_limit: int = PIXEL_LIMIT
    into_directory: bool = False


def run(task: CompareTask) -> int:
    """Compare all images; what is missing, damaged or different is a failure. Returns the exit status."""
    files = find_images(task.sources)
    outputs = output_paths(files, task.sources, task.target, ENDING, task.into_directory)
    if task.backend.note:
        say(task.backend.note)
    for line in (*left_out(task.sources), *numbered(files, outputs)):
        say(line)
    task.models.given()
    not_kept: list[tuple[Path, list[str]]] = []
    work = partial(_compare_file, task, not_kept)
    results = run_files(work, files, outputs, task.backend, how_to_go_on=None)
    status = conclude(results)
    if line := summary(not_kept):
        say(in_one_line(line))
    say(f"{len(results.rows)} of {len(files)} images are held by their files, samples and kept metadata alike")
    return status


@contextmanager
def _named(output: Path) -> Iterator[None]:
    """What is wrong with a file is said of it, not of the image."""
    try:
        yield
    except (FormatError, LosslessError, ModelError) as error:
        raise InputError(f"{str(output)!r} cannot be decoded: {error}") from error


def _compare_file(
    task: CompareTask, not_kept: list[tuple[Path, list[str]]], path: Path, output: Path
) -> tuple[int, int, int, str, str]:
    """What the image file holds besides is added to `not_kept`."""
    if not output.is_file():
        raise InputError(f"{str(output)!r} {'is no file' if output.exists() else 'does not exist'}; encode the image")
    data = output.read_bytes()
    with _named(output):
        container = Container.from_bytes(data, task.pixel_limit)
    with task.backend.room(max(pixels_of(path, task.pixel_limit), container.height * container.width)):
        picture = read_picture(path, task.pixel_limit)
        if not holds(container, picture):
            raise InputError(f"{str(output)!r} does not hold this image with these metadata; encode it elsewhere")
        with _named(output):
            decoded = decode_picture(container, task.models.named, task.backend)
        if not same_picture(replace(decoded, metadata=picture.metadata), picture):
            raise InputError(f"{str(output)!r} holds other samples; encode the image with overwrite=true")
    with suppress(InputError):  # what a strange file holds besides is not known then
        if found := unkept(path, task.pixel_limit):
            not_kept.append((path, found))
    return picture.height * picture.width, picture.samples.size, len(data), *coding_of(container)
