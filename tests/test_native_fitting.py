"""Fitting in the native core: its gradients against autograd's, its steps against coders.torch_fitting's."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from coders import native, torch_fitting
from coders.fitting import BETAS, Fitting
from coders.native.fitter import NativeSearch
from coders.torch_fitting import TorchSearch
from models.adaptable import Adaptable
from models.adapted_net import AdaptedNet
from models.contexts import inputs_at
from models.mixture import bits_coded, mixture_of
from models.neighbourhood import LEFT, TOP, pad_image
from models.store import shipped_models
from tests.helpers import LAYERED, random_frozen, random_image

KINDS = [] if native.unavailable_reason() else native.extension().gradient_kinds()
FLOAT_KINDS = [kind for kind in KINDS if kind != "avx512bf16"]
pytestmark = pytest.mark.skipif(not KINDS, reason="the native core cannot fit networks on this machine")


@pytest.fixture(autouse=True)
def whole_machine(monkeypatch):
    monkeypatch.delenv(native.INSTRUCTION_SET_VARIABLE, raising=False)


def case(name: str, products: int = 2, seed: int = 0, height: int = 20, width: int = 23):
    """A model as an AdaptedNet with some numbers, an image for it, and the taps."""
    description = LAYERED[name]
    net = AdaptedNet(Adaptable(random_frozen(description, seed), products, np.random.default_rng(seed)))
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for numbers in net.parameters():
            numbers.copy_(torch.randn(numbers.shape, generator=generator) * 20)
    kind = ("smooth", "noise", "extreme")[seed % 3]
    return net, random_image(height, width, description.channels, seed, kind), description.taps


def native_search(net, image, taps, kind: str = KINDS[0] if KINDS else "", threads: int = 1, **changed) -> NativeSearch:
    return NativeSearch(
        kind, net.adaptable, image, taps, threads, **{"largest_gradient": 1e9, "betas": BETAS} | changed
    )


def places_in(image: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, image.shape[0] * image.shape[1], count)


def torch_gradient(net: AdaptedNet, image: np.ndarray, taps, places: np.ndarray, kind: str, rounded: bool = False):
    """(bits per sub-pixel, for each layer the gradients of its four kinds of numbers) by autograd in float64.

    For bfloat16 with all factors of products rounded to it.
    """
    net = copy.deepcopy(net).double()
    net.rounded = rounded
    padded = torch.from_numpy(pad_image(image, net.description.padding))
    rows, columns = map(torch.from_numpy, np.divmod(places, image.shape[1]))
    inputs, reference = inputs_at(padded, rows, columns, net.description, taps)
    pixels = padded[rows + TOP, columns + LEFT]
    with pytest.MonkeyPatch.context() as patch:
        if kind == "avx512bf16":
            patch.setattr(torch.nn.functional, "linear", linear_of_bfloat16)
        outputs = net.outputs_of(net(inputs))
    bits = bits_coded(mixture_of(outputs, pixels, reference, net.description), pixels).mean()
    (bits + net.penalty() / image.size).backward()
    return bits.item(), [[part.grad.numpy() for part in net.numbers(index)] for index in range(len(net.offsets))]


def linear_of_bfloat16(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    x.data.copy_(x.data.float().bfloat16())  # where it skips layers it is rounded too
    sums = x @ Rounded.apply(weight).T + bias
    sums.register_hook(lambda gradient: gradient.bfloat16().double())
    return sums


class Rounded(torch.autograd.Function):
    """To bfloat16, with the gradient of what is not rounded."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        return x.float().bfloat16().to(x.dtype)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


def numbers_of(net: AdaptedNet) -> list[np.ndarray]:
    return [numbers for layer in net.adaptable.layers for numbers in layer.numbers]


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-12)) if expected.size else 0.0


# The gradient.


@pytest.mark.parametrize("rounded", [False, True], ids=["exact", "rounded"])
@pytest.mark.parametrize("seed", range(3), ids=["smooth", "noise", "extreme"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LAYERED)
def test_the_gradient_is_that_of_autograd(name, kind, seed, rounded):
    net, image, taps = case(name, seed=seed)
    search, places = native_search(net, image, taps, kind), places_in(image, 301)
    expected_bits, expected = torch_gradient(net, image, taps, places, kind, rounded)
    bits = search.step(places, 0.0, rounded)
    few_bits = kind == "avx512bf16"
    tolerance = 0.05 if few_bits else 1e-2 if len(net.offsets) > 5 else 2e-3
    assert bits == pytest.approx(expected_bits, rel=5e-3 if few_bits else 2e-4)
    for index, (ours, theirs) in enumerate(zip(search.gradient(), expected, strict=True)):
        for part, mine, wanted in zip(("offsets", "gains", "left", "right"), ours, theirs, strict=True):
            assert mine.shape == wanted.shape
            assert relative_error(mine, wanted) < tolerance, (index, part)


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_network_in_both_precisions(kind):
    """128 wide, with parities; bfloat16 points where float64 does."""
    model = shipped_models("wavefront", 3)[5].model
    image = random_image(60, 70)
    net = AdaptedNet(Adaptable(model, 3, np.random.default_rng(0)))
    search, places = native_search(net, image, model.description.taps, kind), places_in(image, 2000)
    bits, expected = torch_gradient(net, image, model.description.taps, places, FLOAT_KINDS[0])
    assert search.step(places, 0.0, False) == pytest.approx(bits, rel=2e-3)
    ours = np.concatenate([part.ravel() for layer in search.gradient() for part in layer])
    theirs = np.concatenate([part.ravel() for layer in expected for part in layer])
    cosine = ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)
    assert cosine > (0.9 if kind == "avx512bf16" else 0.99999)


@pytest.mark.parametrize("count", [1, 2, 15, 127, 128, 129, 255, 300])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_pixels_and_threads(kind, threads, count):
    """As many pixels, one after the other, give the mean of what each gives."""
    net, image, taps = case("residual")
    places = places_in(image, count)
    together = native_search(net, image, taps, kind, threads)
    bits = together.step(places, 0.0, False)
    single = native_search(net, image, taps, kind)
    each = [(single.step(place, 0.0, False), single.gradient()) for place in np.split(places, count)]
    assert bits == pytest.approx(np.mean([one for one, _ in each]), rel=1e-5)
    for index, layer in enumerate(together.gradient()):
        for part, found in enumerate(layer):
            mean = np.mean([gradient[index][part] for _, gradient in each], 0)
            np.testing.assert_allclose(found, mean, rtol=1e-3, atol=1e-5 * max(np.abs(mean).max(), 1e-9))


def test_numbers_beyond_the_range_have_no_gradient_but_their_bits():
    net, image, taps = case("west")
    with torch.no_grad():
        net.offsets[0][:] = torch.tensor([-500.0, 500.0, -128.0, 127.0, 0.0, 1.0, 2.0, 3.0])
    places = places_in(image, 200)
    search = native_search(net, image, taps, FLOAT_KINDS[0])
    search.step(places, 0.0, False)
    _, expected = torch_gradient(net, image, taps, places, FLOAT_KINDS[0])
    np.testing.assert_allclose(search.gradient()[0][0], expected[0][0], rtol=2e-3, atol=1e-6)


# The steps.


@pytest.mark.parametrize("name", ["west", "published", "gray", "diagonal parities"])
@pytest.mark.parametrize("kind", FLOAT_KINDS)
def test_steps_are_those_of_pytorch(name, kind, monkeypatch):
    """Adam with the gradient cut, a rate that changes, rounding at the end."""
    monkeypatch.setattr(torch_fitting, "multiplies_bfloat16", lambda device: False)
    monkeypatch.setattr(torch_fitting, "LARGEST_GRADIENT", 0.01)
    net, image, taps = case(name)
    other = copy.deepcopy(net)
    ours = native_search(net, image, taps, kind, largest_gradient=0.01)
    theirs = TorchSearch(other.adaptable, image, taps, "cpu")
    for step in range(12):
        for search in (ours, theirs):
            search.step(places_in(image, 200, step), 0.5 / (1 + step % 4), step >= 9)
    ours.finish()
    theirs.finish()
    for found, expected in zip(numbers_of(net), numbers_of(other), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=0.02)


def test_the_same_each_time_whatever_the_number_of_threads_was():
    """With as many threads; another number sums up in another order."""
    found = []
    for threads in (1, 1, 3, 3):
        net, image, taps = case("west")
        search = native_search(net, image, taps, threads=threads)
        for step in range(20):
            search.step(places_in(image, 700, step), 0.3, False)
        search.finish()
        found.append(torch.cat([part.detach().ravel() for part in net.parameters()]))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[2], found[3])
    torch.testing.assert_close(found[0], found[2], rtol=0.05, atol=1.0)


def test_a_step_whose_gradient_is_no_number_changes_nothing():
    net, image, taps = case("west")
    before = [part.detach().clone() for part in net.parameters()]
    with torch.no_grad():
        net.weight0[0, 0] = float("inf")
    search = native_search(net, image, taps)
    assert not np.isfinite(search.step(places_in(image, 100), 0.5, False))
    search.finish()
    for now, then in zip(net.parameters(), before, strict=True):
        assert torch.equal(now.detach(), then)


@pytest.mark.parametrize("products", [0, 8])
def test_no_products_or_many(products):
    net, image, taps = case("west", products)
    search, places = native_search(net, image, taps, FLOAT_KINDS[0]), places_in(image, 200)
    _, expected = torch_gradient(net, image, taps, places, FLOAT_KINDS[0])
    search.step(places, 0.0, False)
    for ours, theirs in zip(search.gradient(), expected, strict=True):
        for mine, wanted in zip(ours, theirs, strict=True):
            assert mine.shape == wanted.shape
            assert relative_error(mine, wanted) < 2e-3


# What is asked of it.


@pytest.mark.parametrize("places", [[], [-1], [20 * 23]])
def test_places_that_are_not_in_the_image_are_refused(places):
    search = native_search(*case("west"))
    with pytest.raises(ValueError, match="places"):
        search.step(np.array(places, np.int64), 0.1, False)


def test_images_of_other_channels_are_refused():
    net, _, taps = case("west")
    with pytest.raises(ValueError, match="does not take what"):
        native_search(net, random_image(20, 20, 1), taps)
    with pytest.raises(ValueError, match="kind"):
        native_search(*case("west"), kind="sse")
    with pytest.raises(ValueError, match="threads"):
        native_search(*case("west"), threads=0)


def test_without_the_extension_pytorch_fits(monkeypatch):
    monkeypatch.setattr(native, "unavailable_reason", lambda: "not built")
    searched = []
    monkeypatch.setattr(torch_fitting, "TorchSearch", lambda *case: searched.append(case) or TorchSearch(*case))
    _, image, taps = case("west")
    Fitting(1, "cpu", 1)(image, random_frozen(LAYERED["west"], 0), taps)
    assert len(searched) == 1
