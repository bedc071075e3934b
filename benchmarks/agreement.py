"""Whether a device codes to the bytes that the processor codes to, and each decodes what the other encoded.

    python -m benchmarks.agreement [--device cuda] [--random N] [IMAGE or directory ...]

Images, and N random ones of up to 64x64 pixels (noise, ramps, flat ones, parts of the images where there are any), in
the orders of many pixels a step. Each is coded with one of the shipped models, in turn; the device takes many at once.
Ends with status 1 where a byte or a pixel differs.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tabulate import tabulate

from benchmarks.native import photographs
from coders.backends import Backend, backend_for, device_of
from coders.gpu.networks import has_kernel
from coders.scan import DIAGONAL, WAVEFRONT, Scan
from coders.torch_backends import IMAGES_AT_ONCE, batched_backend
from models.frozen import FrozenModel
from models.store import shipped_models
from utils.errors import P59Error

HEADERS = ["order", "images", "megapixels", "bytes", "that differ", "pixels wrong on the device", "on the processor"]


def random_images(count: int, named: list[np.ndarray], generator: np.random.Generator) -> list[np.ndarray]:
    """Of 1x1 to 64x64 pixels, (H, W, 3) uint8."""
    images = []
    for number in range(count):
        height, width = generator.integers(1, 65, 2)
        kind = number % 4
        if kind == 0:
            image = generator.integers(0, 256, (height, width, 3))
        elif kind == 1:
            slopes = generator.integers(-9, 10, (2, 3))
            image = np.stack(np.indices((height, width)), 2) @ slopes % 256
        elif kind == 2 or not named:
            image = np.broadcast_to(generator.integers(0, 256, 3), (height, width, 3))
        else:
            photograph = named[number % len(named)]
            top, left = (generator.integers(0, max(1, have - 64)) for have in photograph.shape[:2])
            image = photograph[top : top + height, left : left + width]
        images.append(np.ascontiguousarray(image).astype(np.uint8))
    return images


def differences(one: bytes, other: bytes) -> int:
    length = min(len(one), len(other))
    return int((np.frombuffer(one[:length], np.uint8) != np.frombuffer(other[:length], np.uint8)).sum()) + abs(
        len(one) - len(other)
    )


def row_of(scan: Scan, models: list[FrozenModel], images: list[np.ndarray], host: Backend, device: Backend) -> list:
    models = [in_phase for model in models for in_phase in model.phases]
    cases = [(image, models[number % len(models)]) for number, image in enumerate(images)]
    with ThreadPoolExecutor(device.at_once) as executor:

        def decoded(backend: Backend, streams: list[bytes]) -> int:
            def wrong(case: tuple[bytes, np.ndarray, FrozenModel]) -> int:
                stream, image, model = case
                return int((backend.decode(stream, *image.shape[:2], model, scan) != image).any(2).sum())

            together = [(stream, *case) for stream, case in zip(streams, cases, strict=True)]
            return sum((executor.map if backend is device else map)(wrong, together))

        ours = [host.encode(*case, scan) for case in cases]
        theirs = list(executor.map(lambda case: device.encode(*case, scan), cases))
        return [
            scan.name,
            len(images),
            sum(image.shape[0] * image.shape[1] for image in images) / 1e6,
            sum(map(len, ours)),
            sum(map(differences, ours, theirs)),
            decoded(device, ours),
            decoded(host, theirs),
        ]


def main() -> int:
    parser = argparse.ArgumentParser(description="whether a device and the processor code to the same bytes")
    parser.add_argument("images", nargs="*", help="image files or directories")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--random", type=int, default=1000)
    parser.add_argument("--threads", type=int, help="of the host; default: all cores")
    arguments = parser.parse_args()
    try:
        device = device_of(arguments.device)
    except P59Error as error:
        print(error, file=sys.stderr)
        return error.exit_status
    named = photographs(arguments.images) if arguments.images else []
    images = named + random_images(arguments.random, named, np.random.default_rng(59))
    host, other = backend_for("cpu", arguments.threads), batched_backend(device, arguments.threads, IMAGES_AT_ONCE)
    rows = []
    for scan in (WAVEFRONT, DIAGONAL):
        models = [chosen.model for chosen in shipped_models(scan.name, 3)]
        rows.append(row_of(scan, models, images, host, other))
        kernel = all(has_kernel(model, device) for model in models)
        print(f"{scan.name}: the networks are {'one kernel' if kernel else 'operations of PyTorch'} on {device}")
    print(tabulate(rows, HEADERS, floatfmt=".2f"))
    return 1 if any(sum(row[4:]) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
