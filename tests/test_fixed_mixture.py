"""The integer mixture and its tables against high precision, and against the float mixture."""

from __future__ import annotations

import hashlib
import json
import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import fixed_tables
from models.description import ModelDescription
from models.fixed_mixture import FixedMixture, cdf_points, channel_means, fixed_mixture, scalar_cdf_point
from models.fixed_point import CROSS_BITS, MEAN_BITS, MEAN_HIGHEST, MEAN_LOWEST, SCALE_COUNT, TOTAL
from models.mixture import Mixture, bits_coded, mixture_of
from models.output_units import output_units
from tests.mixture_cases import DESCRIPTIONS, random_case

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
    """The expected excess over the float distribution: some thousandths of a percent are allowed."""
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
