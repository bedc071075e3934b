"""Validation: the mean over images of the bits per sub-pixel that the 16-bit coder would spend."""

from __future__ import annotations

import numpy as np
import torch

from datasets.image_set import ImageSet
from models.context_net import ContextNet
from models.measure import image_bits
from utils.distributed import added_up
from utils.errors import InputError
from utils.processes import Processes
from utils.stopping import StopRequest


def image_bpsp(net: ContextNet, image: np.ndarray, patch: int | None) -> float:
    """Bits per sub-pixel of an image (H, W, C) uint8, or of its centre crop of side `patch`, under the float network.

    In float32 and for one kind of code length: validation is part of the time that training takes. A network that sees
    parities counts in the best of its phases.
    """
    if patch is not None:
        from datasets.published_crops import centre_crop  # brings torchvision, which takes seconds to import

        image = centre_crop(image, patch)
    nets = [net.in_phase(phase) for phase in range(net.description.phases)]
    return min(
        float(image_bits(one, image, None, ("coded",), torch.float32)["coded"].sum() / image.size) for one in nets
    )


def validation_rates(
    net: ContextNet, images: ImageSet, patch: int | None, processes: Processes, stop: StopRequest
) -> torch.Tensor | None:
    """Rates of the images and whether each counts, (N, 2) float64; None where some process is to stop.

    Each process takes its share of them. An image that cannot be read does not count (and is listed in
    `images.skipped`). Raises InputError where none can.
    """
    rates = torch.zeros(len(images), 2, dtype=torch.float64)
    for index in range(processes.rank, len(images), processes.count):
        if stop.wanted:
            break
        try:
            rates[index] = torch.tensor([image_bpsp(net, images.read(index), patch), 1.0])
        except InputError:
            continue
    found = torch.cat([rates.flatten(), rates.new_tensor([float(stop.wanted)])])
    found = added_up(found.to(next(net.parameters()).device), processes).cpu()
    if found[-1]:
        return None
    rates = found[:-1].view(-1, 2)
    if not rates[:, 1].any():
        raise InputError("no validation image can be read; give others as valid_data")
    return rates


def mean_rate(rates: torch.Tensor) -> float:
    """The mean of the images that count."""
    return float(rates[:, 0].sum() / rates[:, 1].sum())
