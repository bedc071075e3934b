"""Networks that see whether rows and columns are even: what they see, their phases, and files coded in each of them."""

from __future__ import annotations

import contextlib
import gc
import io
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import p59
from coders.backends import backend_for, batched_backend
from coders.codec import encode_stream
from coders.container import MODE_NAMED, Container
from coders.image_codec import decode_picture, encode_image, encode_picture
from coders.model_choice import best_model, best_phase, pieces_of
from coders.network_rows import NETWORK, PLACED, WITH_PHASE
from coders.picture import Picture
from coders.placement import ORIENTATIONS, Placement, best_placement, turned, turned_back, turned_phase
from coders.planes import coding_of, decode_group
from coders.scan import SCANS, WAVEFRONT
from datasets.augmentation import COLOUR_STEPS, Augmentation
from main import main
from models.adaptation import adapted
from models.context_net import ContextNet, inputs_at, integer_inputs, with_inputs_of
from models.description import ModelDescription
from models.freeze import freeze
from models.frozen import FrozenNet
from models.measure import image_bits
from models.model_file import model_from_bytes, model_to_bytes
from models.neighbourhood import PARITIES, pad_image
from tests.adapted_cases import random_fit
from tests.helpers import TINY, decode_image, image_of, random_frozen, random_image
from utils.errors import FormatError
from utils.validation import image_bpsp

BACKEND = backend_for("cpu", 1)
DESCRIPTION = TINY["parities"]
MODEL, BLIND = random_frozen(DESCRIPTION), random_frozen(TINY["west"])
EACH_PHASE = pytest.mark.parametrize("phase", range(4))


@pytest.fixture(autouse=True)
def by_network(monkeypatch):
    """No plain coding is small; adapting is tried for the smallest images too."""
    monkeypatch.setattr("coders.planes._quick", lambda form: bytes(1 << 20))
    monkeypatch.setattr("coders.planes._thorough", lambda *_: ())
    monkeypatch.setattr("coders.network_rows.WORTH_ADAPTING", 0)


def group_of(data: bytes) -> bytes:
    (group,) = Container.from_bytes(data).planes
    return group


def image_in(placement: Placement, height: int, width: int, scan=WAVEFRONT) -> np.ndarray:
    """An image (H, W, C) that MODEL codes well when it lies so."""
    shape = (width, height) if placement.orientation & 4 else (height, width)
    return turned_back(image_of(MODEL.phases[placement.phase], *shape, scan), placement.orientation)


@pytest.mark.parametrize("reference", ["none", "west"])
def test_what_is_seen_of_a_place(reference):
    """-255 in even rows and columns, 255 in odd ones, after the inputs of the taps, which are as without."""
    description = replace(DESCRIPTION, reference=reference)
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
    assert ModelDescription.from_json(DESCRIPTION.to_json()) == DESCRIPTION
    assert model_from_bytes(model_to_bytes(MODEL), "")[0].fingerprint == MODEL.fingerprint
    with pytest.raises(ValueError, match="parities 1: allowed are true and false"):
        replace(DESCRIPTION, parities=1)


@EACH_PHASE
def test_a_phase_is_the_image_from_another_row_or_column(phase):
    """Frozen and float: what a model computes at (row, column) in a phase it computes a row or column on in phase 0."""
    row, column = phase >> 1, phase & 1
    contexts = torch.randint(0, 256, (60, 12, 3), generator=torch.Generator().manual_seed(0)).byte()
    places = torch.randint(0, 9, (60, 2), generator=torch.Generator().manual_seed(1))
    there, _ = integer_inputs(contexts, DESCRIPTION, places + torch.tensor([row, column]))
    here, _ = integer_inputs(contexts, DESCRIPTION, places)
    assert torch.equal(FrozenNet(MODEL.phases[phase])(here), FrozenNet(MODEL)(there))
    net = ContextNet(DESCRIPTION)
    net.reset_parameters(torch.Generator().manual_seed(2))
    torch.testing.assert_close(net.in_phase(phase)(here), net(there))
    torch.testing.assert_close(net.in_phase(phase).in_phase(phase)(here), net(here))


def test_models_that_see_none_have_one_phase():
    assert len(BLIND.phases) == 1
    assert BLIND.phases[0] is BLIND
    assert MODEL.phases[0] is MODEL
    assert len({model.fingerprint for model in MODEL.phases}) == 4


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
    seeing = [random_frozen(DESCRIPTION, seed) for seed in range(3)]
    models = [BLIND, *seeing]
    for model in models:
        in_phase = model.phases[phase % len(model.phases)]
        for size in ((20, 31), (200, 130)):
            image = image_of(in_phase, *size, WAVEFRONT)
            assert best_model(models, image, WAVEFRONT, BACKEND) is model
            found, bits = best_phase(model, image[None], WAVEFRONT, BACKEND, inner=False)
            assert found == phase % len(model.phases)
            assert bits == round(BACKEND.glance(image[None], in_phase, WAVEFRONT).sum())


@EACH_PHASE
@pytest.mark.parametrize("order", SCANS)
@pytest.mark.parametrize("orientation", [0, 6])
def test_files_in_every_phase(phase, order, orientation):
    """They decode, one by one or many at a time, and hold what the phase's own model writes."""
    placement, scan = Placement(orientation, phase), SCANS[order]
    image = image_in(placement, 40, 45, scan)
    data = encode_image(image, MODEL, scan, BACKEND)
    group = group_of(data)
    assert coding_of(group).placement == placement
    stream = encode_stream(turned(image, orientation), MODEL.phases[phase], scan)
    coding = NETWORK + scan.code
    if phase:
        start = bytes((PLACED, coding << 4 | WITH_PHASE | orientation, phase))
    else:
        start = bytes((PLACED, coding << 4 | orientation)) if orientation else bytes((coding,))
    assert group == start + MODEL.fingerprint[:16] + stream
    many = batched_backend("cpu", 1, 2)
    assert encode_image(image, MODEL, scan, many) == data
    for backend in (BACKEND, many):
        assert np.array_equal(decode_image(Container.from_bytes(data), MODEL, backend), image)


@EACH_PHASE
@pytest.mark.parametrize("orientation", [0, 5])
def test_adapted_files_in_every_phase(monkeypatch, phase, orientation):
    """The network is fitted, and its adaptation applied, in the phase."""
    placement = Placement(orientation, phase)
    monkeypatch.setattr("coders.network_rows.best_placement", lambda *_: placement)
    fit = random_fit(MODEL)
    there = image_of(adapted(MODEL.phases[phase], fit.adaptation), 20, 29, WAVEFRONT)
    image = turned_back(there, orientation)
    data = encode_image(image, MODEL, WAVEFRONT, BACKEND, fit)
    coding = coding_of(group_of(data))
    assert (coding.is_adapted, coding.placement) == (True, placement)
    ((given, model, _),) = fit.calls
    assert np.array_equal(given, there)
    assert model.fingerprint == MODEL.phases[phase].fingerprint
    for backend in (BACKEND, batched_backend("cpu", 1, 2)):
        assert np.array_equal(decode_image(Container.from_bytes(data), MODEL, backend), image)


def test_colour_and_transparency_each_in_its_phase():
    gray = random_frozen(TINY["gray parities"])
    rgb = image_in(Placement(0, 2), 21, 30)
    alpha = image_of(gray.phases[1], 21, 30, WAVEFRONT)
    models = {3: MODEL, 1: gray}
    picture = Picture(MODE_NAMED["RGBA"], np.concatenate([rgb, alpha], 2))
    data = encode_picture(picture, lambda rows: models[rows.shape[2]], WAVEFRONT, BACKEND)
    container = Container.from_bytes(data)
    assert [coding_of(group).placement for group in container.planes] == [(0, 2), (0, 1)]
    named = {model.fingerprint[:16]: model for model in models.values()}
    assert np.array_equal(decode_picture(container, named.__getitem__, BACKEND).samples, picture.samples)


def test_models_are_dropped_with_their_phases():
    """Neither holds itself: what was packed for them goes when the last reference does."""
    gc.disable()
    try:
        model = random_frozen(DESCRIPTION, seed=5)
        image = image_in(Placement(0, 1), 9, 8)
        assert np.array_equal(decode_image(Container.from_bytes(encode_image(image, model, WAVEFRONT, BACKEND)), model,
                                           BACKEND), image)  # fmt: skip
        left = [weakref.ref(one) for one in model.phases]
        del model
        assert [one() for one in left] == [None] * 4
    finally:
        gc.enable()


def test_phases_that_do_not_exist_are_refused():
    image = image_in(Placement(5, 3), 21, 30)
    group = group_of(encode_image(image, MODEL, WAVEFRONT, BACKEND))
    named = {model.fingerprint[:16]: model for model in (MODEL, BLIND)}

    def decoded(data: bytes) -> np.ndarray:
        return decode_group(data, image.shape, [], b"", named.__getitem__, BACKEND)

    assert np.array_equal(decoded(group), image)
    for phase in (0, 4, 255):
        with pytest.raises(FormatError, match="unknown coding 14"):
            decoded(group[:2] + bytes((phase,)) + group[3:])
    with pytest.raises(FormatError, match="unknown coding 14"):
        decoded(group[:2])
    with pytest.raises(FormatError, match="sees no parities"):
        decoded(group[:3] + BLIND.fingerprint[:16] + group[19:])


def test_on_the_command_line_and_from_python(tmp_path, capsys):
    """The phase is found with `turn=false` too; rates are measured in it."""
    image = image_in(Placement(0, 2), 40, 44)
    Image.fromarray(image).save(tmp_path / "image.png")
    (tmp_path / "model.safetensors").write_bytes(model_to_bytes(MODEL))
    source = [f"checkpoint_file={tmp_path}/model.safetensors", "device=cpu", f"test_data={tmp_path}/image.png"]
    target = tmp_path / "image.p59"
    assert main(["configs/encode_wavefront.json", *source, f"bitstream_path={target}", "turn=false"]) == 0
    assert coding_of(group_of(target.read_bytes())).placement == Placement(0, 2)
    assert target.read_bytes() == p59.encode(image, model=MODEL, device="cpu", threads=1, turn=False)
    assert np.array_equal(p59.decode(target.read_bytes(), model=MODEL, device="cpu"), image)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "P59", model=MODEL, device="cpu", threads=1, turn=False)
    assert buffer.getvalue() == target.read_bytes()
    capsys.readouterr()
    bits = BACKEND.measure(image, MODEL.phases[2], WAVEFRONT).sum() / image.size
    assert main(["configs/measure.json", *source, "decoder_method=1"]) == 0
    assert f"{bits:.5f}" in capsys.readouterr().out
    assert main(["configs/measure.json", *source, "run_mode=analyze", f"output_path={tmp_path}/analysis"]) == 0
    assert f"{bits:.4f} bits per sub-pixel" in capsys.readouterr().out


def test_rates_of_a_float_network_in_its_best_phase(tmp_path):
    """What measuring shows beside the frozen rate, and validation: both of the phase that suits."""
    net = ContextNet(DESCRIPTION)
    net.reset_parameters(torch.Generator().manual_seed(3))
    net.layers[0].weight.data[:, -PARITIES:] *= 20
    frozen = freeze(net, [random_image(40, 40)])
    image = image_of(frozen.phases[3], 24, 30, WAVEFRONT)
    rates = [image_bits(net.in_phase(phase), image)["coded"].sum() / image.size for phase in range(4)]
    assert int(np.argmin(rates)) == 3
    assert image_bpsp(net, image, None) == pytest.approx(rates[3], rel=1e-5)
    torch.save({"description": DESCRIPTION.to_json(), "state_dict": net.state_dict()}, tmp_path / "net.pth.tar")
    Image.fromarray(image).save(tmp_path / "image.png")
    source = [f"checkpoint_file={tmp_path}/net.pth.tar", "device=cpu", f"test_data={tmp_path}/image.png"]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["configs/measure.json", *source]) == 0
    assert f"{rates[3]:.5f}" in out.getvalue()


def test_colour_of_half_the_resolution_lies_on_even_rows_and_columns():
    """Of half of the crops: there red - brightness is the mean of its neighbours in odd rows and columns. Of the others
    it is not, nor is it in even ones."""
    image = np.random.default_rng(1).integers(80, 170, (32, 32, 3), np.uint8)
    rounding = 0.5 + COLOUR_STEPS[2][2] / 3

    def off(lines: np.ndarray, first: int) -> float:
        """How far every other line, from `first` on, is from the mean of the two beside it."""
        middle = lines[first:-1:2]
        return np.abs(middle - (lines[first - 1 :: 2][: len(middle)] + lines[first + 1 :: 2][: len(middle)]) / 2).mean()

    on_even = 0
    for seed in range(40):
        crop = Augmentation("none", half_colour=1.0)(image, 32, np.random.default_rng(seed)).astype(float)
        red = crop[:, :, 0] - crop @ [0.299, 0.587, 0.114]
        assert off(red, 2) > rounding < off(red.T, 2)
        assert (off(red, 1) < rounding) == (off(red.T, 1) < rounding)
        on_even += off(red, 1) < rounding
    assert 10 <= on_even <= 30


def test_the_bytes_of_a_file_in_a_phase_stay_the_same(recorded):
    """What this release writes, every later one writes and reads."""
    model = random_frozen(DESCRIPTION, seed=11)
    image = turned_back(image_of(model.phases[3], 15, 26, WAVEFRONT), 2)
    data = encode_image(image, model, WAVEFRONT, BACKEND)
    assert coding_of(group_of(data)).placement == Placement(2, 3)
    recorded("file in a phase", data.hex())
