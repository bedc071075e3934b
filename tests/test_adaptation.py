"""Applying an adaptation is exact."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from models.adaptation import (
    HIGHEST,
    LARGEST_EXPONENT,
    LOWEST,
    Adaptation,
    LayerAdaptation,
    adapted,
    row_groups,
)
from models.description import ModelDescription
from models.frozen import INPUT_LIMIT, FrozenLayer, FrozenModel
from models.neighbourhood import CAUSAL_TAPS
from models.store import shipped_models
from tests.helpers import TINY, random_adaptation, random_frozen, unadapted
from tests.native_cases import frozen_layers
from utils.errors import ModelError

SHIPPED = ModelDescription()


def halves_up(value: Fraction) -> int:
    return (value + Fraction(1, 2)).__floor__()


def row_by_definition(layer: FrozenLayer, numbers: LayerAdaptation, row: int, offset: int, entering: int):
    """(weights, bias, shift) of an adapted row from the formula, number by number; None where it never fits.

    A bias holds half a unit of its shift besides what it adds.
    """
    weights, shift = [int(value) for value in layer.weight[row]], int(layer.shift[row])
    gain = 1 + Fraction(int(numbers.gains[row]), 2**numbers.gain_exponent)
    largest = max(abs(value) for value in weights)
    exact = []
    for column, weight in enumerate(weights):
        dot = sum(int(left) * int(right) for left, right in zip(numbers.left[row], numbers.right[column], strict=True))
        exact.append(weight * gain + Fraction(dot * largest, 2**numbers.product_exponent))
    added = Fraction(int(layer.bias[row]) - (2**shift // 2) + offset * 2**shift)
    for halvings in range(shift + 1):
        rounded = [halves_up(value / 2**halvings) for value in exact]
        bias = halves_up(added / 2**halvings) + 2 ** (shift - halvings) // 2
        if max(map(abs, rounded)) <= 32767 and sum(map(abs, rounded)) * entering + abs(bias) <= 2**31 - 1:
            return rounded, bias, shift - halvings
    return None


def offsets_by_definition(numbers: LayerAdaptation, groups) -> list[int]:
    exponents = {row: exponent for rows, exponent in zip(groups, numbers.offset_exponents, strict=True)
                 for row in range(rows.start, rows.stop)}  # fmt: skip
    return [int(offset) * 2 ** exponents[row] for row, offset in enumerate(numbers.offsets)]


def layers_by_definition(model: FrozenModel, adaptation: Adaptation) -> list[list]:
    """For each layer its rows."""
    result = []
    for index, (layer, numbers, groups) in enumerate(
        zip(model.layers, adaptation, row_groups(model.description), strict=True)
    ):
        entering = INPUT_LIMIT if index == 0 else model.limit
        offsets = offsets_by_definition(numbers, groups)
        result.append([row_by_definition(layer, numbers, row, offsets[row], entering) for row in range(len(offsets))])
    return result


def random_numbers(description: ModelDescription, generator: np.random.Generator) -> Adaptation:
    """Anything that an adaptation can be: each layer of its own size, exponents and number of products."""

    def numbers(largest: int, *shape: int) -> np.ndarray:
        return np.clip(generator.integers(-largest, largest + 1, shape), LOWEST, HIGHEST).astype(np.int8)

    layers = []
    for (rows, columns), groups in zip(description.layer_shapes, row_groups(description), strict=True):
        products, largest = int(generator.integers(0, 4)), int(generator.choice((1, 4, 40, 128)))
        offsets, gains, left, right = ((rows,), (rows,), (rows, products), (columns, products))
        arrays = [numbers(largest, *shape) for shape in (offsets, gains, left, right)]
        exponents = [int(value) for value in generator.integers(0, LARGEST_EXPONENT + 1, len(groups) + 2)]
        if generator.random() < 0.7:  # what does not become too large at once
            exponents[-1] = max(exponents[-1], 11)
        layers.append(LayerAdaptation(*arrays, tuple(exponents[:-2]), *exponents[-2:]))
    return tuple(layers)


def test_adapted_rows_are_those_of_the_definition():
    """Wild models of all kinds, numbers of all sizes: the same integers, or ModelError where a row cannot fit."""
    seen = {"refused": 0, "applied": 0, "halved": 0, "halved often": 0, "shift 0": 0, "shift 0 left": 0}
    descriptions = [
        TINY["gray"],
        replace(TINY["west"], widths=(3, 2), mixtures=1),
        replace(TINY["residual"], widths=(2,)),
    ]
    for seed in range(160):
        generator = np.random.default_rng(seed)
        description = descriptions[seed % len(descriptions)]
        model = frozen_layers(description, generator, int(generator.choice((1, 2000, 32767))), wild=seed % 4 < 2)
        adaptation = random_numbers(description, generator)
        expected = layers_by_definition(model, adaptation)
        if any(row is None for rows in expected for row in rows):
            seen["refused"] += 1
            with pytest.raises(ModelError, match="has rows too large"):
                adapted(model, adaptation)
            continue
        result = adapted(model, adaptation)
        seen["applied"] += 1
        assert (result.description, result.limit) == (model.description, model.limit)
        for before, layer, rows in zip(model.layers, result.layers, expected, strict=True):
            assert (layer.leaky, layer.skip) == (before.leaky, before.skip)
            assert layer.weight.tolist() == [weights for weights, _, _ in rows]
            assert layer.bias.tolist() == [bias for _, bias, _ in rows]
            assert layer.shift.tolist() == [shift for _, _, shift in rows]
            halvings = before.shift.astype(int) - layer.shift
            seen["halved"] += int((halvings == 1).sum())
            seen["halved often"] += int((halvings > 1).sum())
            seen["shift 0"] += int((before.shift == 0).sum())
            seen["shift 0 left"] += int(((layer.shift == 0) & (halvings > 0)).sum())
    assert min(seen.values()) >= 5, seen


def plain_model(first, bias=(0,), shift=(0,), last=None, limit=32767) -> FrozenModel:
    """Four taps of one channel, hidden rows as given; the last layer as given, or ones."""
    taps = CAUSAL_TAPS[-4:]
    description = ModelDescription(taps, channels=1, mixtures=1, widths=(len(first),), reference="none")
    layers = [FrozenLayer(*arrays_of(first, bias, shift), True, False)]
    last = last or ([[1] * len(first)] * 3, [0] * 3, [0] * 3)
    return FrozenModel(description, (*layers, FrozenLayer(*arrays_of(*last), False, False)), limit)


def arrays_of(weight, bias, shift):
    return np.array(weight, np.int16), np.array(bias, np.int32), np.array(shift, np.uint8)


def changed(model: FrozenModel, layer: int = 0, **values) -> FrozenModel:
    """The model adapted by nothing but these values of one layer."""
    layers = list(unadapted(model))
    arrays = {
        key: np.array(value, np.int8) for key, value in values.items() if key in ("offsets", "gains", "left", "right")
    }
    layers[layer] = replace(layers[layer], **(values | arrays))
    return adapted(model, tuple(layers))


def row_of(model: FrozenModel, layer: int = 0, row: int = 0) -> tuple[list[int], int, int]:
    one = model.layers[layer]
    return one.weight[row].tolist(), int(one.bias[row]), int(one.shift[row])


def test_halves_are_rounded_upwards():
    """Half of odd weights of both signs; a row's own rounding half in its bias stays as it is."""
    model = plain_model([[1, 3, -1, -3]], bias=[-5], shift=[3])
    assert row_of(changed(model, gains=[-32], gain_exponent=6)) == ([1, 2, 0, -1], -5, 3)


def test_a_product_is_worth_parts_of_the_largest_magnitude():
    """Largest magnitude 100, so 3 * -1 and 3 * 2 of 2**2 are -75 and 150."""
    model = plain_model([[-100, 0, 7, 1]])
    adaptation = {"left": [[3]], "right": [[-1], [2], [0], [0]], "product_exponent": 2}
    assert row_of(changed(model, **adaptation)) == ([-175, 150, 7, 1], 0, 0)


def test_an_offset_is_worth_units_after_the_shift():
    """Whatever the activations, sums after the shift differ by just the offset."""
    model = plain_model([[900, -30, 7, 1]], bias=[16 + 7], shift=[5])
    result = changed(model, offsets=[-3], offset_exponents=(4,))
    assert row_of(result) == ([900, -30, 7, 1], 16 + 7 - 3 * 16 * 32, 5)
    entering = np.random.default_rng(0).integers(-255, 256, (50, 4))
    before, after = ((entering @ [900, -30, 7, 1] + row_of(one)[1]) >> 5 for one in (model, result))
    assert (after - before == -48).all()


@pytest.mark.parametrize(("half", "shift", "bias"), [(16, 5, -50 + 8), (1, 1, -50)])
def test_a_row_too_large_for_int16_is_halved_with_its_bias(half, shift, bias):
    """A gain of 1.5 makes 49150.5, whose half is rounded once; the bias -101 becomes -50, with a half of its own."""
    model = plain_model([[32767, -3, 1, -1]], bias=[half - 101], shift=[shift])
    assert row_of(changed(model, gains=[32], gain_exponent=6)) == ([24575, -2, 1, -1], bias, shift - 1)


def test_magnitudes_end_at_32767():
    """Of both signs, as frozen models have it."""
    for weight in (16384, -16384):
        model = plain_model([[weight, 1, 0, 0]], bias=[16], shift=[5])
        assert row_of(changed(model, gains=[1])) == ([weight, 1, 0, 0], 8, 4)
    assert row_of(changed(plain_model([[16383, 0, 0, 0]], bias=[16], shift=[5]), gains=[1])) == (
        [32766, 0, 0, 0],
        16,
        5,
    )


def test_a_row_beyond_32_bits_is_halved():
    """65536 * 32767 just fits, with a bias of 65535 at the most; a little more of either does not."""
    last = ([[16384] * 4, [1] * 4, [1] * 4], [65535, 0, 0], [9, 0, 0])
    model = plain_model([[1, 0, 0, 0]] * 4, [0] * 4, [0] * 4, last)
    assert row_of(changed(model, 1, offsets=[0, 0, 0], offset_exponents=(0, 0, 0)), 1) == ([16384] * 4, 65535, 9)
    more = changed(model, 1, offsets=[1, 0, 0], offset_exponents=(0, 0, 0))
    assert row_of(more, 1) == ([8192] * 4, (65535 - 256 + 512) // 2 + 1 + 128, 8)
    assert row_of(more, 1, 1) == row_of(model, 1, 1)
    gained = changed(model, 1, gains=[1, 0, 0], gain_exponent=14)
    assert row_of(gained, 1) == ([8193] * 4, (65535 - 256) // 2 + 1 + 128, 8)


def test_rows_that_cannot_fit_are_refused():
    """A shift of 0 cannot be less; a shift of 6 cannot be 7 less."""
    for shift, other, gain in ((0, 0, 1), (0, 9, 1), (6, 9, 127)):
        model = plain_model([[5, 0, 0, 0], [32767, 0, 0, 0]], bias=[0, 0], shift=[other, shift])
        with pytest.raises(ModelError, match="layer 0 has rows too large"):
            changed(model, gains=[0, gain])
    fits = plain_model([[5, 0, 0, 0], [32767, 0, 0, 0]], bias=[0, 0], shift=[0, 7])
    assert row_of(changed(fits, gains=[0, 127]), 0, 1) == ([32767, 0, 0, 0], 0, 0)


@pytest.mark.parametrize("name", TINY)
def test_zeros_change_nothing(name):
    model = random_frozen(TINY[name])
    for products in (0, 3):
        assert adapted(model, unadapted(model, products)).fingerprint == model.fingerprint
    exponents = random_adaptation(model.description, products=15, largest=0, exponents=(15, 15, 15))
    assert adapted(model, exponents).fingerprint == model.fingerprint


def test_an_adapted_model_computes_what_the_formula_says():
    """The shipped network: sums after the shift, within what rounding weights, bias and sums can make of them."""
    model = shipped_models("wavefront", 1)[0].model
    adaptation = random_adaptation(model.description, largest=20)
    generator, result = np.random.default_rng(0), adapted(model, adaptation)
    for index, (layer, new, numbers, groups) in enumerate(
        zip(model.layers, result.layers, adaptation, row_groups(model.description), strict=True)
    ):
        assert not np.array_equal(layer.weight, new.weight)
        entering = INPUT_LIMIT if index == 0 else model.limit
        inputs = generator.integers(-entering, entering + 1, (20, layer.weight.shape[1]))
        weight = layer.weight.astype(float)
        largest = np.abs(weight).max(1, keepdims=True)
        low_rank = numbers.left.astype(float) @ numbers.right.astype(float).T * largest / 2**numbers.product_exponent
        weight = weight * (1 + numbers.gains[:, None] / 2**numbers.gain_exponent) + low_rank
        unit, half = 2.0 ** layer.shift.astype(int), (1 << layer.shift.astype(int)) // 2
        sums = (inputs @ weight.T + layer.bias - half) / unit + offsets_by_definition(numbers, groups)
        rounding = (np.abs(inputs).sum(1, keepdims=True) + 1) / 2 / 2.0 ** new.shift.astype(int)
        found = (inputs @ new.weight.T.astype(int) + new.bias) >> new.shift.astype(int)
        assert (np.abs(found - sums) <= rounding + 0.5 + 1e-6).all()
