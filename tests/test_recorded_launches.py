"""Launches of the kernel are recorded and replayed: which, how many, and what happens where that fails."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from coders.gpu.evaluator import FusedEvaluator
from models.frozen import INPUT_LIMIT
from models.frozen_net import FrozenNet
from tests.fused_cases import Pretended, pretended
from tests.helpers import TINY, random_frozen

__all__ = ["pretended"]  # a fixture


class RecordedGraph:
    """What torch.cuda.CUDAGraph does, without a device: between begin and end launches are noted, not carried out."""

    recording, fails, made = None, False, []

    def __init__(self):
        self.launches = []
        self.made.append(self)

    def capture_begin(self, capture_error_mode):
        RecordedGraph.recording = self.launches

    def capture_end(self):
        RecordedGraph.recording = None
        if self.fails:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    def replay(self):
        for launch in self.launches:
            launch()


@pytest.fixture
def recorded_launches(pretended, monkeypatch):
    """An evaluator that records its launches as on a GPU; how often the kernel was launched by itself."""
    alone = []

    class Evaluator(FusedEvaluator):
        def __init__(self, nets):
            super().__init__(nets)
            self._cuda = self._recording = True

        def _memory(self, shape, dtype):
            return torch.zeros(shape, dtype=dtype)

        def _mark(self, event=None):
            return SimpleNamespace(synchronize=lambda: None)

        def _launch(self, launch):
            launched = partial(super()._launch, launch)
            if RecordedGraph.recording is None:
                alone.append(launch)
                launched()
            else:
                RecordedGraph.recording.append(launched)

    monkeypatch.setattr(RecordedGraph, "fails", False)
    monkeypatch.setattr(RecordedGraph, "made", [])
    monkeypatch.setattr(torch.cuda, "CUDAGraph", RecordedGraph)
    monkeypatch.setattr(torch.cuda, "Stream", lambda *arguments: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    return Evaluator, alone


def evaluate(evaluator, nets, counts: list[int], seed: int = 0) -> bool:
    """Whether an evaluation of so many pixels of models 0, 1, ... gives what FrozenNet gives."""
    models = [random_frozen(TINY["west"], seed=number) for number in range(len(counts))]
    slots = [nets.slot(model, set()) for model in models]
    evaluator.reserve(sum(counts))
    generator = np.random.default_rng(seed)
    inputs = generator.integers(-INPUT_LIMIT, INPUT_LIMIT + 1, (sum(counts), nets.inputs)).astype(np.int16)
    evaluator.inputs[: len(inputs)] = inputs
    evaluator.outputs[:] = 7
    evaluator.start(counts, slots)
    outputs, place = evaluator.wait(), 0
    for model, count in zip(models, counts, strict=True):
        rows = slice(place, place + count)
        if not np.array_equal(outputs[rows], FrozenNet(model)(torch.from_numpy(inputs[rows])).numpy()):
            return False
        place += count
    return True


def test_launches_are_recorded_once(recorded_launches):
    """Again and again the same graph, whatever the pixels; another where memory has moved or another launch is due."""
    evaluator_of, alone = recorded_launches
    nets = Pretended(random_frozen(TINY["west"]), "cpu")
    evaluator = evaluator_of(nets)
    evaluator.reserve(500)
    for seed, counts in enumerate(([20], [17], [32], [25])):
        assert evaluate(evaluator, nets, counts, seed)
    assert len(alone) == 1, "17 to 32 pixels are two blocks"
    for seed, counts in enumerate(([20, 30, 5], [1, 2, 3, 4], [9, 40, 8], [20])):
        assert evaluate(evaluator, nets, counts, seed)
    assert len(alone) == 5, "segments have moved; of 4 segments, of up to 4, 1 and 4 blocks; then one again"
    evaluator.reserve(5000)
    assert evaluate(evaluator, nets, [20])
    assert len(alone) == 6


def test_no_more_graphs_than_allowed_and_the_known_ones_first(recorded_launches, monkeypatch):
    evaluator_of, alone = recorded_launches
    monkeypatch.setattr(evaluator_of, "GRAPHS", 2)
    nets = Pretended(random_frozen(TINY["west"]), "cpu")
    evaluator = evaluator_of(nets)
    evaluator.reserve(500)
    for count in (10, 20, 20, 10, 50, 20, 50):
        assert evaluate(evaluator, nets, [count])
        assert len(evaluator._graphs) <= 2
    assert [launch.blocks for launch in alone] == [1, 2, 4]
    assert evaluate(evaluator, nets, [10])
    assert len(alone) == 4, "the oldest has gone"


def test_where_recording_fails_launches_go_on(recorded_launches, monkeypatch):
    evaluator_of, alone = recorded_launches
    monkeypatch.setattr(RecordedGraph, "fails", True)
    nets = Pretended(random_frozen(TINY["west"]), "cpu")
    evaluator = evaluator_of(nets)
    with pytest.warns(UserWarning, match="launches cannot be recorded on cpu, which makes them slower"):
        assert evaluate(evaluator, nets, [20])
    assert evaluate(evaluator, nets, [20], seed=1)
    assert (len(alone), len(RecordedGraph.made)) == (2, 1)
    assert RecordedGraph.recording is None


def test_what_was_launched_is_waited_for_where_beginning_fails(recorded_launches, monkeypatch):
    """Else memory that the device writes to would be given to others."""
    evaluator_of, alone = recorded_launches
    nets, waited = Pretended(random_frozen(TINY["west"]), "cpu"), []
    evaluator = evaluator_of(nets)

    def failing(event=None):
        raise RuntimeError("CUDA error: as a test pretends")

    def current(device):
        return SimpleNamespace(synchronize=lambda: waited.append(len(alone)))

    monkeypatch.setattr(evaluator, "_mark", failing)
    monkeypatch.setattr(torch.cuda, "current_stream", current)
    evaluator.reserve(20)
    with pytest.raises(RuntimeError, match="as a test pretends"):
        evaluator.start([20], [nets.slot(random_frozen(TINY["west"]), set())])
    assert waited == [1]
