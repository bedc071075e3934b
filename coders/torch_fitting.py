"""Fitting with PyTorch, where the native core is not there, or was built without gradients; see coders.fitting."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import nn

from coders.fitting import BETAS, LARGEST_GRADIENT, LEARNING_RATE
from models.adaptable import Adaptable
from models.adapted_net import AdaptedNet
from models.contexts import inputs_at
from models.mixture import bits_coded, mixture_of
from models.neighbourhood import LEFT, TOP, Tap, pad_image
from utils.device_memory import is_out_of_memory
from utils.errors import DeviceMemoryError, P59Error, reason_of
from utils.torch_threads import torch_threads


@contextmanager
def computing(device: str, threads: int | None, one_at_a_time: threading.Lock) -> Iterator[None]:
    """PyTorch as a search needs it, within the lock where others may search meanwhile.

    Raises P59Error where the device fails, DeviceMemoryError where its memory does not suffice.
    """
    one = device == "cpu" and (threads == 1 or torch_threads.forked)
    alone = nullcontext() if one else one_at_a_time
    with alone, torch_threads.set_to(threads), torch.inference_mode(False), torch.enable_grad():
        try:
            # Of several GPUs, PyTorch asks what the current one can do.
            with torch.cuda.device(device) if device.startswith("cuda") else nullcontext():
                yield
        except (RuntimeError, MemoryError) as error:
            named = _named(error, device)
            if named is error:
                raise
            raise named from error


def _named(error: Exception, device: str) -> Exception:
    """What the user is told of an error of the device; on a CPU it is one of ours, and stays as it is."""
    what = f"{device} while fitting the network"
    if isinstance(error, MemoryError) or is_out_of_memory(error):
        remedy = "free some" if device == "cpu" else "free memory there, or use device=cpu"
        return DeviceMemoryError(f"out of memory on {what}; {remedy}")
    if device == "cpu":
        return error
    return P59Error(f"an error on {what} ({reason_of(error)}); run it again, or use device=cpu")


class TorchSearch:
    """Improves the numbers of `adaptable` for an image (H, W, C) uint8 whose contexts are read at `taps`."""

    def __init__(self, adaptable: Adaptable, image: np.ndarray, taps: tuple[Tap, ...], device: str) -> None:
        self._net, self._taps = AdaptedNet(adaptable).to(device), taps
        self._padded = torch.from_numpy(pad_image(image, adaptable.description.padding)).to(device)
        self._width, self._sub_pixels = image.shape[1], image.size
        self._optimizer = torch.optim.Adam(self._net.parameters(), LEARNING_RATE, betas=BETAS)
        self._bfloat16 = multiplies_bfloat16(device)

    def step(self, places: np.ndarray, learning_rate: float, rounded: bool) -> None:
        """A step on the pixels at `places` (N,), row * width + column."""
        net, padded, description = self._net, self._padded, self._net.description
        place = torch.from_numpy(places).to(padded.device)
        rows, columns = place // self._width, place % self._width
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
        """The adaptable has the numbers found."""
        self._net.put_back()


def multiplies_bfloat16(device: str) -> bool:
    """Whether a device has instructions that multiply bfloat16; elsewhere that is slower than float32."""
    if device != "cpu":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
