"""Metadata: what is kept, from where, and what is refused."""

from __future__ import annotations

import io
import re
import zlib
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

import p59
from coders.container import MOST_CHUNKS, Container
from datasets.deep import jpeg2000_profile
from datasets.metadata import info_of, same_metadata
from datasets.pictures import picture_of, read_picture
from datasets.png import png_of
from tests.image_files import (
    BYTES,
    WORDS,
    jpeg2000_with_profile,
    of,
    palette_image,
    pillow,
    png_info,
    profile_swapping_red_and_blue,
    tiff,
    with_chunk,
)
from utils.errors import FormatError, InputError
from utils.png_chunks import png_chunks

COLOUR = of(BYTES[:, :, :3])


def chunks_of(picture) -> dict[bytes, bytes]:
    return dict(picture.metadata)


@pytest.mark.parametrize("samples", [BYTES[:, :, :3], WORDS[:, :, :3]], ids=["8 bits", "16 bits"])
def test_profile_of_jpeg_2000(samples, tmp_path):
    """Pillow does not read it; it changes no sample."""
    profile = profile_swapping_red_and_blue()
    path = tmp_path / "a.jp2"
    path.write_bytes(jpeg2000_with_profile(imagecodecs.jpeg2k_encode(samples, level=0), profile))
    picture = read_picture(path)
    assert np.array_equal(picture.samples, samples)
    assert info_of("RGB", b"", None, picture.metadata)["icc_profile"] == profile


@pytest.mark.parametrize("kind", [b"cICP", b"mDCV", b"cLLI"])
def test_how_colours_are_shown_is_kept(kind, tmp_path):
    """Chunks of PNG that Pillow passes over."""
    content = with_chunk(pillow(COLOUR), kind, b"\x09\x10\x00\x01")
    (tmp_path / "a.png").write_bytes(content)
    picture = read_picture(tmp_path / "a.png")
    assert chunks_of(picture) == {kind: b"\x09\x10\x00\x01"}
    assert (kind, b"\x09\x10\x00\x01") in png_chunks(png_of(picture))


def test_shape_of_pixels_without_a_unit(tmp_path):
    content = bytearray(pillow(COLOUR, "JPEG", dpi=(30, 20)))
    content[content.index(b"JFIF") + 7] = 0  # its unit
    (tmp_path / "a.jpg").write_bytes(content)
    assert info_of("RGB", b"", None, read_picture(tmp_path / "a.jpg").metadata)["aspect"] == (30, 20)
    (tmp_path / "a.tif").write_bytes(tiff(BYTES[:, :, 0], resolution=(1.5, 1), resolutionunit="none"))
    across, down = info_of("L", b"", None, read_picture(tmp_path / "a.tif").metadata)["aspect"]
    assert across / down == 1.5


def test_tags_of_tiff_come_back_as_exif_and_stay(tmp_path):
    """White point, primaries and page number are facts of an image; the image given is left as it is."""
    fields = Image.Exif()
    fields[270], fields[318], fields[297], fields[0x8769] = "a", (0.25, 0.5), (1, 2), {0x9003: "2026:01:01 00:00:00"}
    with Image.open(io.BytesIO(pillow(COLOUR, "JPEG", exif=fields))) as image:
        COLOUR.save(tmp_path / "a.tif", exif=image.getexif())
    with Image.open(tmp_path / "a.tif") as image:
        before = dict(image.getexif())
        restored = p59.decode(p59.encode(image)).getexif()
        assert dict(image.getexif()) == before
        assert chunks_of(picture_of(image))[b"eXIf"].startswith((b"II*\0", b"MM\0*"))
    assert 256 in before
    assert set(restored) == {270, 318, 297, 0x8769}
    assert all(restored[tag] == before[tag] for tag in (270, 318, 297))
    assert restored.get_ifd(0x8769) == {0x9003: "2026:01:01 00:00:00"}


def test_texts_survive_being_coded_again(tmp_path):
    COLOUR.save(tmp_path / "a.png", pnginfo=png_info())
    (tmp_path / "a.p59").write_bytes(p59.encode(tmp_path / "a.png"))
    with Image.open(tmp_path / "a.p59") as image:
        image.save(tmp_path / "b.p59")
    texts = {"Title": "Größe", "Titel": "標題", "Long": "word " * 50}
    for path in (tmp_path / "a.p59", tmp_path / "b.p59"):
        info = p59.decode(p59.encode(path)).info
        assert {key: info[key] for key in texts} == texts


def test_what_describes_a_file_becomes_no_text(tmp_path):
    COLOUR.save(tmp_path / "a.tif", compression="tiff_lzw")
    with Image.open(tmp_path / "a.tif") as image:
        assert image.info["compression"] == "tiff_lzw"
        copy = image.copy()
    assert not chunks_of(picture_of(copy)).keys() - {b"pHYs"}
    COLOUR.save(tmp_path / "a.p59", quality="best", comment="x")
    with Image.open(tmp_path / "a.p59") as image:
        assert image.info == {}


def test_large_image_needs_a_larger_limit_when_saved(tmp_path):
    with pytest.raises(OSError, match="pixel_limit"):
        COLOUR.save(tmp_path / "a.p59", pixel_limit=COLOUR.width * COLOUR.height - 1)
    COLOUR.save(tmp_path / "a.p59", pixel_limit=COLOUR.width * COLOUR.height)


@pytest.mark.parametrize(
    ("mode", "info"),
    [
        ("RGB", {"transparency": 5}),
        ("RGB", {"transparency": (1, 2)}),
        ("RGB", {"transparency": (1, 2, 3, 4)}),
        ("L", {"transparency": (1, 2, 3)}),
        ("P", {"transparency": 300}),
        ("P", {"transparency": -1}),
        ("RGB", {"xmp": "<x/>".encode("utf-16")}),
        ("RGB", {"nul\0key": "x"}),
        ("RGB", {"": "x"}),
        ("RGB", {"k" * 80: "x"}),
    ],
)
def test_what_would_not_come_back_is_refused(mode, info):
    image = COLOUR.convert(mode)
    image.info.update(info)
    with pytest.raises(InputError, match=r"metadata cannot be read .*; remove it"):
        p59.encode(image)


def test_large_profiles_are_refused():
    """Pillow reads no more than a mebibyte of one, nor of the restored PNG file's."""
    image = COLOUR.copy()
    image.info["icc_profile"] = bytes((1 << 20) + 1)
    with pytest.raises(InputError) as raised:
        p59.encode(image)
    assert str(raised.value).count("cannot be read") == 1


def test_more_chunks_than_can_be_held_are_refused():
    container = Container.from_bytes(p59.encode(COLOUR))
    many = Container(container.mode, container.height, container.width, container.pixels,
                     ((200, b""),) * MOST_CHUNKS + container.chunks)  # fmt: skip
    with pytest.raises(FormatError, match="chunks"):
        Container.from_bytes(many.to_bytes())
    few = Container(container.mode, container.height, container.width, container.pixels,
                    ((200, b""),) * 9 + container.chunks)  # fmt: skip
    assert Container.from_bytes(few.to_bytes()).planes == container.planes


def test_more_texts_than_are_kept_are_refused(monkeypatch):
    monkeypatch.setattr("datasets.pictures.MOST_CHUNKS", 4)
    image = COLOUR.copy()
    image.info.update({"a": "1", "b": "2"})
    assert len(picture_of(image).metadata) == 2
    image.info["c"] = "3"
    with pytest.raises(InputError, match="3 texts"):
        picture_of(image)


def test_restored_images_may_be_changed(tmp_path):
    """As those of Pillow's own formats."""
    for mode in ("L", "RGB", "RGBA", "P", "1", "I;16"):
        image = Image.fromarray(WORDS[:, :, 0]) if mode == "I;16" else COLOUR.convert(mode)
        data = p59.encode(image)
        (tmp_path / "a.p59").write_bytes(data)
        with Image.open(tmp_path / "a.p59") as opened:
            for restored in (opened, p59.decode(data)):
                pixel = restored.getpixel((1, 1))
                restored.load()[0, 0] = pixel
                assert restored.getpixel((0, 0)) == pixel
        assert p59.decode(data).tobytes() == image.tobytes()


def test_how_colours_are_shown_survives_being_coded_again(tmp_path):
    """Pillow's `info` does not say it."""
    path = tmp_path / "a.png"
    path.write_bytes(with_chunk(pillow(COLOUR, dpi=(90, 90)), b"cICP", b"\x09\x10\x00\x01"))
    (tmp_path / "a.p59").write_bytes(p59.encode(path))
    again = Container.from_bytes(p59.encode(tmp_path / "a.p59"))
    assert sorted(again.metadata) == sorted(read_picture(path).metadata)


def test_shapes_of_pixels_that_cannot_be_told_are_left_out():
    for shape in ((1234567.5, 1.0), (1e-9, 2.0), (0, 1), (1, 1)):
        image = COLOUR.copy()
        image.info["resolution"] = shape
        assert picture_of(image).metadata == ()


def test_boxes_of_jpeg_2000_without_a_profile():
    content = imagecodecs.jpeg2k_encode(BYTES[:, :, :3], level=0)
    for box in (b"", b"\0\0\0\x08colr", b"\0\0\0\x0bcolr\2\0\0"):
        assert jpeg2000_profile(content + box) == b""


def test_the_same_metadata_compressed_otherwise():
    one = Container.from_bytes(p59.encode(_with_texts())).metadata
    other = tuple((kind, _again(kind, data)) for kind, data in one)
    assert one != other
    assert same_metadata(one, other)
    for number, (kind, data) in enumerate(one):
        changed = (*one[:number], (kind, data[:-9] + b"123456789"), *one[number + 1 :])
        assert not same_metadata(one, changed)
    assert not same_metadata(one, one[1:])


def _with_texts() -> Image.Image:
    with Image.open(io.BytesIO(pillow(COLOUR, pnginfo=png_info(), icc_profile=b"profile" * 50))) as image:
        image.load()
        return image


def _again(kind: bytes, data: bytes) -> bytes:
    """A chunk's content, compressed less."""
    place = data.find(b"\x78")
    if kind not in (b"iCCP", b"zTXt") or place < 0:
        return data
    return data[:place] + zlib.compress(zlib.decompress(data[place:]), 1)


def test_tags_of_bigtiff_come_back(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(BYTES[:, :, :3], bigtiff=True, photometric="rgb", description="hello"))
    restored = p59.decode(p59.encode(tmp_path / "a.tif"))
    assert restored.getexif()[270] == "hello"
    assert restored.info["exif"].startswith((b"II*\0", b"MM\0*", b"Exif\0\0"))


@pytest.mark.parametrize("value", [1 << 40, (1, 1 << 33)])
def test_a_tag_of_bigtiff_that_exif_cannot_hold_is_named(value, tmp_path):
    tag = (65000, 16, len(np.atleast_1d(value)), value, True)
    (tmp_path / "a.tif").write_bytes(tiff(BYTES[:, :, :3], bigtiff=True, photometric="rgb", extratags=[tag]))
    expected = rf"TIFF tag 65000, which is {re.escape(repr(value))}, cannot be EXIF: .*4294967295\); remove it"
    with pytest.raises(InputError, match=expected):
        p59.encode(tmp_path / "a.tif")


def test_no_resolution_is_none(tmp_path):
    COLOUR.save(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as image:
        copy = image.copy()
    for image in (tmp_path / "a.tif", copy):
        assert "dpi" not in p59.decode(p59.encode(image)).info


@pytest.mark.parametrize("again", [False, True])
def test_saving_replaces_what_an_image_says(tmp_path, again):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", "<old/>")
    texts.add_text("Title", "kept")
    path = tmp_path / "a.png"
    COLOUR.save(path, pnginfo=texts, dpi=(90, 90), icc_profile=profile)
    if again:
        with Image.open(path) as image:
            image.save(tmp_path / "a.p59")
        path = tmp_path / "a.p59"
    expected = {"Title": "kept", "dpi": (90, 90), "icc_profile": profile, "XML:com.adobe.xmp": "<old/>"}
    for options, changed in (
        ({}, {}),
        ({"xmp": b"<new/>"}, {"XML:com.adobe.xmp": "<new/>"}),
        ({"xmp": None}, {"XML:com.adobe.xmp": None}),
        ({"aspect": (2, 1)}, {"aspect": (2, 1), "dpi": None}),
        ({"dpi": None}, {"dpi": None}),
        ({"srgb": 1}, {"srgb": 1, "icc_profile": None}),
        ({"icc_profile": None}, {"icc_profile": None}),
    ):
        with Image.open(path) as image:
            before = dict(image.info)
            image.save(tmp_path / "b.p59", **options)
            assert image.info == before
        with Image.open(tmp_path / "b.p59") as image:
            found = {key: image.info.get(key) for key in expected | changed}
        if found["dpi"]:
            found["dpi"] = tuple(map(round, found["dpi"]))
        assert found == expected | changed, options


def test_texts_named_as_other_facts_are_texts(tmp_path):
    texts = PngImagePlugin.PngInfo()
    for key in ("gamma", "dpi", "xmp", "transparency"):
        texts.add_text(key, "a text")
    COLOUR.save(tmp_path / "a.png", pnginfo=texts)
    picture = read_picture(tmp_path / "a.png")
    assert [kind for kind, _ in picture.metadata] == [b"tEXt"] * 4
    assert picture.transparency is None


def test_infinite_numbers_are_metadata_that_cannot_be_read():
    image = COLOUR.copy()
    image.info["dpi"] = (float("inf"), 1)
    with pytest.raises(InputError, match="metadata cannot be read"):
        p59.encode(image)


def test_opacities_of_colours_that_there_are(tmp_path):
    """Not of others: PNG allows no more of them than colours."""
    for opacities, expected in ((bytes(range(200)), bytes(range(9))), (b"", None), (b"\xff\0", b"\xff\0")):
        (tmp_path / "a.png").write_bytes(with_chunk(pillow(palette_image(9)), b"tRNS", opacities))
        picture = read_picture(tmp_path / "a.png")
        assert picture.transparency == expected
        assert dict(png_chunks(png_of(replace(picture, transparency=opacities)))).get(b"tRNS") == expected
