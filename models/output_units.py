"""What the float network's outputs are worth, and what they become in the units of models.fixed_point."""

from __future__ import annotations

import math

import numpy as np

from models.description import ModelDescription
from models.fixed_point import CLAMPED_SCALE_BITS, CROSS_BITS, LOGIT_BITS, MEAN_BITS, SCALE_STEPS

#: Smallest standard deviation in pixel units (the published lower bound, 0.11/255 in [0, 1] units).
SCALE_MINIMUM = 0.11
#: Largest of the exponential parametrisation: 12 octaves above the smallest, one step more than the integer grid has.
SCALE_MAXIMUM = SCALE_MINIMUM * 2**12
#: Reference west: mean = west + 0.1 * 255 * output. Exponential scales: sigma = 255 * exp(output - 4).
MEAN_GAIN = 0.1 * 255
LOG_SCALE_OFFSET = -4.0


def output_units(description: ModelDescription) -> tuple[np.ndarray, np.ndarray]:
    """(gain, offset), each (K,): integer output = float output * gain + offset, in units of models.fixed_point."""
    gain, offset = np.zeros(description.outputs), np.zeros(description.outputs)
    rows = description.output_rows
    gain[rows["means"]] = (255 if description.reference == "none" else MEAN_GAIN) * 2**MEAN_BITS
    if description.scales == "exponential":
        steps_per_unit = SCALE_STEPS * math.log2(math.e)
        gain[rows["scales"]] = steps_per_unit
        offset[rows["scales"]] = SCALE_STEPS * math.log2(255 / SCALE_MINIMUM) + LOG_SCALE_OFFSET * steps_per_unit
    else:
        gain[rows["scales"]] = 255 * 2**CLAMPED_SCALE_BITS
    gain[rows["logits"]] = math.log2(math.e) * 2**LOGIT_BITS
    gain[rows["cross"]] = 2**CROSS_BITS
    return gain, offset
