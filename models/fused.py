"""The frozen network as one kernel for GPUs: a few pixels of one model go through all layers without leaving the chip.

Tensor cores multiply bytes, and their int32 sums are exact. An int16 number is two of them,

    n = 256 * high + low + 128        (both -128..127)

so a product of activations a and weights w is

    sum a * w = sum (256 * a_high + a_low) * w  +  128 * sum w         (the second part goes into the bias)
    sum x * w = sum x * (256 * w_high + w_low)  +  128 * sum x         (x = 256 * a_high + a_low)

four products of bytes and a sum of activations. No sum of such products reaches 2^23 (sums of tensor cores may saturate
at 2^31); what exceeds 32 bits when they are put together wraps around, and the total fits.
The kernel (models.fused_kernel) is written in Triton, which comes with PyTorch for CUDA; `models.frozen.FrozenNet`
computes the same anywhere else.
Letters: N pixels, I inputs, K outputs, L layers, S side of the square that holds every layer's weights.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch

from models.frozen import FrozenModel

#: Sides of the square: products of tensor cores have at least 32 terms, and a layer has to fit on the chip.
SIDES = (32, 64, 128)
#: Pixels of a block, and warps that share it: few pixels where there are not many, so that all of the chip is busy,
#: else more for each load of weights.
BLOCK_OF_FEW, BLOCK_OF_MANY = (16, 8), (32, 4)
#: From so many pixels on, blocks are of BLOCK_OF_MANY.
MANY_PIXELS = 1 << 10
#: Models that there is room for at first.
SLOTS = 32
#: Oldest CUDA devices whose tensor cores multiply bytes as the kernel has it.
CAPABILITY = (8, 0)


def fusable(model: FrozenModel, device: torch.device | str) -> bool:
    """Whether the kernel can evaluate this model on this device."""
    if max(max(shape) for shape in model.description.layer_shapes) > SIDES[-1] or find_spec("triton") is None:
        return False
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if torch.device(device).type != "cuda" or interpreted:
        return interpreted and torch.device(device).type == "cpu"
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= CAPABILITY


class Launch(NamedTuple):
    """`blocks` of `rows` pixels for each of `segments`; `warps` share a block."""

    blocks: int
    segments: int
    rows: int
    warps: int


class FusedNets:
    """Evaluates any number of frozen models of one architecture on a device, together in one launch."""

    def __init__(self, like: FrozenModel, device: torch.device | str) -> None:
        """`like` is a model of the architecture; it is not yet on the device."""
        description = like.description
        self.inputs, self.outputs = description.inputs, description.outputs
        self.device = torch.device(device)
        self._roles = description.layer_roles
        largest = max(max(shape) for shape in description.layer_shapes)
        self._side = min(side for side in SIDES if side >= largest)
        self._slots: dict[bytes, int] = {}
        #: How often the tables have moved.
        self.moved = 0
        self._weights, self._units = self._tables(SLOTS)

    def slot(self, model: FrozenModel, needed: set[int]) -> int:
        """Where on the device the model is; it is copied there if it is not yet.

        Only models of slots that are not `needed` give way to others, first those that were asked for longest ago.
        Returns when the copy is done.
        """
        slot = self._slots.pop(model.fingerprint, None)
        if slot is None:
            slot = self._free_slot(needed)
            weights, units = packed(model, self._side)
            self._weights[slot] = torch.from_numpy(weights).to(self.device)
            self._units[slot] = torch.from_numpy(units).to(self.device)
            self._synchronise()
        self._slots[model.fingerprint] = slot  # the last to go
        return slot

    def _free_slot(self, needed: set[int]) -> int:
        count = len(self._weights)
        if len(self._slots) < count:
            return min(set(range(count)) - set(self._slots.values()))
        for fingerprint, slot in self._slots.items():
            if slot not in needed:
                del self._slots[fingerprint]
                return slot
        self._synchronise()  # kernels may be reading what is replaced
        weights, units = self._tables(2 * count)
        weights[:count], units[:count] = self._weights, self._units
        self._weights, self._units = weights, units
        self.moved += 1
        return count

    def _tables(self, slots: int) -> tuple[torch.Tensor, torch.Tensor]:
        layers, side = len(self._roles), self._side
        weights = torch.empty((slots, layers, 2, side, side), dtype=torch.int8, device=self.device)
        return weights, torch.empty((slots, layers, 3, side), dtype=torch.int32, device=self.device)

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()

    def launch_for(self, segments: int, most: int, pixels: int) -> Launch:
        """How `segments` of up to `most` pixels, together of `pixels`, are to be launched; few launches do for all."""
        rows, warps = BLOCK_OF_MANY if pixels >= MANY_PIXELS else BLOCK_OF_FEW
        return Launch(_power_of_two(-(-most // rows)), _power_of_two(segments), rows, warps)

    def __call__(self, launch: Launch, inputs: torch.Tensor, outputs: torch.Tensor, segments: torch.Tensor) -> None:
        """Begin to compute inputs (N, I) int16 -> outputs (N, K) int32, on the current stream.

        segments    (images, 3) int32: slot, first row, rows of each, and no rows for what `launch` rounds up
        All tensors lie where the device reads and writes them: its own memory, or pinned memory of the host.
        """
        from models.fused_kernel import network  # brings Triton

        leaky, skip = (sum(role[kind] << layer for layer, role in enumerate(self._roles)) for kind in (0, 1))
        network[launch.blocks, launch.segments](
            inputs,
            outputs,
            segments,
            self._weights,
            self._units,
            self.inputs,
            self.outputs,
            len(self._roles),
            leaky,
            skip,
            residual=skip != 0,
            side=self._side,
            rows=launch.rows,
            num_warps=launch.warps,
            num_stages=2,
        )


def _power_of_two(number: int) -> int:
    """The smallest that is not less."""
    return 1 << (number - 1).bit_length()


def packed(model: FrozenModel, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Tables of the kernel: weights (L, 2, S, S) int8, bytes high and low of [output][input]; units (L, 3, S) int32,
    biases, shifts and limits of activations."""
    shape = (len(model.layers), side)
    weights, units = np.zeros((shape[0], 2, side, side), np.int8), np.zeros((shape[0], 3, side), np.int32)
    for number, layer in enumerate(model.layers):
        after, before = layer.weight.shape
        wide = np.zeros((side, side), np.int32)
        wide[:after, :before] = layer.weight
        weights[number, 0], weights[number, 1] = wide >> 8, (wide & 255) - 128
        bias = layer.bias.astype(np.int64) + 128 * layer.weight.astype(np.int64).sum(1)
        units[number, 0, :after] = bias.astype(np.int32)  # wraps around
        units[number, 1, :after] = layer.shift
        units[number, 2] = model.limit
    return weights, units
