"""Networks that see whether rows and columns are even: what they see, their phases, and which of these suits."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from coders.model_choice import best_model, best_phase, pieces_of
from coders.placement import ORIENTATIONS, Placement, best_placement, turned, turned_phase
from coders.scan import SCANS, WAVEFRONT
from main import main
from models.context_net import ContextNet
from models.contexts import inputs_at, integer_inputs
from models.description import ModelDescription
from models.freeze import freeze
from models.frozen_net import FrozenNet
from models.measure import image_bits
from models.model_file import model_from_bytes, model_to_bytes
from models.neighbourhood import PARITIES, pad_image
from tests.helpers import TINY, image_of, random_frozen, random_image
from tests.placed_cases import BACKEND, EACH_PHASE, MODEL, SEEING, image_in
from utils.validation import image_bpsp

BLIND = random_frozen(TINY["west"])


@pytest.mark.parametrize("reference", ["none", "west"])
def test_what_is_seen_of_a_place(reference):
    """-255 in even rows and columns, 255 in odd ones, after the inputs of the taps, which are as without."""
    description = replace(SEEING, reference=reference)
    blind = replace(description, parities=False)
    padded = torch.from_numpy(pad_image(random_image(5, 6), description.padding))
    rows, columns = (torch.from_numpy(part.ravel()) for part in np.indices((5, 6)))
    inputs, own = inputs_at(padded, rows, columns, description)
    others, reference_there = inputs_at(padded, rows, columns, blind)
    assert torch.equal(inputs[:, :-PARITIES], others)
    assert torch.equal(own, reference_there)
    assert inputs[:, -PARITIES:].tolist() == [
        [-255 if row % 2 == 0 else 255, -255 if column % 2 == 0 else 255] for row in range(5) for column in range(6)
    ]
    assert description.inputs == blind.inputs + 2 == len(description.input_scales)
    assert description.input_scales[-PARITIES:].tolist() == [1 / 255] * 2


def test_only_what_sees_parities_says_so():
    """Models of before are described, and named, as before."""
    assert "parities" not in TINY["west"].to_json()
    assert ModelDescription.from_json(SEEING.to_json()) == SEEING
    assert model_from_bytes(model_to_bytes(MODEL), "")[0].fingerprint == MODEL.fingerprint
    with pytest.raises(ValueError, match="parities 1: allowed are true and false"):
        replace(SEEING, parities=1)


@EACH_PHASE
def test_a_phase_is_the_image_from_another_row_or_column(phase):
    """Frozen and float: what a model computes at (row, column) in a phase it computes a row or column on in phase 0."""
    row, column = phase >> 1, phase & 1
    contexts = torch.randint(0, 256, (60, 12, 3), generator=torch.Generator().manual_seed(0)).byte()
    places = torch.randint(0, 9, (60, 2), generator=torch.Generator().manual_seed(1))
    there, _ = integer_inputs(contexts, SEEING, places + torch.tensor([row, column]))
    here, _ = integer_inputs(contexts, SEEING, places)
    assert torch.equal(FrozenNet(MODEL.phases[phase])(here), FrozenNet(MODEL)(there))
    net = ContextNet(SEEING)
    net.reset_parameters(torch.Generator().manual_seed(2))
    torch.testing.assert_close(net.in_phase(phase)(here), net(there))
    torch.testing.assert_close(net.in_phase(phase).in_phase(phase)(here), net(here))


def test_models_that_see_none_have_one_phase():
    assert len(BLIND.phases) == 1
    assert BLIND.phases[0] is BLIND
    assert MODEL.phases[0] is MODEL
    assert len({model.fingerprint for model in MODEL.phases}) == 4


@pytest.mark.parametrize("size", [(4, 6), (5, 6), (4, 7), (5, 7), (1, 1)])
@EACH_PHASE
def test_a_turned_phase_keeps_each_pixels_parities(size, phase):
    rows, columns = np.indices(size)
    parities = np.stack((rows + (phase >> 1), columns + (phase & 1)), 2) % 2
    for orientation in range(ORIENTATIONS):
        there = turned(parities, orientation)
        own = turned_phase(phase, *size, orientation)
        rows, columns = np.indices(there.shape[:2])
        expected = np.stack((rows + (own >> 1), columns + (own & 1)), 2) % 2
        assert np.array_equal(there[:, :, ::-1] if orientation & 4 else there, expected)


@EACH_PHASE
@pytest.mark.parametrize("order", SCANS)
def test_the_placement_that_suits_is_found(phase, order):
    """Of an image larger than its pieces, of odd and even sides, and one that is a piece itself."""
    for orientation, size in ((0, (70, 130)), (1, (71, 130)), (6, (70, 131)), (3, (24, 31)), (5, (25, 30))):
        placement = Placement(orientation, phase)
        image = image_in(placement, *size, SCANS[order])
        assert best_placement(MODEL, image, SCANS[order], BACKEND) == placement
    image = image_in(Placement(0, phase), 70, 131, SCANS[order])
    assert best_placement(MODEL, image, SCANS[order], BACKEND, turn=False) == Placement(0, phase)


@pytest.mark.parametrize("size", [(1, 1), (33, 20), (67, 129), (512, 768), (40000, 1)])
def test_pieces_begin_at_even_rows_and_columns(size):
    places = np.stack(np.indices(size), 2)
    assert all((piece[0, 0] % 2 == 0).all() for piece in pieces_of(places))


@EACH_PHASE
def test_models_are_compared_in_their_best_phases(phase):
    """One that sees parities is chosen for its images whatever row and column they begin with, and for no others."""
    seeing = [random_frozen(SEEING, seed) for seed in range(3)]
    models = [BLIND, *seeing]
    for model in models:
        in_phase = model.phases[phase % len(model.phases)]
        for size in ((20, 31), (200, 130)):
            image = image_of(in_phase, *size, WAVEFRONT)
            assert best_model(models, image, WAVEFRONT, BACKEND) is model
            found, bits = best_phase(model, image[None], WAVEFRONT, BACKEND, inner=False)
            assert found == phase % len(model.phases)
            assert bits == round(BACKEND.measure_pieces(image[None], in_phase, WAVEFRONT, 0).sum())


def test_rates_of_a_float_network_in_its_best_phase(tmp_path):
    """What measuring shows beside the frozen rate, and validation: both of the phase that suits."""
    net = ContextNet(SEEING)
    net.reset_parameters(torch.Generator().manual_seed(3))
    net.layers[0].weight.data[:, -PARITIES:] *= 20
    frozen = freeze(net, [random_image(40, 40)])
    image = image_of(frozen.phases[3], 24, 30, WAVEFRONT)
    rates = [image_bits(net.in_phase(phase), image)["coded"].sum() / image.size for phase in range(4)]
    assert int(np.argmin(rates)) == 3
    assert image_bpsp(net, image, None) == pytest.approx(rates[3], rel=1e-5)
    torch.save({"description": SEEING.to_json(), "state_dict": net.state_dict()}, tmp_path / "net.pth.tar")
    Image.fromarray(image).save(tmp_path / "image.png")
    source = [f"checkpoint_file={tmp_path}/net.pth.tar", "device=cpu", f"test_data={tmp_path}/image.png"]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["configs/measure.json", *source]) == 0
    assert f"{rates[3]:.5f}" in out.getvalue()
