"""Random networks with batches of contexts, and what PyTorch says of their bits and gradients."""

from __future__ import annotations

import copy

import torch

from models.context_net import ContextNet
from tests.helpers import LAYERED
from utils.batch_bits import batch_bits

Sample = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def gradient_case(name: str, count: int = 200, seed: int = 0) -> tuple[ContextNet, Sample]:
    """A network with random weights, contexts around levels, pixels and places."""
    description = LAYERED[name]
    net = ContextNet(description)
    net.reset_parameters(torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed + 1)
    level = torch.randint(0, 256, (count, 1, description.channels), generator=generator)
    around = level + torch.randint(
        -9, 10, (count, len(description.taps) + 1, description.channels), generator=generator
    )
    around = around.clamp(0, 255).to(torch.uint8)
    places = torch.randint(0, 999, (count, 2), generator=generator)
    return net, (around[:, 1:].contiguous(), around[:, 0].contiguous(), places)


def gradients(bits: torch.Tensor, net: ContextNet) -> list[torch.Tensor]:
    """Of each of the network's parameters."""
    return torch.autograd.grad(bits, list(net.parameters()))


def by_pytorch(net: ContextNet, sample: Sample) -> tuple[float, list[torch.Tensor]]:
    """Bits per sub-pixel, and gradients, in float64."""
    exact = copy.deepcopy(net).double()
    bits = batch_bits(exact, *sample, "coded")
    return bits.item(), gradients(bits, exact)


def difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The norm of what two gradients differ by, as a part of that of the second."""
    return float((found - wanted).norm() / wanted.norm().clamp_min(1e-9))
