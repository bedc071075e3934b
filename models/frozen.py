"""The frozen network as data: integers in, integers out, the same on every machine.

A layer maps int16 activations a (|a| <= limit; inputs of the first layer 255) to

    s[o] = (sum_i weight[o, i] * a[i] + bias[o]) >> shift[o]          (bias holds half a unit, so this rounds)

A hidden layer then saturates s to int16 (sat), applies the integer LeakyReLU where the architecture has one,

    max(sat(s), (sat((s + 32) >> 6) * 20992 + 2**14) >> 15)           (20992 / 2**15 / 64 = 0.01001)

clamps to [-limit, limit], and adds (clamping again) what entered the layer before where it closes a residual block.
Sums far below zero are common before LeakyReLU; shifting them apart keeps their slope without taking precision from
the sums above zero. The last layer's s are the outputs.
Every row's sum is bounded by |bias| + L1(weights) * (limit, or 255) <= 2**31 - 1, which is checked when a model is made
or read, so int32 accumulation cannot overflow in any order of summation, and float64 products are exact. The network is
evaluated by models.frozen_net (PyTorch), models.fused_kernel (Triton) and the native core.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from models.description import ModelDescription
from models.neighbourhood import PARITIES, parity_signs
from utils.errors import ModelError

#: The integer LeakyReLU, see above.
LEAKY_MULTIPLIER, LEAKY_SHIFT, LEAKY_PRESHIFT = 20992, 15, 6
#: It leaves nothing below -LEAKY_FLOOR, since the sums that enter it saturate.
LEAKY_FLOOR = 32768 * LEAKY_MULTIPLIER >> LEAKY_SHIFT
#: Largest absolute integer input: a difference of two 8-bit values, 2 * west - 255, or a parity.
INPUT_LIMIT = 255
INT32_MAX = 2**31 - 1
#: Bytes of the fingerprint that a file names its model with.
FINGERPRINT_BYTES = 16


def rounding_half(shift: np.ndarray) -> np.ndarray:
    """Half a unit of each shift, int64, 0 for shift 0: what a row's bias holds so that its shift rounds."""
    return (1 << shift.astype(np.int64)) >> 1


@dataclass(frozen=True, eq=False)
class FrozenLayer:
    """weight (outputs, inputs) int16, bias (outputs,) int32, shift (outputs,) uint8; flags as in `layer_roles`."""

    weight: np.ndarray
    bias: np.ndarray
    shift: np.ndarray
    leaky: bool
    skip: bool


@dataclass(frozen=True, eq=False)
class FrozenModel:
    """An integer network with its description; `limit` bounds hidden activations. Raises ModelError if inconsistent.

    Equal is only itself; `fingerprint` says which function a model is.
    """

    description: ModelDescription
    layers: tuple[FrozenLayer, ...]
    limit: int

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= 32767:
            raise ModelError(f"frozen model: activation limit {self.limit} is not in 1..32767; freeze it again")
        if tuple(layer.weight.shape for layer in self.layers) != self.description.layer_shapes:
            raise ModelError("frozen model: weights do not fit its description; freeze it again")
        for number, layer in enumerate(self.layers):
            kinds = (layer.weight.dtype, layer.bias.dtype, layer.shift.dtype)
            rows = (layer.weight.shape[0],)
            if kinds != (np.int16, np.int32, np.uint8) or layer.bias.shape != rows or layer.shift.shape != rows:
                raise ModelError(f"frozen model: layer {number} has arrays of wrong type or shape; freeze it again")
            if layer.shift.max() > 31:
                raise ModelError(f"frozen model: layer {number} shifts by more than 31; freeze it again")
            inputs = INPUT_LIMIT if number == 0 else self.limit
            weight, bias = layer.weight.astype(np.int64), layer.bias.astype(np.int64)
            if (np.abs(weight).sum(1) * inputs + np.abs(bias)).max() > INT32_MAX or weight.min() < -32767:
                raise ModelError(f"frozen model: layer {number} could overflow 32 bits; freeze it again")

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 over the description, the limit and all integers: 32 bytes that name exactly this function."""
        digest = hashlib.sha256(f"p59 frozen 1\n{self.description.to_json()}\n{self.limit}\n".encode())
        for layer in self.layers:
            for array in (layer.weight, layer.bias, layer.shift):
                digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return digest.digest()

    @property
    def file_id(self) -> bytes:
        """The first 16 bytes of the fingerprint, by which a file names its model."""
        return self.fingerprint[:FINGERPRINT_BYTES]

    @property
    def name(self) -> str:
        """The first 8 bytes of the fingerprint in hexadecimal, for people."""
        return self.fingerprint[:8].hex()

    @property
    def phases(self) -> tuple[FrozenModel, ...]:
        """The model itself; where it sees parities, then the three that take even columns, rows, or both for odd ones.

        Bit 0 of the index stands for columns, bit 1 for rows.
        """
        return (self, *self._other_phases)

    @cached_property
    def _other_phases(self) -> tuple[FrozenModel, ...]:
        return tuple(map(self._in_phase, range(1, self.description.phases)))

    def _in_phase(self, phase: int) -> FrozenModel:
        weight = self.layers[0].weight.copy()
        weight[:, -PARITIES:] *= np.array(parity_signs(phase), np.int16)
        return replace(self, layers=(replace(self.layers[0], weight=weight), *self.layers[1:]))
