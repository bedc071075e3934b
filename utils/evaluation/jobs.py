"""One measurement: an image through one codec and back, compared, timed, as a row. Runs in worker processes.

A job holds only paths, names and numbers, so that a worker's memory is that of the one image it works on.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import blake2b
from pathlib import Path

import numpy as np

from coders.backends import backend_for
from coders.container import PIXEL_LIMIT, Container
from coders.fitting import Fitting
from coders.image_codec import decode_picture, encode_image, scan_named
from coders.model_choice import best_model
from coders.placement import best_placement, turned
from coders.scan import SCANS
from datasets.images import read_samples
from models.frozen import FrozenModel
from models.model_file import read_model
from utils.errors import InputError, LosslessError, P59Error
from utils.evaluation.codecs import CODECS, OURS, Codec
from utils.evaluation.rows import ADAPTED, PLAIN, SEVERAL, UNTURNED, Row

#: Timings are the least of at most this many runs, and of no more once they took this many seconds together.
REPEATS, REPEAT_SECONDS = 3, 3.0


@dataclass(frozen=True)
class Job:
    """Measure image file `path` with `codec`.

    size      (H, W): cropped to it, or put together with `others`, and timed more than once; None: as it is
    models    for ours: model files of each number of channels, of which the image takes the best
    device    for ours: a PyTorch device name
    adapt_steps    for ours: steps of fitting the network to the image, 0 for none
    turn      for ours: code it in the orientation that takes the fewest bits
    """

    path: Path
    data_set: str
    image: str
    codec: str
    order: str = ""
    models: dict[int, tuple[Path, ...]] = field(default_factory=dict, hash=False)
    device: str = "cpu"
    threads: int = 1
    adapt_steps: int = 0
    turn: bool = True
    workers: int = 1
    size: tuple[int, int] | None = None
    others: tuple[Path, ...] = ()
    pixel_limit: int = PIXEL_LIMIT
    commit: str = ""
    machine: str = ""

    @property
    def variant(self) -> str:
        """The order as rows have it, see Row."""
        turned = "" if self.turn else UNTURNED
        return self.order + turned + (f"{ADAPTED}{self.adapt_steps}" if self.adapt_steps else "")


@dataclass(frozen=True)
class Measured:
    """The file, and the seconds of encoding and decoding it."""

    data: bytes
    encode_seconds: float
    decode_seconds: float


def run_job(job: Job) -> Row:
    """The row of a job; whatever fails stands in its `error`."""
    row = Row(
        *(job.data_set, job.image, 0, 0, 0, job.codec, job.variant, "", 0, 0.0, "", 0.0, 0.0, job.device),
        *(job.threads, job.workers, 0, 0, "", job.commit, job.machine, ""),
    )
    try:
        image = _image(job)
        height, width, channels = image.shape
        row = replace(row, height=height, width=width, channels=channels, pixels=_checksum(image))
        row, measured = _ours(row, image, job) if job.codec == OURS else _other(row, image, job)
    except Exception as error:  # other people's codecs may raise anything; an evaluation names it and goes on
        return replace(row, error=" ".join(f"{type(error).__name__}: {error}".split())[:300])
    return replace(
        row,
        bytes=len(measured.data),
        bpsp=8 * len(measured.data) / image.size,
        encode_seconds=measured.encode_seconds,
        decode_seconds=measured.decode_seconds,
    )


def pixels_of(job: Job) -> str:
    """The checksum of the image that a job measures, nothing where it cannot be read."""
    try:
        return _checksum(_image(job))
    except P59Error:
        return ""


def _image(job: Job) -> np.ndarray:
    image = read_samples(job.path, job.pixel_limit)
    return image if job.size is None else _mosaic(image, job)


def _mosaic(image: np.ndarray, job: Job) -> np.ndarray:
    """An image of `job.size`: the first one cropped, or beside and above the others, each cut to the first's size.

    Different images, because repeating one would let codecs that copy from afar do so. A narrow one among broad ones
    is turned; where there are too few images, or one is too small, it is mirrored at its edges.
    """
    (height, width), (tile_height, tile_width) = job.size, image.shape[:2]
    across, down = -(-width // tile_width), -(-height // tile_height)
    tiles = [image]
    for number in range(1, across * down):
        tile = read_samples(job.others[(number - 1) % len(job.others)], job.pixel_limit) if job.others else image
        if (tile.shape[0] > tile.shape[1]) != (tile_height > tile_width):
            tile = np.rot90(tile)
        short = [(0, max(0, wanted - have)) for wanted, have in zip(image.shape[:2], tile.shape, strict=False)]
        tiles.append(np.pad(tile, (*short, (0, 0)), "symmetric")[:tile_height, :tile_width])
    rows = [np.concatenate(tiles[start : start + across], 1) for start in range(0, across * down, across)]
    return np.ascontiguousarray(np.concatenate(rows, 0)[:height, :width])


def _ours(row: Row, image: np.ndarray, job: Job) -> tuple[Row, Measured]:
    if row.channels not in job.models:
        raise InputError(f"image has {row.channels} channels, the model codes {', '.join(map(str, job.models))}")
    models = {model.file_id: model for model in map(_model, job.models[row.channels])}
    scan, backend = SCANS[job.order], backend_for(job.device, job.threads)
    largest = max((model.description for model in models.values()), key=lambda one: one.parameters)
    fit = Fitting(job.adapt_steps, job.device, job.threads) if job.adapt_steps else None
    row = replace(
        row,
        model=names_of_models(models.values()),
        parameters=largest.parameters,
        macs=largest.macs_per_pixel,
    )
    libraries = "; ".join(f"{name} {_version(name)}" for name in ("torch", "numpy"))

    def suited() -> FrozenModel:
        return best_model(list(models.values()), image, scan, backend)

    measured = _round_trip(
        image,
        lambda: encode_image(image, suited(), scan, backend, fit, job.turn),
        lambda data: decode_picture(Container.from_bytes(data, job.pixel_limit), models.__getitem__, backend).samples,
        job.size is not None,
    )
    if scan_named(Container.from_bytes(measured.data, job.pixel_limit)) is None:
        return replace(row, versions=f"{PLAIN}; {libraries}"), measured
    row = replace(row, versions=f"{backend.name}; {libraries}")
    if job.size is None and fit is None:
        model = suited()
        placement = best_placement(model, image, scan, backend, job.turn)
        bits = backend.measure(turned(image, placement.orientation), model.phases[placement.phase], scan)
        row = replace(row, channel_bits=",".join(f"{value:.1f}" for value in bits))
    return row, measured


def _other(row: Row, image: np.ndarray, job: Job) -> tuple[Row, Measured]:
    codec = CODECS[job.codec]
    row = replace(row, versions=codec.version())
    given = image if codec.gray or row.channels != 1 else np.repeat(image, 3, 2)
    return row, _round_trip(given, *_bound(codec, given, job.threads), job.size is not None)


def _bound(codec: Codec, image: np.ndarray, threads: int) -> tuple[Callable[[], bytes], Callable[[bytes], np.ndarray]]:
    return lambda: codec.encode(image, threads), lambda data: codec.decode(data, threads)


def _round_trip(
    image: np.ndarray, encode: Callable[[], bytes], decode: Callable[[bytes], np.ndarray], repeat: bool
) -> Measured:
    """Encode, decode and compare. Raises LosslessError where the result is not the image."""
    data, encode_seconds = _timed(encode, repeat)
    decoded, decode_seconds = _timed(lambda: decode(data), repeat)
    if not (decoded.dtype == image.dtype and np.array_equal(decoded, image)):
        raise LosslessError("the decoded image differs from the original")
    return Measured(data, encode_seconds, decode_seconds)


def _timed(action: Callable, repeat: bool):
    """What `action` returns, and the least of its seconds."""
    least, spent = float("inf"), 0.0
    for _ in range(REPEATS if repeat else 1):
        started = time.perf_counter()
        result = action()
        seconds = time.perf_counter() - started
        least, spent = min(least, seconds), spent + seconds
        if spent > REPEAT_SECONDS:
            break
    return result, least


def _checksum(image: np.ndarray) -> str:
    return blake2b(np.ascontiguousarray(image), digest_size=8).hexdigest()


def names_of_models(models: Iterable[FrozenModel]) -> str:
    """As rows have them, see Row: each model counts once."""
    names = list(dict.fromkeys(model.name for model in models))
    digest = blake2b("".join(names).encode(), digest_size=8).hexdigest()
    return names[0] if len(names) == 1 else f"{digest}{SEVERAL}{len(names)}"


@cache
def _model(path: Path) -> FrozenModel:
    return read_model(path)


def _version(name: str) -> str:
    return importlib.metadata.version(name)
