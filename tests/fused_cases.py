"""The kernel's part played on the CPU, for tests of what surrounds it."""

from __future__ import annotations

import pytest

from coders.gpu import networks
from models.frozen_net import FrozenNet
from models.fused import FusedNets


class Pretended(FusedNets):
    """The kernel's work done by FrozenNet, on the CPU."""

    launches: list[int]
    fault = None

    def __init__(self, like, device):
        super().__init__(like, device)
        self.models = {}

    def slot(self, model, needed):
        slot = super().slot(model, needed)
        self.models[slot] = model
        return slot

    def __call__(self, launch, inputs, outputs, segments):
        table = segments[: launch.segments]
        self.launches.append(int((table[:, 2] > 0).sum()))
        if self.fault is not None:
            type(self).fault(self)
        for slot, first, count in table.tolist():
            if count:
                assert count <= launch.blocks * launch.rows
                outputs[first : first + count] = FrozenNet(self.models[slot])(inputs[first : first + count])


@pytest.fixture
def pretended(monkeypatch):
    """A kernel for all models."""
    Pretended.launches, Pretended.fault = [], None
    monkeypatch.setattr(networks, "FusedNets", Pretended)
    monkeypatch.setattr(networks, "fusable", lambda *case: True)
    monkeypatch.setattr(networks, "_trials", {})
    yield Pretended
    Pretended.fault = None
