"""A trained network given other inputs, as a start for training: other taps, or the parities of row and column."""

from __future__ import annotations

from dataclasses import replace

import torch

from models.context_net import ContextNet, with_inputs_of
from models.contexts import integer_inputs
from models.description import ModelDescription
from models.neighbourhood import CAUSAL_TAPS, DIAGONAL_TAPS, PARITIES, WEST
from tests.helpers import TINY

DESCRIPTION = TINY["parities"]


def test_other_taps_keep_the_weights_of_the_common_ones():
    net = ContextNet(ModelDescription(widths=(8, 8)))
    net.reset_parameters(torch.Generator().manual_seed(1))
    wanted = ModelDescription(taps=DIAGONAL_TAPS, padding="diagonal")
    other = with_inputs_of(net, wanted)
    assert other.description == ModelDescription(widths=(8, 8), taps=DIAGONAL_TAPS, padding="diagonal")
    assert with_inputs_of(net, ModelDescription()) is net
    assert with_inputs_of(net, ModelDescription(padding="zero")) is net, "padding is not among a network's inputs"
    values = torch.randint(
        0, 256, (50, len({*CAUSAL_TAPS, *DIAGONAL_TAPS}), 3), generator=torch.Generator().manual_seed(2)
    ).byte()
    pixels = dict(zip(sorted(set(CAUSAL_TAPS + DIAGONAL_TAPS)), values.unbind(1), strict=True))
    # Differences of 0 switch an input off, so dropped taps equal to the west pixel must not matter; new ones never do.
    before = [pixels[tap] if tap in DIAGONAL_TAPS else pixels[WEST] for tap in CAUSAL_TAPS]
    expected = net(integer_inputs(torch.stack(before, 1), net.description)[0])
    after = [pixels[tap] for tap in DIAGONAL_TAPS]
    found = other(integer_inputs(torch.stack(after, 1), other.description)[0])
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found[:25], expected[25:], atol=1e-3)


def test_parities_come_to_a_trained_network_without_effect():
    net = ContextNet(ModelDescription(widths=(8, 8)))
    net.reset_parameters(torch.Generator().manual_seed(1))
    seeing = with_inputs_of(net, DESCRIPTION)
    contexts = torch.randint(0, 256, (60, 12, 3), generator=torch.Generator().manual_seed(0)).byte()
    places = torch.randint(0, 9, (60, 2), generator=torch.Generator().manual_seed(1))
    expected = net(integer_inputs(contexts, net.description)[0])
    torch.testing.assert_close(seeing(integer_inputs(contexts, seeing.description, places)[0]), expected)
    torch.testing.assert_close(
        with_inputs_of(seeing, net.description)(integer_inputs(contexts, net.description)[0]), expected
    )
    seeing.layers[0].weight.data[:, -1] = 1
    kept = with_inputs_of(seeing, replace(DESCRIPTION, taps=DESCRIPTION.taps[2:]))
    assert torch.equal(kept.layers[0].weight[:, -PARITIES:], seeing.layers[0].weight[:, -PARITIES:])
