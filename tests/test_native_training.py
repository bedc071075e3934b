"""A batch's bits and gradients in the native core against PyTorch's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from coders import native
from coders.native.batch_bits import NativeBatchBits
from coders.native.gradients import ANY_PROCESSORS, BFLOAT16_KINDS, KINDS, gradient_kind
from tests.gradient_cases import by_pytorch, difference, gradient_case, gradients
from tests.helpers import LAYERED, TINY
from utils.batch_bits import WIDEST, batch_bits, chosen_batch_bits
from utils.errors import RequestError

AVAILABLE = [] if native.unavailable_reason() else native.extension().gradient_kinds()
pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the native core cannot compute gradients on this machine")


@pytest.fixture(autouse=True)
def whole_machine(monkeypatch):
    monkeypatch.delenv(native.INSTRUCTION_SET_VARIABLE, raising=False)


@pytest.fixture
def kind(request, monkeypatch):
    """The only kind of gradients that there is."""
    monkeypatch.setattr(native.extension(), "gradient_kinds", lambda: [request.param])
    return request.param


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", AVAILABLE, indirect=True)
@pytest.mark.parametrize("name", LAYERED)
def test_bits_and_gradients_are_those_of_pytorch(name, kind, threads):
    net, sample = gradient_case(name)
    bfloat16 = kind in BFLOAT16_KINDS
    if bfloat16 and net.description.scales == "clamped":
        pytest.skip("random networks' smallest scales leave only tails, whose gradients rounding decides")
    bits = NativeBatchBits(net.description, threads)(net, *sample, "coded", bfloat16)
    expected, of_parameters = by_pytorch(net, sample)
    assert bits.item() == pytest.approx(expected, rel=0.01 if bfloat16 else 1e-5)
    for found, wanted in zip(gradients(2 * bits, net), of_parameters, strict=True):
        assert found.shape == wanted.shape
        assert found.dtype == torch.float32
        assert difference(found, 2 * wanted) < (0.2 if bfloat16 else 2e-4)


def test_the_numbers_of_a_network_may_change():
    """As training changes them; what was computed before stays."""
    net, sample = gradient_case("west")
    bits = NativeBatchBits(net.description, 1)
    first = bits(net, *sample, "coded")
    before = [gradient.clone() for gradient in gradients(first, net)]
    net.reset_parameters(torch.Generator().manual_seed(7))
    second = bits(net, *sample, "coded")
    assert first.item() != second.item()
    assert second.item() == pytest.approx(batch_bits(net, *sample, "coded").item(), rel=1e-5)
    assert any(not torch.equal(now, then) for now, then in zip(gradients(second, net), before, strict=True))


def test_the_same_each_time():
    net, sample = gradient_case("residual", 1000)
    for threads in (1, 3):
        bits = NativeBatchBits(net.description, threads)
        first, second = (gradients(bits(net, *sample, "coded"), net) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_threads_may_share_it():
    bits = NativeBatchBits(TINY["west"], 2)
    cases = [gradient_case("west", 300, seed) for seed in range(4)]
    expected = [bits(net, *sample, "coded").item() for net, sample in cases]

    def often(number: int) -> set[float]:
        net, sample = cases[number]
        return {bits(net, *sample, "coded").item() for _ in range(300)}

    with ThreadPoolExecutor(4) as executor:
        assert list(executor.map(often, range(4))) == [{value} for value in expected]


def test_second_derivatives_are_refused():
    net, sample = gradient_case("west")
    bits = NativeBatchBits(net.description, 1)(net, *sample, "coded")
    first = torch.autograd.grad(bits**2, list(net.parameters()), create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        sum(gradient.square().sum() for gradient in first).backward()


def test_values_of_another_type_are_refused():
    net, (contexts, pixels, places) = gradient_case("west")
    with pytest.raises(ValueError, match="uint8"):
        NativeBatchBits(net.description, 1)(net, contexts.to(torch.int64), pixels, places, "coded")


@pytest.mark.parametrize("wrong", ["contexts", "pixels", "places", "none", "loss"])
def test_what_does_not_fit_is_refused(wrong):
    net, (contexts, pixels, places) = gradient_case("west")
    bits, loss = NativeBatchBits(net.description, 1), "coded"
    if wrong == "contexts":
        contexts = contexts[:, :-1].contiguous()
    elif wrong == "pixels":
        pixels = pixels[:-1]
    elif wrong == "places":
        places = places[:, :1].contiguous()
    elif wrong == "none":
        contexts, pixels, places = contexts[:0], pixels[:0], places[:0]
    else:
        loss = "published"
    with pytest.raises(ValueError, match="contexts" if wrong == "none" else "values" if wrong == "pixels" else wrong):
        bits(net, contexts, pixels, places, loss)


def test_where_it_is_used(monkeypatch):
    """On an x86 CPU with AVX2 for our loss, unless it is compiled or anomalies are looked for."""
    west = TINY["west"]
    assert isinstance(chosen_batch_bits(west, "cpu", "coded", False), NativeBatchBits)
    assert chosen_batch_bits(west, "cpu", "published", False) is batch_bits
    assert chosen_batch_bits(west, "cuda", "coded", False) is batch_bits
    assert chosen_batch_bits(replace(west, widths=(8, WIDEST + 1)), "cpu", "coded", False) is batch_bits
    with torch.autograd.set_detect_anomaly(True):
        assert chosen_batch_bits(west, "cpu", "coded", False) is batch_bits
    monkeypatch.setenv(native.INSTRUCTION_SET_VARIABLE, "portable")
    assert chosen_batch_bits(west, "cpu", "coded", False) is batch_bits
    assert gradient_kind() == ANY_PROCESSORS
    monkeypatch.setattr(native, "unavailable_reason", lambda: "not built")
    assert chosen_batch_bits(west, "cpu", "coded", False) is batch_bits
    assert gradient_kind() is None


def test_the_instruction_set_that_is_asked_for_is_kept_to(monkeypatch):
    assert gradient_kind(bfloat16=True) == AVAILABLE[0]
    assert gradient_kind() not in BFLOAT16_KINDS
    for name in native.instruction_sets():
        monkeypatch.setenv(native.INSTRUCTION_SET_VARIABLE, name)
        kind = gradient_kind(bfloat16=True)
        assert kind in KINDS[name]
    assert kind == ANY_PROCESSORS, "of portable, the last"
    monkeypatch.setenv(native.INSTRUCTION_SET_VARIABLE, "no such")
    with pytest.raises(RequestError, match="no such"):
        gradient_kind()
