"""Contexts per second of training with its data loading, and with one batch used again and again.

    python -m benchmarks.training images/train/ [--seconds 20] [key=value ...]

The recipe of configs/train.json (contexts) and the published setting of configs/train_paper.json (crops), each in
turns of a few seconds, so that other work on the machine falls on both alike.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from torchnet.engine import Engine

from datasets.image_set import ImageSet
from datasets.images import find_images
from datasets.training_samples import ContextPool, PatchPool, Sample, batches
from models.context_net import ContextNet
from utils.batch_bits import chosen_batch_bits
from utils.config import Notes, read_config
from utils.tasks.choose_training import train_task
from utils.tasks.report import say, table
from utils.tasks.train import TrainTask

CONFIGS = {"contexts": "configs/train.json", "crops": "configs/train_paper.json"}
TURNS = 5


def measure(task: TrainTask, images: ImageSet, seconds: float) -> np.ndarray:
    """Rows: training with loading, with one batch repeated, loading alone; columns: contexts per second, and per second
    of processor time (which other work on the machine does not change)."""
    settings, description = task.settings, task.description
    pool = (ContextPool if settings.sampling == "contexts" else PatchPool)(
        images,
        size=settings.pool_size,
        refresh_every=settings.refresh_every,
        seed=0,
        side=settings.patch_size,
        batch=settings.batch_size,
        taps=description.taps,
        padding=description.padding,
        augment=settings.augment,
    )
    pool.advance(0)
    net = ContextNet(description)
    net.reset_parameters(torch.Generator().manual_seed(0))
    optimizer = settings.optimizer_of(net.parameters())
    bits = chosen_batch_bits(description, "cpu", settings.loss, settings.compiled)

    def train(source: Iterator[Sample]) -> None:
        Engine().train(
            lambda sample: (bits(net, *sample, settings.loss, bool(settings.bfloat16_steps)), None),
            source,
            1,
            optimizer,
        )

    def only_load(source: Iterator[Sample]) -> None:
        for _ in source:
            pass

    with closing(batches(pool, 0, 10**9, slice(0, settings.batch_size))) as loaded:
        repeated = itertools.repeat(next(loaded))
        kinds = ((train, loaded), (train, repeated), (only_load, loaded))
        turn = seconds / TURNS / len(kinds)
        rates = [[_batches(*kind, turn) for kind in kinds] for _ in range(TURNS)]
    return np.median(rates, 0) * settings.contexts_per_step


def _batches(work: Callable[[Iterator[Sample]], None], source: Iterator[Sample], seconds: float) -> tuple[float, float]:
    """Batches of `source` that `work` gets through, per second and per second of processor time, in about `seconds`."""
    begun, processor, count = time.perf_counter(), time.process_time(), 0

    def limited() -> Iterator[Sample]:
        nonlocal count
        while time.perf_counter() - begun < seconds:
            count += 1
            yield next(source)

    work(limited())
    return count / (time.perf_counter() - begun), count / (time.process_time() - processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", help="training images: a file or a directory")
    parser.add_argument("overrides", nargs="*", help="of the configuration, for example bfloat16_steps=1")
    parser.add_argument("--seconds", type=float, default=20, help="of measuring, for each sampling")
    options = parser.parse_intermixed_args()
    rows = []
    for sampling, path in CONFIGS.items():
        data = [f"train_data={options.images}", f"valid_data={options.images}", "device=cpu"]
        config, _ = read_config(path, [*data, *options.overrides])
        task = train_task(config, Notes()).args[0]
        images = ImageSet(find_images(options.images), 3, task.settings.patch_size)
        (full, _), (repeated, training), (alone, loading) = measure(task, images, options.seconds)
        rows.append([sampling, full, repeated, alone, f"{training / (training + loading):.1%}"])
    headers = ["sampling", "contexts/s", "one batch repeated", "loading alone", "loading's processor time"]
    say(f"{torch.get_num_threads()} threads, {Path(options.images)}")
    say(table(rows, headers, ["", ",.0f", ",.0f", ",.0f", ""]))


if __name__ == "__main__":
    main()
