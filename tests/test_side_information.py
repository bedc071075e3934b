"""An adaptation's bytes: they give it back, are the same on every machine, and may be anything."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coders.numpyac import TOTAL
from coders.side_information import FALLS, adaptation_of_bytes, adaptation_to_bytes, best_spread, points_of
from models.adaptation import (
    HIGHEST,
    LARGEST_EXPONENT,
    LOWEST,
    MOST_PRODUCTS,
    Adaptation,
    LayerAdaptation,
    adapted,
    row_groups,
)
from models.description import ModelDescription
from tests.helpers import TINY, random_adaptation, random_frozen, unadapted
from utils.errors import FormatError, ModelError

SHIPPED = ModelDescription()
DESCRIPTIONS = TINY | {"shipped": SHIPPED, "shipped gray": replace(SHIPPED, channels=1)}
#: Each layer with exponents of its own.
FIXED = tuple(
    replace(layer, gain_exponent=3 + index, product_exponent=15 - index)
    for index, layer in enumerate(random_adaptation(TINY["west"], 5, 3, 40))
)


def zeros_of(description: ModelDescription, products: int = 0) -> Adaptation:
    return unadapted(random_frozen(description), products)


def assert_same(one: Adaptation, other: Adaptation) -> None:
    for first, second in zip(one, other, strict=True):
        for name in ("offsets", "gains", "left", "right"):
            assert getattr(first, name).dtype == getattr(second, name).dtype == np.int8
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
        for name in ("offset_exponents", "gain_exponent", "product_exponent"):
            assert getattr(first, name) == getattr(second, name)


def drawn_layer(data, shape, groups) -> LayerAdaptation:
    """Any layer's numbers: columns of zeros, of extremes, and of anything."""
    products = data.draw(st.sampled_from((0, 1, 2, MOST_PRODUCTS)))
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))

    def numbers(count: int) -> np.ndarray:
        largest = data.draw(st.sampled_from((0, 1, 3, 20, 128)))
        if largest == HIGHEST + 1 and data.draw(st.booleans()):
            return generator.choice(np.array((LOWEST, HIGHEST), np.int8), count)
        return generator.integers(-largest, min(largest, HIGHEST) + 1, count).astype(np.int8)

    exponent = st.integers(0, LARGEST_EXPONENT)
    offsets, gains = (np.concatenate([numbers(one.stop - one.start) for one in groups]) for _ in range(2))
    left, right = (
        np.array([numbers(size) for _ in range(products)], np.int8).reshape(products, size).T for size in shape
    )
    exponents = tuple(data.draw(exponent) for _ in groups)
    return LayerAdaptation(offsets, gains, left, right, exponents, data.draw(exponent), data.draw(exponent))


@pytest.mark.parametrize("name", TINY)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_bytes_give_the_adaptation_back(name, data):
    description = TINY[name]
    adaptation = tuple(
        drawn_layer(data, shape, groups)
        for shape, groups in zip(description.layer_shapes, row_groups(description), strict=True)
    )
    assert_same(adaptation_of_bytes(adaptation_to_bytes(adaptation, description), description), adaptation)


@pytest.mark.parametrize("name", ["shipped", "shipped gray"])
@pytest.mark.parametrize(("products", "largest"), [(0, 128), (2, 3), (MOST_PRODUCTS, 128)])
def test_bytes_give_the_adaptation_of_the_shipped_network_back(name, products, largest):
    """Random bytes take no more than they are; small numbers far less."""
    description = DESCRIPTIONS[name]
    adaptation = random_adaptation(description, 1, products, largest)
    data = adaptation_to_bytes(adaptation, description)
    assert_same(adaptation_of_bytes(data, description), adaptation)
    count = sum(layer.offsets.size + layer.gains.size + layer.left.size + layer.right.size for layer in adaptation)
    assert len(data) < count * (1.03 if largest == 128 else 0.45) + 2 * MOST_PRODUCTS * len(adaptation)


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_an_adaptation_of_zeros_takes_its_header_only(name):
    """Two bytes for each layer, two for each kind of row, one for each product; gray has no cross terms."""
    description = DESCRIPTIONS[name]
    hidden, kinds = len(description.widths), 4 if description.channels == 3 else 3
    data = adaptation_to_bytes(zeros_of(description, 2), description)
    assert len(data) == (2 + 2 + 2) * hidden + 2 + 2 * kinds + 2
    assert not any(data[index] for index in range(len(data)) if data[index] != 2)
    assert_same(adaptation_of_bytes(data, description), zeros_of(description, 2))


def test_row_groups_divide_the_rows():
    for name, description in DESCRIPTIONS.items():
        groups = row_groups(description)
        assert [len(layer) for layer in groups[:-1]] == [1] * len(description.widths)
        assert len(groups[-1]) == (4 if description.channels == 3 else 3), name
        for (rows, _), layer in zip(description.layer_shapes, groups, strict=True):
            assert [row for one in layer for row in range(rows)[one]] == list(range(rows))


def test_frequencies_are_those_of_the_definition():
    for spread in range(1, 16):
        weights = [1 << 30]
        for _ in range(128):
            weights.append(weights[-1] * (65536 - FALLS[spread]) >> 16)
        total = weights[0] + 2 * sum(weights[1:128]) + weights[128]
        frequencies = [1 + 65280 * weights[abs(number)] // total for number in range(-128, 128)]
        frequencies[128] += 65536 - sum(frequencies)
        assert points_of(spread) == tuple(itertools.accumulate(frequencies, initial=0))
        assert FALLS[spread] == round(65536 * 2 ** (-spread / 2))


def test_points_increase_from_0_to_all():
    for spread in range(1, 16):
        points = points_of(spread)
        assert (len(points), points[0], points[-1]) == (257, 0, TOTAL)
        assert all(below < above for below, above in itertools.pairwise(points))


def test_recorded_points_and_bytes(recorded):
    """They are part of the file format: the same on every machine and in every release."""
    points = [points_of(spread) for spread in range(1, 16)]
    recorded("SHA-256 of spreads' points", sha256(np.array(points, "<u4").tobytes()).hexdigest())
    data = adaptation_to_bytes(FIXED, TINY["west"])
    recorded("SHA-256 of an adaptation's bytes", sha256(data).hexdigest())
    model = random_frozen(TINY["west"])
    recorded("fingerprint of west, adapted", adapted(model, adaptation_of_bytes(data, TINY["west"])).fingerprint.hex())


def test_the_best_spread_is_the_one_of_fewest_bytes():
    assert best_spread(np.zeros(9, np.int8)) == 0
    generator = np.random.default_rng(0)
    found = []
    for deviation in (0.2, 1, 4, 20, 90):
        numbers = np.clip(np.rint(generator.laplace(0, deviation, 3000)), LOWEST, HIGHEST).astype(np.int8)
        bits = {}
        for spread in range(1, 16):
            shares = np.diff(points_of(spread))[numbers.astype(int) + 128]
            bits[spread] = -np.log2(shares / TOTAL).sum()
        found.append(best_spread(numbers))
        assert found[-1] == min(bits, key=bits.get)
    assert found == sorted(set(found))


def outcome(data: bytes, description: ModelDescription) -> str:
    """What reading the bytes and applying them comes to; whatever else is raised fails the test."""
    try:
        adaptation = adaptation_of_bytes(data, description)
    except FormatError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return "no adaptation"
    for layer, shape in zip(adaptation, description.layer_shapes, strict=True):
        assert (layer.left.shape[0], layer.right.shape[0]) == shape
        assert layer.left.shape[1] == layer.right.shape[1] <= MOST_PRODUCTS
    try:
        adapted(random_frozen(description), adaptation)
    except ModelError:
        return "too large"
    return "applied"


def header_length(description: ModelDescription, products: int) -> int:
    return sum(2 + 2 * len(groups) + products for groups in row_groups(description))


def test_truncated_bytes():
    """No adaptation without its whole header; a stream that ends early decodes to something."""
    data = adaptation_to_bytes(FIXED, TINY["west"])
    header = header_length(TINY["west"], 3)
    for length in range(len(data)):
        found = outcome(data[:length], TINY["west"])
        assert (found == "no adaptation") == (length < header), length


def test_changed_bytes():
    """Each byte of the header to many values, each of the stream to a few: refused, or some adaptation."""
    description = TINY["gray"]
    fixed = random_adaptation(description, 5, 2, 40)
    data = adaptation_to_bytes(fixed, description)
    found = {"no adaptation": 0, "too large": 0, "applied": 0}
    for position in range(len(data)):
        values = range(0, 256, 5) if position < header_length(description, 2) else (0, 0x55, 0xFF)
        for value in values:
            found[outcome(data[:position] + bytes((value,)) + data[position + 1 :], description)] += 1
    assert min(found["no adaptation"], found["applied"]) > 100, found


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes(data):
    outcome(data, TINY["gray"])


def test_unknown_forms_are_refused():
    """More than 15 products; a spread of gains beyond 15. The largest allowed of both is read."""
    description = TINY["gray"]
    zeros = adaptation_to_bytes(zeros_of(description), description)
    for position, value in ((1, 16), (1, 255), (3, 16), (3, 255), (7, 16), (9, 200), (11, 16)):
        with pytest.raises(FormatError, match="newer release"):
            adaptation_of_bytes(zeros[:position] + bytes((value,)) + zeros[position + 1 :] + bytes(300), description)
    most = zeros[:1] + b"\x0f" + zeros[2:4] + bytes(15) + zeros[4:]
    assert adaptation_of_bytes(most, description)[0].left.shape == (6, 15)
    assert adaptation_of_bytes(zeros[:3] + b"\x0f" + zeros[4:] + b"\xff" * 9, description)[0].gains.any()
    with pytest.raises(FormatError):
        adaptation_of_bytes(b"", description)


def test_the_largest_adaptation_is_read_in_time():
    """Every product and spread that there can be, and a stream of anything."""
    groups = row_groups(SHIPPED)
    header = b"".join(b"\xff\x0f" + b"\xff\x0f" * len(layer) + b"\xff" * 15 for layer in groups)
    for stream in (b"", np.random.default_rng(0).bytes(40000), b"\xff" * 200, bytes(200)):
        started = time.perf_counter()
        layers = adaptation_of_bytes(header + stream, SHIPPED)
        assert time.perf_counter() - started < 2
        assert [layer.left.shape[1] for layer in layers] == [15] * 5
