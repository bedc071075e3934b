"""Task: where the bits of images go. Heat maps, prediction and residual, and the dearest and cheapest regions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from coders.backends import Backend
from coders.container import PIXEL_LIMIT
from coders.placement import best_placement
from coders.recorder import record
from coders.scan import Scan
from datasets.images import find_images, read_samples
from datasets.png import png_bytes
from utils.analysis import (
    CHANNEL_NAMES,
    Region,
    bits_figure,
    prediction_figure,
    prediction_image,
    regions_of,
    residual_image,
)
from utils.errors import P59Error
from utils.files import write_whole
from utils.printable import in_one_line
from utils.tasks.models import ModelChoice
from utils.tasks.names import check_against_inputs, output_paths
from utils.tasks.report import complain, say, table

#: Regions listed at each end.
LISTED = 5


@dataclass(frozen=True)
class AnalyzeTask:
    """Look at `sources` coded in the order `scan`; a folder for each image below `target`. `block`: a region's side."""

    sources: str | list[str]
    target: Path
    scan: Scan
    models: ModelChoice
    backend: Backend
    device: str = "cpu"
    block: int = 32
    pixel_limit: int = PIXEL_LIMIT


def run(task: AnalyzeTask) -> int:
    """Write each image's pictures and table. Returns the exit status.

    Failures are listed at the end, or when an interrupt ends it.
    """
    files = find_images(task.sources)
    failures = []
    folders = output_paths(files, task.sources, task.target, "", into_directory=True)
    check_against_inputs(files, folders)
    try:
        for path, folder in tqdm(list(zip(files, folders, strict=True)), unit="image", disable=None):
            try:
                _analyze(path, folder, task)
            except P59Error as error:
                failures.append(f"{path}: {error}")
    finally:
        for failure in failures:
            complain(f"failed: {failure}")
    return 1 if failures else 0


def _analyze(path: Path, folder: Path, task: AnalyzeTask) -> None:
    image = read_samples(path, task.pixel_limit)
    model = task.models.for_image(task.scan, task.backend, image).model
    model = model.phases[best_placement(model, image, task.scan, task.backend, turn=False).phase]
    recorded = record(image, model, task.scan, task.device)
    regions = regions_of(recorded.bits, task.block)
    headers, rows = _table(regions, recorded.bits)
    listed = [*range(min(LISTED, len(rows))), *range(max(LISTED, len(rows) - LISTED), len(rows))]
    title = in_one_line(path.name)
    files = {
        "bits.png": bits_figure(recorded.bits, regions[:LISTED], title),
        "prediction_and_residual.png": prediction_figure(image, recorded, title),
        "prediction.png": png_bytes(prediction_image(recorded)),
        "residual.png": png_bytes(residual_image(image, recorded)),
        "regions.tsv": "".join("\t".join(map(_cell, row)) + "\n" for row in [headers, *rows]).encode(),
    }
    for name, data in files.items():
        write_whole(folder / name, data)
    channels = " / ".join(f"{bits:.3f}" for bits in recorded.bits.mean((0, 1)))
    names = " / ".join(CHANNEL_NAMES[image.shape[2]])
    say(f"{path}: {recorded.bits.mean():.4f} bits per sub-pixel, {names} {channels}, {task.scan.name} order (ideal)")
    say(table([rows[place] for place in listed], headers, ["", "", "", "", ".2f", ".2f", *[".2f"] * image.shape[2]]))
    say(f"pictures and all {len(rows)} regions are in {folder}")


def _table(regions: list[Region], bits: np.ndarray) -> tuple[list[str], list[list]]:
    """Regions as rows, dearest first."""
    total = max(float(bits.sum()), 1e-9)
    headers = ["rank", "row", "column", "size", "bits per pixel", "% of all bits", *CHANNEL_NAMES[bits.shape[2]]]
    rows = []
    for rank, region in enumerate(regions, 1):
        pixels = region.height * region.width
        share = 100 * sum(region.channel_bits) / total
        each = [part / pixels for part in region.channel_bits]
        size = f"{region.height}x{region.width}"
        rows.append([rank, region.row, region.column, size, region.bits_per_pixel, share, *each])
    return headers, rows


def _cell(value) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
