"""Task: images to .p59 files."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from coders.backends import Backend
from coders.container import Container
from coders.image_codec import decode_image, encode_image
from coders.scan import Scan
from datasets.images import find_images, open_image, samples_of
from utils.errors import LosslessError, P59Error, RequestError
from utils.files import write_whole
from utils.tasks.models import ModelChoice
from utils.tasks.report import TIMING_FORMATS, TIMING_HEADERS, complain, say, table, timing_row

ENDING = ".p59"


@dataclass(frozen=True)
class EncodeTask:
    """Encode `sources` into `target`: a directory, or one file where it ends in .p59 or another file ending."""

    sources: str | list[str]
    target: Path
    scan: Scan
    models: ModelChoice
    backend: Backend
    verify: bool = True
    skip_existing: bool = False
    pixel_limit: int = 1 << 30


def run(task: EncodeTask) -> int:
    """Encode all images; failures are listed at the end. Returns the exit status."""
    files = find_images(task.sources)
    outputs = output_paths(files, task.sources, task.target, ENDING)
    if task.backend.note:
        say(task.backend.note)
    task.models.given()
    rows, failures = [], []
    for path, output in tqdm(list(zip(files, outputs, strict=True)), unit="image", disable=None):
        if task.skip_existing and output.exists():
            continue
        started = time.perf_counter()
        try:
            image = samples_of(open_image(path), task.pixel_limit)
            data = _encoded(image, task)
            write_whole(output, data)
        except P59Error as error:
            failures.append(f"{path}: {error}")
            continue
        seconds = time.perf_counter() - started
        rows.append(timing_row(str(output), image.shape[0] * image.shape[1], image.size, len(data), seconds))
    return conclude(rows, failures)


def _encoded(image: np.ndarray, task: EncodeTask) -> bytes:
    model = task.models.for_image(task.scan, image.shape[2]).model
    data = encode_image(image, model, task.scan, task.backend)
    if task.verify:
        container = Container.from_bytes(data, task.pixel_limit)
        if not np.array_equal(decode_image(container, model, task.backend), image):
            raise LosslessError("the file just encoded does not decode to the image; report this as a bug")
    return data


def output_paths(files: list[Path], sources: str | list[str], target: Path, ending: str) -> list[Path]:
    """One output for each input: `target` itself where it names a file, else <target>/<sub-folders>/<stem><ending>.

    Sub-folders are those below a source directory. Raises RequestError where two inputs would share an output.
    """
    if target.suffix and not target.is_dir():
        if len(files) != 1:
            raise RequestError(f"{str(target)!r} names one file, but there are {len(files)} inputs; give a directory")
        return [target]
    roots = [Path(source).expanduser() for source in ([sources] if isinstance(sources, str) else sources)]
    outputs: dict[Path, Path] = {}
    for file in files:
        root = next((root for root in roots if root.is_dir() and file.is_relative_to(root)), file.parent)
        output = (target / file.relative_to(root)).with_suffix(ending)
        if output in outputs:  # same stem, another ending: keep the ending in the name
            output = (target / file.relative_to(root)).with_name(file.name + ending)
        if output in outputs:
            raise RequestError(f"{file} and {outputs[output]} would both be written to {output}; encode them apart")
        outputs[output] = file
    return list(outputs)


def conclude(rows: list[list], failures: list[str], headers=TIMING_HEADERS, formats=TIMING_FORMATS) -> int:
    """Print the table and the failures; 1 where some file failed, else 0."""
    if rows:
        pixels, size, seconds = (sum(row[column] for row in rows) for column in (1, 2, 4))
        mean = sum(row[3] for row in rows) / len(rows)
        total = [f"{len(rows)} files (mean bpsp)", pixels, size, mean, seconds, pixels / 1e6 / max(seconds, 1e-9)]
        say(table([*rows, total + [""] * (len(headers) - len(total))], headers, formats))
    elif not failures:
        say("nothing to do")
    for failure in failures:
        complain(f"failed: {failure}")
    return 1 if failures else 0
