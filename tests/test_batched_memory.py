"""Many images at a time where memory is short: what is tried, what is told, and what is freed."""

from __future__ import annotations

import gc
import time
import weakref

import pytest
import torch

from coders.gpu import batched
from coders.gpu.batched import BatchedCoder
from coders.gpu.evaluator import FEWEST_PIXELS, CopyingEvaluator, Evaluator
from coders.scan import WAVEFRONT
from models.frozen_net import FrozenNet
from tests.batched_cases import at_once, encoded
from tests.helpers import TINY, random_frozen, random_image
from utils.device_memory import is_out_of_memory
from utils.errors import DeviceMemoryError, P59Error


def limited_network(monkeypatch, most: int) -> list[int]:
    """From now on a network has memory for `most` pixels; how many it was asked for."""
    asked, evaluate = [], FrozenNet.__call__

    def limited(net, inputs):
        asked.append(len(inputs))
        if len(inputs) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory, as a test pretends")
        return evaluate(net, inputs)

    monkeypatch.setattr(FrozenNet, "__call__", limited)
    return asked


def test_smaller_parts_where_memory_is_short(device, monkeypatch, without_kernel):
    model, image, coder = random_frozen(TINY["west"]), random_image(70, 60), BatchedCoder(device, 4, 1)
    expected, asked = encoded(image, model, WAVEFRONT), limited_network(monkeypatch, 300)
    assert at_once(lambda one: coder.encode(one, model, WAVEFRONT), [image] * 3) == [expected] * 3
    too_many = sum(count > 300 for count in asked)
    assert 1 <= too_many <= 12  # halved until it fits, in each group, and not tried again for every block


def test_no_memory_at_all_is_a_clear_error(device, monkeypatch, without_kernel):
    model, image, coder = random_frozen(TINY["west"]), random_image(70, 60), BatchedCoder(device, 4, 1)
    with monkeypatch.context() as patched:
        limited_network(patched, FEWEST_PIXELS // 2 - 1)

        def attempt(one) -> str:
            with pytest.raises(DeviceMemoryError, match=r"out of memory on .*device=cpu") as caught:
                coder.encode(one, model, WAVEFRONT)
            return str(caught.value)

        at_once(attempt, [image] * 3)
    assert coder.encode(image, model, WAVEFRONT) == encoded(image, model, WAVEFRONT)


def test_never_fewer_pixels_than_the_fewest_before_giving_up(device, monkeypatch):
    """Between the fewest and twice as many, the fewest are tried; the error names how many did not fit."""
    evaluator = CopyingEvaluator(FrozenNet(random_frozen(TINY["west"]), device))
    evaluator.reserve(100)
    with monkeypatch.context() as patched:
        asked = limited_network(patched, FEWEST_PIXELS)
        evaluator.start([100], [0])
        evaluator.wait()
        assert asked == [100, FEWEST_PIXELS, 100 - FEWEST_PIXELS]
    asked = limited_network(monkeypatch, FEWEST_PIXELS - 1)
    with pytest.raises(DeviceMemoryError, match=f"even for {FEWEST_PIXELS} pixels"):
        evaluator.start([100], [0])
    assert min(asked) == FEWEST_PIXELS


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("any"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
)
def test_what_says_that_memory_is_short(error):
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))


def test_only_a_lack_of_memory_is_called_so(monkeypatch):
    """Where room for more pixels is made on the host."""
    evaluator = CopyingEvaluator(FrozenNet(random_frozen(TINY["west"]), "cpu"))
    for error, expected in ((RuntimeError("other"), RuntimeError), (RuntimeError("out of memory"), MemoryError)):

        def failing(*arguments, error=error, **options):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(torch, "empty", failing)
            with pytest.raises(expected):
                evaluator.reserve(1000)


def test_no_memory_for_the_model(device, monkeypatch, without_kernel):
    def full(*arguments):
        raise torch.cuda.OutOfMemoryError("as a test pretends")

    monkeypatch.setattr("coders.gpu.networks.FrozenNet", full)
    with pytest.raises(DeviceMemoryError, match="for model"):
        BatchedCoder(device, 2, 1).encode(random_image(3, 3), random_frozen(TINY["west"]), WAVEFRONT)


def test_no_memory_in_a_turn(device, monkeypatch):
    def full(*arguments):
        raise torch.cuda.OutOfMemoryError("as a test pretends")

    monkeypatch.setattr(Evaluator, "start", full)
    with pytest.raises(DeviceMemoryError, match=f"^out of memory on {device}; free memory there, or use device=cpu$"):
        BatchedCoder(device, 2, 1).encode(random_image(3, 3), random_frozen(TINY["west"]), WAVEFRONT)


@pytest.mark.parametrize("kind", [RuntimeError, torch.OutOfMemoryError, DeviceMemoryError, MemoryError])
@pytest.mark.parametrize("moment", ["turn", "joining"])
def test_what_has_failed_is_freed_at_once(monkeypatch, kind, moment):
    """Networks and images do not wait until Python looks for circles."""
    coder, alive, family = BatchedCoder("cpu", 2, 1), [], batched._Family

    class Watched(family):
        def __init__(self, *case):
            super().__init__(*case)
            alive.append(weakref.ref(self))

        def join(self, image):
            alive.append(weakref.ref(image))
            if moment == "joining":
                raise kind("as a test pretends")
            super().join(image)

    def failing(evaluator, counts, slots):
        raise kind("as a test pretends")

    monkeypatch.setattr(batched, "_Family", Watched)
    if moment == "turn":
        monkeypatch.setattr(Evaluator, "start", failing)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises((P59Error, MemoryError)) as caught:
            coder.encode(random_image(9, 9), random_frozen(TINY["west"]), WAVEFRONT)
        del caught
        coder._families.clear()  # those that did not fail are kept
        deadline = time.monotonic() + 10
        while any(one() for one in alive) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [one() for one in alive] == [None, None]
    finally:
        gc.enable()
