"""What an evaluation measures: the jobs of its data sets, codecs, orders, models, devices and sizes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from datasets.images import find_images, image_opened, measured_channels
from models.model_file import read_model
from utils.errors import InputError
from utils.evaluation.codecs import CODECS, OURS
from utils.evaluation.jobs import Job, names_of_models, pixels_of
from utils.evaluation.machine import commit_of, machine_of
from utils.evaluation.rows import TIMING, Row, current, is_timing, utf8

#: At most this many images besides the first make up a larger image to time.
MOSAIC_IMAGES = 63
#: For one model choice of ours: frozen model files of each scan order and number of channels.
ModelFiles = dict[str, dict[int, tuple[Path, ...]]]


@dataclass(frozen=True)
class Plan:
    """Measure `codecs` on `sources`, each a data set named by its folder.

    orders    scan orders of ours
    models    model choices of ours
    devices   of ours: the first for rates, all of them for times
    workers   images at a time while rates are measured
    threads   of each codec that uses them: while rates are measured; times with one thread and with `all_threads`
    sizes     (H, W) to time, one by one with nothing else running
    adapt_steps    of ours: steps of fitting the network to each image, 0 for none
    turn      of ours: code each image in the orientation that suits it
    """

    sources: str | list[str]
    codecs: tuple[str, ...]
    orders: tuple[str, ...]
    models: tuple[ModelFiles, ...]
    devices: tuple[str, ...]
    workers: int
    threads: int
    all_threads: int
    sizes: tuple[tuple[int, int], ...]
    pixel_limit: int
    adapt_steps: int = 0
    turn: bool = True


def data_sets(sources: str | list[str]) -> Iterator[tuple[str, str, Path]]:
    """(data set, image name, file): a data set is named by its folder, an image by its path inside it; of links, by
    their own names.

    Raises InputError where two folders would give their data sets the same name.
    """
    folders: dict[str, Path] = {}
    for source in [sources] if isinstance(sources, str) else sources:
        path = Path(source)
        inside = path if path.is_dir() else path.parent
        folder = Path(os.path.abspath(inside))
        if folders.setdefault(folder.name, folder) != folder:
            raise InputError(f"{folders[folder.name]} and {folder} have one name, which names data sets; rename one")
        for file in find_images(str(path)):
            yield utf8(folder.name), utf8(file.relative_to(inside).as_posix()), file


def rate_jobs(plan: Plan) -> Iterator[Job]:
    """Every image through every codec."""
    for data_set, image, path in data_sets(plan.sources):
        base = _base(plan, path, data_set, image, workers=max(1, plan.workers))
        yield from _variants(base, plan, plan.devices[:1], (plan.threads,))


def timing_jobs(plan: Plan) -> Iterator[Job]:
    """An image of each size, made of the first data set's images, through every codec."""
    if not plan.sizes:
        return
    image, path, others = _images_to_time(plan)
    for height, width in plan.sizes:
        base = _base(plan, path, f"{TIMING} {height}x{width}", image, size=(height, width), others=others)
        yield from _variants(base, plan, plan.devices, tuple(sorted({1, plan.all_threads})))


def _images_to_time(plan: Plan) -> tuple[str, Path, tuple[Path, ...]]:
    """Of the first data set: name and file of the first image that can be measured, and others of as many channels.

    Where none can be, the first one, whose rows will say why.
    """
    found = list(data_sets(plan.sources))
    inside = ((name, path) for data_set, name, path in found if data_set == found[0][0])
    usable = ((name, path, _channels(path, plan.pixel_limit)) for name, path in inside)
    image, path, channels = next((one for one in usable if one[2]), (*found[0][1:], 0))
    return image, path, tuple(islice((other for _, other, count in usable if count == channels), MOSAIC_IMAGES))


def _channels(path: Path, pixel_limit: int) -> int:
    """Channels of an image, by its header; 0 where it cannot be measured."""
    try:
        with image_opened(path, pixel_limit) as image:
            return measured_channels(image)
    except InputError:
        return 0


def unmeasured(jobs: Iterable[Job], rows: list[Row]) -> list[Job]:
    """The jobs that no row is the result of: of the same key and, by the checksum, of the image that is now there, or
    of one that cannot be read now.

    A row of ours may have any of the models that the channels of an image may ask for.
    """
    known = {row.key: row.pixels for row in current(rows) if row.ok}
    pixels: dict[tuple, str] = {}
    waiting = []
    for job in tqdm(jobs, "looking for what is measured", unit="job", leave=False, disable=None):
        names = [names_of(paths) for paths in job.models.values()] or [""]
        machine = job.machine if is_timing(job.data_set) else ""
        before, behind = (job.data_set, job.image, job.codec, job.variant), (job.device, job.threads, machine)
        keys = ((*before, name, *behind) for name in names)
        found = {known[key] for key in keys if key in known}
        image = (job.path, job.size)
        if found and image not in pixels:
            pixels[image] = pixels_of(job)
        if not found or pixels[image] not in (*found, ""):
            waiting.append(job)
    return waiting


@cache
def names_of(paths: tuple[Path, ...]) -> str:
    """The names of the models in files, as rows have them."""
    return names_of_models(read_model(path) for path in paths)


def _base(plan: Plan, path: Path, data_set: str, image: str, **rest) -> Job:
    return Job(path, data_set, image, "", pixel_limit=plan.pixel_limit, commit=_commit(), **rest)


def _variants(base: Job, plan: Plan, devices: tuple[str, ...], threads: tuple[int, ...]) -> Iterator[Job]:
    """The job for each codec and number of threads it has a use for; for ours also each model, order and device."""
    for name in plan.codecs:
        if name != OURS:
            job = replace(base, codec=name, machine=_machine("cpu"))
            yield from (replace(job, threads=n) for n in (threads if CODECS[name].threaded else (1,)))
            continue
        for files in plan.models:
            for order, device in ((order, device) for order in plan.orders for device in devices):
                if device != "cpu" and len(devices) > 1 and order == "sequential":
                    continue  # a GPU that is given one pixel at a time takes many minutes
                job = replace(base, codec=name, order=order, models=files[order], device=device)
                job = replace(job, adapt_steps=plan.adapt_steps, turn=plan.turn, machine=_machine(device))
                yield from (replace(job, threads=n) for n in (threads if device == "cpu" else threads[:1]))


@cache
def _commit() -> str:
    return commit_of(Path(__file__).parents[2])


@cache
def _machine(device: str) -> str:
    return machine_of(device)
