"""Small random models and images, and where the shared data is. Everything is decided by seeds."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from coders.backends import Backend
from coders.codec import decode_stream
from coders.container import Container
from coders.image_codec import decode_picture
from coders.network_rows import Coding
from coders.planes import network_rows_of
from coders.scan import Scan
from models.adaptation import HIGHEST, LOWEST, Adaptation, LayerAdaptation, row_groups
from models.description import ModelDescription
from models.frozen import INPUT_LIMIT, FrozenLayer, FrozenModel
from models.neighbourhood import DIAGONAL_TAPS

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"

#: Image sizes (H, W) at which borders, short rows and unfinished blocks show.
SIZES = ((1, 1), (1, 2), (1, 7), (2, 1), (9, 1), (2, 3), (3, 2), (5, 5), (4, 17))

SOME_DIAGONAL_TAPS = (
    *((-3, 1), (-3, 2), (-2, -1), (-2, 0), (-2, 1), (-1, -2), (-1, -1), (-1, 0)),
    *((0, -2), (0, -1), (1, -3), (1, -2)),
)

#: Descriptions of small models that between them take every branch of the codec.
TINY = {
    "west": ModelDescription(widths=(8, 8)),
    "published": ModelDescription(widths=(8, 8), reference="none", scales="clamped", padding="zero"),
    "residual": ModelDescription(widths=(8, 8, 8), residual=True, mixtures=2),
    "gray": ModelDescription(widths=(6,), channels=1, mixtures=1),
    "gray zero": ModelDescription(widths=(6, 5), channels=1, mixtures=5, padding="zero", scales="clamped"),
    "diagonal": ModelDescription(widths=(8,), taps=SOME_DIAGONAL_TAPS, padding="diagonal"),
    "parities": ModelDescription(widths=(8, 8), parities=True),
    "gray parities": ModelDescription(widths=(6,), channels=1, mixtures=1, parities=True),
    "diagonal parities": ModelDescription(widths=(8,), taps=DIAGONAL_TAPS, padding="diagonal", parities=True),
}


#: Beside the tiny ones: layers of several vectors, of different widths, the most components, blocks in a row.
LAYERED = TINY | {
    "uneven": ModelDescription(widths=(17, 33, 40, 1), mixtures=10),
    "long residual": ModelDescription(widths=(40,) * 7, residual=True),
}


def shared_directory() -> Path | None:
    """`shared` beside the repository, where it is."""
    directory = ROOT.parent / "shared"
    return directory if directory.is_dir() else None


def random_frozen(description: ModelDescription, seed: int = 0, limit: int = 2000) -> FrozenModel:
    """A frozen model of random integers whose outputs spread over the range that the integer mixture uses."""
    generator = np.random.default_rng(seed)
    layers = []
    for number, ((after, before), roles) in enumerate(
        zip(description.layer_shapes, description.layer_roles, strict=True)
    ):
        last = number == len(description.widths)
        weight = generator.integers(-3000, 3001, (after, before), np.int16)
        size = INPUT_LIMIT / 2 if number == 0 else limit / 3
        shift = max(0, round(math.log2(1700 * size * math.sqrt(before) / (300 if last else limit / 3))))
        wanted = np.zeros(after)
        if last:  # scales in the middle of their range, on whichever grid
            wanted[description.output_rows["scales"]] = 60 if description.scales == "exponential" else 8 << 12
        bias = (wanted * 2.0**shift).astype(np.int32) + generator.integers(-5000, 5000, after, np.int32)
        layers.append(FrozenLayer(weight, bias, np.full(after, shift, np.uint8), *roles))
    return FrozenModel(description, tuple(layers), limit)


def random_image(height: int, width: int, channels: int = 3, seed: int = 0, kind: str = "smooth") -> np.ndarray:
    """(H, W, C) uint8. "smooth" waves with a little noise, "noise" all values alike, "extreme" only 0 and 255."""
    generator = np.random.default_rng((seed, height, width, channels))
    if kind == "noise":
        return generator.integers(0, 256, (height, width, channels), np.uint8)
    if kind == "extreme":
        return (generator.integers(0, 2, (height, width, channels)) * 255).astype(np.uint8)
    row, column = np.mgrid[:height, :width]
    phase = generator.uniform(0, 6, channels)
    waves = np.sin(row[..., None] / 5 + phase) + np.cos(column[..., None] / 7 - phase)
    return np.clip(128 + 60 * waves + generator.normal(0, 4, waves.shape), 0, 255).astype(np.uint8)


def flips(data: bytes, positions, masks=(0x01, 0x80, 0xFF)):
    """`data` with single bytes changed: (position, changed data)."""
    for position, mask in itertools.product(positions, masks):
        changed = bytearray(data)
        changed[position] ^= mask
        yield position, bytes(changed)


def source_of(row: int, column: int, height: int, width: int, padding: str) -> tuple[int, int] | int:
    """The pixel that a position inside or outside the image reads, or the constant."""
    if 0 <= row < height and 0 <= column < width:
        return row, column
    if padding == "zero":
        return 0
    if row < 0:
        return 128
    if padding == "diagonal" and (column < 0 or row >= height):
        along = row + column  # of all pixels on this diagonal the lowest
        if along < 0:
            return 128
        lowest = min(along, height - 1)
        return (lowest, along - lowest) if along - lowest < width else 128
    if row >= height:
        return 128
    if column < 0:
        return (row - 1, 0) if row > 0 else 128
    return row, width - 1


def whole_context(image: np.ndarray, row: int, column: int, taps, padding: str) -> np.ndarray:
    """(T, C) values of one pixel's taps, from the definition of the border."""
    height, width, channels = image.shape
    sources = [source_of(row + down, column + right, height, width, padding) for down, right in taps]
    return np.array([[source] * channels if isinstance(source, int) else image[source] for source in sources])


def image_of(model: FrozenModel, height: int, width: int, scan: Scan, seed: int = 0) -> np.ndarray:
    """An image (H, W, C) that the model codes as well as any can be: what random bytes decode to."""
    stream = np.random.default_rng(seed).bytes(2 * height * width * model.description.channels)
    return decode_stream(stream, height, width, model, scan)


def random_adaptation(
    description: ModelDescription,
    seed: int = 0,
    products: int = 2,
    largest: int = 8,
    exponents: tuple[int, int, int] = (4, 6, 8),
) -> Adaptation:
    """Random numbers up to `largest` in magnitude, the same for each seed; exponents of offsets, gains and products."""
    generator = np.random.default_rng((seed, products))
    low, high = max(-largest, LOWEST), min(largest, HIGHEST)

    def numbers(*shape: int) -> np.ndarray:
        return generator.integers(low, high + 1, shape).astype(np.int8)

    return tuple(
        LayerAdaptation(
            *(numbers(rows), numbers(rows), numbers(rows, products), numbers(columns, products)),
            *((exponents[0],) * len(groups), *exponents[1:]),
        )
        for (rows, columns), groups in zip(description.layer_shapes, row_groups(description), strict=True)
    )


def with_scales(model: FrozenModel, offset: int) -> Adaptation:
    """The adaptation that makes all scales a little larger or smaller, and nothing else."""
    layers = list(unadapted(model))
    offsets = layers[-1].offsets.copy()
    offsets[model.description.output_rows["scales"]] = offset
    layers[-1] = replace(layers[-1], offsets=offsets)
    return tuple(layers)


def unadapted(model: FrozenModel, products: int = 0) -> Adaptation:
    """The adaptation that changes nothing: all numbers 0, all exponents 0."""
    return tuple(
        LayerAdaptation(
            *(np.zeros(rows, np.int8) for _ in range(2)),
            np.zeros((rows, products), np.int8),
            np.zeros((columns, products), np.int8),
            (0,) * len(groups),
            0,
            0,
        )
        for (rows, columns), groups in zip(model.description.layer_shapes, row_groups(model.description), strict=True)
    )


def decode_image(container: Container, model: FrozenModel, backend: Backend) -> np.ndarray:
    """The samples (H, W, C) of a parsed file, coded with this model or plainly."""
    return decode_picture(container, lambda _: model, backend).samples


def interrupt_reading(monkeypatch, task, name: str) -> None:
    """Ctrl-C where the module of a task reads the image of that name."""
    read = task.read_samples

    def interrupted(path, limit):
        if path.name == name:
            raise KeyboardInterrupt
        return read(path, limit)

    monkeypatch.setattr(task, "read_samples", interrupted)


def coding_of(group: bytes) -> Coding | None:
    """How a network codes a coded group; None where it is coded plainly."""
    rows = network_rows_of(group)
    return rows.coding if rows else None


def is_adapted(group: bytes) -> bool:
    """Whether a coded group brings an adaptation of its model."""
    coding = coding_of(group)
    return coding is not None and coding.is_adapted


def noise(*shape: int, kind: type = np.uint8) -> np.ndarray:
    """All values of a number type, as likely each."""
    return np.random.default_rng(1).integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)
