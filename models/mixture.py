"""The float Gaussian mixture: what the network's outputs mean, and how many bits they cost.

Letters: N pixels, C channels, M components, K outputs. Values and means in pixel units (0..255).
Source: paper, section 3.2 (mixture and cross terms); departures are those of `ModelDescription.reference` (means) and
`ModelDescription.scales`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from models.description import ModelDescription
from models.fixed_point import CODER_FLOOR, CODER_SHARE
from models.output_units import LOG_SCALE_OFFSET, MEAN_GAIN, SCALE_MAXIMUM, SCALE_MINIMUM

#: Smallest probability the published loss counts.
PUBLISHED_CLIP = 1e-9


class Mixture(NamedTuple):
    """means (N, C, M) given the earlier channels, scales (N, C, M) in pixel units, log_weights (N, C, M)."""

    means: torch.Tensor
    scales: torch.Tensor
    log_weights: torch.Tensor


class LowerBound(torch.autograd.Function):
    """max(x, bound) whose gradient still reaches an x below the bound where it would raise it."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, bound: float) -> torch.Tensor:
        ctx.save_for_backward(x >= bound)
        return x.clamp_min(bound)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (inside,) = ctx.saved_tensors
        return gradient * (inside | (gradient < 0)), None


def mixture_of(
    outputs: torch.Tensor, pixels: torch.Tensor, reference: torch.Tensor, description: ModelDescription
) -> Mixture:
    """Outputs (N, K), the pixels' own values (N, C) and their references (N, C) -> the sub-pixels' mixtures.

    The mean of a channel is shifted by its cross term times each earlier channel: mu_G += a (r - ref_r),
    mu_B += b (r - ref_r) + c (g - ref_g). Absolute models have ref = 0.
    """
    shape = (-1, description.channels, description.mixtures)
    rows = description.output_rows
    reference = reference.to(outputs.dtype)
    raw_scales = outputs[:, rows["scales"]].reshape(shape)
    if description.scales == "exponential":
        highest = math.log(SCALE_MAXIMUM / 255)
        scales = 255 * torch.exp((raw_scales + LOG_SCALE_OFFSET).clamp_max(highest))
    else:
        scales = 255 * raw_scales
    scales = LowerBound.apply(scales, SCALE_MINIMUM)
    gain = 255 if description.reference == "none" else MEAN_GAIN
    means = reference[:, :, None] + gain * outputs[:, rows["means"]].reshape(shape)
    if description.channels == 3:
        cross = outputs[:, rows["cross"]].reshape(-1, 3, description.mixtures)
        ahead = (pixels.to(outputs.dtype) - reference)[:, :2, None]
        green = means[:, 1] + cross[:, 0] * ahead[:, 0]
        blue = means[:, 2] + cross[:, 1] * ahead[:, 0] + cross[:, 2] * ahead[:, 1]
        means = torch.stack((means[:, 0], green, blue), 1)
    log_weights = torch.log_softmax(outputs[:, rows["logits"]].reshape(shape), -1)
    return Mixture(means, scales, log_weights)


def probabilities(mixture: Mixture, pixels: torch.Tensor, fold_tails: bool = True) -> torch.Tensor:
    """P of the values `pixels` (N, C) -> (N, C): CDF(v + 1/2) - CDF(v - 1/2), the tails folded into 0 and 255."""
    values = pixels.to(mixture.means.dtype)[:, :, None]
    inverse = math.sqrt(0.5) / mixture.scales
    distance = (values - mixture.means) * inverse
    half = 0.5 * inverse
    upper, lower = torch.erf(distance + half), torch.erf(distance - half)
    if fold_tails:
        upper = torch.where(values > 254.5, 1.0, upper)
        lower = torch.where(values < 0.5, -1.0, lower)
    return (0.5 * (upper - lower) * torch.exp(mixture.log_weights)).sum(-1)


def bits_published(mixture: Mixture, pixels: torch.Tensor) -> torch.Tensor:
    """The published training loss: -log2 P without folding, P clipped at 1e-9. (N, C) bits."""
    return -torch.log2(probabilities(mixture, pixels, fold_tails=False).clamp_min(PUBLISHED_CLIP))


def bits_folded(mixture: Mixture, pixels: torch.Tensor) -> torch.Tensor:
    """-log2 P with the tails folded into 0 and 255, P clipped at 1e-9. (N, C) bits."""
    return -torch.log2(probabilities(mixture, pixels).clamp_min(PUBLISHED_CLIP))


def bits_coded(mixture: Mixture, pixels: torch.Tensor) -> torch.Tensor:
    """What the 16-bit coder charges: P mapped to P * 65280/65536 + 1/65536. (N, C) bits. Our training loss."""
    return -torch.log2(probabilities(mixture, pixels) * CODER_SHARE + CODER_FLOOR)


BITS = {"published": bits_published, "folded": bits_folded, "coded": bits_coded}
