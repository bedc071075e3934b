"""Integer mixtures: the frozen network's outputs to integer CDF points. Integers only, one defined result.

Letters: N pixels, C channels, M components, K network outputs, X cross terms of a component (C (C - 1) / 2). Units are
those of models.fixed_point. A CDF point of value v (0..256) is what the coder needs: point(0) = 0, point(256) = 65536
and between them

    point(v) = v + (sum_i weight_i * PHI((64 v - 32 - mean_i) / (64 sigma_i)) + 2**13 >> 14)

with 12-bit weights that sum to 4096 and PHI in units of 1/(4 * 65280), so that each of the 256 symbols keeps at least
1/65536. The tables are exact to their last digit (models.fixed_tables).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from models.description import ModelDescription
from models.fixed_point import (
    CROSS_BITS,
    CROSS_LIMIT,
    LOGIT_BITS,
    MEAN_BITS,
    MEAN_HIGHEST,
    MEAN_LOWEST,
    PHI_ROUND,
    PHI_SHIFT,
    RAW_LIMIT,
    SCALE_COUNT,
    SCALE_STEPS,
    TOTAL,
    WEIGHT_BITS,
    Z_LIMIT,
    Z_SHIFT,
    Z_STEP_BITS,
)
from models.fixed_tables import (
    exp2_table,
    normal_cdf_table,
    scale_mantissas,
    scale_thresholds,
)


class FixedMixture(NamedTuple):
    """means (N, C, M) before cross terms, scales (N, C, M) indices, weights (N, C, M) of sum 4096, cross (N, X, M)."""

    means: torch.Tensor
    scales: torch.Tensor
    weights: torch.Tensor
    cross: torch.Tensor


def fixed_mixture(outputs: torch.Tensor, reference: torch.Tensor, description: ModelDescription) -> FixedMixture:
    """Integer outputs (N, K) and references (N, C) in pixel values -> mixtures; all int64, on the outputs' device."""
    outputs, reference = outputs.to(torch.int64), reference.to(torch.int64)
    rows, shape = description.output_rows, (-1, description.channels, description.mixtures)
    means = outputs[:, rows["means"]].reshape(shape).clamp(-RAW_LIMIT, RAW_LIMIT)
    means = means + (reference[:, :, None] << MEAN_BITS)
    scales = outputs[:, rows["scales"]].reshape(shape)
    if description.scales == "clamped":
        scales = torch.searchsorted(_table(scale_thresholds(), scales.device), scales.contiguous(), right=True)
    logits = outputs[:, rows["logits"]].reshape(shape).clamp(-RAW_LIMIT, RAW_LIMIT)
    cross = outputs[:, rows["cross"]].reshape(outputs.shape[0], -1, description.mixtures)
    return FixedMixture(
        means, scales.clamp(0, SCALE_COUNT - 1), _weights(logits), cross.clamp(-CROSS_LIMIT, CROSS_LIMIT)
    )


def channel_means(mixture: FixedMixture, channel: int, ahead: torch.Tensor) -> torch.Tensor:
    """Means (N, M) of a channel given `ahead` (N, C): pixel minus reference of the earlier channels, pixel values.

    mu_G += a * ahead_R, mu_B += b * ahead_R + c * ahead_G, rounded once.
    """
    means = mixture.means[:, channel]
    if channel > 0:
        first = channel * (channel - 1) // 2
        shift = (mixture.cross[:, first : first + channel] * ahead[:, :channel, None].to(torch.int64)).sum(1)
        rounding = CROSS_BITS - MEAN_BITS
        means = means + ((shift + (1 << (rounding - 1))) >> rounding)
    return means.clamp(MEAN_LOWEST, MEAN_HIGHEST)


def cdf_points(means: torch.Tensor, scales: torch.Tensor, weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """CDF points of `values` (N, ...) in 0..256 under mixtures (N, M) each -> (N, ...) int64 in 0..65536."""
    shape = (-1,) + (1,) * (values.dim() - 1)
    mantissas = _table(scale_mantissas(), values.device)
    normal = _table(normal_cdf_table(), values.device)
    total = torch.zeros_like(values)
    for mean, scale, weight in zip(means.unbind(1), scales.unbind(1), weights.unbind(1), strict=True):
        z = _standardised(
            values, mean.reshape(shape), mantissas[scale % SCALE_STEPS].reshape(shape), scale.reshape(shape)
        )
        total = total + weight.reshape(shape) * _normal_cdf(z.clamp(-Z_LIMIT, Z_LIMIT), normal)
    points = _point(values, total)
    return torch.where(values <= 0, 0, torch.where(values >= 256, TOTAL, points))


def scalar_cdf_point(means: list[int], scales: list[int], weights: list[int]) -> Callable[[int], int]:
    """The function value -> CDF point, 0 < value < 256, of one sub-pixel's mixture (M,); the same integers."""
    mantissas, normal = scale_mantissas(), normal_cdf_table()
    components = [
        (mean, mantissas[scale % SCALE_STEPS], scale, weight)
        for mean, scale, weight in zip(means, scales, weights, strict=True)
    ]

    def point(value: int) -> int:
        total = 0
        for mean, mantissa, scale, weight in components:
            z = _standardised(value, mean, mantissa, scale)
            total += weight * _normal_cdf(max(-Z_LIMIT, min(Z_LIMIT, z)), normal)
        return _point(value, total)

    return point


# The three steps of a CDF point, for tensors and for Python integers alike.


def _standardised(value, mean, mantissa, scale):
    """(value - 1/2 - mean) / sigma in 1/4096."""
    x = (value << MEAN_BITS) - (1 << (MEAN_BITS - 1)) - mean
    return (x * mantissa) >> (Z_SHIFT + scale // SCALE_STEPS)


def _normal_cdf(z, table):
    """PHI(z), z clamped to +-Z_LIMIT, interpolated between table entries."""
    position = z + Z_LIMIT
    index, fraction = position >> Z_STEP_BITS, position & ((1 << Z_STEP_BITS) - 1)
    low = table[index]
    return low + (((table[index + 1] - low) * fraction + (1 << (Z_STEP_BITS - 1))) >> Z_STEP_BITS)


def _point(value, total):
    return value + ((total + PHI_ROUND) >> PHI_SHIFT)


def _weights(logits: torch.Tensor) -> torch.Tensor:
    """Softmax of (N, C, M) logits to 12-bit weights of sum 4096; the first largest takes what rounding leaves."""
    highest = logits.max(-1, keepdim=True)
    below = highest.values - logits
    power = _table(exp2_table(), logits.device)[below & ((1 << LOGIT_BITS) - 1)] >> (below >> LOGIT_BITS).clamp_max(31)
    reciprocal = (1 << 31) // power.sum(-1, keepdim=True)
    weights = (power * reciprocal) >> (31 - WEIGHT_BITS)
    first_largest = (logits == highest.values).to(torch.int64).argmax(-1, keepdim=True)
    return weights.scatter_add(-1, first_largest, (1 << WEIGHT_BITS) - weights.sum(-1, keepdim=True))


_tables: dict[tuple[str, int], torch.Tensor] = {}


def _table(values: tuple[int, ...], device: torch.device) -> torch.Tensor:
    key = (str(device), id(values))
    if key not in _tables:
        _tables[key] = torch.tensor(values, dtype=torch.int64, device=device)
    return _tables[key]
