"""Which models are evaluated together on a device, and by what: the kernel of models.fused or PyTorch's operations."""

from __future__ import annotations

import warnings
from contextlib import nullcontext

import numpy as np
import torch

from coders.gpu.evaluator import CopyingEvaluator, Evaluator, FusedEvaluator, Seconds
from models.frozen import INPUT_LIMIT, FrozenModel
from models.frozen_net import FrozenNet
from models.fused import MANY_PIXELS, FusedNets, fusable
from utils.device_memory import is_out_of_memory

#: So many pixels the kernel has to compute as the host does before it is used: few and many.
TRIALS = (100, MANY_PIXELS + 1)


class Networks:
    """Models on a device that are evaluated together: any of one architecture with the kernel, else a single one."""

    def __init__(self, model: FrozenModel, device: str) -> None:
        """For all models of the same `networks_key`. Raises RuntimeError where the device has no memory for them."""
        self._fused = has_kernel(model, device)
        self._nets = FusedNets(model, device) if self._fused else FrozenNet(model, device)
        if device != "cpu":
            torch.cuda.current_stream(device).synchronize()  # weights are there before other streams read them

    def slot(self, model: FrozenModel, needed: set[int]) -> int:
        """The number of a model for `Evaluator.start`, when it is on the device; models that are not `needed` give way.

        Raises RuntimeError where the device has no memory for it.
        """
        return self._nets.slot(model, needed) if self._fused else 0

    def evaluator(self, seconds: Seconds | None = None) -> Evaluator:
        """One of any number of evaluators, which work side by side."""
        return FusedEvaluator(self._nets, seconds) if self._fused else CopyingEvaluator(self._nets, seconds)


def networks_key(model: FrozenModel, device: str) -> tuple | bytes:
    """What models that are evaluated together have in common: with the kernel their architecture, else all."""
    return _architecture(model, device) if has_kernel(model, device) else model.fingerprint


def has_kernel(model: FrozenModel, device: str) -> bool:
    """Whether the kernel evaluates the model; tries it for the first model of an architecture."""
    if not fusable(model, device):
        return False
    key = _architecture(model, device)
    if key not in _trials:
        _trials[key] = _kernel_works(model, device)
    return _trials[key]


def _architecture(model: FrozenModel, device: str) -> tuple:
    return model.description.layer_shapes, model.description.layer_roles, device


#: Whether the kernel works for an architecture on a device.
_trials: dict[tuple, bool] = {}


def _kernel_works(model: FrozenModel, device: str) -> bool:
    """Whether the kernel can be built for this device and computes there what the host does; else a warning says why.

    A machine takes some seconds to build it for the first time. Memory is the host's, as when images are coded.
    """
    try:
        with torch.cuda.device(device) if device != "cpu" else nullcontext():  # where Triton launches
            _try_kernel(model, device)
    except Exception as error:  # of a compiler or a driver: any
        if is_out_of_memory(error):
            raise
        warnings.warn(f"the network's kernel cannot be used on {device}, which makes it slower: {error}", stacklevel=2)
        return False
    return True


def _try_kernel(model: FrozenModel, device: str) -> None:
    """Raises RuntimeError where the kernel computes something else, and whatever building it raises."""
    generator, pinned = np.random.default_rng(0), device != "cpu"
    nets = FusedNets(model, device)
    slot = nets.slot(model, set())
    for pixels in TRIALS if pinned else TRIALS[:1]:
        inputs = torch.empty((pixels, nets.inputs), dtype=torch.int16, pin_memory=pinned)
        outputs = torch.empty((pixels, nets.outputs), dtype=torch.int32, pin_memory=pinned)
        segments = torch.empty((1, 3), dtype=torch.int32, pin_memory=pinned)
        inputs.numpy()[:] = generator.integers(-INPUT_LIMIT, INPUT_LIMIT + 1, inputs.shape)
        segments.numpy()[:] = slot, 0, pixels
        nets(nets.launch_for(1, pixels, pixels), inputs, outputs, segments)
        if pinned:
            torch.cuda.current_stream(device).synchronize()
        if not torch.equal(outputs, FrozenNet(model)(inputs)):
            raise RuntimeError("it computes other numbers than the processor")
