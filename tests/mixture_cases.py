"""What the tests of both mixtures share: descriptions, and outputs of the sizes that networks give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.description import PUBLISHED, ModelDescription

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
