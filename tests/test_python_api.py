"""p59.encode and p59.decode, and the examples of the documentation."""

from __future__ import annotations

import io
import os
import pathlib
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

import p59
from coders import plain
from coders.container import Container
from coders.network_rows import NETWORK
from coders.planes import ONE_CHANNEL, PACKED, TABLE
from coders.scan import WAVEFRONT
from datasets.pictures import picture_of_samples
from datasets.png import png_of
from models.model_file import model_to_bytes
from tests.helpers import ROOT, TINY, noise, random_frozen, random_image


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("code", examples(), ids=lambda code: re.sub(r"\W+", " ", code)[-30:])
def test_examples_run(code):
    exec(compile(code, "docs/python.md", "exec"), {})


@pytest.mark.parametrize("order", ["sequential", "wavefront", "diagonal"])
@pytest.mark.parametrize(("shape", "kind"), [((9, 14), np.uint8), ((9, 14, 3), np.uint8), ((5, 6, 4), np.uint16)])
def test_arrays_come_back(shape, kind, order):
    samples = np.random.default_rng(1).integers(0, np.iinfo(kind).max, shape).astype(kind)
    restored = p59.decode_array(p59.encode(samples, order=order, verify=True))
    assert restored.dtype == kind
    assert np.array_equal(restored, samples)


def test_paths_of_every_kind(tmp_path):
    file = tmp_path / "a.png"
    Image.fromarray(random_image(20, 24)).save(file)
    data = p59.encode(file)
    (named,), (in_bytes,) = os.scandir(tmp_path), os.scandir(os.fsencode(tmp_path))
    for path in (str(file), named, in_bytes):
        assert p59.encode(path) == data


def test_transparency_of_a_palette_in_memory():
    image = Image.fromarray(noise(8, 9) % 4, "P")
    image.putpalette(bytes(range(16)), "RGBA")
    assert p59.decode(p59.encode(image)).convert("RGBA").tobytes() == image.convert("RGBA").tobytes()


def test_verifying_notices_a_codec_that_lies(monkeypatch):
    decoded = p59.decode_picture

    def lies(*case):
        picture = decoded(*case)
        return replace(picture, samples=picture.samples ^ np.uint8(1))

    monkeypatch.setattr(p59, "decode_picture", lies)
    with pytest.raises(p59.LosslessError, match="does not decode to the image"):
        p59.encode(noise(5, 6), verify=True)
    p59.encode(noise(5, 6))


def test_files_that_hold_more_are_refused_once_loaded_too(tmp_path):
    (tmp_path / "two.ppm").write_bytes(b"P6 1 1 255\nabcP6 1 1 255\ndef")
    with Image.open(tmp_path / "two.ppm") as image:
        image.load()
        with pytest.raises(p59.InputError, match="another image"):
            p59.encode(image)


def test_masks_are_not_lost_without_a_word():
    with pytest.raises(p59.InputError, match="masked"):
        p59.encode(np.ma.masked_array(random_image(4, 4), mask=True))


@pytest.mark.parametrize(
    ("image", "forms"),
    [
        (noise(12, 13), [plain.RAW]),
        (noise(12, 13, 3), [plain.RAW]),
        (noise(12, 13, 1).repeat(3, 2), [ONE_CHANNEL << 4 | plain.RAW]),
        (noise(12, 13, 4), [plain.RAW] * 2),
        (noise(12, 13, kind=np.uint16), [plain.RAW] * 2),
        (noise(12, 13) < 99, [PACKED << 4 | plain.RAW]),
        (np.full((12, 13, 3), 7, np.uint8), [TABLE << 4 | plain.RAW]),
        (np.tile(np.arange(0, 250, 50, dtype=np.uint8), (30, 8)), [plain.DIFFERENCES]),
        (np.tile(noise(1, 20), (5, 1)), [plain.ROWS]),
        (random_image(24, 31, kind="smooth"), [NETWORK + WAVEFRONT.code]),
    ],
    ids=["gray", "colour", "gray colour", "alpha", "16 bits", "bilevel", "flat", "stripes", "rows", "network"],
)
def test_arrays_are_the_callers_own(image, forms):
    """However an image was coded, and nothing else sees what is written to one."""
    data = p59.encode(image, turn=False)
    assert [planes[0] for planes in Container.from_bytes(data).planes] == forms
    restored = p59.decode_array(data)
    assert restored.flags.owndata
    assert restored.flags.writeable
    assert restored.flags.c_contiguous
    assert np.array_equal(restored, image)
    restored[:] = 0
    assert np.array_equal(p59.decode_array(data), image)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    path.write_bytes(model_to_bytes(random_frozen(TINY["west"], seed=5)))
    return path


def networked(model_file) -> tuple[np.ndarray, bytes]:
    """An image for which some network beats plain coding, and its file by a random model where that does."""
    image = random_image(24, 31, kind="smooth")
    return image, p59.encode(image, model=model_file)


def test_a_model_of_ones_own_is_needed_again(model_file, monkeypatch):
    monkeypatch.setattr(p59, "_models", {})
    monkeypatch.setattr("coders.planes._quick", lambda form: bytes(1 << 20))
    monkeypatch.setattr("coders.planes._thorough", lambda *_: ())
    image, data = networked(model_file)
    with pytest.raises(p59.ModelError, match=r"p59\.add_model"):
        p59.decode(data)
    assert np.array_equal(p59.decode_array(data, model=model_file), image)
    p59.add_model(model_file)
    assert np.array_equal(p59.decode_array(data), image)
    with Image.open(io.BytesIO(data)) as opened:
        assert np.array_equal(np.asarray(opened), image)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"image": np.zeros((3, 4))}, p59.InputError),
        ({"image": np.zeros((3, 4, 5), np.uint8)}, p59.InputError),
        ({"image": np.zeros((0, 4), np.uint8)}, p59.InputError),
        ({"image": np.zeros(3, np.uint8)}, p59.InputError),
        ({"image": np.zeros((2, 2, 2), bool)}, p59.InputError),
        ({"image": 3}, p59.InputError),
        ({"image": "no such file.png"}, p59.InputError),
        ({"image": np.array(3, np.uint8)}, p59.InputError),
        ({"image": Image.new("CMYK", (2, 2))}, p59.InputError),
        ({"image": Image.new("RGB", (0, 2))}, p59.InputError),
        ({"order": "spiral"}, p59.RequestError),
        ({"order": ["x"]}, p59.RequestError),
        ({"turn": "no"}, p59.RequestError),
        ({"verify": np.zeros(2)}, p59.RequestError),
        ({"adapt_steps": np.zeros(2, int)}, p59.RequestError),
        ({"adapt_steps": np.array(1.5)}, p59.RequestError),
        ({"pixel_limit": 3}, p59.InputError),
    ],
)
def test_only_own_errors_leave_encode(arguments, error):
    with pytest.raises(error):
        p59.encode(**{"image": np.zeros((2, 3), np.uint8), **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"threads": 0}, p59.RequestError, "threads is 0; it must be a whole number of 1 to 1024"),
        ({"threads": 1 << 31}, p59.RequestError, "threads is 2147483648; "),
        ({"threads": "2"}, p59.RequestError, "threads is '2'; "),
        ({"threads": 2.0}, p59.RequestError, "threads is 2.0; "),
        ({"threads": True}, p59.RequestError, "threads is True; "),
        ({"pixel_limit": None}, p59.RequestError, "pixel_limit is None; it must be a whole number of at least 1"),
        ({"pixel_limit": "9"}, p59.RequestError, "pixel_limit is '9'; "),
        ({"pixel_limit": 0}, p59.RequestError, "pixel_limit is 0; "),
        ({"device": "abacus"}, p59.RequestError, "device is 'abacus'; "),
        ({"device": None}, p59.RequestError, "device is None; "),
        ({"device": 3}, p59.RequestError, "device is 3; "),
        ({"model": 5}, p59.RequestError, "model is a int; give a frozen model or its file, or a list of these"),
        ({"model": [None]}, p59.RequestError, "model is a NoneType; "),
        ({"model": b"x"}, p59.RequestError, "model is a bytes; "),
        ({"model": np.array(5)}, p59.RequestError, "model is a ndarray; "),
        ({"model": {}}, p59.RequestError, "model is a dict; "),
        ({"model": "no such model"}, p59.ModelError, "model 'no such model' cannot be read "),
        ({"model": "no\0path"}, p59.ModelError, "model 'no\\x00path' cannot be read "),
        ({"model": "none"}, p59.ModelError, "(No such file or directory); give the path of a model's file"),
        ({"model": ""}, p59.RequestError, "model is ''; give a model's file, or None for the shipped models"),
    ],
)
def test_arguments_are_checked(arguments, error, message):
    image = np.zeros((2, 3), np.uint8)
    data = p59.encode(image)
    for call in (partial(p59.encode, image), partial(p59.decode, data), partial(p59.decode_array, data)):
        with pytest.raises(error, match=re.escape(message)):
            call(**arguments)


def test_numbers_of_numpy_are_whole_numbers():
    image = random_image(9, 9, kind="smooth")
    data = p59.encode(image, threads=np.int64(1), pixel_limit=np.uint8(81), turn=np.True_, verify=np.True_)
    assert np.array_equal(p59.decode_array(data, threads=np.int8(1), pixel_limit=np.int32(81)), image)


@pytest.mark.parametrize("model", [5, None, b"x", ["x"]])
def test_what_is_no_model_is_not_added(model):
    with pytest.raises(p59.RequestError, match="model is a "):
        p59.add_model(model)


def test_an_empty_path_is_named():
    with pytest.raises(p59.InputError, match="image is ''; give the path of an image file"):
        p59.encode("")


@pytest.mark.parametrize("data", ["a.p59", pathlib.Path("a.p59"), io.BytesIO(), Image.new("L", (1, 1))])
def test_what_to_give_to_decode_instead_of_a_file(data):
    for decode in (p59.decode, p59.decode_array):
        with pytest.raises(p59.RequestError, match=r"read_bytes\(\)\), or open it with PIL.Image.open"):
            decode(data)


@pytest.mark.parametrize("data", [b"", b"\x89P59", b"\x89P59\x01", b"not", 3, None, "text"])
def test_only_own_errors_leave_decode(data):
    with pytest.raises(p59.FormatError if isinstance(data, bytes) else p59.RequestError):
        p59.decode(data)


def test_sixteen_bit_colour_is_an_array():
    data = p59.encode(np.zeros((2, 3, 3), np.uint16))
    with pytest.raises(p59.RequestError, match="decode_array"):
        p59.decode(data)
    with pytest.raises(OSError, match="decode_array"):
        Image.open(io.BytesIO(data))


def test_a_p59_file_may_be_encoded_again(tmp_path):
    """With everything it holds, 16-bit colour too."""
    deep = noise(9, 14, 3, kind=np.uint16)
    (tmp_path / "deep.png").write_bytes(png_of(replace(picture_of_samples(deep), metadata=((b"cICP", b"1234"),))))
    (tmp_path / "deep.p59").write_bytes(p59.encode(tmp_path / "deep.png"))
    again = p59.encode(tmp_path / "deep.p59", order="diagonal")
    assert np.array_equal(p59.decode_array(again), deep)
    assert Container.from_bytes(again).metadata == ((b"cICP", b"1234"),)
    (tmp_path / "deep.p59").write_bytes(again[:-1])
    with pytest.raises(p59.FormatError, match="damaged"):
        p59.encode(tmp_path / "deep.p59")


def test_arrays_of_the_other_byte_order():
    pixels = np.arange(30, dtype=np.uint16).reshape(5, 6) * 1000
    for order in "<>":
        np.testing.assert_array_equal(p59.decode_array(p59.encode(pixels.astype(f"{order}u2"))), pixels)
    with pytest.raises(p59.InputError, match=r"array \(5, 6\) >u4"):
        p59.encode(pixels.astype(">u4"))
