"""Fitting: the search for an adaptation that makes an image's file small. Floats are used here and nowhere later.

The frozen network is imitated in floating point, and the adaptation's numbers are trained by stochastic gradients on
contexts of the image, against the bits of the image and of the numbers together. In the last steps the network sees
the numbers rounded, as they will be (straight-through gradients, Bengio et al., 2013). The native core does a step
several times as fast as PyTorch, which does it where the core has no gradients for the processor.

Letters: N contexts; H, W image size, C channels.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from coders.native import thread_count
from coders.native.fitter import NativeSearch
from coders.native.gradients import gradient_kind
from models.adaptation import Adaptation
from models.adapted_net import AdaptedNet
from models.context_net import inputs_at
from models.frozen import FrozenModel
from models.mixture import bits_coded, mixture_of
from models.neighbourhood import LEFT, TOP, Tap, pad_image
from utils.device_memory import is_out_of_memory
from utils.errors import DeviceMemoryError, P59Error, StoppedError, reason_of
from utils.schedule import warmup_cosine
from utils.torch_threads import torch_threads

#: Contexts of a step; the largest step of a number in its units; steps in which it rises to that.
CONTEXTS, LEARNING_RATE, WARMUP_STEPS = 2048, 0.3, 30
#: Adam's decay of the first and second moment.
BETAS = (0.9, 0.999)
#: Norm that gradients (bits per sub-pixel for one unit of each number) are cut to: rare large ones undo many steps.
LARGEST_GRADIENT = 0.015
#: More steps are of no use.
MOST_STEPS = 1_000_000
#: Part of the steps after which the numbers are rounded.
ROUND_FROM = 0.75
#: Images get five products for four doublings of their pixels beyond FEW_PIXELS, MOST_FITTED products at the most.
FEW_PIXELS, MOST_FITTED = 1 << 12, 10
#: Below some hundreds of steps no more than this and one for each hundred.
FEW_FITTED = 3


#: Several threads that share an image wait for each other's at every step, and a GPU is full with one image.
_one_at_a_time = threading.Lock()


def _after_fork() -> None:
    global _one_at_a_time
    _one_at_a_time = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@dataclass(frozen=True)
class Fitting:
    """Adapts models to images in `steps` steps in the native core, or on a PyTorch device where it has no gradients for
    this processor; `threads` of a CPU (None: all that there are).

    Images are fitted at the same time where each is on one thread of a CPU, else one after the other. `stopped` is
    asked before each step; with `progress` a terminal shows them.
    """

    steps: int
    device: str = "cpu"
    threads: int | None = None
    stopped: Callable[[], bool] = lambda: False
    progress: bool = False

    def among_others(self) -> Fitting:
        """The same for one of several images that are worked on at the same time."""
        return replace(self, threads=1, progress=False) if self._where == "cpu" else self

    @property
    def _where(self) -> str:
        """The device that computes: a step is little work for a GPU, and the native core does several images at a
        time.
        """
        return "cpu" if gradient_kind(bfloat16=True) else self.device

    def __call__(self, image: np.ndarray, model: FrozenModel, taps: tuple[Tap, ...]) -> Adaptation:
        """An adaptation of `model` to `image` (H, W, C) uint8, whose contexts are read at `taps`.

        The same each time on the same machine and device with the same number of threads.
        Raises StoppedError, and P59Error where the device fails, DeviceMemoryError where its memory does not suffice.
        """
        one = self.threads == 1 or (torch_threads.forked and not gradient_kind(bfloat16=True))
        alone = nullcontext() if one and self._where == "cpu" else _one_at_a_time
        with alone, torch_threads.set_to(self.threads), torch.inference_mode(False), torch.enable_grad():
            try:
                with torch.cuda.device(self._where) if self._where.startswith("cuda") else nullcontext():
                    return self._fit(image, model, taps)  # of several GPUs, PyTorch asks what the current one can do
            except (RuntimeError, MemoryError) as error:
                named = self._named(error)
                if named is error:
                    raise
                raise named from error

    def _named(self, error: Exception) -> Exception:
        """What the user is told of an error of the device; on a CPU it is one of ours, and stays as it is."""
        what = f"{self._where} while fitting the network"
        if isinstance(error, MemoryError) or is_out_of_memory(error):
            remedy = "free some" if self._where == "cpu" else "free memory there, or use device=cpu"
            return DeviceMemoryError(f"out of memory on {what}; {remedy}")
        if self._where == "cpu":
            return error
        return P59Error(f"an error on {what} ({reason_of(error)}); run it again, or use device=cpu")

    def _fit(self, image: np.ndarray, model: FrozenModel, taps: tuple[Tap, ...]) -> Adaptation:
        generator = torch.Generator().manual_seed(0)
        height, width, _ = image.shape
        net = AdaptedNet(model, products_for(height * width, self.steps), generator)
        search = _search(net, image, taps, self._where, self.threads)
        steps = range(self.steps)
        if self.progress:  # else tqdm is not touched: its lock and its thread are no use to a program or a forked one
            steps = tqdm(steps, "fitting", leave=False, unit="step", disable=None)
        for step in steps:
            if self.stopped():
                raise StoppedError("interrupted")
            places = torch.randint(0, height * width, (CONTEXTS,), generator=generator, device="cpu")
            rate = LEARNING_RATE * warmup_cosine(step, self.steps, WARMUP_STEPS)
            search.step(places, rate, rounded=step >= ROUND_FROM * self.steps)
        search.finish()
        return net.adaptation()


class Search(Protocol):
    """Improves the numbers of an AdaptedNet for an image."""

    def step(self, places: torch.Tensor, learning_rate: float, rounded: bool) -> None:
        """A step on the pixels at `places` (N,), row * width + column; `rounded`: the network sees the numbers so."""

    def finish(self) -> None:
        """The net has the numbers found."""


def _search(net: AdaptedNet, image: np.ndarray, taps: tuple[Tap, ...], device: str, threads: int | None) -> Search:
    """In the native core where that can be, else in PyTorch."""
    kind = gradient_kind(bfloat16=True) if device == "cpu" else None
    if kind is None:
        return TorchSearch(net, image, taps, device)
    settings = {"largest_gradient": LARGEST_GRADIENT, "betas": BETAS}
    return NativeSearch(kind, net, image, taps, thread_count(threads), **settings)


class TorchSearch:
    """The search in PyTorch, on its device."""

    def __init__(self, net: AdaptedNet, image: np.ndarray, taps: tuple[Tap, ...], device: str) -> None:
        self._net, self._taps = net.to(device), taps
        self._padded = torch.from_numpy(pad_image(image, net.description.padding)).to(device)
        self._width, self._sub_pixels = image.shape[1], image.size
        self._optimizer = torch.optim.Adam(net.parameters(), LEARNING_RATE, betas=BETAS)
        self._bfloat16 = multiplies_bfloat16(device)

    def step(self, places: torch.Tensor, learning_rate: float, rounded: bool) -> None:
        net, padded, description = self._net, self._padded, self._net.description
        places = places.to(padded.device)
        rows, columns = places // self._width, places % self._width
        inputs, reference = inputs_at(padded, rows, columns, description, self._taps)
        pixels = padded[rows + TOP, columns + LEFT]
        net.rounded = rounded
        with torch.autocast(padded.device.type, torch.bfloat16, enabled=self._bfloat16):
            sums = net(inputs)
        mixture = mixture_of(net.outputs_of(sums.float()), pixels, reference, description)
        loss = bits_coded(mixture, pixels).mean() + net.penalty() / self._sub_pixels
        self._optimizer.zero_grad()
        loss.backward()
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        if nn.utils.clip_grad_norm_(net.parameters(), LARGEST_GRADIENT).isfinite():
            self._optimizer.step()

    def finish(self) -> None:
        """The net's numbers are those that were improved."""


def products_for(pixels: int, steps: int) -> int:
    """How many products of each layer pay for an image of so many pixels; few steps make no use of many."""
    paying = round(1.25 * math.log2(max(pixels, 1) / FEW_PIXELS))
    return min(MOST_FITTED, max(0, paying), FEW_FITTED + steps // 100)


def multiplies_bfloat16(device: str) -> bool:
    """Whether a device has instructions that multiply bfloat16; elsewhere that is slower than float32."""
    if device != "cpu":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
