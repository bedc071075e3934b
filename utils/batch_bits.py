"""What a step of training computes: the mean bits of a batch of contexts, differentiable."""

from __future__ import annotations

from collections.abc import Callable

import torch

from coders.native.batch_bits import NativeBatchBits
from coders.native.gradients import ANY_PROCESSORS, gradient_kind
from models.context_net import ContextNet
from models.contexts import integer_inputs
from models.description import ModelDescription
from models.mixture import BITS, mixture_of

#: Layers of more than this PyTorch computes about as fast, or faster.
WIDEST = 512
#: As `batch_bits`.
BatchBits = Callable[..., torch.Tensor]


def batch_bits(
    net: ContextNet,
    contexts: torch.Tensor,
    pixels: torch.Tensor,
    places: torch.Tensor,
    loss: str,
    bfloat16: bool = False,
) -> torch.Tensor:
    """Mean bits per sub-pixel of a batch of contexts (N, T, C), pixels (N, C) and places (N, 2), differentiable.

    With `bfloat16` the network's layers multiply and store bfloat16, which the native core does only where the
    processor has instructions for it; weights, sums and the mixture stay float32.
    """
    inputs, reference = integer_inputs(contexts, net.description, places)
    with torch.autocast(contexts.device.type, torch.bfloat16, enabled=bfloat16):
        outputs = net(inputs)
    mixture = mixture_of(outputs.float(), pixels, reference, net.description)
    return BITS[loss](mixture, pixels).mean()


def chosen_batch_bits(description: ModelDescription, device: str, loss: str, compiled: bool) -> BatchBits:
    """`batch_bits` in the way that is quickest on a device: on a CPU in the native core, else in PyTorch.

    The native core knows the loss "coded" only, is not made for wide layers, and has not much for processors other than
    x86 with AVX2; PyTorch finds anomalies in its own operations only. Raises RequestError where P59_INSTRUCTION_SET
    names what this machine does not have.
    """
    if compiled:
        return torch.compile(batch_bits, dynamic=False)
    suited = device == "cpu" and loss == "coded" and max(description.widths) <= WIDEST
    if suited and gradient_kind() not in (None, ANY_PROCESSORS) and not torch.is_anomaly_enabled():
        return NativeBatchBits(description, torch.get_num_threads())
    return batch_bits
