"""Task: .p59 files to PNG images."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from coders.backends import Backend
from coders.container import Container
from coders.image_codec import decode_image
from models.store import model_for_file
from utils.errors import FormatError, InputError, P59Error
from utils.files import write_whole
from utils.tasks.encode import ENDING, conclude, output_paths
from utils.tasks.models import ModelChoice
from utils.tasks.report import TIMING_FORMATS, TIMING_HEADERS, say, timing_row


@dataclass(frozen=True)
class DecodeTask:
    """Decode `source`, one .p59 file or a directory of them, into `target`: a directory or one file.

    `height` and `width`, where given, must be those of every file.
    """

    source: Path
    target: Path
    models: ModelChoice
    backend: Backend
    height: int | None = None
    width: int | None = None
    skip_existing: bool = False
    pixel_limit: int = 1 << 30


def run(task: DecodeTask) -> int:
    """Decode all files; failures are listed at the end. Returns the exit status."""
    files = find_streams(task.source)
    outputs = output_paths(files, str(task.source), task.target, ".png")
    if task.backend.note:
        say(task.backend.note)
    rows, failures, announced = [], [], set()
    given = task.models.given()
    for path, output in tqdm(list(zip(files, outputs, strict=True)), unit="image", disable=None):
        if task.skip_existing and output.exists():
            continue
        started = time.perf_counter()
        try:
            data = _read(path)
            container = Container.from_bytes(data, task.pixel_limit)
            _check_size(container, task)
            chosen = model_for_file(container.model, [given] if given else [])
            if given is None and chosen.model.name not in announced:
                announced.add(chosen.model.name)
                say(str(chosen))
            image = decode_image(container, chosen.model, task.backend)
            write_whole(output, png_bytes(image))
        except P59Error as error:
            failures.append(f"{path}: {error}")
            continue
        seconds = time.perf_counter() - started
        row = timing_row(str(output), image.shape[0] * image.shape[1], image.size, len(data), seconds)
        rows.append([*row, container.scan.name])
    return conclude(rows, failures, [*TIMING_HEADERS, "order"], [*TIMING_FORMATS, ""])


def find_streams(source: Path) -> list[Path]:
    """The .p59 files of a path. Raises InputError where there are none."""
    if source.is_file():
        return [source]
    found = sorted(source.rglob(f"*{ENDING}")) if source.is_dir() else []
    if not found:
        what = "holds no .p59 file" if source.is_dir() else "does not exist"
        raise InputError(f"bitstream_path {str(source)!r} {what}; give a .p59 file or a directory of them")
    return found


def png_bytes(image: np.ndarray) -> bytes:
    """A PNG file of samples (H, W, C) uint8."""
    buffer = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error


def _check_size(container: Container, task: DecodeTask) -> None:
    for key, asked, found in (("H", task.height, container.height), ("W", task.width, container.width)):
        if asked is not None and asked != found:
            raise FormatError(f"{key} is {asked} in the configuration, {found} in the file; correct or remove {key}")
