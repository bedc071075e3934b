"""Images opened with Pillow: what their files say is kept each time, and what was changed since is what is stored."""

from __future__ import annotations

import io
import pickle

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

import p59
from coders.container import Container
from datasets.pictures import read_picture
from tests.image_files import (
    BYTES,
    WORDS,
    exif,
    jpeg2000_with_profile,
    of,
    pillow,
    png_info,
    profile_swapping_red_and_blue,
    with_chunk,
)
from utils.errors import InputError
from utils.png_chunks import png_chunks, png_file

COLOUR = of(BYTES[:, :, :3])
#: Keys of PNG texts that Pillow gives another meaning.
OTHER_MEANINGS = (
    *("compression", "xmp", "dpi", "exif", "gamma", "srgb", "icc_profile", "transparency", "aspect", "chromaticity"),
    *("resolution", "jfif_unit", "jfif_density", "Raw profile type exif", "loop", "Title"),
)


def encoded_again(image: Image.Image) -> Container:
    return Container.from_bytes(p59.encode(image))


def saved_again(image: Image.Image, **options) -> Container:
    buffer = io.BytesIO()
    image.save(buffer, "P59", **options)
    return Container.from_bytes(buffer.getvalue())


@pytest.mark.parametrize("place", [None, 1, -2])
@pytest.mark.parametrize("key", OTHER_MEANINGS)
def test_a_text_stays_a_text_whatever_its_key(key, place, tmp_path):
    """Read from the path, opened, loaded, encoded twice, through .p59 files: the chunks of the PNG file, where the text
    is the only one, or stands before the others or behind them.
    """
    options = {"dpi": (90, 90), "exif": exif(), "transparency": (1, 2, 3)} if place else {}
    texts = PngImagePlugin.PngInfo()
    if place:
        for kind, data in ((b"gAMA", b"\0\0\xb1\x8f"), (b"cHRM", bytes(range(32))), (b"sRGB", b"\1")):
            texts.add(kind, data)
    source = png_chunks(pillow(COLOUR, pnginfo=texts, **options))
    source.insert(place or 1, (b"tEXt", key.encode() + b"\x00300 dpi"))
    (tmp_path / "a.png").write_bytes(png_file(source))
    expected = sorted(chunk for chunk in source if chunk[0] not in (b"IHDR", b"IDAT", b"IEND", b"tRNS"))
    assert len(expected) == (6 if place else 1)
    data = p59.encode(tmp_path / "a.png")
    with (
        Image.open(tmp_path / "a.png") as opened,
        Image.open(tmp_path / "a.png") as loaded,
        Image.open(io.BytesIO(data)) as plugin,
    ):
        loaded.load()
        images = [opened, opened, loaded, plugin, plugin, p59.decode(data)]
        found = [Container.from_bytes(data), *map(encoded_again, images), *map(saved_again, images)]
        for container in found:
            assert sorted(container.metadata) == expected
            assert container.transparency == (b"\0\1\0\2\0\3" if place else None)


@pytest.mark.parametrize("key", OTHER_MEANINGS)
def test_texts_of_a_copy_become_nothing_else(key, tmp_path):
    """Of which Pillow knows `info` alone."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text(key, "300 dpi")
    COLOUR.save(tmp_path / "a.png", pnginfo=texts)
    with Image.open(tmp_path / "a.png") as image:
        copy = image.copy()
    if key == "exif":  # Pillow has made bytes of it
        with pytest.raises(InputError, match="which is no EXIF"):
            p59.encode(copy)
    else:
        assert encoded_again(copy).metadata == ((b"tEXt", key.encode() + b"\x00300 dpi"),)


def test_a_text_that_may_hide_something_needs_the_file():
    chunks = png_chunks(pillow(COLOUR, dpi=(90, 90)))
    chunks.insert(-2, (b"tEXt", b"dpi\x00300"))
    with io.BytesIO(png_file(chunks)) as file:
        image = Image.open(file)
        image.load()
    with pytest.raises(InputError, match="the text 'dpi' may hide"):
        p59.encode(image)


def test_texts_behind_the_samples_are_kept(tmp_path):
    """Pillow reads them when it loads an image, which is not done for 16-bit colour."""
    for content in (pillow(COLOUR), imagecodecs.png_encode(np.ascontiguousarray(WORDS[:, :, :3]))):
        chunks = png_chunks(content)
        (tmp_path / "a.png").write_bytes(png_file([*chunks[:-1], (b"tEXt", b"Late\0text"), chunks[-1]]))
        assert read_picture(tmp_path / "a.png").metadata == ((b"tEXt", b"Late\0text"),)
        with Image.open(tmp_path / "a.png") as image:
            assert encoded_again(image).metadata == ((b"tEXt", b"Late\0text"),)


def test_how_colours_are_shown_is_kept_each_time():
    for content, kind in (
        (with_chunk(pillow(COLOUR), b"cICP", b"\x09\x10\x00\x01"), b"cICP"),
        (jpeg2000_with_profile(imagecodecs.jpeg2k_encode(BYTES, level=0), profile_swapping_red_and_blue()), b"iCCP"),
    ):
        with Image.open(io.BytesIO(content)) as image:
            for _ in range(2):
                assert [kind for kind, _ in encoded_again(image).metadata] == [kind]


def opened_in(form: str, **said) -> Image.Image:
    """An opened image that says this, as a file of a form or a copy of it."""
    if form in ("JPEG", "WEBP"):
        said = {"exif": said["exif"], "icc_profile": said["icc_profile"]}
    content = pillow(COLOUR, form if form in ("JPEG", "WEBP") else "PNG", **said)
    file = io.BytesIO(content)
    image = Image.open(file)
    if form.startswith("P59"):
        data = p59.encode(image)
        return Image.open(io.BytesIO(data)) if form == "P59 opened" else p59.decode(data)
    if form in ("loaded", "file closed"):
        image.load()
    if form == "file closed":
        file.close()
    if form == "pickled":
        return pickle.loads(pickle.dumps(image))
    return image.copy() if form == "copy" else image


FORMS = ("PNG", "loaded", "file closed", "pickled", "copy", "P59 opened", "P59 decoded", "JPEG", "WEBP")
SAID = {"pnginfo": png_info(), "exif": exif(), "dpi": (90, 90), "icc_profile": b"profile"}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_changed_in_info_is_what_is_stored(form):
    before = p59.decode(p59.encode(opened_in(form, **SAID))).info
    for change in (
        {"Title": "new"},
        {"More": "Größe 標題"},
        {"Title": None, "icc_profile": None},
        {"gamma": 0.5},
        {"icc_profile": b"another"},
        {"srgb": 1, "icc_profile": None},
        {"xmp": b"<x/>", "XML:com.adobe.xmp": "<x/>"},
        {"aspect": (2, 1), "dpi": None},
        {"exif": None},
    ):
        image = opened_in(form, **SAID)
        for key, value in change.items():
            if value is None:
                image.info.pop(key, None)
            else:
                image.info[key] = value
        expected = {key: value for key, value in (before | change).items() if value is not None}
        for container in (encoded_again(image), saved_again(image)):
            found = p59.decode(container.to_bytes()).info
            assert found == expected, change


def test_what_is_changed_in_text_is_what_is_stored():
    image = opened_in("loaded", **SAID)
    image.text["Title"] = "new"
    del image.text["Long"]
    restored = p59.decode(p59.encode(image)).info
    assert (restored["Title"], restored.get("Long"), restored["Titel"]) == ("new", None, "標題")


@pytest.mark.parametrize("form", FORMS)
def test_what_is_changed_in_getexif_is_what_is_stored(form):
    fields = exif()
    fields[274] = 6
    fields.get_ifd(0x8825)[1] = "N"
    said = {**SAID, "exif": fields.tobytes()}
    image = opened_in(form, **said)
    original = image.info["exif"].removeprefix(b"Exif\0\0")
    assert image.getexif().get_ifd(0x8825) == {1: "N"}
    assert dict(encoded_again(image).metadata)[b"eXIf"] == original, "as it was, to the byte"
    image.getexif()[274] = 1
    del image.getexif()[0x8825]
    for container in (encoded_again(image), saved_again(image)):
        found = p59.decode(container.to_bytes()).getexif()
        assert found[274] == 1
        assert found.get_ifd(0x8825) == {}
        assert 0x8825 not in found
    assert [kind for kind, _ in saved_again(image, exif=None).metadata].count(b"eXIf") == 0
    assert dict(saved_again(image, exif=exif()).metadata)[b"eXIf"] == exif().tobytes()[6:]
    image.info["exif"] = exif().tobytes()
    with pytest.raises(InputError, match=r"info\['exif'\] and getexif\(\) were both changed"):
        p59.encode(image)


def test_exif_set_on_a_new_image_is_stored():
    image = COLOUR.copy()
    image.getexif()[270] = "a"
    assert p59.decode(p59.encode(image)).getexif() == {270: "a"}
    for tag in list(image.getexif()):
        del image.getexif()[tag]
    assert encoded_again(image).metadata == ()


def test_an_orientation_in_xmp_becomes_no_exif(tmp_path):
    """Where Pillow looks for it."""
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    COLOUR.save(tmp_path / "a.png", pnginfo=texts)
    with Image.open(tmp_path / "a.png") as image:
        assert image.getexif()[274] == 6
        assert [kind for kind, _ in encoded_again(image).metadata] == [b"iTXt"]


def test_images_turned_as_exif_says_say_so():
    fields = exif()
    fields[274] = 6
    for form in FORMS:
        image = opened_in(form, **{**SAID, "exif": fields.tobytes()})
        ImageOps.exif_transpose(image, in_place=True)
        restored = p59.decode(p59.encode(image))
        assert restored.size == COLOUR.size[::-1]
        assert restored.getexif().get(274, 1) == 1
