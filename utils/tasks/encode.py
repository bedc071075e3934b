"""Task: images to .p59 files."""

from __future__ import annotations

import sys
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
from utils.tasks.names import names_file, numbered, output_paths
from utils.tasks.report import say

ENDING = ".p59"
#: Endings of one named file: ours, and that of the published configurations.
FILE_ENDINGS = (ENDING, ".bin")
START = MAGIC + bytes((VERSION,))


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
