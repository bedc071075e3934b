"""Bits and gradients of batches of contexts in the native core: utils.batch_bits for training on a CPU.

The networks are of float32.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from coders import native
from models.context_net import ContextNet
from models.description import ModelDescription
from models.neighbourhood import WEST

#: What P59_INSTRUCTION_SET allows; unset, everything that the processor has.
KINDS = {"avx512vnni": ("avx512bf16", "avx512", "avx2"), "avxvnni": ("avx2",), "avx2": ("avx2",)}
#: Those whose multiply-accumulates are of bfloat16; the others' are of float32.
BFLOAT16_KINDS = ("avx512bf16",)


def gradient_kind(bfloat16: bool = False) -> str | None:
    """How gradients are computed here, the best of `gradient_kinds` of the extension; None where it cannot.

    `bfloat16`: also by multiply-accumulates of bfloat16, where the processor has instructions for them.
    Raises RequestError where P59_INSTRUCTION_SET names what this machine does not have.
    """
    if native.unavailable_reason():
        return None
    kinds = native.extension().gradient_kinds()
    if os.environ.get(native.INSTRUCTION_SET_VARIABLE):
        allowed = KINDS.get(native.chosen_instruction_set(), ())
        kinds = [kind for kind in kinds if kind in allowed]
    return next((kind for kind in kinds if bfloat16 or kind not in BFLOAT16_KINDS), None)


def architecture(description: ModelDescription) -> dict[str, int | bool]:
    """What the extension's classes of gradients are told of a network, beside its taps and layers."""
    return {
        "mixtures": description.mixtures,
        "west": description.taps.index(WEST) if WEST in description.taps else 0,
        "relative_to_west": description.reference == "west",
        "clamped_scales": description.scales == "clamped",
        "parities": description.parities,
    }


class NativeBatchBits:
    """As utils.batch_bits.batch_bits, for networks of one description on a CPU and the loss "coded"."""

    def __init__(self, description: ModelDescription, threads: int) -> None:
        self._description, self._threads = description, threads
        self._kinds = {bfloat16: gradient_kind(bfloat16) for bfloat16 in (False, True)}
        self._gradients = {}  # the extension's objects of the kinds that were asked for
        self._input_scales = description.input_scales.astype(np.float32)

    def __call__(
        self,
        net: ContextNet,
        contexts: torch.Tensor,
        pixels: torch.Tensor,
        places: torch.Tensor,
        loss: str,
        bfloat16: bool = False,
    ) -> torch.Tensor:
        if loss != "coded":
            raise ValueError(f"loss {loss!r}: must be 'coded'")
        if not contexts.dtype == pixels.dtype == torch.uint8:
            raise ValueError(f"contexts and pixels of {contexts.dtype} and {pixels.dtype}: must be uint8")
        gradient = self._gradient(self._kinds[bfloat16])
        return _Bits.apply(gradient, self._input_scales, contexts, pixels, places, *net.parameters())

    def __str__(self) -> str:
        """How gradients are computed: of float32, and of bfloat16 where that is another way."""
        return " and ".join(dict.fromkeys(self._kinds.values()))

    def _gradient(self, kind: str):
        if kind not in self._gradients:
            description = self._description
            shapes = zip(description.layer_shapes, description.layer_roles, strict=True)
            self._gradients[kind] = native.extension().BatchGradient(
                kind=kind,
                channels=description.channels,
                taps=len(description.taps),
                **architecture(description),
                layers=[(*shape, *roles) for shape, roles in shapes],
                threads=self._threads,
            )
        return self._gradients[kind]


class _Bits(torch.autograd.Function):
    """Computes the gradients of weights and biases with the bits. Parameters: weight and bias of each layer."""

    @staticmethod
    def forward(ctx, gradient, input_scales, contexts, pixels, places, *parameters) -> torch.Tensor:
        arrays = [parameter.detach().numpy() for parameter in parameters]
        layers = list(zip(arrays[::2], arrays[1::2], strict=True))
        layers[0] = (layers[0][0] * input_scales, layers[0][1])
        bits, found = gradient.evaluate(layers, contexts.numpy(), pixels.numpy(), places.numpy())
        found[0] = (found[0][0] * input_scales, found[0][1])
        ctx.gradients = [torch.from_numpy(array) for layer in found for array in layer]
        return parameters[0].new_tensor(bits)

    @staticmethod
    @once_differentiable
    def backward(ctx, factor: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return (None,) * 5 + tuple(factor * gradient for gradient in ctx.gradients)
