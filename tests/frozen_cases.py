"""Frozen models, inputs for them, and the definition of what they compute."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.description import PUBLISHED, ModelDescription
from models.frozen import FrozenLayer, FrozenModel
from tests.helpers import TINY, random_frozen


def naive(model: FrozenModel, inputs: np.ndarray) -> np.ndarray:
    """The definition at the head of models.frozen, in int64 and with every partial sum checked against int32.

    inputs (N, I) -> outputs (N, K).
    """
    x = entered = inputs.astype(np.int64)
    for number, layer in enumerate(model.layers):
        terms = x[:, None, :] * layer.weight.astype(np.int64)
        partial = layer.bias.astype(np.int64)[:, None] + np.cumsum(terms, 2)
        assert np.abs(partial).max() < 2**31
        y = partial[:, :, -1] >> layer.shift.astype(np.int64)
        if number + 1 < len(model.layers):
            coarse = np.clip((y + 32) >> 6, -(2**15), 2**15 - 1)
            y = np.clip(y, -(2**15), 2**15 - 1)
            if layer.leaky:
                y = np.maximum(y, (coarse * 20992 + 2**14) >> 15)
            y = np.clip(y, -model.limit, model.limit)
        if layer.skip:
            y = np.clip(y + entered, -model.limit, model.limit)
        entered, x = x, y
    return x


def random_inputs(model: FrozenModel, count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    inputs = generator.integers(-255, 256, (count, model.description.inputs))
    inputs[:3] = np.array([[0], [255], [-255]])
    return inputs


def saturated(description: ModelDescription) -> FrozenModel:
    """Weights as large as the 32-bit bound allows and no shift: saturation everywhere."""
    generator = np.random.default_rng(1)
    layers = []
    for number, ((after, before), roles) in enumerate(
        zip(description.layer_shapes, description.layer_roles, strict=True)
    ):
        largest = min(32767, (2**31 - 1) // (before * (255 if number == 0 else 32767)) - 1)
        weight = (generator.choice([-1, 1], (after, before)) * largest).astype(np.int16)
        shift = generator.integers(0, 31, after).astype(np.uint8)
        layers.append(FrozenLayer(weight, generator.integers(-9, 9, after, np.int32), shift, *roles))
    return FrozenModel(description, tuple(layers), 32767)


MODELS = {name: random_frozen(description) for name, description in TINY.items()}
MODELS |= {f"{name}, saturated": saturated(TINY[name]) for name in ("west", "residual")}
MODELS["wide"] = random_frozen(PUBLISHED)


def changed_layer(model: FrozenModel, number: int, **parts) -> FrozenModel:
    layers = list(model.layers)
    layers[number] = replace(layers[number], **parts)
    return replace(model, layers=tuple(layers))
