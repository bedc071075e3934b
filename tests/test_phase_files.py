"""Files of networks that see whether rows and columns are even, in each of the four phases."""

from __future__ import annotations

import gc
import io
import weakref

import numpy as np
import pytest
from PIL import Image

import p59
from coders.codec import encode_stream
from coders.container import MODE_NAMED, Container
from coders.image_codec import decode_picture, encode_image, encode_picture
from coders.network_rows import NETWORK, PLACED, WITH_PHASE
from coders.picture import Picture
from coders.placement import Placement, turned, turned_back
from coders.planes import decode_group
from coders.scan import SCANS, WAVEFRONT
from coders.torch_backends import batched_backend
from main import main
from models.adaptation import adapted
from models.model_file import model_to_bytes
from tests.adapted_cases import group_of, random_fit
from tests.helpers import TINY, coding_of, decode_image, image_of, random_frozen
from tests.placed_cases import BACKEND, EACH_PHASE, MODEL, SEEING, by_network, image_in
from utils.errors import FormatError

pytestmark = pytest.mark.usefixtures("by_network")
__all__ = ["by_network"]  # a fixture

BLIND = random_frozen(TINY["west"])


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
        model = random_frozen(SEEING, seed=5)
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


def test_the_bytes_of_a_file_in_a_phase_stay_the_same(recorded):
    """What this release writes, every later one writes and reads."""
    model = random_frozen(SEEING, seed=11)
    image = turned_back(image_of(model.phases[3], 15, 26, WAVEFRONT), 2)
    data = encode_image(image, model, WAVEFRONT, BACKEND)
    assert coding_of(group_of(data)).placement == Placement(2, 3)
    recorded("file in a phase", data.hex())
