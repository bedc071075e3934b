"""Speed of many images at a time on a GPU, and where the time of a step goes; the native CPU path beside it.

    make benchmark-gpu
    python -m benchmarks.gpu [--device cuda] [--batches 1 8 24 96] [--size 512x768] [--rounds N] [IMAGE ...]

Every image of a batch is a crop of the size, of the images in turn (scikit-image's photographs where none are named).
All are handed over at once and coded together; the fastest of the rounds counts. Bytes and pixels are compared with
those of the native path, which codes the first 8 images one after the other, each with all threads; decoded images
with what was encoded.

    steps/s     evaluations of the network, each for a step (encoding: a block) of all images of a group
    network, transfer    time on the device for each such step; the kernel reads and writes the host by itself
    host        time the host takes for it: contexts, mixtures, arithmetic coder
    launching   time the host takes to hand copies and the network's operations to the device
    waiting     how long the host waits for the device: less than network + transfer, as two groups take turns

`--device cpu` runs the same code with PyTorch's CPU, where network is the host's time too; nothing is copied or
launched.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from tabulate import tabulate

from benchmarks.native import benchmark_model, clocked, photographs
from coders import native
from coders.backends import device_of
from coders.gpu.batched import BatchedCoder
from coders.gpu.evaluator import Seconds
from coders.scan import DIAGONAL, WAVEFRONT, Scan
from models.frozen import FrozenModel
from utils.errors import P59Error

BATCHES = (1, 8, 24, 96)
#: Images of a batch that the native path codes too.
NATIVELY = 8
HEADERS = [
    "order",
    "",
    "images",
    "MP/s",
    "steps/s",
    "network",
    "transfer",
    "host",
    "launching",
    "waiting",
    "native MP/s",
]


@dataclass(frozen=True)
class Setting:
    """What is the same in every row."""

    model: FrozenModel
    device: str
    threads: int
    rounds: int


def crops(images: list[np.ndarray], count: int, height: int, width: int) -> list[np.ndarray]:
    """`count` crops (height, width, 3) of the images in turn, at different places; small images are mirrored."""
    result = []
    for number in range(count):
        image = images[number % len(images)]
        short = [max(0, wanted - have) for wanted, have in zip((height, width), image.shape, strict=False)]
        image = np.pad(image, [(0, short[0]), (0, short[1]), (0, 0)], "symmetric")
        top = 37 * number % (image.shape[0] - height + 1)
        left = 53 * number % (image.shape[1] - width + 1)
        result.append(np.ascontiguousarray(image[top : top + height, left : left + width]))
    return result


def fastest(setting: Setting, work: Callable, items: list) -> tuple[float, Seconds, list]:
    """work(coder, item) of all items together: seconds, where they went, results.

    Where the time goes is measured in a round of its own, as reading the clocks is felt.
    """
    best, counted = None, Seconds()
    with ThreadPoolExecutor(len(items)) as executor:
        for seconds, rounds in ((None, setting.rounds), (counted, 1)):
            coder = BatchedCoder(setting.device, len(items), setting.threads, seconds)
            all_items = partial(lambda coder: list(executor.map(partial(work, coder), items)), coder)
            all_items()  # memory, libraries and the models are there before the clock starts
            earlier = replace(counted)
            for _ in range(rounds):
                took, results = clocked(all_items)
                if seconds is None and (best is None or took < best[0]):
                    best = took, results
    return best[0], counted.since(earlier), best[1]


def rows_of(setting: Setting, images: list[np.ndarray], scan: Scan) -> list[list]:
    """A row for encoding and one for decoding."""
    model, threads = setting.model, setting.threads
    pixels = sum(image.shape[0] * image.shape[1] for image in images)
    rows = []

    def add(direction: str, work: Callable, items: list, alone: Callable, expected: list | None) -> list:
        took, seconds, results = fastest(setting, work, items)
        natively, theirs = clocked(lambda: [alone(item) for item in items[:NATIVELY]])
        for found, wanted in ((results, theirs), (results, expected or [])):
            if not all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=False)):
                raise SystemExit(f"{scan.name} {direction}: results differ")
        parts = [seconds.network, seconds.transfer, seconds.host, seconds.launching, seconds.waiting]
        times = [1e6 * part / seconds.steps for part in parts]
        rates = [pixels / took / 1e6, pixels / seconds.pixels * seconds.steps / took]
        native_rate = pixels / len(items) * len(theirs) / natively / 1e6
        rows.append([scan.name, direction, len(items), *rates, *times, native_rate])
        return results

    def encode(coder: BatchedCoder, image: np.ndarray) -> np.ndarray:
        return np.frombuffer(coder.encode(image, model, scan), np.uint8)

    def encode_alone(image: np.ndarray) -> np.ndarray:
        return np.frombuffer(native.encode_stream(image, model, scan, threads), np.uint8)

    def decode(coder: BatchedCoder, stream: np.ndarray) -> np.ndarray:
        return coder.decode(stream.tobytes(), *images[0].shape[:2], model, scan)

    def decode_alone(stream: np.ndarray) -> np.ndarray:
        return native.decode_stream(stream.tobytes(), *images[0].shape[:2], model, scan, threads)

    streams = add("encode", encode, images, encode_alone, None)
    add("decode", decode, streams, decode_alone, images)
    return rows


def machine(device: str, threads: int) -> str:
    name = torch.cuda.get_device_name(device) if device != "cpu" else platform.processor() or platform.machine()
    return f"{name}; PyTorch {torch.__version__}; native core: {threads} threads, {native.chosen_instruction_set()}"


def main() -> int:
    parser = argparse.ArgumentParser(description="speed of many images at a time on a GPU")
    parser.add_argument("images", nargs="*", help="image files or directories")
    parser.add_argument("--model", help="a checkpoint; default: the published architecture with random weights")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--size", default="512x768", help="height x width")
    parser.add_argument("--threads", type=int, help="of the host; default: all cores")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    reason = native.unavailable_reason()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    try:
        device = device_of(arguments.device)
    except P59Error as error:
        print(error, file=sys.stderr)
        return error.exit_status
    threads = native.thread_count(arguments.threads)
    height, width = map(int, arguments.size.split("x"))
    images = photographs(arguments.images)
    setting = Setting(benchmark_model(arguments.model, images), device, threads, arguments.rounds)
    print(f"{machine(device, threads)}; images of {arguments.size}; network to waiting: microseconds of a step")
    rows = []
    for scan in (WAVEFRONT, DIAGONAL):
        for count in arguments.batches:
            rows += rows_of(setting, crops(images, count, height, width), scan)
    print(tabulate(rows, HEADERS, floatfmt=("", "", "", ".2f", ".0f", ".0f", ".0f", ".0f", ".0f", ".0f", ".2f")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
