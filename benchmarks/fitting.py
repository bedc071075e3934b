"""How long a step of fitting a network to an image takes, in the native core and in PyTorch.

    python -m benchmarks.fitting [--rounds N] [--threads N] [IMAGE or directory]

A shipped network that sees parities, on contexts of an image; all ways in turn, on one thread and on all, and the
fastest of the rounds counts. A round is 20 steps.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch

from benchmarks.native import clocked, photographs
from coders import native
from coders.fitting import BETAS, CONTEXTS, LARGEST_GRADIENT, Search, products_for
from coders.native.fitter import NativeSearch
from coders.torch_fitting import TorchSearch
from models.adaptable import Adaptable
from models.model_file import read_model

STEPS = 20
MODEL = Path("models/weights/rgb_05.safetensors")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "image", nargs="*", help="the first of these, or of a directory; one of scikit-image's otherwise"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=native.thread_count(None))
    arguments = parser.parse_args()
    image = photographs(arguments.image)[0]
    model = read_model(MODEL)
    taps = model.description.taps
    kinds = [] if native.unavailable_reason() else native.extension().gradient_kinds()
    ways = [(kind, threads) for kind in (*kinds, "pytorch") for threads in sorted({1, arguments.threads})]
    pixels = image.shape[0] * image.shape[1]
    places = np.random.default_rng(0).integers(0, pixels, CONTEXTS)

    def search(kind: str, threads: int) -> Search:
        adaptable = Adaptable(model, products_for(pixels, 1000), np.random.default_rng(0))
        if kind == "pytorch":
            return TorchSearch(adaptable, image, taps, "cpu")
        return NativeSearch(kind, adaptable, image, taps, threads, LARGEST_GRADIENT, BETAS)

    def steps(one: Search) -> None:
        for _ in range(STEPS):
            one.step(places, 0.01, False)

    searches = {way: search(*way) for way in ways}
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(arguments.rounds):
        for kind, threads in ways:
            torch.set_num_threads(threads)
            seconds[kind, threads] = min(seconds[kind, threads], clocked(steps, searches[kind, threads])[0])
    # Forward, backward to the activations, and to the weights: the first layer has nothing before it.
    macs = CONTEXTS * (3 * model.description.macs_per_pixel - np.prod(model.description.layer_shapes[0]))
    print(f"{CONTEXTS} contexts a step, {macs / 1e6:.0f} million multiply-accumulates; {os.cpu_count()} cores")
    print(f"{'':12}  threads  ms a step  GMAC/s  times PyTorch")
    for kind, threads in ways:
        one = seconds[kind, threads] / STEPS
        ratio = seconds["pytorch", threads] / seconds[kind, threads]
        print(f"{kind:12}  {threads:7}  {1000 * one:9.2f}  {macs / one / 1e9:6.0f}  {ratio:13.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
