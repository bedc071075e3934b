"""Of several GPUs, work is for the one that is asked for, whichever is the current one."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from coders.fitting import Fitting
from coders.gpu import networks
from tests.helpers import TINY, random_frozen, random_image


@pytest.fixture
def current(monkeypatch) -> list[str]:
    """The current device, last."""
    devices = ["cuda:0"]

    @contextmanager
    def device(name):
        devices.append(name)
        try:
            yield
        finally:
            devices.pop()

    monkeypatch.setattr(torch.cuda, "device", device)
    return devices


def test_fitting_asks_what_its_own_gpu_can_do(monkeypatch, current):
    monkeypatch.setattr("coders.fitting.gradient_kind", lambda bfloat16: None)  # in PyTorch
    monkeypatch.setattr(Fitting, "_fit", lambda *case: current[-1])
    model, image = random_frozen(TINY["west"]), random_image(4, 4)
    assert Fitting(1, "cuda:1")(image, model, ()) == "cuda:1"
    assert Fitting(1, "cpu")(image, model, ()) == current[-1] == "cuda:0"


def test_the_kernel_is_tried_where_it_is_to_be_used(monkeypatch, current):
    def tried(model, device):
        raise RuntimeError(f"tried on {current[-1]}")

    monkeypatch.setattr(networks, "FusedNets", tried)
    monkeypatch.setattr(networks, "fusable", lambda *case: True)
    monkeypatch.setattr(networks, "_trials", {})
    with pytest.warns(UserWarning, match="tried on cuda:1"):
        assert not networks.has_kernel(random_frozen(TINY["west"]), "cuda:1")
    assert current == ["cuda:0"]
