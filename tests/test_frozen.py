"""The frozen network: exact integers whatever computes them, and files that cannot lie."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from models.context_net import ContextNet, integer_inputs
from models.description import PUBLISHED, ModelDescription
from models.freeze import freeze, output_units
from models.frozen import FrozenLayer, FrozenModel, FrozenNet
from models.model_file import FORMAT, is_model_file, model_from_bytes, model_to_bytes, read_model
from models.neighbourhood import gather_contexts, pad_image
from models.store import SHIPPED, SHIPPED_FILES
from tests.helpers import TINY, flips, random_frozen, random_image
from utils.errors import ModelError


def naive(model: FrozenModel, inputs: np.ndarray) -> np.ndarray:
    """The definition at the head of models.frozen, in int64 and with every partial sum checked against int32.

    inputs (N, I) -> outputs (N, K).
    """
    x = entered = inputs.astype(np.int64)
    for number, layer in enumerate(model.layers):
        terms = x[:, None, :] * layer.weight.astype(np.int64)
        partial = layer.bias.astype(np.int64)[:, None] + np.cumsum(terms, 2)
        assert np.abs(partial).max() < 2**31
        y = partial[:, :, -1] >> layer.shift.astype(np.int64)
        if number + 1 < len(model.layers):
            coarse = np.clip((y + 32) >> 6, -(2**15), 2**15 - 1)
            y = np.clip(y, -(2**15), 2**15 - 1)
            if layer.leaky:
                y = np.maximum(y, (coarse * 20992 + 2**14) >> 15)
            y = np.clip(y, -model.limit, model.limit)
        if layer.skip:
            y = np.clip(y + entered, -model.limit, model.limit)
        entered, x = x, y
    return x


def random_inputs(model: FrozenModel, count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    inputs = generator.integers(-255, 256, (count, model.description.inputs))
    inputs[:3] = np.array([[0], [255], [-255]])
    return inputs


def saturated(description: ModelDescription) -> FrozenModel:
    """Weights as large as the 32-bit bound allows and no shift: saturation everywhere."""
    generator = np.random.default_rng(1)
    layers = []
    for number, ((after, before), roles) in enumerate(
        zip(description.layer_shapes, description.layer_roles, strict=True)
    ):
        largest = min(32767, (2**31 - 1) // (before * (255 if number == 0 else 32767)) - 1)
        weight = (generator.choice([-1, 1], (after, before)) * largest).astype(np.int16)
        shift = generator.integers(0, 31, after).astype(np.uint8)
        layers.append(FrozenLayer(weight, generator.integers(-9, 9, after, np.int32), shift, *roles))
    return FrozenModel(description, tuple(layers), 32767)


MODELS = {name: random_frozen(description) for name, description in TINY.items()}
MODELS |= {f"{name}, saturated": saturated(TINY[name]) for name in ("west", "residual")}
MODELS["wide"] = random_frozen(PUBLISHED)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_float64_products_are_the_integers_of_the_definition(model):
    inputs = random_inputs(model, 20 if max(model.description.widths) > 100 else 300)
    expected = naive(model, inputs)
    result = FrozenNet(model)(torch.from_numpy(inputs))
    assert result.dtype == torch.int32
    np.testing.assert_array_equal(result.numpy(), expected)
    assert len(np.unique(expected)) > 100, "the test inputs reach many outputs"


def test_results_do_not_depend_on_batch_shape_number_type_or_threads(torch_threads):
    model = MODELS["wide"]
    inputs = torch.from_numpy(random_inputs(model, 700))
    net = FrozenNet(model)
    expected = net(inputs)
    for size in (1, 2, 3, 64, 699):
        parts = [net(part) for part in inputs[: 5 * size].split(size)]
        assert torch.equal(torch.cat(parts), expected[: 5 * size])
    for dtype in (torch.int16, torch.float32, torch.float64):
        assert torch.equal(net(inputs.to(dtype)), expected)
    strided = torch.empty(inputs.shape[1], inputs.shape[0], dtype=inputs.dtype).T
    strided.copy_(inputs)
    assert torch.equal(net(strided), expected)
    for threads in (1, 2, 3):
        torch_threads(threads)
        assert torch.equal(net(inputs), expected)
    assert torch.equal(net(inputs[:0]), expected[:0])


def test_order_of_summation_does_not_matter():
    """The same model with inputs and hidden units renamed: other sums, the same outputs."""
    model, generator = MODELS["wide"], np.random.default_rng(3)
    inputs = random_inputs(model, 100)
    before = order_of_inputs = generator.permutation(model.description.inputs)
    layers = []
    for number, layer in enumerate(model.layers):
        last = number + 1 == len(model.layers)
        after = np.arange(len(layer.bias)) if last else generator.permutation(len(layer.bias))
        layers.append(
            replace(
                layer, weight=layer.weight[after][:, before].copy(), bias=layer.bias[after], shift=layer.shift[after]
            )
        )
        before = after
    renamed = FrozenNet(replace(model, layers=tuple(layers)))
    result = renamed(torch.from_numpy(inputs[:, order_of_inputs]))
    assert torch.equal(result, FrozenNet(model)(torch.from_numpy(inputs)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_computes_the_same_integers():
    for model in MODELS.values():
        inputs = torch.from_numpy(random_inputs(model, 5000))
        assert torch.equal(FrozenNet(model, "cuda")(inputs).cpu(), FrozenNet(model)(inputs))


# Freezing.


@pytest.mark.parametrize("name", ["west", "published", "residual", "gray", "gray zero"])
def test_a_frozen_network_is_close_to_its_float_network(name):
    description = TINY[name]
    net = ContextNet(description).double()
    net.reset_parameters(torch.Generator().manual_seed(0))
    image = random_image(40, 50, description.channels)
    model = freeze(net, [image])
    positions = torch.arange(2000)
    padded = torch.from_numpy(pad_image(image, description.padding))
    contexts = gather_contexts(padded, positions // 50, positions % 50, description.taps)
    inputs = integer_inputs(contexts, description)[0]
    gain, offset = output_units(description)
    wanted = net(inputs).detach().numpy() * gain + offset
    error = FrozenNet(model)(inputs).numpy() - wanted
    spread = np.abs(wanted - wanted.mean(0)).max(0)
    assert (np.abs(error).max(0) < 0.51 + 0.005 * spread).all(), "half a unit of rounding and little else"


def test_networks_that_cannot_be_frozen_are_model_errors():
    images = [random_image(9, 9)]
    net = ContextNet(TINY["west"])
    net.reset_parameters(torch.Generator().manual_seed(0))
    with torch.no_grad():
        net.layers[-1].weight[0, 0] = 1e9
        with pytest.raises(ModelError, match="too large"):
            freeze(net, images)
        for value in (float("nan"), float("inf")):
            net.layers[-1].weight[0, 0] = value
            with pytest.raises(ModelError, match="not finite"):
                freeze(net, images)


def test_networks_of_zeros_and_of_huge_hidden_weights_can_be_frozen():
    net = ContextNet(TINY["west"])
    images = [random_image(9, 9)]
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert not any(layer.weight.any() for layer in freeze(net, images).layers)
    net.reset_parameters(torch.Generator().manual_seed(0))
    with torch.no_grad():
        net.layers[0].weight *= 1e6
        net.layers[1].weight *= 1e-6
    model = freeze(net, images)
    inputs = random_inputs(model, 50)
    np.testing.assert_array_equal(FrozenNet(model)(torch.from_numpy(inputs)).numpy(), naive(model, inputs))


# The bounds that make it exact are checked when a model is made.


def changed_layer(model: FrozenModel, number: int, **parts) -> FrozenModel:
    layers = list(model.layers)
    layers[number] = replace(layers[number], **parts)
    return replace(model, layers=tuple(layers))


def test_a_row_that_could_overflow_is_refused():
    model = MODELS["west"]
    for number, inputs in ((0, 255), (1, model.limit)):
        weight, bias = model.layers[number].weight.copy(), model.layers[number].bias.copy()
        weight[0], bias[0] = 0, 2**31 - 1
        changed_layer(model, number, weight=weight, bias=bias)
        weight[0, 3], bias[0] = -7, 2**31 - 1 - 7 * inputs
        changed_layer(model, number, weight=weight, bias=bias)
        for row in (bias[0] + 1, -bias[0] - 1, -(2**31)):
            bias[0] = row
            with pytest.raises(ModelError, match="overflow"):
                changed_layer(model, number, weight=weight, bias=bias)
        bias[0], weight[0, 3] = 0, -(2**15)
        with pytest.raises(ModelError, match="overflow"):
            changed_layer(model, number, weight=weight, bias=bias)


@pytest.mark.parametrize("limit", [0, -1, 32768, 1 << 40])
def test_limits_outside_int16_are_refused(limit):
    with pytest.raises(ModelError, match="limit"):
        replace(MODELS["west"], limit=limit)


def test_arrays_of_wrong_kinds_are_refused():
    model = MODELS["west"]
    layer = model.layers[0]
    for parts in (
        {"weight": layer.weight.astype(np.int32)},
        {"weight": layer.weight[:, :-1]},
        {"weight": layer.weight.T},
        {"bias": layer.bias.astype(np.int64)},
        {"bias": layer.bias[:-1]},
        {"bias": layer.bias[:, None]},
        {"shift": layer.shift.astype(np.int8)},
        {"shift": layer.shift[:-1]},
        {"shift": np.full_like(layer.shift, 32)},
    ):
        with pytest.raises(ModelError):
            changed_layer(model, 0, **parts)
    with pytest.raises(ModelError):
        replace(model, layers=model.layers[:-1])


# Fingerprints and files.


def test_fingerprints_are_the_recorded_ones(recorded):
    """A change here makes every existing file undecodable."""
    for name, model in MODELS.items():
        recorded(f"fingerprint of {name}", model.fingerprint.hex())
        assert model.fingerprint.hex().startswith(model.name)


def test_the_fingerprint_changes_with_anything_that_changes_the_function():
    model = MODELS["west"]
    seen = {model.fingerprint}
    for number, layer in enumerate(model.layers):
        for part in ("weight", "bias", "shift"):
            array = getattr(layer, part)
            for position in np.ndindex(array.shape):
                changed = array.copy()
                changed[position] ^= 1
                seen.add(changed_layer(model, number, **{part: changed}).fingerprint)
    size = sum(layer.weight.size + 2 * layer.bias.size for layer in model.layers)
    assert len(seen) == size + 1
    seen.add(replace(model, limit=model.limit + 1).fingerprint)
    for change in ({"padding": "zero"}, {"scales": "clamped"}, {"taps": model.description.taps[::-1]}):
        seen.add(replace(model, description=replace(model.description, **change)).fingerprint)
    assert len(seen) == size + 5


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_models_survive_their_files(model, tmp_path):
    data = model_to_bytes(model, {"provenance": "a test", "limit": "a note cannot replace a field"})
    assert is_model_file(data)
    again, notes = model_from_bytes(data, "name")
    assert again.fingerprint == model.fingerprint
    assert again.description == model.description
    assert notes == {"provenance": "a test"}
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    inputs = torch.from_numpy(random_inputs(model, 10))
    assert torch.equal(FrozenNet(read_model(path))(inputs), FrozenNet(model)(inputs))


@pytest.mark.parametrize("name", sorted({name for names in SHIPPED_FILES.values() for name in names}))
def test_the_shipped_weights_are_models(name):
    model = read_model(SHIPPED / name)
    assert model.description.parameters <= 58_916
    assert model.description.channels == (1 if "gray" in name else 3)


SMALL = random_frozen(ModelDescription(taps=((0, -1),), widths=(2,), channels=1, mixtures=1))
SMALL_FILE = model_to_bytes(SMALL)


def accept_only_as_it_is(data: bytes) -> None:
    """ModelError, or a model that is consistent and can be run."""
    try:
        model, _ = model_from_bytes(data, "damaged")
    except ModelError as error:
        assert "\n" not in str(error)  # noqa: PT017 - what is accepted is checked as well
        return
    inputs = random_inputs(model, 5)
    np.testing.assert_array_equal(FrozenNet(model)(torch.from_numpy(inputs)).numpy(), naive(model, inputs))


def test_every_truncation_of_a_model_file_is_a_model_error():
    for length in range(len(SMALL_FILE)):
        with pytest.raises(ModelError):
            model_from_bytes(SMALL_FILE[:length], "truncated")
    with pytest.raises(ModelError):
        model_from_bytes(SMALL_FILE + b"\0", "longer")


def test_every_flipped_byte_of_a_model_file_is_an_error_or_another_model():
    for _, data in flips(SMALL_FILE, range(len(SMALL_FILE)), (0x01, 0x10, 0x80)):
        accept_only_as_it_is(data)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda rest: SMALL_FILE[:200] + rest)))
@example(b"\x08" + bytes(7) + b'{"a":1}}')
def test_other_bytes_are_model_errors(data):
    accept_only_as_it_is(data)


@pytest.mark.parametrize("header", [b"[" * 100_000, b'{"a":' + b"[" * 100_000, b'{"__metadata__":' * 100_000])
def test_headers_that_nest_deeply_are_model_errors(header):
    with pytest.raises(ModelError):
        model_from_bytes(len(header).to_bytes(8, "little") + header, "nested")


TENSORS = load(SMALL_FILE)
DESCRIPTION = SMALL.description.to_json()


def description_with(**changes) -> str:
    return json.dumps({**json.loads(DESCRIPTION), **changes})


@pytest.mark.parametrize(
    "metadata",
    [
        {"format": "p59 frozen 2"}, {"limit": "x"}, {"limit": "-3"}, {"limit": "1e3"}, {"limit": "9" * 5000},
        {"limit": ""}, {"description": "["}, {"description": "{}"}, {"description": "null"},
        {"description": "[" * 100_000}, {"description": description_with(widths=[3])},
        {"description": description_with(widths=[10**9])}, {"description": description_with(widths=[2.0])},
        {"description": description_with(widths=2)}, {"description": description_with(channels=1.0)},
        {"description": description_with(mixtures=1.0)}, {"description": description_with(channels="1")},
        {"description": description_with(taps=[[0, -1, 3]])}, {"description": description_with(taps=[[0, "-1"]])},
        {"description": description_with(taps=[[0, 10**30]])}, {"description": description_with(taps=None)},
        {"description": description_with(unknown=1)}, {"description": description_with(padding=["edge"])},
        {"description": description_with(reference={})}, {"description": description_with(residual="no")},
    ],
    ids=lambda metadata: str(metadata)[:60],
)  # fmt: skip
def test_lying_metadata_is_a_model_error(metadata):
    whole = {"format": FORMAT, "description": DESCRIPTION, "limit": str(SMALL.limit), **metadata}
    with pytest.raises(ModelError) as caught:
        model_from_bytes(save(TENSORS, whole), "lying")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_lying_tensors_are_model_errors():
    whole = {"format": FORMAT, "description": DESCRIPTION, "limit": str(SMALL.limit)}
    for name, tensor in TENSORS.items():
        without = {key: value for key, value in TENSORS.items() if key != name}
        others = [
            tensor.astype(np.float32),
            tensor.astype(np.int64),
            tensor[None],
            tensor[:0],
            np.zeros((), tensor.dtype),
        ]
        for tensors in (without, *({**TENSORS, name: np.array(other, order="C")} for other in others)):
            with pytest.raises(ModelError):
                model_from_bytes(save(tensors, whole), "lying")
    with pytest.raises(ModelError, match="no frozen P59 model"):
        model_from_bytes(save(TENSORS), "no metadata")


def test_missing_and_unreadable_model_files(tmp_path):
    for path in (tmp_path / "absent.safetensors", tmp_path, tmp_path / "absent" / "model"):
        with pytest.raises(ModelError, match="checkpoint_file"):
            read_model(path)
