"""Which device a name means, with and without PyTorch, GPUs and their drivers."""

from __future__ import annotations

import sys

import pytest
import torch

from coders.backends import device_of
from utils import gpu_driver
from utils.errors import RequestError


@pytest.fixture
def machine(monkeypatch):
    """A machine with or without a driver, GPUs, and PyTorch: None, "there" or "imported"."""

    def make(driver: bool, gpus: int, pytorch: str | None, forked: bool = False) -> None:
        monkeypatch.setattr("coders.backends.has_gpu_driver", lambda: driver)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: forked)
        if pytorch is None:
            monkeypatch.setitem(sys.modules, "torch", None)
        elif pytorch == "there":
            monkeypatch.delitem(sys.modules, "torch")
            monkeypatch.setattr("builtins.__import__", importing(monkeypatch, __import__))

    return make


def importing(monkeypatch, usual):
    """An import that finds the same PyTorch again: it cannot be imported twice."""

    def find(name, *rest):
        if name == "torch":
            monkeypatch.setitem(sys.modules, "torch", torch)
        return usual(name, *rest)

    return find


@pytest.mark.parametrize(
    ("driver", "gpus", "pytorch", "forked", "expected"),
    [
        (False, 0, None, False, "cpu"),
        (True, 1, None, False, "cpu"),
        (True, 1, "there", False, "cuda"),
        (True, 0, "there", False, "cpu"),
        (True, 1, "imported", False, "cuda"),
        (False, 1, "imported", False, "cuda"),
        (False, 0, "imported", False, "cpu"),
        (True, 1, "imported", True, "cpu"),
    ],
)
def test_auto(machine, driver, gpus, pytorch, forked, expected):
    machine(driver, gpus, pytorch, forked)
    assert device_of("auto") == expected
    assert device_of("cpu") == "cpu"


def test_without_a_driver_pytorch_is_not_asked(machine):
    machine(False, 1, "there")
    assert device_of("auto") == "cpu"
    assert "torch" not in sys.modules


@pytest.mark.parametrize(
    ("device", "gpus", "pytorch", "forked", "why"),
    [
        ("cuda", 1, None, False, "takes PyTorch; install it"),
        ("cuda", 0, "imported", False, "but "),
        ("cuda:1", 1, "imported", False, "there are 1 CUDA devices"),
        ("cuda", 1, "imported", True, "forked"),
        ("gpu", 1, "imported", False, "allowed are"),
        ("cuda:x", 1, None, False, "allowed are"),
        ("cuda:", 1, None, False, "allowed are"),
        ("cpu:0", 1, None, False, "allowed are"),
    ],
)
def test_devices_that_cannot_be_had(machine, device, gpus, pytorch, forked, why):
    machine(False, gpus, pytorch, forked)
    with pytest.raises(RequestError, match=why):
        device_of(device)


def test_devices_that_are_there(machine):
    machine(False, 2, "imported")
    assert [device_of(device) for device in ("cuda", "cuda:0", "cuda:1")] == ["cuda", "cuda:0", "cuda:1"]


@pytest.mark.parametrize(
    ("devices", "drivers", "found"), [((), (), False), (("/",), (), True), ((), ("none.so",), False)]
)
def test_drivers(monkeypatch, devices, drivers, found):
    monkeypatch.setattr(gpu_driver, "DEVICES", devices)
    monkeypatch.setattr(gpu_driver, "DRIVERS", drivers)
    assert gpu_driver.has_gpu_driver.__wrapped__() is found
