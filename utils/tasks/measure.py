"""Task: ideal code lengths of images under a model, float (where there is one) and frozen, without writing files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from coders.backends import Backend
from coders.container import PIXEL_LIMIT
from coders.placement import best_placement
from coders.scan import Scan
from datasets.images import find_images, read_samples
from utils.errors import P59Error
from utils.tasks.models import ModelChoice
from utils.tasks.report import complain, say, table

#: Columns of the float model: the published loss, with the tails folded, and as a 16-bit coder charges.
FLOAT_HEADERS = {"published": "float, loss", "folded": "float, folded", "coded": "float, 16-bit"}


@dataclass(frozen=True)
class MeasureTask:
    """Measure `sources` in the order `scan`, in bits per sub-pixel."""

    sources: str | list[str]
    scan: Scan
    models: ModelChoice
    backend: Backend
    pixel_limit: int = PIXEL_LIMIT


def run(task: MeasureTask) -> int:
    """Print a row for each image and the means, after an interrupt of those until then. Returns the exit status."""
    rows, failures = [], []
    if task.backend.note:
        say(task.backend.note)
    task.models.given()
    try:
        for path in tqdm(find_images(task.sources), unit="image", disable=None):
            try:
                rows.append(_measured(path, task))
            except P59Error as error:
                failures.append(f"{path}: {error}")
    finally:
        _show(rows, failures, task.scan)
    return 1 if failures else 0


def _measured(path: Path, task: MeasureTask) -> list:
    """Name, pixels, bits per sub-pixel of each kind of float model and of the frozen one."""
    image = read_samples(path, task.pixel_limit)
    chosen = task.models.for_image(task.scan, task.backend, image)
    phase = best_placement(chosen.model, image, task.scan, task.backend, turn=False).phase
    frozen = task.backend.measure(image, chosen.model.phases[phase], task.scan).sum() / image.size
    floats = [None] * len(FLOAT_HEADERS)
    if chosen.net is not None:
        from models.measure import image_bits
        from utils.torch_threads import torch_threads

        taps = task.scan.taps(chosen.net.description.taps)
        with torch_threads.set_to(task.models.threads):
            bits = image_bits(chosen.net.in_phase(phase), image, taps)
        floats = [bits[kind].sum() / image.size for kind in FLOAT_HEADERS]
    return [path.name, image.shape[0] * image.shape[1], *floats, frozen]


def _show(rows: list[list], failures: list[str], scan: Scan) -> None:
    if rows:
        columns = list(zip(*(row[2:] for row in rows), strict=True))
        means = [None if None in column else float(np.mean(column)) for column in columns]
        rows = [*rows, [f"mean of {len(rows)}", sum(row[1] for row in rows), *means]]
        headers = ["image", "pixels", *FLOAT_HEADERS.values(), "frozen, ideal"]
        shown = [0, 1, *(2 + at for at, column in enumerate(columns) if any(bits is not None for bits in column))]
        say(f"bits per sub-pixel, {scan.name} order")
        say(table([[row[at] for at in shown] for row in rows], [headers[at] for at in shown], [".5f"] * len(shown)))
    for failure in failures:
        complain(f"failed: {failure}")
