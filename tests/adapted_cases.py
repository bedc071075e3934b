"""What the tests of files with an adaptation share: models, fits, and images that suit them."""

from __future__ import annotations

import numpy as np
import pytest

from coders.backends import backend_for
from coders.container import Container
from coders.placement import Placement
from coders.scan import DIAGONAL
from models.adaptation import Adaptation, adapted
from models.description import ModelDescription
from models.frozen import FrozenModel
from models.neighbourhood import CAUSAL_TAPS
from tests.helpers import TINY, image_of, random_adaptation, random_frozen

BACKEND = backend_for("cpu", 1)
MODELS = {name: random_frozen(description, seed=7) for name, description in TINY.items()}
NINE_TAPS = tuple(tap for tap in CAUSAL_TAPS if DIAGONAL.knows(tap))
MODELS["nine taps"] = random_frozen(ModelDescription(taps=NINE_TAPS, widths=(8,)))


class Given:
    """A `fit` that returns an adaptation made before; remembers what it was asked."""

    def __init__(self, adaptation: Adaptation) -> None:
        self.adaptation, self.calls = adaptation, []

    def __call__(self, image, model, taps) -> Adaptation:
        self.calls.append((image, model, taps))
        return self.adaptation


def random_fit(model: FrozenModel, seed: int = 0, products: int = 2) -> Given:
    """Numbers that make a difference: clamped scales have units of their own."""
    offset = 9 if model.description.scales == "clamped" else 4
    largest = 30 if model.description.channels == 3 else 20
    return Given(random_adaptation(model.description, seed, products, largest, (offset, 6, 8)))


@pytest.fixture(autouse=True)
def always_worth(monkeypatch):
    """Adapting is tried for the smallest images too, and as they stand."""
    monkeypatch.setattr("coders.network_rows.WORTH_ADAPTING", 0)
    monkeypatch.setattr("coders.network_rows.best_placement", lambda *_: Placement())


@pytest.fixture
def by_network(monkeypatch):
    """No plain coding is small."""
    monkeypatch.setattr("coders.planes._quick", lambda form: bytes(1 << 20))
    monkeypatch.setattr("coders.planes._thorough", lambda *_: ())


def suited(model: FrozenModel, fit: Given, scan, height: int = 30, width: int = 37) -> np.ndarray:
    """An image that the adapted model codes as well as any can be, and the model itself does not."""
    return image_of(adapted(model, fit.adaptation), height, width, scan)


def leb128(value: int) -> bytes:
    return bytes((value,)) if value < 128 else bytes((value & 127 | 128,)) + leb128(value >> 7)


def group_of(data: bytes) -> bytes:
    (group,) = Container.from_bytes(data).planes
    return group
