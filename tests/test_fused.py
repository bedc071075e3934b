"""The kernel computes what the reference does; without it, or where it fails, everything works all the same."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from coders import networks
from coders.batched import BatchedCoder, _Family
from coders.evaluator import FusedEvaluator
from coders.scan import WAVEFRONT
from models.description import PUBLISHED, ModelDescription
from models.frozen import INPUT_LIMIT, FrozenModel, FrozenNet
from models.fused import ENOUGH, FusedNets, fusable, packed
from tests.batched_cases import at_once, encoded, outcomes
from tests.helpers import ROOT, TINY, random_frozen, random_image
from utils.errors import DeviceMemoryError

ARCHITECTURES = TINY | {
    "full": ModelDescription(),
    "full published": PUBLISHED,
    "full residual": ModelDescription(residual=True, widths=(128,) * 5),
    "narrow": ModelDescription(widths=(40, 3)),
}


def extreme(description: ModelDescription, seed: int, limit: int) -> FrozenModel:
    """Weights and activations of all sizes that int16 and the 32-bit bound allow, and all shifts."""
    model, generator = random_frozen(description, seed=seed), np.random.default_rng(seed)
    layers = []
    for number, layer in enumerate(model.layers):
        entering = INPUT_LIMIT if number == 0 else 32767
        bits = generator.integers(0, 16, (len(layer.bias), 1))
        weight = generator.integers(-32767, 32768, layer.weight.shape) >> bits
        weight[generator.random(weight.shape) < 0.7] = 0
        weight[:, 0] = generator.choice([-32767, 32767, 32640, 0], len(weight))
        room = 2**31 - 1 - np.abs(weight).sum(1) * entering
        weight[room < 0] >>= 8
        room = 2**31 - 1 - np.abs(weight).sum(1) * entering
        bias = generator.integers(-room, room + 1)
        shift = generator.integers(0, 32, len(bias))
        shift[::2] = np.clip(shift[::2], 8, 20)
        layers.append(
            replace(layer, weight=weight.astype(np.int16), bias=bias.astype(np.int32), shift=shift.astype(np.uint8))
        )
    return replace(model, layers=tuple(layers), limit=limit)


def check(device: str, names: list[str]) -> None:
    """Segments of several models, empty ones among them, in one launch; nothing beyond the rows is written."""
    generator = np.random.default_rng(0)
    for name in names:
        description = ARCHITECTURES[name]
        models = [random_frozen(description), extreme(description, 1, 1), extreme(description, 2, 32767)]
        assert fusable(models[0], device)
        nets = FusedNets(models[0], device)
        totals = [[5, 40, 0, 17], [ENOUGH, 1, 33]]
        for counts in totals if device != "cpu" or name == "narrow" else totals[:1]:
            chosen = [models[number % 3] for number in range(len(counts))]
            slots = [nets.slot(model, set()) for model in chosen]
            firsts = np.cumsum(counts) - counts
            segments = torch.from_numpy(np.stack([slots, firsts, counts], 1).astype(np.int32)).to(device)
            inputs = generator.integers(-INPUT_LIMIT, INPUT_LIMIT + 1, (sum(counts), description.inputs))
            inputs[::2] = INPUT_LIMIT * np.sign(inputs[::2])
            inputs = torch.from_numpy(inputs.astype(np.int16))
            outputs = torch.full((sum(counts) + 1, description.outputs), 7, dtype=torch.int32, device=device)
            launch = nets.launch_for(len(counts), max(counts), sum(counts))
            unused = torch.zeros((launch.segments - len(counts), 3), dtype=torch.int32, device=device)
            nets(launch, inputs.to(device), outputs, torch.cat([segments, unused]))
            outputs = outputs.cpu()
            for model, first, count in zip(chosen, firsts, counts, strict=True):
                rows = slice(first, first + count)
                assert torch.equal(outputs[rows], FrozenNet(model)(inputs[rows])), (name, counts)
            assert (outputs[-1] == 7).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_kernel_computes_the_same_integers(name):
    check("cuda", [name])


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
def test_the_kernel_interpreted_computes_the_same_integers():
    """Triton runs it with NumPy, line by line, where there is no GPU."""
    program = "from tests.test_fused import ARCHITECTURES, check; check('cpu', list(ARCHITECTURES))"
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_models_come_and_go(monkeypatch):
    """A slot is kept while it is needed and given to another model when it is not; tables grow where all are needed."""
    models = [random_frozen(TINY["west"], seed=seed) for seed in range(20)]
    monkeypatch.setattr("models.fused.SLOTS", 8)
    nets = FusedNets(random_frozen(TINY["west"]), "cpu")
    at = {seed: nets.slot(models[seed], set()) for seed in range(8)}
    assert sorted(at.values()) == list(range(8))
    assert {seed: nets.slot(models[seed], set()) for seed in (3, 0, 1, 2, 4, 5, 6, 7)} == at
    free = at.pop(3)
    at[8] = nets.slot(models[8], {slot for seed, slot in at.items() if seed > 3})
    assert at[8] == free
    for seed in range(9, 20):
        at[seed] = nets.slot(models[seed], set(at.values()))
    assert len(set(at.values())) == 19
    assert nets.moved == 2
    for seed, slot in at.items():
        weights, units = packed(models[seed], nets._side)
        assert np.array_equal(nets._weights[slot], weights)
        assert np.array_equal(nets._units[slot], units)


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
        (RuntimeError, "CUDA error: an illegal memory access", RuntimeError),
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


def test_what_the_kernel_is_for():
    assert not fusable(random_frozen(ModelDescription(widths=(129,))), "cuda")
    assert not fusable(random_frozen(TINY["west"]), "cpu")
