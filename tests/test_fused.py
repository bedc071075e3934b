"""The kernel computes what the reference does, on a GPU and interpreted; its tables hold the models asked for."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.description import PUBLISHED, ModelDescription
from models.frozen import INPUT_LIMIT, FrozenModel
from models.frozen_net import FrozenNet
from models.fused import BLOCK_OF_FEW, BLOCK_OF_MANY, MANY_PIXELS, SIDES, FusedNets, fusable, packed
from tests.helpers import ROOT, TINY, random_frozen

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
        totals = [[5, 40, 0, 17], [MANY_PIXELS, 1, 33]]
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


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("rows", "warps"), [BLOCK_OF_FEW, BLOCK_OF_MANY])
@pytest.mark.parametrize("residual", [False, True])
def test_the_kernel_is_built_for_gpus_that_are_not_here(capability, rows, warps, residual):
    """Down to machine code, with tensor cores' products of bytes, within the memory that a chip's part has."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from models.fused_kernel import network

    fixed = {"residual": residual, "side": SIDES[-1], "rows": rows}
    pointers = {"inputs": "*i16", "outputs": "*i32", "segments": "*i32", "weights": "*i8", "units": "*i32"}
    kinds = {name: "constexpr" if name in fixed else pointers.get(name, "i32") for name in network.arg_names}
    source = ASTSource(network, kinds, {(network.arg_names.index(name),): value for name, value in fixed.items()})
    built = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})
    assert len(built.asm["cubin"]) > 0
    assert "mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.s8.s32" in built.asm["ptx"]
    assert built.metadata.shared <= 48 << 10


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


def test_what_the_kernel_is_for():
    assert not fusable(random_frozen(ModelDescription(widths=(129,))), "cuda")
    assert not fusable(random_frozen(TINY["west"]), "cpu")
