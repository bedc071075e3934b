"""Rounding of weights: sums near the wanted ones, nearer than weights that are rounded one by one give."""

from __future__ import annotations

import numpy as np
import pytest

from models.rounding import remaining_bias, rounded_rows


def case(contexts: int = 200_000, inputs: int = 24, rows: int = 10):
    """Activations that go together and have a mean, and rows whose weights are a few units."""
    generator = np.random.default_rng(0)
    mixing = generator.standard_normal((6, inputs))
    values = np.rint(100 * np.abs(generator.standard_normal((contexts, 6))) @ np.abs(mixing))
    weight, bias = 3 * generator.standard_normal((rows, inputs)), 1000 * generator.standard_normal(rows)
    return weight, bias, values


def errors(weight: np.ndarray, values: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Root mean square (K,) of what is wrong with each row's sums after its bias."""
    wrong = values @ weight.T + remaining_bias(weight, values, sums) - sums
    assert np.abs(wrong.mean(0)).max() < 1e-6, "the bias takes up the mean"
    return np.sqrt(np.square(wrong).mean(0))


def test_sums_are_nearer_than_those_of_weights_rounded_one_by_one():
    weight, bias, values = case()
    sums = values @ weight.T + bias
    found = rounded_rows(weight, bias, values, sums)
    assert np.array_equal(found, np.rint(found))
    assert np.abs(found - weight).max() < 4, "no weight goes far from its value"
    assert (errors(found, values, sums) < 0.5 * errors(np.rint(weight), values, sums)).all()


def test_errors_of_what_enters_are_taken_up():
    """The wanted sums are of activations that were different: there is no rounding in it, all weights are large."""
    weight, bias, values = case()
    sums = values @ (1000 * weight.T) + bias
    entering = np.rint(values * 0.98)
    found = rounded_rows(1000 * weight, bias, entering, sums)
    assert (errors(found, entering, sums) < 0.3 * errors(np.rint(1000 * weight), entering, sums)).all()


@pytest.mark.parametrize("contexts", [1, 5, 30])
def test_few_contexts_leave_weights_as_they_are(contexts):
    weight, bias, values = case(contexts)
    found = rounded_rows(weight, bias, values, values @ weight.T + bias)
    assert np.abs(found - weight).max() < 1


def test_activations_of_zero_leave_weights_as_they_are():
    weight, bias, values = case(50)
    assert np.array_equal(rounded_rows(weight, bias, 0 * values, 0 * values[:, :10] + bias), np.rint(weight))
