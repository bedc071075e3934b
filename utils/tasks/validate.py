"""Task: the rate of a training checkpoint on validation images, under the float network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from coders.container import PIXEL_LIMIT
from datasets.image_set import ImageSet
from datasets.images import find_images
from models.checkpoint import network_of, read_checkpoint
from models.model_file import is_model_file
from utils.errors import InputError, ModelError
from utils.tasks.report import say, table
from utils.validation import image_bpsp


@dataclass(frozen=True)
class ValidateTask:
    """Validate `checkpoint` on `images`; `patch` is the side of their centre crops, None for whole images."""

    images: str | list[str]
    checkpoint: Path
    patch: int | None
    device: str
    threads: int | None = None
    pixel_limit: int = PIXEL_LIMIT


def run(task: ValidateTask) -> int:
    """Print a row for each image and the mean. Returns 0, or 1 where some image was skipped."""
    if task.threads:
        torch.set_num_threads(task.threads)
    with task.checkpoint.open("rb") as file:
        if is_model_file(file.read(16)):
            raise ModelError(f"{task.checkpoint} is a frozen model; measure it with mode=test run_mode=measure")
    payload = read_checkpoint(task.checkpoint)
    net = network_of(payload, task.checkpoint).to(task.device)
    say(f"checkpoint {task.checkpoint}, {net.description.parameters:,} parameters, step {payload.get('iteration')}")
    images = ImageSet(find_images(task.images), net.description.channels, 1, "validation image", 0, task.pixel_limit)
    rows = []
    for index, path in enumerate(tqdm(images.files, unit="image", disable=None)):
        try:
            rows.append([path.name, image_bpsp(net, images.read(index), task.patch)])
        except InputError:
            continue  # listed in images.skipped
    if rows:
        rows.append([f"mean of {len(rows)}", sum(row[1] for row in rows) / len(rows)])
        say(table(rows, ["image", "bpsp as coded, float model"], ["", ".5f"]))
    for line in images.report():
        say(line)
    return 1 if images.skipped else 0
