"""The frozen network: exact integers whatever computes them, near the float network they are made from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.context_net import ContextNet
from models.contexts import inputs_at
from models.freeze import _rounded, _Scaled, freeze, margin_of, unit_ranges
from models.frozen_net import FrozenNet, IntegerLayer
from models.neighbourhood import pad_image
from models.output_units import output_units
from tests.frozen_cases import MODELS, changed_layer, naive, random_inputs
from tests.helpers import TINY, random_image
from utils.errors import ModelError


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


@pytest.mark.parametrize("name", TINY)
def test_a_frozen_network_is_close_to_its_float_network(name):
    description = TINY[name]
    net = ContextNet(description).double()
    net.reset_parameters(torch.Generator().manual_seed(0))
    image = random_image(40, 50, description.channels)
    model = freeze(net, [image])
    positions = torch.arange(2000)
    padded = torch.from_numpy(pad_image(image, description.padding))
    inputs = inputs_at(padded, positions // 50, positions % 50, description)[0]
    gain, offset = output_units(description)
    wanted = net(inputs).detach().numpy() * gain + offset
    error = FrozenNet(model)(inputs).numpy() - wanted
    spread = np.abs(wanted - wanted.mean(0)).max(0)
    assert (np.abs(error).max(0) < 0.51 + 0.005 * spread).all(), "half a unit of rounding and little else"


@pytest.mark.parametrize("limit", [8191, 32767])
def test_the_farthest_below_zero_keeps_its_value(limit):
    """LeakyReLU saturates before it multiplies; a unit must leave room for that as well as for the limit."""
    net = ContextNet(TINY["west"])
    net.reset_parameters(torch.Generator().manual_seed(0))
    with torch.no_grad():
        net.layers[0].bias -= 100
    image = random_image(40, 50)
    model, unit = freeze(net, [image], limit), unit_ranges(net, [image], limit)[0] * margin_of([image])
    positions = torch.arange(2000)
    padded = torch.from_numpy(pad_image(image, net.description.padding))
    inputs = inputs_at(padded, positions // 50, positions % 50, net.description)[0]
    wanted = net.activated(0, net.sums(0, net.scaled(inputs), net.scaled(inputs))).detach().numpy()
    assert (wanted < 0).all()
    found = IntegerLayer(model.layers[0], limit, last=False)(inputs.double(), inputs.double()).numpy() * unit
    assert np.abs(found - wanted).max() < 0.01 * np.abs(wanted).max()


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
        net.reset_parameters(torch.Generator().manual_seed(0))
        net.layers[0].weight *= 1e30
        net.layers[1].weight *= 1e30
        with pytest.raises(ModelError, match="not finite"):
            freeze(net, images)
    with pytest.raises(ModelError, match="no calibration images"):
        freeze(net, [])


def test_rows_that_would_leave_int16_are_rounded_plainly():
    """The wanted sums are of twice the weights: rows with room follow, a row at the end of int16 cannot."""
    inputs = np.random.default_rng(0).integers(-100, 100, (100_000, 4)).astype(np.float64)
    weight = np.array([[32766.0, 5.3, -7.4, 0.2], [900.2, 5.3, -7.4, 0.2]])
    rows = _Scaled(weight, np.zeros(2), np.zeros(2, np.int64), np.ones(2))
    layer = _rounded(rows, 255, inputs, inputs @ (2 * weight.T), leaky=True, skip=False)
    assert layer.weight[0].tolist() == [32766, 5, -7, 0]
    assert np.abs(layer.weight[1] - 2 * weight[1]).max() < 3


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
