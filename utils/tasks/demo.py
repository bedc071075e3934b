"""Task: the main job on real photographs. Encode, decode and compare in all three orders, and show a table."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from coders.backends import Backend
from coders.container import PIXEL_LIMIT, Container
from coders.image_codec import decode_picture, encode_image
from coders.scan import SCANS
from datasets.builtin import demo_photographs
from datasets.images import find_images, read_samples
from datasets.png import png_bytes, png_of
from utils.files import write_whole
from utils.tasks.models import ModelChoice
from utils.tasks.report import say, table


@dataclass(frozen=True)
class DemoTask:
    """Work in `directory`: the photographs as PNG, their .p59 files and the decoded PNGs, a folder for each order.

    `sources` replaces the built-in photographs where given.
    """

    directory: Path
    models: ModelChoice
    backend: Backend
    sources: str | list[str] | None = None
    pixel_limit: int = PIXEL_LIMIT


def run(task: DemoTask) -> int:
    """Returns 0 where every decoded image is identical to its original, else 1."""
    if task.backend.note:
        say(task.backend.note)
    originals = find_images(task.sources) if task.sources else _write_photographs(task.directory / "originals")
    rows = []
    for path in tqdm(originals, unit="image", disable=None):
        for scan in SCANS.values():
            rows.append(_round_trip(path, scan, task))
    headers = ["photograph", "order", "PNG bytes", "P59 bytes", "bpsp", "encode s", "decode s", ""]
    say(table(rows, headers, ["", "", "", "", ".3f", ".2f", ".2f", ""]))
    say(f"the files are in {task.directory}")
    return 0 if all(row[-1] == "identical" for row in rows) else 1


def _round_trip(path: Path, scan, task: DemoTask) -> list:
    image = read_samples(path, task.pixel_limit)
    encoded, decoded = (task.directory / scan.name / (path.stem + ending) for ending in (".p59", ".png"))
    started = time.perf_counter()
    model = task.models.for_image(scan, task.backend, image).model
    write_whole(encoded, encode_image(image, model, scan, task.backend))
    encode_seconds = time.perf_counter() - started

    started = time.perf_counter()
    data = encoded.read_bytes()
    picture = decode_picture(Container.from_bytes(data, task.pixel_limit), task.models.named, task.backend)
    write_whole(decoded, png_of(picture))
    decode_seconds = time.perf_counter() - started

    same = np.array_equal(read_samples(decoded, task.pixel_limit), image)
    verdict = "identical" if same else "DIFFERENT"
    bpsp = 8 * len(data) / image.size
    return [path.name, scan.name, _png_size(image), len(data), bpsp, encode_seconds, decode_seconds, verdict]


def _write_photographs(directory: Path) -> list[Path]:
    paths = []
    for name, image in demo_photographs().items():
        paths.append(directory / f"{name}.png")
        write_whole(paths[-1], png_bytes(image))
    return paths


def _png_size(image: np.ndarray) -> int:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(buffer, "PNG", optimize=True)
    return len(buffer.getvalue())
