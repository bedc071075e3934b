"""The float network: its size, two evaluations of it against each other, and the published checkpoint's layout."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import network_of, read_checkpoint
from models.context_net import ContextNet
from models.contexts import gather_contexts, integer_inputs
from models.description import PUBLISHED, ModelDescription
from models.neighbourhood import BOTTOM, CAUSAL_TAPS, DIAGONAL_TAPS, LEFT, RIGHT, TOP, WEST, pad_image
from tests.helpers import random_image
from utils.errors import ModelError


def network(description: ModelDescription, seed: int = 0) -> ContextNet:
    net = ContextNet(description).double()
    net.reset_parameters(torch.Generator().manual_seed(seed))
    return net


def all_contexts(image: np.ndarray, description: ModelDescription) -> torch.Tensor:
    height, width = image.shape[:2]
    positions = torch.arange(height * width)
    padded = torch.from_numpy(pad_image(image, description.padding))
    return gather_contexts(padded, positions // width, positions % width, description.taps)


def dense_outputs(net: ContextNet, image: torch.Tensor) -> torch.Tensor:
    """The network of reference "none" and zero padding as a masked convolution and 1x1 convolutions, for whole images
    at once: the form the paper draws (its figure 2).

    image (B, C, H, W), values 0..255 -> outputs (B, K, H, W).
    """
    description = net.description
    first = net.layers[0].weight
    kernel = first.new_zeros(first.shape[0], description.channels, TOP + 1 + BOTTOM, LEFT + 1 + RIGHT)
    for index, (row, column) in enumerate(description.taps):
        taps = slice(index * description.channels, (index + 1) * description.channels)
        kernel[:, :, TOP + row, LEFT + column] = first[:, taps]
    x = torch.nn.functional.pad(image.to(first.dtype) / 255, (LEFT, RIGHT, TOP, BOTTOM))
    entered = x
    for index, (layer, (leaky, skip)) in enumerate(zip(net.layers, description.layer_roles, strict=True)):
        weight = kernel if index == 0 else layer.weight[:, :, None, None]
        y = torch.nn.functional.conv2d(x, weight, layer.bias)
        if leaky:
            y = net.activation(y)
        if skip:
            y = y + entered
        entered, x = x, y
    return x


def test_networks_start_as_linear_layers_of_pytorch_do():
    net = ContextNet(ModelDescription(widths=(9, 7)))
    net.reset_parameters(torch.Generator().manual_seed(3))
    torch.manual_seed(3)
    for layer in net.layers:
        expected = torch.nn.Linear(layer.in_features, layer.out_features)
        for name in ("weight", "bias"):
            torch.testing.assert_close(getattr(layer, name), getattr(expected, name), rtol=1e-6, atol=0)


def test_the_published_network_has_59_thousand_parameters():
    net = ContextNet(PUBLISHED)
    assert sum(parameter.numel() for parameter in net.parameters()) == PUBLISHED.parameters == 58_916
    assert PUBLISHED.macs_per_pixel == 58_368
    assert PUBLISHED.layer_shapes == ((128, 36), (128, 128), (128, 128), (128, 128), (36, 128))
    default = ModelDescription()
    assert (default.parameters, default.macs_per_pixel) == (58_916, 58_368)


@pytest.mark.parametrize(
    ("channels", "mixtures", "outputs"), [(3, 3, 36), (3, 5, 60), (3, 1, 12), (1, 3, 9), (1, 10, 30)]
)
def test_outputs_by_channels_and_mixtures(channels, mixtures, outputs):
    description = ModelDescription(channels=channels, mixtures=mixtures)
    assert description.outputs == outputs
    rows = description.output_rows
    covered = [row for name in ("means", "scales", "logits", "cross") for row in range(outputs)[rows[name]]]
    assert covered == list(range(outputs))
    assert ContextNet(description)(torch.zeros(2, 12 * channels)).shape == (2, outputs)


def test_rows_of_the_outputs_are_those_of_the_paper():
    rows = PUBLISHED.output_rows
    assert [rows[name] for name in ("means", "scales", "logits", "cross")] == [
        slice(0, 9), slice(9, 18), slice(18, 27), slice(27, 36),
    ]  # fmt: skip


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("taps", [CAUSAL_TAPS, CAUSAL_TAPS[3:9] + (WEST,), DIAGONAL_TAPS])
def test_masked_convolution_equals_gathered_contexts(residual, channels, taps):
    widths = (16,) * 5 if residual else (16, 12, 9)
    description = replace(PUBLISHED, widths=widths, residual=residual, channels=channels, taps=taps)
    net = network(description)
    image = random_image(7, 9, channels, kind="noise")
    with torch.no_grad():
        dense = dense_outputs(net, torch.from_numpy(image).permute(2, 0, 1)[None].double())
        inputs, reference = integer_inputs(all_contexts(image, description), description)
        gathered = net(inputs)
    assert not reference.any()
    torch.testing.assert_close(dense[0].flatten(1).T, gathered, rtol=1e-12, atol=1e-12)


def test_forward_is_the_formula():
    """36 -> ... -> 36 by plain matrix products; a residual block adds what entered its first layer."""
    plain = network(replace(PUBLISHED, widths=(5, 6)))
    inputs = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (11, 36)))
    x = inputs.double().numpy() / 255
    weights = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in plain.layers]
    for weight, bias in weights[:-1]:
        x = x @ weight.T + bias
        x = np.where(x > 0, x, 0.01 * x)
    np.testing.assert_allclose(plain(inputs).detach(), x @ weights[-1][0].T + weights[-1][1], rtol=1e-6, atol=1e-6)

    residual = network(replace(PUBLISHED, widths=(6,) * 7, residual=True))
    weights = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in residual.layers]
    assert len(weights) == 8, "mask-A convolution, three blocks of two, output"
    x = inputs.double().numpy() / 255 @ weights[0][0].T + weights[0][1]
    for block in range(3):
        (first, first_bias), (second, second_bias) = weights[1 + 2 * block : 3 + 2 * block]
        y = x @ first.T + first_bias
        x = x + np.where(y > 0, y, 0.01 * y) @ second.T + second_bias
    expected = x @ weights[-1][0].T + weights[-1][1]
    np.testing.assert_allclose(residual(inputs).detach(), expected, rtol=1e-6, atol=1e-6)


def test_inputs_relative_to_the_west_pixel():
    description = ModelDescription(channels=3)
    contexts = all_contexts(random_image(6, 5, kind="noise"), description)
    inputs, reference = integer_inputs(contexts, description)
    values = contexts.numpy().astype(int)
    west = values[:, -1]
    expected = values - west[:, None]
    expected[:, -1] = 2 * west - 255
    np.testing.assert_array_equal(inputs.numpy().reshape(expected.shape), expected)
    np.testing.assert_array_equal(reference.numpy(), west)
    scales = description.input_scales.reshape(12, 3) * 255
    assert (scales[:-1] == description.input_gain).all()
    assert (scales[-1] == 1).all()


def test_initial_weights_depend_on_the_seed_alone():
    first, second, other = (network(PUBLISHED, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.layers[0].weight, other.layers[0].weight)


@pytest.mark.parametrize(
    "change",
    [
        {"channels": 2}, {"mixtures": 0}, {"mixtures": 11}, {"widths": ()}, {"widths": (0,)}, {"widths": (2000,)},
        {"widths": (8, 8), "residual": True}, {"widths": (8, 8, 9), "residual": True}, {"taps": ()},
        {"taps": ((0, 0),)}, {"taps": ((0, 1),)}, {"taps": (WEST, WEST)}, {"taps": ((-1, 0),)}, {"reference": "north"},
        {"taps": (WEST, (1, -2))}, {"taps": (WEST, (1, -1)), "padding": "zero"},
        {"scales": "linear"}, {"padding": "reflect"}, {"input_gain": 0},
        {"channels": 3.0}, {"channels": True}, {"mixtures": 2.5}, {"mixtures": 3.0}, {"residual": 1},
        {"input_gain": 64.5}, {"input_gain": float("nan")}, {"widths": (8.0,)}, {"reference": None},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_descriptions_are_refused(change):
    with pytest.raises(ValueError, match=f"model description: .*{next(iter(change))[:3]}"):
        replace(ModelDescription(), **change)


def test_a_description_survives_its_file_form():
    description = ModelDescription(widths=(8, 8, 8), residual=True, mixtures=2, taps=CAUSAL_TAPS[2:], channels=1)
    assert ModelDescription.from_json(description.to_json()) == description


# The published layout, built here from its description.


def published_state(channels: int = 3, mixtures: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    outputs = (3 * channels + channels * (channels - 1) // 2) * mixtures
    shapes = [(128, channels, 5, 5), *[(128, 128, 1, 1)] * 3, (outputs, 128, 1, 1)]
    state = {"entropy.model.bound": torch.tensor([0.5]), "entropy.model.lower_bound_scale.bound": torch.tensor([0.11])}
    for number, shape in zip((0, 2, 4, 6, 8), shapes, strict=True):
        name = f"entropy.model.get_wms.{number}."
        state[name + "weight"] = torch.rand(shape, generator=generator) - 0.5  # masked taps hold rubbish
        state[name + "bias"] = torch.rand(shape[0], generator=generator) - 0.5
    mask = torch.zeros(128, channels, 5, 5)
    mask[:, :, :2], mask[:, :, 2, :2] = 1, 1
    state["entropy.model.get_wms.0.mask"] = mask
    return state


@pytest.mark.parametrize(("channels", "mixtures"), [(3, 3), (3, 2), (1, 3)])
def test_published_layout_reads_as_a_masked_convolution(channels, mixtures):
    state = published_state(channels, mixtures)
    net = network_of({"state_dict": state}, Path("published.pth.tar")).double()
    assert (net.description.channels, net.description.mixtures) == (channels, mixtures)
    assert (net.description.reference, net.description.scales, net.description.padding) == ("none", "clamped", "zero")
    image = random_image(6, 8, channels, kind="noise")
    x = torch.from_numpy(image).permute(2, 0, 1)[None].double() / 255
    for number in (0, 2, 4, 6, 8):
        name = f"entropy.model.get_wms.{number}."
        weight = state[name + "weight"].double() * state.get(name + "mask", torch.ones(1))
        x = torch.nn.functional.conv2d(x, weight, state[name + "bias"].double(), padding=2 if number == 0 else 0)
        if number < 8:
            x = torch.nn.functional.leaky_relu(x, 0.01)
    with torch.no_grad():
        outputs = net(integer_inputs(all_contexts(image, net.description), net.description)[0])
    torch.testing.assert_close(outputs, x[0].flatten(1).T, rtol=1e-6, atol=1e-6)


def test_the_published_checkpoint_is_read(shared):
    path = shared / "reference/authors/model_best.pth.tar"
    payload = read_checkpoint(path)
    assert {"epoch", "iteration", "best_valid_loss", "state_dict", "optimizer", "scheduler"} <= set(payload)
    assert payload["epoch"] == 294
    assert network_of(payload, path).description == PUBLISHED
    theirs = payload["state_dict"]
    assert set(published_state()) <= set(theirs)
    mask = theirs["entropy.model.get_wms.0.mask"]
    np.testing.assert_array_equal(mask.expand(128, 3, 5, 5), published_state()["entropy.model.get_wms.0.mask"])
    assert {name: theirs[name].shape for name in published_state() if name.endswith((".weight", ".bias"))} == {
        name: tensor.shape for name, tensor in published_state().items() if name.endswith((".weight", ".bias"))
    }


def broken_states():
    yield "no weights", {}
    yield "other names", {"net.weight": torch.zeros(3, 3)}
    missing = published_state()
    del missing["entropy.model.get_wms.4.bias"]
    yield "a bias is missing", missing
    yield "no tensors", dict.fromkeys(published_state(), 3)
    yield "names without numbers", {"entropy.model.get_wms.x.weight": torch.zeros(3)}
    yield "other shape", {**published_state(), "entropy.model.get_wms.0.weight": torch.zeros(128, 3, 3, 3)}
    yield "vector", {**published_state(), "entropy.model.get_wms.0.weight": torch.zeros(128)}
    yield "two channels", {**published_state(), "entropy.model.get_wms.0.weight": torch.zeros(128, 2, 5, 5)}


@pytest.mark.parametrize("what", dict(broken_states()))
def test_other_state_dictionaries_are_model_errors(what):
    state = dict(broken_states())[what]
    with pytest.raises(ModelError, match="weights do not fit"):
        network_of({"state_dict": state}, Path("other.pth.tar"))


def test_a_checkpoint_of_ours_survives_its_file(tmp_path):
    net = network(ModelDescription(widths=(8, 8), channels=1)).float()
    path = tmp_path / "checkpoint.pth.tar"
    torch.save({"state_dict": net.state_dict(), "description": net.description.to_json()}, path)
    again = network_of(read_checkpoint(path), path)
    assert again.description == net.description
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


WRONG_DESCRIPTIONS = [
    "{}", "[]", "3", "{", '{"taps": 3, "widths": []}', '{"taps": [[0, -1]], "widths": [8], "x": 1}', "[" * 100_000,
    '{"taps": [[0, -1.5]], "widths": [8]}', '{"taps": [[0, -1]], "widths": [8.5]}',
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG_DESCRIPTIONS, ids=lambda text: text[:20])
def test_a_wrong_description_in_a_checkpoint_is_a_model_error(text):
    with pytest.raises(ModelError, match="weights do not fit"):
        network_of({"state_dict": {}, "description": text}, Path("ours.pth.tar"))


NO_CHECKPOINTS = [b"", b"x", b"\x80", b"\x80\x02.", b"PK\x03\x04rubbish", b"{}", b"\x80\x02cos\nsystem\n.", bytes(100)]


@pytest.mark.parametrize("data", NO_CHECKPOINTS)
def test_files_that_are_no_checkpoint_are_model_errors(tmp_path, data):
    path = tmp_path / "checkpoint.pth.tar"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"is no checkpoint|has no state_dict") as raised:
        read_checkpoint(path)
    assert "weights_only" not in str(raised.value), "PyTorch's advice, for those who trust the file"


def test_damaged_checkpoints_are_model_errors(tmp_path):
    net = network(ModelDescription(widths=(2,), channels=1, taps=(WEST,)))
    path = tmp_path / "checkpoint.pth.tar"
    torch.save({"state_dict": net.state_dict(), "description": net.description.to_json()}, path)
    data, generator = path.read_bytes(), np.random.default_rng(0)
    for length in (*range(0, 100, 9), *generator.integers(0, len(data), 60)):
        path.write_bytes(data[:length])
        with pytest.raises(ModelError):
            network_of(read_checkpoint(path), path)
    for position in generator.integers(0, len(data), 150):
        changed = bytearray(data)
        changed[position] ^= int(generator.integers(1, 256))
        path.write_bytes(changed)
        with contextlib.suppress(ModelError):
            network_of(read_checkpoint(path), path)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    path = tmp_path / "checkpoint.pth.tar"
    torch.save({"state_dict": {"a": Payload()}}, path)
    with pytest.raises(ModelError):
        read_checkpoint(path)
    assert not (tmp_path / "executed").exists()
