"""Images coded in another orientation come back as they were; which one suits is found; files say which it is."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import p59
from coders import network_rows
from coders.backends import backend_for
from coders.container import MODE_NAMED, Container
from coders.image_codec import encode_image, encode_picture, models_named, scan_named
from coders.network_rows import ADAPTED, NETWORK, PLACED
from coders.picture import Picture
from coders.placement import ORIENTATIONS, Placement, best_placement, turned, turned_back
from coders.planes import decode_group
from coders.scan import SCANS, WAVEFRONT
from coders.torch_backends import batched_backend
from datasets.builtin import demo_photographs
from main import main
from models.model_file import model_to_bytes
from models.store import shipped_models
from tests.adapted_cases import group_of, random_fit
from tests.batched_cases import at_once
from tests.helpers import SIZES, TINY, coding_of, decode_image, image_of, random_frozen, random_image
from tests.placed_cases import by_network
from utils.errors import FormatError, P59Error

BACKEND = backend_for("cpu", 1)
MODEL = random_frozen(TINY["west"])
EACH = pytest.mark.parametrize("orientation", range(ORIENTATIONS))

pytestmark = pytest.mark.usefixtures("by_network")
__all__ = ["by_network"]  # a fixture


def always(monkeypatch, orientation: int) -> None:
    monkeypatch.setattr(network_rows, "best_placement", lambda *_: Placement(orientation))


@pytest.mark.parametrize("size", [*SIZES, (3, 2), (1, 9)])
def test_every_orientation_is_undone(size):
    image = random_image(*size)
    for orientation in range(ORIENTATIONS):
        there = turned(image, orientation)
        assert there.shape == ((size[1], size[0], 3) if orientation & 4 else image.shape)
        assert np.array_equal(turned_back(there, orientation), image)
        assert there.flags.c_contiguous
    assert len({turned(random_image(4, 4), orientation).tobytes() for orientation in range(ORIENTATIONS)}) == 8


@pytest.mark.parametrize("size", [(48, 64), (7, 90), (90, 91)])
def test_of_small_images_every_pixel_counts(size):
    model = shipped_models("wavefront", 3)[0].model
    image = np.ascontiguousarray(demo_photographs()["astronaut"][200 : 200 + size[0], 100 : 100 + size[1]])
    found = best_placement(model, image, WAVEFRONT, BACKEND).orientation
    bits = [round(BACKEND.measure(turned(image, each), model, WAVEFRONT).sum()) for each in range(ORIENTATIONS)]
    assert found == bits.index(min(bits))


def test_what_the_bits_of_an_orientation_mean():
    image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    for orientation, rows in {
        0: [[0, 1, 2], [3, 4, 5]],
        1: [[2, 1, 0], [5, 4, 3]],
        2: [[3, 4, 5], [0, 1, 2]],
        4: [[0, 3], [1, 4], [2, 5]],
        5: [[2, 5], [1, 4], [0, 3]],
        6: [[3, 0], [4, 1], [5, 2]],
    }.items():
        assert turned(image, orientation)[:, :, 0].tolist() == rows


@EACH
@pytest.mark.parametrize("order", SCANS)
def test_the_orientation_that_suits_is_found(orientation, order):
    """An image that the model codes well in one orientation, larger than its pieces."""
    image = turned_back(image_of(MODEL, 70, 130, SCANS[order]), orientation)
    assert best_placement(MODEL, image, SCANS[order], BACKEND) == (orientation, 0)
    small = turned_back(image_of(MODEL, 24, 31, SCANS[order]), orientation)
    assert best_placement(MODEL, small, SCANS[order], BACKEND) == (orientation, 0)


def test_of_equal_orientations_the_first():
    flat = np.full((40, 40, 3), 77, np.uint8)
    assert best_placement(MODEL, flat, WAVEFRONT, BACKEND) == (0, 0)


@EACH
@pytest.mark.parametrize("order", SCANS)
@pytest.mark.parametrize("name", ["west", "gray", "diagonal"])
def test_files_in_every_orientation(monkeypatch, orientation, order, name):
    """They decode, say how they are coded, and hold what the turned image's file holds."""
    always(monkeypatch, orientation)
    model, scan = random_frozen(TINY[name]), SCANS[order]
    image = image_of(model, 13, 22, scan)
    data = encode_image(image, model, scan, BACKEND)
    container = Container.from_bytes(data)
    assert np.array_equal(decode_image(container, model, BACKEND), image)
    assert models_named(container) == (model.fingerprint[:16],)
    assert scan_named(container) == scan
    assert coding_of(group_of(data)).placement.orientation == orientation
    plain = group_of(encode_image(turned(image, orientation), model, scan, BACKEND, turn=False))
    assert plain[0] == NETWORK + scan.code
    if orientation:
        assert group_of(data) == bytes((PLACED, plain[0] << 4 | orientation)) + plain[1:]
    else:
        assert group_of(data) == plain


@EACH
def test_adapted_files_in_every_orientation(monkeypatch, orientation):
    """The network is fitted to what is coded: the turned image."""
    always(monkeypatch, orientation)
    fit = random_fit(MODEL)
    image = turned_back(image_of(network_rows.adapted(MODEL, fit.adaptation), 20, 29, WAVEFRONT), orientation)
    data = encode_image(image, MODEL, WAVEFRONT, BACKEND, fit)
    coding = coding_of(group_of(data))
    assert (coding.is_adapted, coding.placement.orientation, coding.scan) == (True, orientation, WAVEFRONT)
    assert [np.array_equal(given, turned(image, orientation)) for given, *_ in fit.calls] == [True]
    assert np.array_equal(decode_image(Container.from_bytes(data), MODEL, BACKEND), image)


def test_turned_files_of_many_images_at_a_time():
    """The same files whether images are coded together or one by one, whatever suits each."""
    many = batched_backend("cpu", 1, 6)
    images = [turned_back(image_of(MODEL, 12, 20 + number, WAVEFRONT), number) for number in range(ORIENTATIONS)]
    files = [encode_image(image, MODEL, WAVEFRONT, BACKEND) for image in images]
    assert [coding_of(group_of(data)).placement.orientation for data in files] == list(range(ORIENTATIONS))
    assert at_once(lambda image: encode_image(image, MODEL, WAVEFRONT, many), images) == files
    decoded = at_once(lambda data: decode_image(Container.from_bytes(data), MODEL, many), files)
    assert all(np.array_equal(one, image) for one, image in zip(decoded, images, strict=True))


def test_groups_of_a_picture_are_turned_each_on_its_own():
    rgb = turned_back(image_of(MODEL, 21, 30, WAVEFRONT), 3)
    gray_model = random_frozen(TINY["gray"])
    alpha = turned_back(image_of(gray_model, 30, 21, WAVEFRONT), 4)
    picture = Picture(MODE_NAMED["RGBA"], np.concatenate([rgb, alpha], 2))
    models = {3: MODEL, 1: gray_model}
    data = encode_picture(picture, lambda rows: models[rows.shape[2]], WAVEFRONT, BACKEND)
    container = Container.from_bytes(data)
    assert [coding_of(group).placement.orientation for group in container.planes] == [3, 4]
    assert scan_named(container) == WAVEFRONT


def test_orientations_and_codings_that_do_not_exist_are_refused(monkeypatch):
    """Orientation 0, phases 0 and above 3, codings that are no network's, and a group that ends there."""
    always(monkeypatch, 5)
    group = group_of(encode_image(image_of(MODEL, 9, 14, WAVEFRONT), MODEL, WAVEFRONT, BACKEND))

    def decoded(data: bytes) -> np.ndarray:
        return decode_group(data, (9, 14, 3), [], b"", lambda fingerprint: MODEL, BACKEND)

    decoded(group)
    inner = NETWORK + WAVEFRONT.code
    for byte in (inner << 4, inner << 4 | 8, inner << 4 | 13, PLACED << 4 | 5, 15 << 4 | 5, 2 << 4 | 5, 5):
        for phase in (0, 4):
            with pytest.raises(FormatError, match="unknown coding 14"):
                decoded(bytes((group[0], byte, phase)) + group[2:])
    for end in range(1, 18):
        with pytest.raises(P59Error):
            decoded(group[:end])
    with pytest.raises(P59Error):  # an adaptation is missing
        decoded(bytes((group[0], (ADAPTED + 1) << 4 | 5)) + group[2:])


def test_without_turning_on_the_command_line(tmp_path, capsys):
    """`turn=false` codes images as they stand."""
    image = turned_back(image_of(MODEL, 40, 44, WAVEFRONT), 6)
    Image.fromarray(image).save(tmp_path / "image.png")
    (tmp_path / "model.safetensors").write_bytes(model_to_bytes(MODEL))
    for turn, orientation in (("true", 6), ("false", 0)):
        target = tmp_path / f"{turn}.p59"
        arguments = ["configs/encode_wavefront.json", f"checkpoint_file={tmp_path}/model.safetensors", "device=cpu"]
        arguments += [f"test_data={tmp_path}/image.png", f"bitstream_path={target}", f"turn={turn}"]
        assert main(arguments) == 0
        assert coding_of(group_of(target.read_bytes())).placement.orientation == orientation
    sizes = [(tmp_path / f"{turn}.p59").stat().st_size for turn in ("true", "false")]
    assert sizes[0] < sizes[1]
    capsys.readouterr()


def test_turning_from_python():
    """An argument of `p59.encode` and a keyword of Pillow's `save`."""
    array = turned_back(image_of(MODEL, 40, 44, WAVEFRONT), 6)
    files = []
    for turn in (True, False):
        files.append(p59.encode(array, model=MODEL, device="cpu", threads=1, turn=turn))
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "P59", model=MODEL, device="cpu", threads=1, turn=turn)
        assert buffer.getvalue() == files[-1]
        assert np.array_equal(p59.decode(files[-1], model=MODEL, device="cpu"), array)
    assert [coding_of(group_of(data)).placement.orientation for data in files] == [6, 0]


def test_the_bytes_of_a_turned_file_stay_the_same(recorded):
    """What this release writes, every later one writes and reads."""
    image = turned_back(image_of(random_frozen(TINY["west"], seed=11), 15, 26, WAVEFRONT), 5)
    recorded("turned file", encode_image(image, random_frozen(TINY["west"], seed=11), WAVEFRONT, BACKEND).hex())
