"""Fitting: the search for an adaptation that makes an image's file small. Floats are used here and nowhere later.

The frozen network is imitated in floating point, and the adaptation's numbers are trained by stochastic gradients on
contexts of the image, against the bits of the image and of the numbers together. In the last steps the network sees
the numbers rounded, as they will be (straight-through gradients, Bengio et al., 2013). The native core does a step
several times as fast as PyTorch, which does it where the core is not there, or was built without gradients.

Letters: N contexts; H, W image size, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from tqdm import tqdm

from coders.native import thread_count
from coders.native.fitter import NativeSearch
from coders.native.gradients import gradient_kind
from models.adaptable import Adaptable
from models.adaptation import Adaptation
from models.frozen import FrozenModel
from models.neighbourhood import Tap
from utils.errors import DeviceMemoryError, RequestError, StoppedError
from utils.fork_safe import ForkSafe
from utils.schedule import warmup_cosine

#: Contexts of a step; the largest step of a number in its units; steps in which it rises to that.
CONTEXTS, LEARNING_RATE, WARMUP_STEPS = 2048, 0.3, 30
#: Adam's decay of the first and second moment.
BETAS = (0.9, 0.999)
#: Norm that gradients (bits per sub-pixel for one unit of each number) are cut to: rare large ones undo many steps.
LARGEST_GRADIENT = 0.015
#: Part of the steps after which the numbers are rounded.
ROUND_FROM = 0.75
#: Images get five products for four doublings of their pixels beyond FEW_PIXELS, MOST_FITTED products at the most.
FEW_PIXELS, MOST_FITTED = 1 << 12, 10
#: Below some hundreds of steps no more than this and one for each hundred.
FEW_FITTED = 3


class Search(Protocol):
    """Improves the numbers of an Adaptable for an image."""

    def step(self, places: np.ndarray, learning_rate: float, rounded: bool) -> None:
        """A step on the pixels at `places` (N,), row * width + column; `rounded`: the network sees the numbers so."""

    def finish(self) -> None:
        """The Adaptable has the numbers found."""


@dataclass(frozen=True)
class Fitting:
    """Adapts models to images in `steps` steps in the native core, or on a PyTorch device where there is no core or one
    without gradients; `threads` of a CPU (None: all that there are).

    Images are fitted at the same time where each is on one thread of a CPU, else one after the other. `stopped` is
    asked before each step; with `progress` a terminal shows them. Raises RequestError where PyTorch is needed and is
    not there.
    """

    steps: int
    device: str = "cpu"
    threads: int | None = None
    stopped: Callable[[], bool] = lambda: False
    progress: bool = False

    def __post_init__(self) -> None:
        if self._in_native_core:
            return
        try:
            from coders import torch_fitting  # noqa: F401
        except ModuleNotFoundError as error:
            raise RequestError(
                f"adapt_steps takes {error.name}, as the native core cannot fit networks here; install it, or use 0"
            ) from error

    def among_others(self) -> Fitting:
        """The same for one of several images that are worked on at the same time."""
        return replace(self, threads=1, progress=False) if self._in_native_core or self.device == "cpu" else self

    @property
    def _in_native_core(self) -> bool:
        """On a GPU's host, too: a step is little work for a GPU, and the native core does several images at a time."""
        return gradient_kind(bfloat16=True) is not None

    def __call__(self, image: np.ndarray, model: FrozenModel, taps: tuple[Tap, ...]) -> Adaptation:
        """An adaptation of `model` to `image` (H, W, C) uint8, whose contexts are read at `taps`.

        The same each time on the same machine and device with the same number of threads.
        Raises StoppedError, and P59Error where the device fails, DeviceMemoryError where its memory does not suffice.
        """
        kind = gradient_kind(bfloat16=True)
        if kind is None:
            from coders import torch_fitting

            with torch_fitting.computing(self.device, self.threads, _one_at_a_time.lock):
                return self._fit(image, model, lambda net: torch_fitting.TorchSearch(net, image, taps, self.device))

        def search(adaptable: Adaptable) -> Search:
            return NativeSearch(kind, adaptable, image, taps, thread_count(self.threads), LARGEST_GRADIENT, BETAS)

        with nullcontext() if self.threads == 1 else _one_at_a_time.lock:
            try:
                return self._fit(image, model, search)
            except MemoryError as error:
                raise DeviceMemoryError("out of memory on cpu while fitting the network; free some") from error

    def _fit(self, image: np.ndarray, model: FrozenModel, search_for: Callable[[Adaptable], Search]) -> Adaptation:
        generator, pixels = np.random.default_rng(0), image.shape[0] * image.shape[1]
        adaptable = Adaptable(model, products_for(pixels, self.steps), generator)
        search, steps = search_for(adaptable), range(self.steps)
        if self.progress:  # else tqdm is not touched: its lock and its thread are no use to a program or a forked one
            steps = tqdm(steps, "fitting", leave=False, unit="step", disable=None)
        for step in steps:
            if self.stopped():
                raise StoppedError("interrupted")
            rate = LEARNING_RATE * warmup_cosine(step, self.steps, WARMUP_STEPS)
            search.step(generator.integers(0, pixels, CONTEXTS), rate, rounded=step >= ROUND_FROM * self.steps)
        search.finish()
        return adaptable.adaptation()


#: Several threads that share an image wait for each other's at every step, and a GPU is full with one image.
_one_at_a_time = ForkSafe()


def products_for(pixels: int, steps: int) -> int:
    """How many products of each layer pay for an image of so many pixels; few steps make no use of many."""
    paying = round(1.25 * math.log2(max(pixels, 1) / FEW_PIXELS))
    return min(MOST_FITTED, max(0, paying), FEW_FITTED + steps // 100)
