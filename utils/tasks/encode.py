"""Task: images to .p59 files."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from coders.backends import Backend
from coders.container import MAGIC, PIXEL_LIMIT, VERSION, Container
from coders.fitting import Fitting
from coders.image_codec import decode_picture, encode_picture, models_named, network_rows, scan_named
from coders.picture import Picture, same_picture
from coders.scan import Scan
from datasets.images import find_images, left_out, pixels_of
from datasets.metadata import same_metadata
from datasets.pictures import read_picture
from utils.errors import FormatError, InputError, LosslessError, RequestError
from utils.files import TakenError, check_output, write_new, write_whole
from utils.tasks.files import Results, conclude, run_files
from utils.tasks.models import ModelChoice
from utils.tasks.names import check_against_inputs, may_be_anothers, names_file, numbered, output_paths
from utils.tasks.report import say

ENDING = ".p59"
#: Endings of one named file: ours, and that of the published configurations.
FILE_ENDINGS = (ENDING, ".bin")
START = MAGIC + bytes((VERSION,))


@dataclass(frozen=True)
class EncodeTask:
    """Encode `sources` into `target`: a directory, or one file (see `names_file`); `fit` adapts the network to each.

    With `turn` each is coded in the orientation that suits it. An output that exists is replaced where it
    holds the same image and metadata in more bytes, else only with `overwrite`. With `skip_existing` whole ones stay,
    and damaged ones are replaced; those that may be of another input are compared with theirs.
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
    check_against_inputs(files, outputs)
    if task.backend.note:
        say(task.backend.note)
    for line in (*left_out(task.sources), *numbered(files, outputs)):
        say(line)
    task.models.given()
    if task.fit and task.backend.at_once > 1 and len(files) > 1:
        task = replace(task, fit=task.fit.among_others())
    results = run_files(partial(_encode_file, task), files, outputs, task.backend)
    status = conclude(results)
    if larger := _larger(results, dict(zip(map(str, outputs), files, strict=True))):
        say(
            f"{larger} of {len(results.rows)} files are larger than the images' own files; those of JPEG and the like "
            "hold less than their pixels, so keep them"
        )
    return status


def _larger(results: Results, sources: dict[str, Path]) -> int:
    """How many outputs take more bytes than the files they were made of."""
    count = 0
    for output, _, size, *_ in results.rows:
        with suppress(OSError):  # it is gone
            count += size > sources[output].stat().st_size
    return count


def _encode_file(task: EncodeTask, path: Path, output: Path) -> tuple[int, int, int, str, str] | None:
    check_output(output)
    if task.skip_existing and not may_be_anothers(path, output) and _is_whole(output):
        return None
    with task.backend.room(pixels_of(path, task.pixel_limit)):
        return _encode_image(task, path, output)


def _encode_image(task: EncodeTask, path: Path, output: Path) -> tuple[int, int, int, str, str] | None:
    picture, replaced = read_picture(path, task.pixel_limit), task.overwrite
    if output.exists() and not replaced:
        if _standing(picture, output, task.skip_existing) is None:
            say(f"{output} is damaged and is encoded anew")
            replaced = True
        elif task.skip_existing:
            return None
    data = _encoded(picture, task)
    if replaced:
        write_whole(output, data)
    else:
        data = _put(picture, output, data)
    pixels, coding = picture.height * picture.width, coding_of(Container.from_bytes(data, sys.maxsize))
    return pixels, picture.samples.size, len(data), *coding


def _put(picture: Picture, output: Path, data: bytes) -> bytes:
    """Writes the file, but where one stands that holds the same picture in no more bytes, which another process may
    have made meanwhile. Returns what is there."""
    try:
        write_new(output, data)
        return data
    except TakenError:
        standing = _standing(picture, output)
    if len(standing) > len(data):
        write_whole(output, data)
        return data
    if len(standing) < len(data):
        say(f"{output} holds this image in fewer bytes and stays; overwrite=true replaces it")
    return standing


def _standing(picture: Picture, output: Path, may_be_damaged: bool = False) -> bytes | None:
    """The .p59 file of the picture that stands at `output`; None where it may be damaged, and is.

    Raises InputError where what stands there is not to be replaced.
    """
    data = output.read_bytes()
    try:
        container = Container.from_bytes(data, sys.maxsize)
    except FormatError:
        if may_be_damaged and begins_as(data, START):
            return None
    else:
        if holds(container, picture):
            return data
    raise InputError(
        f"{str(output)!r} exists and does not hold this image with these metadata, or is damaged; name another "
        "bitstream_path, or replace it with overwrite=true"
    )


def holds(container: Container, picture: Picture) -> bool:
    """Whether a file is of the picture: the same in everything, as far as checksums tell."""
    return container.pixels == picture.checksum and same_metadata(container.metadata, picture.metadata)


def _is_whole(output: Path) -> bool:
    """Whether there is a .p59 file, of any size, whose checksum is right; its planes are not decoded."""
    try:
        return bool(Container.from_bytes(output.read_bytes(), sys.maxsize))
    except (FormatError, FileNotFoundError):
        return False


def begins_as(data: bytes, start: bytes) -> bool:
    """Whether a damaged file may be what begins with `start`: it does, or ends before it differs, or is zeros."""
    return start.startswith(data[: len(start)]) or not data.strip(b"\0")


def coding_of(container: Container) -> tuple[str, str]:
    """For people: the scan order and whether a model is adapted, and the starts of the models' fingerprints.

    "plain" and nothing where no network is used.
    """
    scan, adapted = scan_named(container), any(rows.coding.is_adapted for rows in network_rows(container))
    models = ", ".join(fingerprint[:4].hex() for fingerprint in models_named(container))
    return (scan.name if scan else "plain") + (", adapted" if adapted else ""), models


def _encoded(picture: Picture, task: EncodeTask) -> bytes:
    """The file, verified where that is asked for."""
    task.models.check(_colours(picture))
    network = partial(task.models.network, task.scan, task.backend)
    data = encode_picture(picture, network, task.scan, task.backend, task.fit, task.turn)
    container = Container.from_bytes(data, task.pixel_limit)
    if task.verify and not same_picture(decode_picture(container, task.models.named, task.backend), picture):
        raise LosslessError("the file just encoded does not decode to the image; report this as a bug")
    return data


def _colours(picture: Picture) -> int:
    """Channels that the picture's colours need: 3, or 1 for gray, also where it is stored as RGB."""
    if not picture.mode.name.startswith("RGB"):
        return 1
    red, green, blue = (picture.samples[:, :, channel] for channel in range(3))
    return 1 if np.array_equal(red, green) and np.array_equal(green, blue) else 3
