"""Which models are evaluated together, and what becomes of them where the kernel fails."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from coders.gpu import networks
from coders.gpu.batched import BatchedCoder, _Family
from coders.scan import WAVEFRONT
from models.description import ModelDescription
from models.fused import FusedNets
from tests.batched_cases import at_once, encoded, outcomes
from tests.fused_cases import pretended
from tests.helpers import TINY, random_frozen, random_image
from utils.errors import DeviceMemoryError, P59Error

__all__ = ["pretended"]  # a fixture


@pytest.mark.parametrize("fault", ["not built", "wrong"])
def test_a_kernel_that_does_not_work_is_not_used(monkeypatch, fault):
    class Faulty(FusedNets):
        def __call__(self, launch, inputs, outputs, segments):
            if fault == "not built":
                raise RuntimeError("Failed to find C compiler")
            outputs.zero_()

    monkeypatch.setattr(networks, "FusedNets", Faulty)
    monkeypatch.setattr(networks, "fusable", lambda *case: True)
    monkeypatch.setattr(networks, "_trials", {})
    model, image = random_frozen(TINY["west"]), random_image(20, 20)
    coder, stream = BatchedCoder("cpu", 2, 1), encoded(image, model, WAVEFRONT)
    with pytest.warns(UserWarning, match="kernel cannot be used on cpu, which makes it slower: "):
        assert networks.networks_key(model, "cpu") == model.fingerprint
    assert coder.encode(image, model, WAVEFRONT) == stream
    assert np.array_equal(coder.decode(stream, 20, 20, model, WAVEFRONT), image)


def test_many_models_are_evaluated_together(pretended):
    """Images of any models of an architecture share evaluations, those of another architecture have theirs."""
    image, coder = random_image(40, 30), BatchedCoder("cpu", 16, 2)
    models = [random_frozen(TINY["west"], seed=seed) for seed in range(12)]
    models += [random_frozen(ModelDescription(widths=(9,)), seed=seed) for seed in range(3)]
    streams = [encoded(image, model, WAVEFRONT) for model in models]
    assert at_once(lambda model: coder.encode(image, model, WAVEFRONT), models) == streams
    decoded = at_once(lambda case: coder.decode(case[0], 40, 30, case[1], WAVEFRONT), zip(streams, models, strict=True))
    assert all(np.array_equal(one, image) for one in decoded)
    assert len(coder._families) == 2
    assert max(pretended.launches) > 1


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory", DeviceMemoryError),
        (RuntimeError, "CUDA error: an illegal memory access", P59Error),
    ],
    ids=["memory", "other"],
)
def test_a_launch_that_fails_concerns_one_architecture(pretended, monkeypatch, kind, message, expected):
    """Its images fail, the other's go on; the device is waited for before what it writes to is given up."""
    bad, good = random_frozen(TINY["west"]), random_frozen(ModelDescription(widths=(9,)))
    image, coder, settled = random_image(30, 30), BatchedCoder("cpu", 8, 1), []
    streams = [encoded(image, model, WAVEFRONT) for model in (bad, good)]
    calls, settle = [], _Family.settle

    def fault(nets):
        if any(model is bad for model in nets.models.values()):
            calls.append(nets)
            if len(calls) > 9:
                raise kind(message)

    def noted(family):
        settle(family)
        settled.append([group._evaluator._pixels for group in family.groups])

    networks.networks_key(bad, "cpu"), networks.networks_key(good, "cpu")  # both are tried before anything fails
    calls.clear()
    pretended.fault = fault
    monkeypatch.setattr(_Family, "settle", noted)
    cases = [(streams[number % 2], (bad, good)[number % 2]) for number in range(6)]
    results = outcomes(lambda case: coder.decode(case[0], 30, 30, case[1], WAVEFRONT), cases)
    assert [type(result) for result in results[::2]] == [expected] * 3
    assert all(np.array_equal(result, image) for result in results[1::2])
    assert settled
    assert not np.any(settled)
    pretended.fault = None
    assert np.array_equal(coder.decode(streams[0], 30, 30, bad, WAVEFRONT), image)
