"""Whether the native core's time for a pixel and its memory grow with the image.

    python -m benchmarks.scaling [--megapixels N] [--rounds N] [--threads N] [IMAGE or directory ...]

Images of at most 0.5 megapixels are coded one by one and, put together into one large image, at once. Both are timed in
turn, and the fastest of the rounds counts. The large image is made of the same images as often as it takes, each time
mirrored another way and with a little noise of its own. Memory is what the process holds at its peak beyond what it
held before there was an image: the image, the stream, what is restored, and all work.
"""

from __future__ import annotations

import argparse
import resource
import sys

import numpy as np

from benchmarks.native import benchmark_model, clocked, photographs
from coders import native
from coders.scan import SCANS, Scan
from models.frozen import FrozenModel

SMALL = 500_000


def mosaic(images: list[np.ndarray], pixels: float) -> np.ndarray:
    """An image (H, W, 3) of about `pixels` pixels and of the shape of a photograph."""
    side = min(min(image.shape[:2]) for image in images)
    columns = max(1, round((pixels * 1.5) ** 0.5 / side))
    rows = max(1, round(pixels / (columns * side * side)))
    canvas = np.empty((rows * side, columns * side, 3), np.uint8)
    random = np.random.default_rng(0)
    for number in range(rows * columns):
        tile = images[number % len(images)][:side, :side]
        tile = tile[:: 1 - 2 * (number & 1), :: 1 - (number & 2)] ^ random.integers(0, 2, tile.shape, np.uint8)
        row, column = divmod(number, columns)
        canvas[row * side : (row + 1) * side, column * side : (column + 1) * side] = tile
    return canvas


def seconds_for(images: list[np.ndarray], model: FrozenModel, scan: Scan, threads: int) -> tuple[float, float]:
    """Seconds of encoding and of decoding all images."""
    encode = decode = 0.0
    for image in images:
        taken, stream = clocked(native.encode_stream, image, model, scan, threads)
        encode += taken
        taken, restored = clocked(native.decode_stream, stream, *image.shape[:2], model, scan, threads)
        decode += taken
        if not np.array_equal(restored, image):
            raise SystemExit(f"{scan.name}: decoded pixels differ")
    return encode, decode


def peak_bytes() -> int:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> int:
    parser = argparse.ArgumentParser(description="time for a pixel and memory of a large image beside small ones")
    parser.add_argument("images", nargs="*", help="image files or directories; default: scikit-image's photographs")
    parser.add_argument("--model", help="a checkpoint; default: the published architecture with random weights")
    parser.add_argument("--megapixels", type=float, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="default: all cores")
    arguments = parser.parse_args()
    reason = native.unavailable_reason()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    threads = native.thread_count(arguments.threads)
    small = [image for image in photographs(arguments.images) if image.shape[0] * image.shape[1] <= SMALL]
    if not small:
        raise SystemExit(f"no image of at most {SMALL} pixels; give smaller ones")
    model = benchmark_model(arguments.model, small)
    before = peak_bytes()
    large = mosaic(small, arguments.megapixels * 1e6)
    small_pixels, large_pixels = (sum(image.shape[0] * image.shape[1] for image in kind) for kind in (small, [large]))
    print(
        f"{len(small)} images of {small_pixels / 1e6:.2f} MP together, one of {large_pixels / 1e6:.2f} MP; "
        f"{threads} threads; {native.chosen_instruction_set()}\n\n"
        f"{'ns a pixel':20}{'':8}{'small':>9}{'large':>9}{'ratio':>8}"
    )
    for name, scan in SCANS.items():
        fastest = np.full((2, 2), np.inf)
        for _ in range(arguments.rounds):
            for kind, images, pixels in ((0, small, small_pixels), (1, [large], large_pixels)):
                taken = np.array(seconds_for(images, model, scan, threads)) / pixels * 1e9
                fastest[kind] = np.minimum(fastest[kind], taken)
        for direction, (one, other) in zip(("encode", "decode"), fastest.T, strict=True):
            print(f"{name:20}{direction:8}{one:9.0f}{other:9.0f}{other / one:8.2f}")
    print(f"\nmost memory: {(peak_bytes() - before) / large_pixels:.1f} bytes a pixel of the large image")
    return 0


if __name__ == "__main__":
    sys.exit(main())
