"""Rounding a layer's weights so that its sums keep their values, rather than each weight its own.

Rounded one by one, 128 weights leave errors in a sum that add up and, as activations are mostly of one sign, have a
mean. Here the rows are first fitted to the sums that the float network has, given the integer activations that really
enter; then weights are rounded one input after the other, and what rounding adds is taken off the weights still to
come, as far as the activations of both go together (the optimal brain surgeon of Hassibi and Stork, 1993, with rounding
in place of pruning; for whole layers Frantar et al., GPTQ, 2022).

Letters: N contexts, I inputs, O rows.
"""

from __future__ import annotations

import numpy as np

#: Added to the diagonal of the inputs' second moments, as a part of its mean: weights stay near their own values where
#: the contexts say little. Fewer contexts than ENOUGH_CONTEXTS say less, and damping grows as they get fewer.
DAMPING = 1e-3
ENOUGH_CONTEXTS = 1 << 16


def rounded_rows(weight: np.ndarray, bias: np.ndarray, inputs: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Whole numbers, (O, I) float64, near weight (O, I), that with inputs (N, I) and bias (O,) give nearly sums (N, O).

    Moments are not about the mean: on other images than these the mean is another, and rows should be right there too.
    """
    moments = inputs.T @ inputs / len(inputs)
    damping = DAMPING * max(1, ENOUGH_CONTEXTS / len(inputs)) * max(np.trace(moments) / len(moments), 1e-30)
    damped = moments + damping * np.eye(len(moments))
    missing = sums - bias - inputs @ weight.T
    weight = weight + np.linalg.solve(damped, inputs.T @ missing / len(inputs)).T
    order = np.argsort(-np.diag(moments), kind="stable")  # what is left at the end falls to the weakest inputs
    factor = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    open_weight = weight[:, order]
    result = np.empty_like(weight)
    for index, column in enumerate(order):
        result[:, column] = np.rint(open_weight[:, index])
        error = (open_weight[:, index] - result[:, column]) / factor[index, index]
        open_weight[:, index + 1 :] -= error[:, None] * factor[index, index + 1 :]
    return result


def remaining_bias(weight: np.ndarray, inputs: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The bias (O,) with which weight (O, I) and inputs (N, I) give the sums (N, O) on average."""
    return (sums - inputs @ weight.T).mean(0)
