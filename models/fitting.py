"""Fitting: the search for an adaptation that makes an image's file small. Floats are used here and nowhere later.

The frozen network is imitated in floating point, and the adaptation's numbers are trained by stochastic gradients on
contexts of the image, against the bits of the image and of the numbers together. In the last steps the network sees
the numbers rounded, as they will be (straight-through gradients, Bengio et al., 2013).

Letters: N contexts, T taps, C channels, O rows and I columns of a layer, R products.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from models.adaptation import HIGHEST, LOWEST, Adaptation, LayerAdaptation, row_groups
from models.context_net import LEAKY_SLOPE, inputs_at
from models.freeze import output_units
from models.frozen import FrozenModel, rounding_half
from models.mixture import bits_coded, mixture_of
from models.neighbourhood import LEFT, TOP, Tap, pad_image
from utils.device_memory import is_out_of_memory
from utils.errors import DeviceMemoryError, P59Error, StoppedError, reason_of
from utils.schedule import warmup_cosine

#: What one unit of a number is worth, chosen on validation images. Offsets: of the hidden layers for activations of 14
#: bits, then of the outputs in their units (see models.fixed_mixture).
GAIN_EXPONENT, PRODUCT_EXPONENT, HIDDEN_OFFSET_EXPONENT = 6, 10, 4
OUTPUT_OFFSET_EXPONENTS = {"means": 2, "scales": 0, "logits": 2, "cross": 4}
#: Clamped scales have a unit of their own.
CLAMPED_SCALE_EXPONENT = 6
#: Contexts of a step; the largest step of a number in its units; steps in which it rises to that.
CONTEXTS, LEARNING_RATE, WARMUP_STEPS = 4096, 0.5, 30
#: Norm that gradients (bits per sub-pixel for one unit of each number) are cut to: rare large ones undo many steps.
LARGEST_GRADIENT = 0.015
#: More steps are of no use.
MOST_STEPS = 1_000_000
#: Part of the steps after which the numbers are rounded.
ROUND_FROM = 0.75
#: Standard deviation of the first numbers of `right`; those of `left` are 0.
RIGHT_DEVIATION = 3.0
#: Images get a product for each doubling of their pixels beyond FEW_PIXELS, MOST_FITTED products at the most.
FEW_PIXELS, MOST_FITTED = 1 << 14, 8
#: A number's mean magnitude is taken as no smaller when its bits are estimated.
SMALLEST_MEAN = 0.15


#: Several threads that share an image wait for each other's at every step, and a GPU is full with one image.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Fitting:
    """Adapts models to images in `steps` steps on a PyTorch device; `threads` of a CPU (None: as PyTorch is set).

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
        return replace(self, threads=1, progress=False) if self.device == "cpu" else self

    def __call__(self, image: np.ndarray, model: FrozenModel, taps: tuple[Tap, ...]) -> Adaptation:
        """An adaptation of `model` to `image` (H, W, C) uint8, whose contexts are read at `taps`.

        The same each time on the same machine and device with the same number of threads.
        Raises StoppedError, and P59Error where the device fails, DeviceMemoryError where its memory does not suffice.
        """
        threads = 1 if _threads.forked else self.threads
        alone = nullcontext() if threads == 1 and self.device == "cpu" else _one_at_a_time
        with alone, _threads.set_to(threads), torch.inference_mode(False), torch.enable_grad():
            try:
                return self._fit(image, model, taps)
            except RuntimeError as error:
                named = self._named(error)
                if named is error:
                    raise
                raise named from error

    def _named(self, error: RuntimeError) -> Exception:
        """What the user is told of an error of the device; on a CPU it is one of ours, and stays as it is."""
        what = f"{self.device} while fitting the network"
        if is_out_of_memory(error):
            return DeviceMemoryError(f"out of memory on {what}; free memory there, or use device=cpu")
        if self.device == "cpu":
            return error
        return P59Error(f"an error on {what} ({reason_of(error)}); run it again, or use device=cpu")

    def _fit(self, image: np.ndarray, model: FrozenModel, taps: tuple[Tap, ...]) -> Adaptation:
        generator = torch.Generator().manual_seed(0)
        height, width, channels = image.shape
        description = model.description
        net = _AdaptedNet(model, products_for(height * width), generator).to(self.device)
        padded = torch.from_numpy(pad_image(image, description.padding)).to(self.device)
        optimizer = torch.optim.Adam(net.parameters(), LEARNING_RATE, betas=(0.9, 0.99))
        bfloat16 = multiplies_bfloat16(self.device)
        hidden = None if self.progress else True
        for step in tqdm(range(self.steps), "fitting", leave=False, unit="step", disable=hidden):
            if self.stopped():
                raise StoppedError("interrupted")
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * warmup_cosine(step, self.steps, WARMUP_STEPS)
            net.rounded = step >= ROUND_FROM * self.steps
            chosen = torch.randint(0, height * width, (CONTEXTS,), generator=generator).to(self.device)
            rows, columns = chosen // width, chosen % width
            inputs, reference = inputs_at(padded, rows, columns, description, taps)
            pixels = padded[rows + TOP, columns + LEFT]
            with torch.autocast(padded.device.type, torch.bfloat16, enabled=bfloat16):
                sums = net(inputs)
            mixture = mixture_of(net.outputs_of(sums.float()), pixels, reference, description)
            loss = bits_coded(mixture, pixels).mean() + net.penalty() / (height * width * channels)
            optimizer.zero_grad()
            loss.backward()
            if nn.utils.clip_grad_norm_(net.parameters(), LARGEST_GRADIENT).isfinite():
                optimizer.step()
        return net.adaptation()


class _Threads:
    """How many threads PyTorch computes with: a number each thread has, taken over from whoever set theirs last."""

    def __init__(self) -> None:
        self._lock, self._users, self._usual = threading.Lock(), 0, 0
        #: In a process that was forked, PyTorch waits for its threads, which are the parent's.
        self.forked = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self._lock, self.forked = threading.Lock(), True

    @contextmanager
    def set_to(self, count: int | None) -> Iterator[None]:
        """So many while the block runs, None: as many as usual; afterwards as many as before anyone set them."""
        with self._lock:
            if not self._users:
                self._usual = torch.get_num_threads()
            self._users, usual = self._users + 1, self._usual
        _compute_with(usual if count is None else count)
        try:
            yield
        finally:
            _compute_with(usual)
            with self._lock:
                self._users -= 1


def _compute_with(count: int) -> None:
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


_threads = _Threads()


def products_for(pixels: int) -> int:
    """How many products of each layer pay for an image of so many pixels."""
    return min(MOST_FITTED, max(0, round(math.log2(max(pixels, 1) / FEW_PIXELS))))


def multiplies_bfloat16(device: str) -> bool:
    """Whether a device has instructions that multiply bfloat16; elsewhere that is slower than float32."""
    if device != "cpu":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


class _AdaptedNet(nn.Module):
    """The frozen network in floating point, in its own integer units, with the adaptation's numbers as parameters.

    Rounding is left out, and so is the clamping of activations, which few of them reach.
    """

    def __init__(self, model: FrozenModel, products: int, generator: torch.Generator) -> None:
        super().__init__()
        self.description, self.rounded = model.description, False
        self.groups = row_groups(model.description)
        self.exponents = [
            (max(0, HIDDEN_OFFSET_EXPONENT + model.limit.bit_length() - 14),) for _ in model.layers[:-1]
        ] + [_output_exponents(model)]
        self.offsets, self.gains = nn.ParameterList(), nn.ParameterList()
        self.left, self.right = nn.ParameterList(), nn.ParameterList()
        for index, layer in enumerate(model.layers):
            rows, columns = layer.weight.shape
            unit = np.ldexp(1.0, -layer.shift.astype(np.int32))
            offset_unit = np.zeros(rows)
            for group, exponent in zip(self.groups[index], self.exponents[index], strict=True):
                offset_unit[group] = 2.0**exponent
            largest = np.abs(layer.weight.astype(np.int64)).max(1)
            for name, values in (
                ("weight", layer.weight * unit[:, None]),
                ("bias", (layer.bias - rounding_half(layer.shift)) * unit),
                ("offset_unit", offset_unit),
                ("product_unit", (largest * unit * 2.0**-PRODUCT_EXPONENT)[:, None]),
            ):
                self.register_buffer(f"{name}{index}", torch.from_numpy(values).float())
            self.offsets.append(nn.Parameter(torch.zeros(rows, dtype=torch.float32)))
            self.gains.append(nn.Parameter(torch.zeros(rows, dtype=torch.float32)))
            self.left.append(nn.Parameter(torch.zeros(rows, products, dtype=torch.float32)))
            right = torch.randn(columns, products, generator=generator, dtype=torch.float32)
            self.right.append(nn.Parameter(RIGHT_DEVIATION * right))
        gain, offset = output_units(model.description)
        self.register_buffer("output_gain", torch.from_numpy(gain).float())
        self.register_buffer("output_offset", torch.from_numpy(offset).float())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Integer inputs (N, I) -> outputs (N, K) in the frozen network's units."""
        x = entered = inputs.float()
        for index, (leaky, skip) in enumerate(self.description.layer_roles):
            left, right = self._seen(self.left[index]), self._seen(self.right[index])
            factors = 1 + self._seen(self.gains[index])[:, None] * 2.0**-GAIN_EXPONENT
            weight = getattr(self, f"weight{index}") * factors + left @ right.T * getattr(self, f"product_unit{index}")
            bias = getattr(self, f"bias{index}") + self._seen(self.offsets[index]) * getattr(
                self, f"offset_unit{index}"
            )
            y = nn.functional.linear(x, weight, bias)
            if leaky:
                y = nn.functional.leaky_relu(y, LEAKY_SLOPE)
            if skip:
                y = y + entered
            entered, x = x, y
        return x

    def outputs_of(self, sums: torch.Tensor) -> torch.Tensor:
        """Outputs (N, K) in the float network's units, which `mixture_of` takes."""
        return (sums - self.output_offset) / self.output_gain

    def penalty(self) -> torch.Tensor:
        """A sum whose gradient is that of the numbers' bits, under two-sided exponential distributions of the mean
        magnitudes they have now. Its value is not those bits.
        """
        total = torch.zeros((), device=self.output_gain.device)
        for numbers in self._coded_together():
            magnitudes = numbers.abs()
            means = magnitudes.detach().mean(0).clamp_min(SMALLEST_MEAN)
            total = total + (magnitudes.sum(0) / means).sum() / math.log(2)
        return total

    def adaptation(self) -> Adaptation:
        """The numbers, rounded."""
        layers = []
        for index, exponents in enumerate(self.exponents):
            parts = (part[index] for part in (self.offsets, self.gains, self.left, self.right))
            offsets, gains, left, right = (
                np.rint(part.detach().cpu().clamp(LOWEST, HIGHEST).numpy()).astype(np.int8) for part in parts
            )
            used = left.any(0) & right.any(0)
            left, right = left[:, used], right[:, used]
            layers.append(LayerAdaptation(offsets, gains, left, right, exponents, GAIN_EXPONENT, PRODUCT_EXPONENT))
        return tuple(layers)

    def _seen(self, numbers: torch.Tensor) -> torch.Tensor:
        numbers = numbers.clamp(LOWEST, HIGHEST)
        return numbers + (numbers.round() - numbers).detach() if self.rounded else numbers

    def _coded_together(self) -> list[torch.Tensor]:
        """The numbers, those that share a spread in a column."""
        parts = []
        for index, groups in enumerate(self.groups):
            of_rows = torch.stack((self.offsets[index], self.gains[index]), 1)
            parts += [*(of_rows[rows] for rows in groups), self.left[index], self.right[index]]
        return parts


def _output_exponents(model: FrozenModel) -> tuple[int, ...]:
    """Offset exponents of the kinds of output that the model has."""
    rows, clamped = model.description.output_rows, model.description.scales == "clamped"
    kinds = OUTPUT_OFFSET_EXPONENTS | ({"scales": CLAMPED_SCALE_EXPONENT} if clamped else {})
    return tuple(exponent for kind, exponent in kinds.items() if rows[kind].stop > rows[kind].start)
