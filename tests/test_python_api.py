"""p59.encode and p59.decode, the Pillow plugin, and the examples of the documentation."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

import p59
from models.model_file import model_to_bytes
from tests.helpers import ROOT, TINY, random_frozen, random_image


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
    with pytest.raises(p59.ModelError, match="checkpoint_file"):
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
        ({"image": Image.new("CMYK", (2, 2))}, p59.InputError),
        ({"image": Image.new("RGB", (0, 2))}, p59.InputError),
        ({"order": "spiral"}, p59.RequestError),
        ({"threads": 0}, p59.RequestError),
        ({"device": "abacus"}, p59.RequestError),
        ({"model": "no such model"}, p59.ModelError),
        ({"pixel_limit": 3}, p59.InputError),
    ],
)
def test_only_own_errors_leave_encode(arguments, error):
    with pytest.raises(error):
        p59.encode(**{"image": np.zeros((2, 3), np.uint8), **arguments})


@pytest.mark.parametrize("data", [b"", b"\x89P59", b"\x89P59\x01", b"not", 3, None, "text"])
def test_only_own_errors_leave_decode(data):
    with pytest.raises(p59.FormatError):
        p59.decode(data)


def test_sixteen_bit_colour_is_an_array():
    data = p59.encode(np.zeros((2, 3, 3), np.uint16))
    with pytest.raises(p59.FormatError, match="array"):
        p59.decode(data)
    with pytest.raises(OSError, match="decode_array"):
        Image.open(io.BytesIO(data))


def saved(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "P59", **options)
    return buffer.getvalue()


def test_opening_decodes_nothing_until_it_must(monkeypatch):
    data = saved(Image.new("P", (7, 5), 3))
    calls = []
    decoded = p59._decoded
    monkeypatch.setattr(p59, "_decoded", lambda *all_: calls.append(1) or decoded(*all_))
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode, image.size, calls) == ("P59", "P", (7, 5), [])
        assert image.getpixel((0, 0)) == 3
        image.load()
        assert len(calls) == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_pillow_saves_and_opens(mode, tmp_path):
    samples = random_image(11, 13, 4)
    image = Image.new(mode, (13, 11)) if mode == "I;16" else Image.fromarray(samples).convert(mode)
    path = tmp_path / "a.p59"
    image.save(path, order="diagonal", dpi=(100, 200), icc_profile=b"profile")
    with Image.open(path) as opened:
        assert opened.info["icc_profile"] == b"profile"
        assert [round(value) for value in opened.info["dpi"]] == [100, 200]
        assert (opened.mode, opened.tobytes(), opened.getpalette()) == (mode, image.tobytes(), image.getpalette())
        assert opened.copy().convert("RGBA").size == (13, 11)
    assert image.info.get("icc_profile") is None


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data[:9], lambda data: data[:-3] + b"abc"])
def test_damage_is_an_oserror_for_pillow(change):
    with pytest.raises(OSError):  # noqa: PT011 - Pillow's way; the message is this project's
        Image.open(io.BytesIO(change(saved(Image.new("L", (9, 9), 1)))))
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(b"something else"))


def test_errors_of_saving_are_oserrors():
    with pytest.raises(OSError, match="CMYK"):
        saved(Image.new("CMYK", (2, 2)))
    with pytest.raises(OSError, match="spiral"):
        saved(Image.new("L", (2, 2)), order="spiral")
