"""Speed of the native core: every order, both directions, against the machine's int16 ceiling and JPEG XL.

    make benchmark-native
    python -m benchmarks.native [--model MODEL] [--rounds N] [--threads N] [IMAGE or directory ...]

Without images, scikit-image's colour photographs. All that is compared is timed in turn in the same rounds, and the
fastest of the rounds counts, so that ratios hold on a machine whose speed drifts; absolute times are this machine's.

    ceiling    int16 multiply-accumulates that the cores used could do in registers alone, the time those of the network
               would take there as a fraction of the time measured
    choose     looking for the one of the shipped networks, the orientation and the phase that suit an image, before it
               is encoded; `encode` and `decode` are of one network for all images, as they are
    network, mixture, coder, rest    shares of all threads' time; rest is waiting for each other and everything else.
               Measured in runs of their own, as reading the clock is felt where pixels are decoded one by one
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from coders import native
from coders.backends import backend_for
from coders.model_choice import best_model
from coders.placement import best_placement
from coders.scan import SCANS, SEQUENTIAL, Scan
from models.frozen import FrozenModel
from models.store import shipped_models

ENDINGS = (".png", ".ppm", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg", ".webp")
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
JPEG_XL_EFFORTS = (7, 9)


@dataclass
class Timing:
    """Fastest seconds of some work on all images; shares of all threads' time in network, mixture and coder."""

    seconds: float = float("inf")
    counted: float = float("inf")
    shares: tuple[float, ...] = ()

    def add(self, seconds: float) -> None:
        self.seconds = min(self.seconds, seconds)

    def add_counted(self, seconds: float, parts: np.ndarray, cores: int) -> None:
        if seconds < self.counted:
            self.counted, self.shares = seconds, tuple(parts / (cores * seconds))


@dataclass
class Results:
    """Timings by (name, direction), bytes by name, multiply-accumulates a second by number of threads."""

    timings: dict[tuple[str, str], Timing] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    ceilings: dict[int, float] = field(default_factory=dict)

    def timing(self, name: str, direction: str) -> Timing:
        return self.timings.setdefault((name, direction), Timing())


def photographs(paths: list[str]) -> list[np.ndarray]:
    """Colour images (H, W, 3) uint8 of files and directories; scikit-image's where none are named."""
    if not paths:
        from skimage import data

        return [np.ascontiguousarray(getattr(data, name)()[..., :3]) for name in PHOTOGRAPHS]
    files = []
    for path in map(Path, paths):
        files += sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS) if path.is_dir() else [path]
    if not files:
        raise SystemExit(f"no images in {', '.join(paths)}; name image files or directories of them")
    return [np.array(Image.open(file).convert("RGB")) for file in files]


def benchmark_model(path: str | None, images: list[np.ndarray]) -> FrozenModel:
    """The model of a checkpoint, frozen on the images; the published architecture with random weights without one.

    Times do not depend on the weights but for how far a search for a symbol has to go.
    """
    import torch

    from models.checkpoint import network_of, read_checkpoint
    from models.context_net import ContextNet
    from models.description import ModelDescription
    from models.freeze import freeze

    if path:
        return freeze(network_of(read_checkpoint(Path(path)), Path(path)), images[:4])
    net = ContextNet(ModelDescription())
    net.reset_parameters(torch.Generator().manual_seed(59))
    return freeze(net, images[:4])


def clocked(work: Callable, *arguments, **options) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work(*arguments, **options)
    return time.perf_counter() - start, result


def cores_used(name: str, direction: str, threads: int) -> int:
    """Sequential decoding is one chain of single pixels, which one core works on."""
    return 1 if (name, direction) == (SEQUENTIAL.name, "decode") else threads


def round_of_orders(images: list[np.ndarray], model: FrozenModel, threads: int, results: Results) -> None:
    """Time every order once, each on all images: plainly, and counting where the time goes."""
    for cores in {1, threads}:
        results.ceilings[cores] = max(results.ceilings.get(cores, 0), native.ceiling(cores, 0.1))
    for name, scan in SCANS.items():
        plain, counted = dict.fromkeys(("encode", "decode"), 0.0), dict.fromkeys(("encode", "decode"), 0.0)
        parts = {"encode": np.zeros(3), "decode": np.zeros(3)}
        results.sizes[name] = 0
        for image in images:
            stream = native.encode_stream(image, model, scan, threads)
            results.sizes[name] += len(stream)
            encoding, decoding = (image, model, scan, threads), (stream, *image.shape[:2], model, scan, threads)
            for direction, plainly, counting, arguments in (
                ("encode", native.encode_stream, native.timed_encode, encoding),
                ("decode", native.decode_stream, native.timed_decode, decoding),
            ):
                seconds, restored = clocked(plainly, *arguments)
                plain[direction] += seconds
                seconds, (_, own) = clocked(counting, *arguments)
                counted[direction] += seconds
                parts[direction] += own
            if not np.array_equal(restored, image):
                raise SystemExit(f"{name}: decoded pixels differ")
        for direction in plain:
            timing = results.timing(name, direction)
            timing.add(plain[direction])
            timing.add_counted(counted[direction], parts[direction], cores_used(name, direction, threads))


def round_of_choices(images: list[np.ndarray], threads: int, results: Results) -> None:
    """Time once what is looked for before an image is encoded, in each order on all images."""
    backend = backend_for("cpu", threads)
    for name, scan in SCANS.items():
        models = [chosen.model for chosen in shipped_models(name, images[0].shape[2])]

        def choose(image: np.ndarray, models: list[FrozenModel] = models, scan: Scan = scan) -> None:
            best_placement(best_model(models, image, scan, backend), image, scan, backend)

        results.timing(name, "choose").add(sum(clocked(choose, image)[0] for image in images))


def round_of_jpeg_xl(images: list[np.ndarray], threads: int, results: Results) -> None:
    """Time JPEG XL once, each effort on all images."""
    for effort in JPEG_XL_EFFORTS:
        name = f"JPEG XL effort {effort}"
        encode = decode = 0.0
        size = 0
        for image in images:
            options = {"lossless": True, "effort": effort, "numthreads": threads}
            seconds, stream = clocked(imagecodecs.jpegxl_encode, image, **options)
            encode += seconds
            size += len(stream)
            seconds, restored = clocked(imagecodecs.jpegxl_decode, stream, numthreads=threads)
            decode += seconds
            if not np.array_equal(restored, image):
                raise SystemExit(f"{name}: decoded pixels differ")
        results.sizes[name] = size
        results.timing(name, "encode").add(encode)
        results.timing(name, "decode").add(decode)


def report(images: list[np.ndarray], model: FrozenModel, threads: int, results: Results) -> str:
    pixels = sum(image.shape[0] * image.shape[1] for image in images)
    macs = pixels * model.description.macs_per_pixel
    lines = [
        f"{len(images)} images, {pixels / 1e6:.2f} MP; {threads} threads; {native.chosen_instruction_set()}; "
        f"{model.description.macs_per_pixel} multiply-accumulates a pixel",
        "int16 ceiling: "
        + ", ".join(f"{rate / 1e9:.0f} G/s on {cores}" for cores, rate in sorted(results.ceilings.items())),
        "",
        f"{'':20}{'':8}{'s':>8}{'MP/s':>8}{'ceiling':>9}{'network':>9}{'mixture':>9}{'coder':>8}{'rest':>7}{'bpsp':>8}",
    ]
    for (name, direction), timing in results.timings.items():
        line = f"{name:20}{direction:8}{timing.seconds:8.3f}{pixels / 1e6 / timing.seconds:8.2f}"
        if timing.shares:
            ceiling = results.ceilings[cores_used(name, direction, threads)]
            line += f"{macs / ceiling / timing.seconds:9.0%}"
            line += "".join(f"{share:{width}.0%}" for share, width in zip(timing.shares, (9, 9, 8), strict=True))
            line += f"{1 - sum(timing.shares):7.0%}"
        elif direction != "choose":
            line += " " * 42
        size = "" if direction == "choose" else f"{8 * results.sizes[name] / (3 * pixels):8.3f}"
        lines.append(line + size)
    lines.append("")
    jpeg_xl = {(effort, way): results.timings[f"JPEG XL effort {effort}", way].seconds
               for effort in JPEG_XL_EFFORTS for way in ("encode", "decode")}  # fmt: skip
    for name in SCANS:
        encode, decode = results.timings[name, "encode"].seconds, results.timings[name, "decode"].seconds
        lines.append(
            f"{name}: encodes {jpeg_xl[9, 'encode'] / encode:.1f} times as fast as JPEG XL effort 9 "
            f"({jpeg_xl[7, 'encode'] / encode:.1f} times effort 7), decoding takes {decode / jpeg_xl[9, 'decode']:.1f} "
            f"times effort 9's ({decode / jpeg_xl[7, 'decode']:.1f} times effort 7's)"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="speed of the native core beside the int16 ceiling and JPEG XL")
    parser.add_argument("images", nargs="*", help="image files or directories")
    parser.add_argument("--model", help="a checkpoint; default: the published architecture with random weights")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="default: all cores")
    arguments = parser.parse_args()
    reason = native.unavailable_reason()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    images = photographs(arguments.images)
    model = benchmark_model(arguments.model, images)
    threads = native.thread_count(arguments.threads)
    results = Results()
    for _ in range(arguments.rounds):
        round_of_orders(images, model, threads, results)
        round_of_choices(images, threads, results)
        round_of_jpeg_xl(images, threads, results)
    print(report(images, model, threads, results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
