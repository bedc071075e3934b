"""The float mixture against math.erf: probabilities, bits, gradients."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.description import PUBLISHED, ModelDescription
from models.mixture import BITS, bits_coded, mixture_of, probabilities
from tests.mixture_cases import DESCRIPTIONS, random_case


def oracle_probability(outputs, pixels, reference, description, channel: int, value: int, fold: bool) -> float:
    """The mixture of one sub-pixel, with math.erf and Python numbers."""
    count, mixtures = description.channels, description.mixtures
    block = count * mixtures
    west = description.reference == "west"
    ahead = [int(pixel) - int(ref) for pixel, ref in zip(pixels, reference, strict=True)]
    logits = [outputs[2 * block + channel * mixtures + i] for i in range(mixtures)]
    shares = [math.exp(logit - max(logits)) for logit in logits]
    total = 0.0
    for i in range(mixtures):
        mean = outputs[channel * mixtures + i] * (25.5 if west else 255) + int(reference[channel])
        a, b, c = (outputs[3 * block + term * mixtures + i] for term in range(3)) if count == 3 else (0, 0, 0)
        if channel == 1:
            mean += a * ahead[0]
        if channel == 2:
            mean += b * ahead[0] + c * ahead[1]
        raw = outputs[block + channel * mixtures + i]
        sigma = 255 * (math.exp(raw - 4) if description.scales == "exponential" else raw)
        sigma = min(max(sigma, 0.11), 0.11 * 4096 if description.scales == "exponential" else math.inf)

        def cdf(edge: float, mean=mean, sigma=sigma) -> float:
            return 0.5 * math.erfc((mean - edge) / sigma / math.sqrt(2))

        upper = 1.0 if fold and value == 255 else cdf(value + 0.5)
        lower = 0.0 if fold and value == 0 else cdf(value - 0.5)
        total += shares[i] / sum(shares) * (upper - lower)
    return total


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("description", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_probabilities_are_those_of_the_formula(description, fold):
    outputs, pixels, reference = random_case(description)
    tensors = [torch.from_numpy(array) for array in (outputs, pixels, reference)]
    result = probabilities(mixture_of(*tensors, description), tensors[1], fold).numpy()
    expected = [
        [
            oracle_probability(outputs[n], pixels[n], reference[n], description, channel, int(pixels[n, channel]), fold)
            for channel in range(description.channels)
        ]
        for n in range(len(outputs))
    ]
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("description", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_probabilities_of_all_values_sum_to_one(description):
    outputs, pixels, reference = (torch.from_numpy(array) for array in random_case(description))
    mixture = mixture_of(outputs, pixels, reference, description)
    values = torch.arange(256)[:, None, None].expand(256, *pixels.shape)
    folded = torch.stack([probabilities(mixture, row) for row in values])
    assert (folded >= 0).all()
    torch.testing.assert_close(folded.sum(0), torch.ones(pixels.shape, dtype=torch.float64), rtol=0, atol=1e-12)
    plain = torch.stack([probabilities(mixture, row, fold_tails=False) for row in values])
    assert (plain.sum(0) <= 1 + 1e-12).all()
    torch.testing.assert_close(plain[1:255], folded[1:255])


def test_own_channels_shift_later_means_only():
    outputs, pixels, reference = (torch.from_numpy(array) for array in random_case(PUBLISHED))
    before = mixture_of(outputs, pixels, reference, PUBLISHED).means
    for channel in range(3):
        changed = pixels.clone()
        changed[:, channel] = 255 - changed[:, channel]
        moved = (mixture_of(outputs, changed, reference, PUBLISHED).means != before).any(2).any(0)
        assert moved.tolist() == [later > channel for later in range(3)]


def test_bits_of_each_kind():
    outputs, pixels, reference = (torch.from_numpy(array) for array in random_case(PUBLISHED, 200))
    outputs[0, PUBLISHED.output_rows["means"]] = 40.0  # hopeless: P is below every clip
    mixture = mixture_of(outputs, pixels, reference, PUBLISHED)
    folded, plain = probabilities(mixture, pixels).numpy(), probabilities(mixture, pixels, False).numpy()
    assert set(BITS) == {"published", "folded", "coded"}
    np.testing.assert_allclose(BITS["published"](mixture, pixels), -np.log2(np.maximum(plain, 1e-9)))
    np.testing.assert_allclose(BITS["folded"](mixture, pixels), -np.log2(np.maximum(folded, 1e-9)))
    np.testing.assert_allclose(BITS["coded"](mixture, pixels), -np.log2(folded * (65536 - 256) / 65536 + 1 / 65536))
    assert BITS["coded"](mixture, pixels).max() <= 16
    assert BITS["published"](mixture, pixels).max() == pytest.approx(-math.log2(1e-9))


def test_losses_have_gradients_everywhere():
    outputs, pixels, reference = (torch.from_numpy(array) for array in random_case(ModelDescription()))
    outputs.requires_grad_()
    bits_coded(mixture_of(outputs, pixels, reference, ModelDescription()), pixels).sum().backward()
    assert outputs.grad.isfinite().all()


def test_a_scale_below_its_bound_can_still_grow():
    """The published lower bound lets a gradient through where a step along it would raise the scale."""
    description = replace(PUBLISHED, channels=1, mixtures=1)
    outputs = torch.tensor([[0.5, -0.01, 0.0]], dtype=torch.float64, requires_grad=True)
    mixture = mixture_of(outputs, torch.tensor([[129]]), torch.tensor([[0]]), description)
    bits_coded(mixture, torch.tensor([[129]])).sum().backward()
    assert outputs.grad[0, 1] < 0
