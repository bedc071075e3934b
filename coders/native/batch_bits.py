"""Bits and gradients of batches of contexts in the native core: utils.batch_bits for training on a CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from coders import native
from coders.native.gradients import architecture, gradient_kind
from models.context_net import ContextNet
from models.description import ModelDescription


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
