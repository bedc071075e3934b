"""P59 in Pillow: opening, saving, and what is taken of images that Pillow opened."""

from __future__ import annotations

import io
import os
import re

import imagecodecs
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

import p59
from coders.container import Container
from datasets.pictures import picture_of_samples
from datasets.png import png_of
from tests.helpers import noise, random_image
from tests.image_files import tiff


def saved(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "P59", **options)
    return buffer.getvalue()


DEEP = noise(9, 14, 4, kind=np.uint16)


DEEP_FILES = {
    "RGB.png": png_of(picture_of_samples(DEEP[:, :, :3])),
    "RGBA.png": png_of(picture_of_samples(DEEP)),
    "LA.png": png_of(picture_of_samples(DEEP[:, :, :2])),
    "RGB.tif": tiff(DEEP[:, :, :3], photometric="rgb"),
    "RGB.ppm": b"P6 14 9 65535\n" + DEEP[:, :, :3].astype(">u2").tobytes(),
    "RGB.jp2": imagecodecs.jpeg2k_encode(DEEP[:, :, :3], level=0),
}


@pytest.mark.parametrize("name", DEEP_FILES)
def test_all_bits_of_an_image_each_time_it_is_encoded(name, tmp_path):
    """Also where Pillow has loaded 8 bits of them since it was opened."""
    path = tmp_path / name
    path.write_bytes(DEEP_FILES[name])
    deep = DEEP[:, :, : len(path.stem)]
    sources = [path, path.open("rb"), io.BytesIO(DEEP_FILES[name])]
    for source in sources if path.suffix == ".png" else sources[:1]:
        with Image.open(source) as image:
            for used in (lambda: None, lambda: None, image.getexif, lambda: image.getpixel((0, 0))):
                used()
                assert np.array_equal(p59.decode_array(p59.encode(image)), deep)
            assert np.array_equal(p59.decode_array(saved(image)), deep)
    sources[1].close()
    with Image.open(path) as image:
        image.load()
    assert np.array_equal(p59.decode_array(p59.encode(image)), deep), "its file is closed"


@pytest.mark.parametrize("name", DEEP_FILES)
def test_an_image_that_was_changed_is_taken_as_it_is(name, tmp_path):
    (tmp_path / name).write_bytes(DEEP_FILES[name])
    with Image.open(tmp_path / name) as image, Image.open(tmp_path / name) as smaller:
        image.putpixel((3, 2), (1,) * len(image.getbands()))
        smaller.thumbnail((7, 7))
        for changed in (image, smaller, image.copy()):
            assert np.array_equal(p59.decode_array(p59.encode(changed)), np.asarray(changed))
        image.putpixel((3, 2), (2,) * len(image.getbands()))
        (tmp_path / name).unlink()
        assert np.array_equal(p59.decode_array(p59.encode(image)), np.asarray(image))


def test_the_number_of_a_closed_file_is_no_name(tmp_path):
    """Another file may have it by now."""
    (tmp_path / "RGB.png").write_bytes(DEEP_FILES["RGB.png"])
    with os.fdopen(os.open(tmp_path / "RGB.png", os.O_RDONLY), "rb") as file:
        image = Image.open(file)
        image.load()
    with (tmp_path / "RGB.png").open("rb") as other:
        assert other.fileno() == file.name
        assert np.array_equal(p59.decode_array(p59.encode(image)), np.asarray(image))
        assert other.read(4) == b"\x89PNG"


def test_encoding_leaves_an_image_as_it_is(tmp_path):
    (tmp_path / "RGB.png").write_bytes(DEEP_FILES["RGB.png"])
    with Image.open(tmp_path / "RGB.png") as image:
        before = dict(vars(image))
        assert p59.encode(image)
        assert vars(image) == before


def test_pillow_says_how_many_pixels_an_opened_file_may_have(monkeypatch):
    """More than pixel_limit, too, where it allows them."""
    small = Container.from_bytes(p59.encode(np.zeros((1, 1), bool)))
    data = Container(small.mode, 1 << 14, (1 << 14) + 1, bytes(8), small.chunks).to_bytes()
    with pytest.raises(p59.FormatError, match="raise pixel_limit"):
        p59.decode(data)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == ((1 << 14) + 1, 1 << 14)


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


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {"exif": 5}),
        ("RGB", {"exif": "x"}),
        ("RGB", {"exif": b"x"}),
        ("RGB", {"dpi": 300}),
        ("RGB", {"dpi": "12"}),
        ("RGB", {"dpi": (0, 1)}),
        ("RGB", {"dpi": (float("nan"), 1)}),
        ("RGB", {"dpi": (float("inf"), 1)}),
        ("RGB", {"gamma": -1}),
        ("RGB", {"gamma": "1"}),
        ("RGB", {"srgb": 4}),
        ("RGB", {"srgb": 1.0}),
        ("RGB", {"icc_profile": "x"}),
        ("RGB", {"xmp": 5}),
        ("RGB", {"xmp": b"\xff"}),
        ("RGB", {"chromaticity": (1, 2)}),
        ("RGB", {"aspect": (1.5, 1)}),
        ("RGB", {"aspect": (0, 1)}),
        ("RGB", {"transparency": 5}),
        ("RGB", {"transparency": (1, 2)}),
        ("L", {"transparency": 70000}),
        ("L", {"transparency": (1, 2, 3)}),
        ("P", {"transparency": 256}),
        ("RGBA", {"transparency": 1}),
    ],
)
def test_a_wrong_keyword_of_save_is_named(mode, options):
    ((key, value),) = options.items()
    with pytest.raises(OSError, match=re.escape(f"{key} is {value!r}; give ") + ".*, or None to leave it out"):
        saved(Image.new(mode, (2, 2)), **options)


def test_keywords_of_save_are_stored():
    def info(mode: str = "RGB", **options) -> dict:
        return p59.decode(saved(Image.new(mode, (2, 2)), **options)).info

    assert info(xmp="<ä/>")["xmp"] == "<ä/>".encode()
    assert info(dpi=np.array([300, 150]))["dpi"] == pytest.approx((300, 150), rel=1e-3)
    assert info(chromaticity=(0.25,) * 8, gamma=0.5, srgb=np.int64(3), aspect=[2, 1]) == {
        "chromaticity": (0.25,) * 8, "gamma": 0.5, "srgb": 3, "aspect": (2, 1)
    }  # fmt: skip
    assert info("P", transparency=b"\1")["transparency"] == b"\1"
    assert info("P", transparency=0)["transparency"] == 0
    assert info("1", transparency=255)["transparency"] == 255
    assert info(transparency=[1, 2, 3])["transparency"] == (1, 2, 3)
    assert info(exif=b"", icc_profile=b"", transparency=None) == {}


def test_one_image_is_saved_with_save_all():
    image = Image.new("RGB", (2, 2))
    assert saved(image, save_all=True) == saved(image)
    for options in ({"save_all": True}, {}):
        with pytest.raises(OSError, match=r"append_images has 1 more, .* save each in a file of its own"):
            saved(image, append_images=[image], **options)
