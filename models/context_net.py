"""The float network: contexts in, mixture outputs out. Used for training and for measuring.

Letters: N contexts, I inputs, K outputs of one pixel.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import nn

from models.description import LEAKY_SLOPE, ModelDescription
from models.neighbourhood import PARITIES, parity_signs


class ContextNet(nn.Module):
    """Linear layers of `description.layer_shapes` with LeakyReLU (slope 0.01); residual blocks where it says so."""

    def __init__(self, description: ModelDescription) -> None:
        super().__init__()
        self.description = description
        self.layers = nn.ModuleList(nn.Linear(before, after) for after, before in description.layer_shapes)
        self.activation = nn.LeakyReLU(LEAKY_SLOPE)
        self.register_buffer("input_scales", torch.from_numpy(description.input_scales), persistent=False)

    def forward(self, inputs: torch.Tensor, observe: Callable[[int, torch.Tensor], None] | None = None) -> torch.Tensor:
        """Integer inputs (N, I), any number type -> outputs (N, K) in the weights' type.

        `observe(index, sums)` sees each hidden layer's result (N, width) before LeakyReLU.
        """
        x = entered = self.scaled(inputs)
        for index in range(len(self.layers)):
            sums = self.sums(index, x, entered)
            if observe is not None and index + 1 < len(self.layers):
                observe(index, sums)
            entered, x = x, self.activated(index, sums)
        return x

    def scaled(self, inputs: torch.Tensor) -> torch.Tensor:
        """Integer inputs (N, I) in the weights' type, as the first layer takes them."""
        dtype = self.layers[0].weight.dtype
        return inputs.to(dtype) * self.input_scales.to(dtype)

    def sums(self, index: int, x: torch.Tensor, entered: torch.Tensor) -> torch.Tensor:
        """Layer `index` of x (N, I) and, where it closes a residual block, of what entered the layer before."""
        y = self.layers[index](x)
        return y + entered if self.description.layer_roles[index][1] else y

    def activated(self, index: int, sums: torch.Tensor) -> torch.Tensor:
        """What leaves layer `index`: its sums after LeakyReLU, where one follows."""
        return self.activation(sums) if self.description.layer_roles[index][0] else sums

    def in_phase(self, phase: int) -> ContextNet:
        """The network that takes even columns (bit 0 of `phase`), rows (bit 1) or both for odd ones; itself for 0."""
        if not phase:
            return self
        result = copy.deepcopy(self)
        weight = result.layers[0].weight
        with torch.no_grad():
            weight[:, -PARITIES:] *= weight.new_tensor(parity_signs(phase))
        return result

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """PyTorch's own start of linear layers, uniform within sqrt(1 / inputs), drawn from `generator` so that a seed
        decides it."""
        for layer in self.layers:
            bound = math.sqrt(1 / layer.in_features)
            for tensor in (layer.weight, layer.bias):
                with torch.no_grad():
                    tensor.uniform_(-bound, bound, generator=generator)


def with_inputs_of(net: ContextNet, other: ModelDescription) -> ContextNet:
    """The network with the inputs of another model: what it knows of others is dropped, new ones begin without effect.

    A start for training a model that knows other pixels, as the diagonal order's does, or the parities too. With the
    same inputs it is the network itself.
    """
    description = net.description
    if (other.taps, other.parities) == (description.taps, description.parities):
        return net
    result = ContextNet(description.seeing_as(other))
    state, channels = net.state_dict(), description.channels
    weight = state["layers.0.weight"]
    seen = len(description.taps) * channels
    blocks = dict(zip(description.taps, weight[:, :seen].split(channels, 1), strict=True))
    unseen = torch.zeros_like(weight[:, :channels])
    columns = [blocks.get(tap, unseen) for tap in other.taps]
    if other.parities:
        columns.append(weight[:, seen:] if description.parities else weight.new_zeros(len(weight), PARITIES))
    state["layers.0.weight"] = torch.cat(columns, 1)
    result.load_state_dict(state)
    return result
