"""Random models and images for comparing the native core with the PyTorch path, and the comparison itself.

    python -m tests.native_cases --images 5000 --seed 1

compares that many random cases (`make native-fuzz-equal`); tests/test_native.py draws a few.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch

from coders import codec, native
from coders.scan import SCANS, Scan
from models.description import ModelDescription
from models.frozen import INPUT_LIMIT, INT32_MAX, FrozenLayer, FrozenModel
from models.neighbourhood import ALLOWED_TAPS, CAUSAL_TAPS, PADDINGS, WEST
from tests.helpers import random_image

WIDTHS = (1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 48, 64, 100, 128, 130)
KINDS = ("smooth", "noise", "extreme")


@dataclass(frozen=True)
class Case:
    """A model and an image. `decode_reference`: small enough for PyTorch to decode as well."""

    model: FrozenModel
    image: np.ndarray
    scan: Scan
    decode_reference: bool


def random_description(generator: np.random.Generator) -> ModelDescription:
    """Any architecture that a description allows, mostly small ones."""
    residual = bool(generator.integers(0, 3) == 0)
    if residual:
        widths = (int(generator.choice(WIDTHS)),) * int(generator.choice((1, 3, 5)))
    else:
        widths = tuple(int(width) for width in generator.choice(WIDTHS, generator.integers(1, 5)))
        if generator.integers(0, 20) == 0:
            widths = (*widths, int(generator.choice((511, 1024))))
    allowed = sorted(ALLOWED_TAPS)
    number = int(generator.integers(1, len(allowed) + 1))
    taps = tuple(allowed[index] for index in generator.permutation(len(allowed))[:number])
    if generator.integers(0, 2) == 0:
        taps = CAUSAL_TAPS
    return ModelDescription(
        taps=taps,
        channels=int(generator.choice((1, 3))),
        mixtures=int(generator.choice((1, 2, 3, 3, 3, 4, 5, 10))),
        widths=widths,
        residual=residual,
        reference=str(generator.choice(("none", "west"))) if WEST in taps else "none",
        scales=str(generator.choice(("clamped", "exponential"))),
        padding=str(generator.choice(("zero", "diagonal") if any(row > 0 for row, _ in taps) else PADDINGS)),
        parities=bool(generator.integers(0, 2)),
    )


def frozen_layers(description: ModelDescription, generator: np.random.Generator, limit: int, wild: bool) -> FrozenModel:
    """A frozen model of random integers. Not `wild`: outputs spread over the range that the integer mixture uses.

    `wild`: weights, biases and shifts anywhere in what a frozen model allows; sums reach the 32-bit bound, every clamp
    is hit.
    """
    layers = []
    for number, ((after, before), roles) in enumerate(
        zip(description.layer_shapes, description.layer_roles, strict=True)
    ):
        last = number == len(description.widths)
        entering = INPUT_LIMIT if number == 0 else limit
        weight = generator.integers(-32767, 32768, (after, before)) / (1 if wild else 8)
        weight[generator.random((after, before)) < 0.2] = generator.choice((-32767, 0, 32767)) if wild else 0
        sizes = np.abs(weight).sum(1, keepdims=True)
        weight = (weight * np.minimum(1, INT32_MAX / 2 / entering / np.maximum(sizes, 1))).astype(np.int16)
        room = INT32_MAX - np.abs(weight.astype(np.int64)).sum(1) * entering
        if wild:
            bias = room * generator.uniform(-1, 1, after)
            shift = generator.integers(0, int(generator.choice((1, 12, 20, 32))), after)
        else:
            typical = np.abs(weight.astype(np.float64)).mean() * entering / 3 * math.sqrt(before)
            shift = np.full(after, max(0, round(math.log2(max(1, typical / (300 if last else limit / 3))))))
            bias = generator.integers(-5000, 5000, after).astype(np.float64)
            if last:  # scales in the middle of their range, on whichever grid
                middle = 60 if description.scales == "exponential" else 8 << 12
                bias[description.output_rows["scales"]] += middle * 2.0 ** shift[0]
            bias = np.clip(bias, -room, room)
        layers.append(FrozenLayer(weight, bias.astype(np.int32), shift.astype(np.uint8), *roles))
    return FrozenModel(description, tuple(layers), limit)


def random_case(seed: int) -> Case:
    """The case of a seed."""
    generator = np.random.default_rng((59, seed))
    description = random_description(generator)
    limit = int(generator.choice((1, 100, 2000, 8191, 32767)))
    model = frozen_layers(description, generator, limit, wild=bool(generator.integers(0, 3) == 0))
    wide = description.macs_per_pixel > 100_000
    shape = int(generator.integers(0, 8))
    if shape == 0:
        height, width = (1, 1)
    elif shape == 1:
        height, width = (1, int(generator.integers(2, 40)))
    elif shape == 2:
        height, width = (int(generator.integers(2, 40)), 1)
    elif shape == 3 and not wide:
        height, width = (int(generator.integers(20, 90)), int(generator.integers(20, 130)))
    else:
        height, width = (int(size) for size in generator.integers(1, 15, 2))
    image = random_image(height, width, description.channels, seed, str(generator.choice(KINDS)))
    scan = SCANS[str(generator.choice(list(SCANS)))]
    return Case(model, image, scan, height * width <= 100)


def compare(case: Case, threads: tuple[int, ...] = (1, 2, 3)) -> None:
    """Raises AssertionError where native and PyTorch differ in a byte, a pixel or a measured bit."""
    height, width = case.image.shape[:2]
    stream = codec.encode_stream(case.image, case.model, case.scan)
    if case.decode_reference:
        restored = codec.decode_stream(stream, height, width, case.model, case.scan)
        assert np.array_equal(restored, case.image)
    for number in threads:
        assert native.encode_stream(case.image, case.model, case.scan, number) == stream
        assert np.array_equal(native.decode_stream(stream, height, width, case.model, case.scan, number), case.image)
    shares = native.symbol_shares(case.image, case.model, case.scan, threads[-1])
    bits = (16 - np.log2(shares)).sum((0, 1))
    np.testing.assert_allclose(bits, codec.measure_stream(case.image, case.model, case.scan), rtol=1e-9, atol=1e-6)


def main() -> int:
    """Compare random cases with the instruction set in use; print the first that differs."""
    parser = argparse.ArgumentParser(description="compare native and PyTorch paths on random models and images")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    for seed in range(arguments.seed, arguments.seed + arguments.images):
        case = random_case(seed)
        try:
            compare(case)
        except AssertionError as error:
            print(f"seed {seed}: {case.model.description} {case.image.shape} {case.scan.name}: {error}")
            return 1
    seconds = time.perf_counter() - start
    print(f"{arguments.images} images from seed {arguments.seed}, {native.chosen_instruction_set()}: "
          f"all bytes equal, {seconds:.0f} s")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
