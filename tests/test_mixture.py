"""The mixtures: the float one against math.erf, the integer one against high precision, and each against the other."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import fixed_tables
from models.description import PUBLISHED, ModelDescription
from models.fixed_mixture import (
    CROSS_BITS,
    MEAN_BITS,
    MEAN_HIGHEST,
    MEAN_LOWEST,
    SCALE_COUNT,
    TOTAL,
    FixedMixture,
    cdf_points,
    channel_means,
    fixed_mixture,
    scalar_cdf_point,
)
from models.freeze import output_units
from models.mixture import BITS, Mixture, bits_coded, mixture_of, probabilities

DESCRIPTIONS = {
    "published": PUBLISHED,
    "west": ModelDescription(),
    "gray": ModelDescription(channels=1, mixtures=2),
    "west clamped": ModelDescription(scales="clamped", mixtures=1),
    "absolute exponential": replace(PUBLISHED, scales="exponential", mixtures=4),
}


def random_case(description: ModelDescription, count: int = 40, seed: int = 0):
    """Float outputs (N, K) of the sizes that networks give, pixels and references (N, C)."""
    generator = np.random.default_rng(seed)
    rows, outputs = description.output_rows, generator.normal(0, 0.3, (count, description.outputs))
    pixels = generator.integers(0, 256, (count, description.channels))
    pixels[:2] = [[0], [255]]
    if description.reference == "none":
        reference = np.zeros_like(pixels)
        outputs[:, rows["means"]] = generator.normal(0.5, 0.4, outputs[:, rows["means"]].shape)
    else:
        reference = np.clip(pixels + generator.integers(-30, 31, pixels.shape), 0, 255)
        outputs[:, rows["means"]] *= 3
    if description.scales == "clamped":
        outputs[:, rows["scales"]] = np.exp(generator.uniform(-9, -1, outputs[:, rows["scales"]].shape))
        outputs[0, rows["scales"]] = -1
    else:
        outputs[:, rows["scales"]] = generator.uniform(-2, 3, outputs[:, rows["scales"]].shape)
        outputs[0, rows["scales"]] = -20
    return outputs, pixels, reference


def oracle_probability(outputs, pixels, reference, description, channel: int, value: int, fold: bool) -> float:
    """SPEC section 1 for one sub-pixel, with math.erf and Python numbers."""
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


# The tables, computed here in another way and precision.

TABLES = ("exp2_table", "scale_mantissas", "scale_thresholds", "normal_cdf_table")


def nearest(value) -> int:
    """The nearest integer of a number that is not near the middle of two."""
    assert abs(value - mpmath.floor(value) - 0.5) > 1e-20
    return int(mpmath.nint(value))


@mpmath.workdps(50)
def test_tables_are_exact_to_their_last_digit():
    two = mpmath.mpf(2)
    smallest = mpmath.mpf(11) / 100
    assert list(fixed_tables.exp2_table()) == [nearest(2**15 * two ** (-mpmath.mpf(i) / 256)) for i in range(256)]
    unit = mpmath.mpf(4096) / 64 * 32  # z in 1/4096 sigma of 1/64 pixel value, times 2**5
    assert list(fixed_tables.scale_mantissas()) == [
        nearest(unit / (smallest * two ** (mpmath.mpf(i) / 16))) for i in range(16)
    ]
    thresholds = [int(mpmath.ceil(4096 * smallest * two ** ((mpmath.mpf(2 * i + 1)) / 32))) for i in range(191)]
    assert list(fixed_tables.scale_thresholds()) == thresholds
    normal = [4 * 65280 * mpmath.erfc(-(mpmath.mpf(i) / 64 - 5) / mpmath.sqrt(2)) / 2 for i in range(641)]
    normal = [4 * 65280 // 2 if i == 320 else nearest(value) for i, value in enumerate(normal)]
    assert list(fixed_tables.normal_cdf_table()) == [*normal, normal[-1]]


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_the_recorded_ones(name, recorded):
    """A change of any entry changes every file: then the container needs a new version."""
    text = json.dumps(getattr(fixed_tables, name)())
    recorded(f"SHA-256 of {name}", hashlib.sha256(text.encode()).hexdigest())


# The integer mixture.

mixtures = st.integers(1, 10).flatmap(
    lambda count: st.tuples(
        st.lists(st.integers(MEAN_LOWEST, MEAN_HIGHEST), min_size=count, max_size=count),
        st.lists(st.integers(0, SCALE_COUNT - 1), min_size=count, max_size=count),
        st.lists(st.integers(0, 4096), min_size=count - 1, max_size=count - 1).map(
            lambda cuts: np.diff([0, *sorted(cuts), 4096]).tolist()
        ),
    )
)


@settings(max_examples=150, deadline=None)
@given(mixtures)
def test_cdf_points_increase_from_0_to_65536(parameters):
    means, scales, weights = parameters
    values = torch.arange(257)[None]
    points = cdf_points(*(torch.tensor([part]) for part in (means, scales, weights)), values)[0]
    assert points[0] == 0
    assert points[256] == TOTAL
    assert (points.diff() >= 1).all()
    point = scalar_cdf_point(means, scales, weights)
    assert [point(value) for value in range(1, 256)] == points[1:256].tolist()


def wide_integers(size: int, seed: int) -> torch.Tensor:
    """Integers of all magnitudes that a network's last layer can give."""
    generator = np.random.default_rng(seed)
    magnitude = np.exp2(generator.uniform(0, 31, (size,)))
    values = np.minimum(magnitude, 2**31 - 1) * generator.choice([-1, 1], size)
    values[generator.random(size) < 0.05] = -(2**31)
    values[generator.random(size) < 0.05] = 2**31 - 1
    return torch.from_numpy(values.astype(np.int64)).to(torch.int32)


@pytest.mark.parametrize("description", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_whatever_the_network_says_is_a_mixture(description):
    count = 300
    outputs = wide_integers(count * description.outputs, 3).reshape(count, -1)
    generator = torch.Generator().manual_seed(0)
    reference = torch.randint(0, 256, (count, description.channels), generator=generator).to(torch.int16)
    mixture = fixed_mixture(outputs, reference, description)
    assert (mixture.weights.sum(-1) == 4096).all()
    assert (mixture.weights >= 0).all()
    assert mixture.scales.min() >= 0
    assert mixture.scales.max() < SCALE_COUNT
    for ahead in (-255, 255):
        for channel in range(description.channels):
            means = channel_means(mixture, channel, torch.full((count, description.channels), ahead))
            assert means.min() >= MEAN_LOWEST
            assert means.max() <= MEAN_HIGHEST
            values = torch.arange(257).expand(count, 257)
            points = cdf_points(means, mixture.scales[:, channel], mixture.weights[:, channel], values)
            assert (points.diff() >= 1).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-(1 << 20), 1 << 20), min_size=1, max_size=10))
def test_weights_are_the_softmax_to_12_bits(logits):
    description = ModelDescription(channels=1, mixtures=len(logits))
    outputs = torch.zeros(1, description.outputs, dtype=torch.int32)
    outputs[0, description.output_rows["logits"]] = torch.tensor(logits, dtype=torch.int32)
    weights = fixed_mixture(outputs, torch.zeros(1, 1), description).weights.flatten().tolist()
    with mpmath.workdps(30):
        shares = [mpmath.mpf(2) ** (mpmath.mpf(logit - max(logits)) / 256) for logit in logits]
        exact = [float(4096 * share / sum(shares)) for share in shares]
    assert sum(weights) == 4096
    largest = logits.index(max(logits))
    for index, (weight, share) in enumerate(zip(weights, exact, strict=True)):
        if index != largest:
            assert share - 1.3 <= weight <= share + 0.1, "rounded down"
    assert exact[largest] - 0.5 <= weights[largest] <= exact[largest] + 1.3 * len(logits)


def test_cross_terms_are_rounded_once():
    generator = np.random.default_rng(0)
    mean, cross = generator.integers(-20000, 20000, (50, 3, 2)), generator.integers(-32767, 32768, (50, 3, 2))
    ahead = generator.integers(-255, 256, (50, 3))
    blank = torch.zeros(50, 3, 2, dtype=torch.int64)
    mixture = FixedMixture(torch.from_numpy(mean), blank, blank, torch.from_numpy(cross))
    shifts = [
        np.zeros((50, 2), int),
        cross[:, 0] * ahead[:, :1],
        cross[:, 1] * ahead[:, :1] + cross[:, 2] * ahead[:, 1:2],
    ]
    for channel, shift in enumerate(shifts):
        expected = [
            [
                min(max(int(m) + math.floor(int(s) / 2 ** (CROSS_BITS - MEAN_BITS) + 0.5), MEAN_LOWEST), MEAN_HIGHEST)
                for m, s in zip(*pair, strict=True)
            ]
            for pair in zip(mean[:, channel], shift, strict=True)
        ]
        assert channel_means(mixture, channel, torch.from_numpy(ahead)).tolist() == expected


def test_clamped_scales_are_the_nearest_of_the_grid():
    description = ModelDescription(scales="clamped", channels=1, mixtures=1)
    raw = torch.cat((torch.arange(0, 9000), torch.arange(9000, 1 << 21, 997), torch.tensor([-(2**31), 2**31 - 1])))
    outputs = torch.zeros(len(raw), 3, dtype=torch.int32)
    outputs[:, 1] = raw.to(torch.int32)
    index = fixed_mixture(outputs, torch.zeros(len(raw), 1), description).scales.flatten().numpy()
    sigma = np.maximum(raw.numpy() / 4096, 1e-9)
    exact = np.log2(sigma / 0.11) * 16
    np.testing.assert_array_equal(index, np.clip(np.ceil(exact - 0.5), 0, 191))


@pytest.mark.parametrize("description", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_integer_and_float_mixtures_cost_nearly_the_same(description):
    """The expected excess over the float distribution: DESIGN section 2 allows some thousandths of a percent."""
    outputs, pixels, reference = random_case(description, 300, seed=5)
    mixture = mixture_of(*(torch.from_numpy(array) for array in (outputs, pixels, reference)), description)
    gain, offset = output_units(description)
    integers = torch.from_numpy(np.rint(outputs * gain + offset).astype(np.int32))
    fixed = fixed_mixture(integers, torch.from_numpy(reference), description)
    values = torch.arange(256)
    for channel in range(description.channels):
        ahead = torch.from_numpy(pixels - reference)
        points = cdf_points(
            channel_means(fixed, channel, ahead),
            fixed.scales[:, channel],
            fixed.weights[:, channel],
            torch.arange(257).expand(len(pixels), 257),
        )
        coded = -torch.log2(points.diff() / TOTAL)
        own = Mixture(*(part[:, channel : channel + 1] for part in mixture))
        ideal = torch.cat([bits_coded(own, values[v].expand(len(pixels), 1)) for v in range(256)], 1)
        share = torch.exp2(-ideal)
        entropy, excess = (share * ideal).sum(1), (share * (coded - ideal)).sum(1)
        assert excess.min() > -1e-9
        assert excess.mean() < 3e-4 * entropy.mean()
        assert excess.max() < 0.02
