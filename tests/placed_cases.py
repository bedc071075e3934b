"""Models and images that lie before them in all ways; what every test of files in these ways needs."""

from __future__ import annotations

import numpy as np
import pytest

from coders.backends import backend_for
from coders.placement import Placement, turned_back
from coders.scan import WAVEFRONT
from tests.helpers import TINY, image_of, random_frozen

BACKEND = backend_for("cpu", 1)
#: A description that sees parities, and a model of it.
SEEING = TINY["parities"]
MODEL = random_frozen(SEEING)
EACH_PHASE = pytest.mark.parametrize("phase", range(4))


@pytest.fixture
def by_network(monkeypatch):
    """No plain coding is small; adapting is tried for the smallest images too."""
    monkeypatch.setattr("coders.planes._quick", lambda form: bytes(1 << 20))
    monkeypatch.setattr("coders.planes._thorough", lambda *_: ())
    monkeypatch.setattr("coders.network_rows.WORTH_ADAPTING", 0)


def image_in(placement: Placement, height: int, width: int, scan=WAVEFRONT) -> np.ndarray:
    """An image (H, W, C) that MODEL codes well when it lies so."""
    shape = (width, height) if placement.orientation & 4 else (height, width)
    return turned_back(image_of(MODEL.phases[placement.phase], *shape, scan), placement.orientation)
