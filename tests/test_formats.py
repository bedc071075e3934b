"""Every kind of image that is taken comes back in mode, samples and metadata; every other is refused with a remedy."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from coders.backends import backend_for
from coders.container import Container
from coders.image_codec import decode_picture, encode_picture
from coders.picture import same_picture
from coders.scan import WAVEFRONT
from datasets.pictures import image_of, picture_of, read_picture
from datasets.png import png_of
from tests.helpers import TINY, random_frozen
from tests.image_files import (
    BYTES,
    ICON,
    WORDS,
    bmp_565,
    dds,
    exif,
    fits,
    icns,
    ico,
    jpeg2000_of_palette,
    later_avif,
    of,
    palette_image,
    pillow,
    png_info,
    sgi,
    tiff,
    with_box,
    with_chunk,
    xpm,
)
from utils.errors import InputError
from utils.png_chunks import image_chunks, png_file

MODELS = {3: random_frozen(TINY["west"]), 1: random_frozen(TINY["gray"])}
FOUND = {model.file_id: model for model in MODELS.values()}

TAKEN: dict[str, tuple[str, bytes, str]] = {
    "RGB": ("png", pillow(of(BYTES[:, :, :3])), "RGB"),
    "gray": ("png", pillow(of(BYTES[:, :, :1])), "L"),
    "equal channels": ("png", pillow(of(BYTES[:, :, [1, 1, 1]])), "RGB"),
    "RGBA": ("png", pillow(of(BYTES)), "RGBA"),
    "LA": ("png", pillow(of(BYTES[:, :, :2])), "LA"),
    **{f"palette of {count}": ("png", pillow(palette_image(count)), "P") for count in (1, 2, 3, 16, 17, 256)},
    "palette, transparent index": ("png", pillow(palette_image(9), transparency=4), "P"),
    "palette, transparency": ("png", pillow(palette_image(9), transparency=bytes(range(0, 90, 10))), "P"),
    "palette GIF": ("gif", pillow(palette_image(200), "GIF"), "P"),
    "palette BMP": ("bmp", pillow(palette_image(20), "BMP"), "P"),
    "bilevel": ("png", pillow(Image.fromarray(BYTES[:, :, 0] > 99)), "1"),
    "bilevel TIFF": ("tif", pillow(Image.fromarray(BYTES[:, :, 0] > 99), "TIFF", compression="group4"), "1"),
    "16-bit gray": ("png", pillow(Image.fromarray(WORDS[:, :, 0])), "I;16"),
    "16-bit gray TIFF": ("tif", pillow(Image.fromarray(WORDS[:, :, 0]), "TIFF"), "I;16"),
    "16-bit gray big-endian": ("tif", tiff(WORDS[:, :, 0], byteorder=">"), "I;16"),
    "16-bit PGM": ("pgm", b"P5\n17 13\n65535\n" + WORDS[:, :, 0].astype(">u2").tobytes(), "I;16"),
    "16-bit RGB": ("png", imagecodecs.png_encode(np.ascontiguousarray(WORDS[:, :, :3])), "RGB;16"),
    "16-bit RGBA": ("png", imagecodecs.png_encode(WORDS), "RGBA;16"),
    "16-bit LA": ("png", imagecodecs.png_encode(np.ascontiguousarray(WORDS[:, :, :2])), "LA;16"),
    "8 bits as 16": ("png", imagecodecs.png_encode(BYTES[:, :, :3].astype(np.uint16) * 257), "RGB;16"),
    "16-bit RGB TIFF": ("tif", tiff(WORDS[:, :, :3], photometric="rgb"), "RGB;16"),
    "16-bit RGB TIFF, deflated": ("tif", tiff(WORDS[:, :, :3], photometric="rgb", compression="zlib"), "RGB;16"),
    "16-bit RGB TIFF, planes apart": (
        "tif",
        tiff(WORDS[:, :, :3].transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
        "RGB;16",
    ),
    "16-bit PPM": ("ppm", b"P6\n#x\n17 13\n65535\n" + WORDS[:, :, :3].astype(">u2").tobytes(), "RGB;16"),
    "16-bit JPEG 2000": ("jp2", imagecodecs.jpeg2k_encode(WORDS[:, :, :3], level=0), "RGB;16"),
    "16-bit JPEG 2000 behind a large box": (
        "jp2",
        with_box(imagecodecs.jpeg2k_encode(WORDS[:, :, :3], level=0), b"jp2c"),
        "RGB;16",
    ),
    "16-bit JPEG 2000 codestream": (
        "j2k",
        imagecodecs.jpeg2k_encode(WORDS[:, :, :3], level=0, codecformat="j2k"),
        "RGB;16",
    ),
    "16-bit RGBA TIFF": ("tif", tiff(WORDS, photometric="rgb", extrasamples=["unassalpha"]), "RGBA;16"),
    "16-bit RGB TIFF, planes of 3x3 apart": (
        "tif",
        tiff(WORDS[:3, :3, :3].transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
        "RGB;16",
    ),
    "PPM and what is no image": ("ppm", b"P6 17 13 255\n" + BYTES[:, :, :3].tobytes() + b"\n", "RGB"),
    "transparent colour": ("png", pillow(of(BYTES[:, :, :3]), transparency=(1, 2, 3)), "RGB"),
    "transparent gray": ("png", pillow(of(BYTES[:, :, :1]), transparency=7), "L"),
    "transparent 16-bit gray": ("png", pillow(Image.fromarray(WORDS[:, :, 0]), transparency=999), "I;16"),
    "transparent bilevel": ("png", pillow(Image.fromarray(BYTES[:, :, 0] > 99), transparency=255), "1"),
    "transparent 16-bit colour": (
        "png",
        with_chunk(imagecodecs.png_encode(np.ascontiguousarray(WORDS[:, :, :3])), b"tRNS", b"\0\1\0\2\0\3"),
        "RGB;16",
    ),
    "metadata": ("png", pillow(of(BYTES[:, :, :3]), pnginfo=png_info(), dpi=(300, 72.5), exif=exif()), "RGB"),
    "profile": ("png", pillow(of(BYTES), icc_profile=b"profile" * 50), "RGBA"),
    "profile of a palette": ("png", pillow(palette_image(5), icc_profile=b"profile", dpi=(9, 9)), "P"),
    "JPEG": (
        "jpg",
        pillow(of(BYTES[:, :, :3]), "JPEG", exif=exif(), dpi=(72, 72), icc_profile=b"p", xmp=b"<x/>"),
        "RGB",
    ),
    "gray JPEG": ("jpg", pillow(of(BYTES[:, :, :1]), "JPEG"), "L"),
    "WebP": ("webp", pillow(of(BYTES), "WEBP", lossless=True, exact=True, exif=exif()), "RGBA"),
    "TIFF": ("tif", pillow(of(BYTES[:, :, :3]), "TIFF", dpi=(50, 60), compression="tiff_lzw"), "RGB"),
    "JPEG 2000": ("jp2", imagecodecs.jpeg2k_encode(BYTES[:, :, :3], level=0), "RGB"),
    "JPEG 2000 behind a large box": (
        "jp2",
        with_box(imagecodecs.jpeg2k_encode(BYTES[:, :, :3], level=0), b"jp2c"),
        "RGB",
    ),
    "16-bit gray JPEG 2000": ("jp2", imagecodecs.jpeg2k_encode(WORDS[:, :, 0], level=0), "I;16"),
    "TIFF of opaque associated alpha": (
        "tif",
        tiff(np.dstack((BYTES[:, :, :3], np.full(BYTES.shape[:2], 255, np.uint8))), extrasamples=["assocalpha"]),
        "RGBA",
    ),
    "AVIF": ("avif", imagecodecs.avif_encode(BYTES[:, :, :3], level=100), "RGB"),
    "AVIF behind a large box": ("avif", later_avif(imagecodecs.avif_encode(BYTES[:, :, :3], level=100)), "RGB"),
    "SGI": ("sgi", sgi(BYTES[:, :, :3]), "RGB"),
    "BMP of 5, 6 and 5 bits": ("bmp", bmp_565(), "RGB"),
    "palette TIFF": ("tif", pillow(palette_image(20), "TIFF"), "P"),
    "palette XPM": ("xpm", xpm("123456"), "P"),
    "DDS": ("dds", dds(0x41, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)), "RGBA"),
    "ICO": ("ico", ico(imagecodecs.png_encode((ICON >> 8).astype(np.uint8))), "RGB"),
    "16-bit gray ICO": ("ico", ico(pillow(Image.fromarray(ICON[:, :, 0]))), "I;16"),
    "ICNS": ("icns", icns(imagecodecs.png_encode((ICON >> 8).astype(np.uint8))), "RGB"),
    "QOI": ("qoi", pillow(of(BYTES), "QOI"), "RGBA"),
    "TGA": ("tga", pillow(of(BYTES[:, :, :3]), "TGA"), "RGB"),
}


def through_p59(picture):
    data = encode_picture(picture, lambda rows: MODELS.get(rows.shape[2]), WAVEFRONT, backend_for("cpu"))
    return decode_picture(Container.from_bytes(data), FOUND.__getitem__, backend_for("cpu"))


@pytest.mark.parametrize("name", TAKEN)
def test_comes_back_in_mode_samples_and_metadata(name, tmp_path: Path):
    ending, content, mode = TAKEN[name]
    source, restored = tmp_path / f"a.{ending}", tmp_path / "b.png"
    source.write_bytes(content)
    picture = read_picture(source)
    assert picture.mode.name == mode
    restored_picture = through_p59(picture)
    assert same_picture(restored_picture, picture)
    restored.write_bytes(png_of(restored_picture))
    assert same_picture(read_picture(restored), picture)
    with Image.open(source) as before, Image.open(restored) as after:
        before.load()
        after.load()
        assert after.mode == {"I": "I;16", "I;16B": "I;16"}.get(before.mode, before.mode)
        if picture.mode.wide and mode != "I;16":  # Pillow reads 8 bits of these, and rounds them by the file's format
            expected = BYTES[:, :, :3].astype(np.uint16) * 257 if name == "8 bits as 16" else WORDS
            height, width, channels = picture.samples.shape
            assert np.array_equal(picture.samples, expected[:height, :width, :channels])
        else:
            assert np.array_equal(np.asarray(after), np.asarray(before))
        assert after.getpalette() == before.getpalette()
        kept = ("icc_profile", "gamma", "chromaticity", "srgb", "transparency", "Title", "Titel", "Long")
        assert {key: after.info.get(key) for key in kept} == {key: before.info.get(key) for key in kept}
        if "dpi" in before.info and before.format not in ("TIFF", "BMP"):
            assert after.info["dpi"] == pytest.approx(before.info["dpi"], rel=1e-3)
        if before.format != "TIFF":
            assert dict(after.getexif()) == dict(before.getexif())
        if not picture.mode.wide or mode == "I;16":
            image = image_of(restored_picture)
            assert (image.mode, image.info, image.getpalette()) == (after.mode, after.info, after.getpalette())
            assert np.array_equal(np.asarray(image), np.asarray(after))


@pytest.mark.parametrize("bits", [b"\0\0\0\0", b"\xff\xff\xff\xff"])
def test_low_bytes_are_kept(bits, tmp_path):
    samples = np.frombuffer(bits + bytes(range(20)), ">u2").astype(np.uint16).reshape(2, 2, 3)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(samples))
    assert np.array_equal(through_p59(read_picture(tmp_path / "a.png")).samples, samples)


FRAMES = [of(BYTES[:, :, :3]), of(BYTES[:, :, 1:])]
REFUSED = {
    "CMYK": ("tif", pillow(of(BYTES).convert("CMYK"), "TIFF"), "CMYK"),
    "LAB": ("tif", pillow(of(BYTES[:, :, :3]).convert("LAB"), "TIFF"), "LAB"),
    "float": ("tif", pillow(Image.fromarray(BYTES[:, :, 0].astype(np.float32)), "TIFF"), "mode F"),
    "32-bit": ("tif", pillow(Image.fromarray(BYTES[:, :, 0].astype(np.int32) << 12), "TIFF"), "65535"),
    "negative": ("tif", pillow(Image.fromarray(-BYTES[:, :, 0].astype(np.int32)), "TIFF"), "65535"),
    "animated GIF": ("gif", pillow(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), "frames"),
    "animated PNG": ("png", pillow(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), "frames"),
    "animated WebP": ("webp", pillow(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]), "frames"),
    "pages": ("tif", pillow(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:]), "frames"),
    "MPO": ("jpg", pillow(FRAMES[0], "MPO", save_all=True, append_images=FRAMES[1:]), "frames"),
    "10-bit PPM": ("ppm", b"P6\n17 13\n1023\n" + (WORDS[:, :, :3] & 1023).astype(">u2").tobytes(), "10 bits"),
    "12-bit PPM of text": ("ppm", b"P3\n1 1\n4095\n1 2 4095\n", "12 bits"),
    "truncated 16-bit PPM": ("ppm", b"P6 10 10 65535", "cannot be read"),
    "12-bit JPEG 2000": ("jp2", imagecodecs.jpeg2k_encode(WORDS[:, :, :3] >> 4, level=0, bitspersample=12), "12 bits"),
    "20-bit gray JPEG 2000": (
        "jp2",
        imagecodecs.jpeg2k_encode(WORDS[:, :, 0].astype(np.uint32) << 4, level=0, bitspersample=20),
        "20 bits",
    ),
    "JPEG 2000 of a 12-bit palette": ("jp2", jpeg2000_of_palette(12), "12 bits"),
    "JPEG 2000 without a codestream": (
        "jp2",
        imagecodecs.jpeg2k_encode(BYTES[:, :, :3], level=0).replace(b"jp2c", b"free"),
        "how many bits",
    ),
    "10-bit AVIF": ("avif", imagecodecs.avif_encode(WORDS[:, :, :3] >> 6, level=100, bitspersample=10), "10 bits"),
    "12-bit AVIF": ("avif", imagecodecs.avif_encode(WORDS[:, :, :3] >> 4, level=100, bitspersample=12), "12 bits"),
    "10-bit AVIF behind a large box": (
        "avif",
        later_avif(imagecodecs.avif_encode(WORDS[:, :, :3] >> 6, level=100, bitspersample=10)),
        "10 bits",
    ),
    "16-bit SGI": ("sgi", sgi(WORDS[:, :, :3]), "16 bits"),
    "16-bit gray SGI": ("sgi", sgi(WORDS[:, :, :1]), "16 bits"),
    "16-bit ICO": ("ico", ico(imagecodecs.png_encode(ICON)), "16 bits"),
    "16-bit ICNS": ("icns", icns(imagecodecs.png_encode(ICON)), "16 bits"),
    "16-bit gray ICNS": ("icns", icns(pillow(Image.fromarray(ICON[:, :, 0]))), "16 bits"),
    "16-bit ICNS of JPEG 2000": ("icns", icns(imagecodecs.jpeg2k_encode(ICON, level=0)), "16 bits"),
    "10-bit DDS": ("dds", dds(0x40, (0x3FF, 0x3FF << 10, 0x3FF << 20, 0)), "10 bits"),
    "DDS of floats": ("dds", dds(4, (0, 0, 0, 0), b"DX10", (95, 3, 0, 1, 0)), "16 bits"),
    "16-bit PSD": (
        "psd",
        struct.pack(">4sH6xHIIHH14x", b"8BPS", 1, 3, 13, 17, 16, 3) + WORDS[:, :, :3].tobytes(),
        "cannot read",
    ),
    "palette TIFF of 16 bits": (
        "tif",
        tiff(BYTES[:, :, 0], photometric="palette", colormap=np.arange(768, dtype=np.uint16).reshape(3, 256)),
        "palette of 16 bits",
    ),
    "palette XPM of 16 bits": ("xpm", xpm("123456789ABC"), "palette of 16 bits"),
    "16-bit TIFF of associated alpha": (
        "tif",
        tiff(WORDS, photometric="rgb", extrasamples=["assocalpha"]),
        "convert to unassociated alpha",
    ),
    "16-bit TIFF of another channel": ("tif", tiff(WORDS, photometric="rgb", extrasamples=[0]), "another channel"),
    "FITS of planes": ("fits", fits(BYTES[:, :, :3].transpose(2, 0, 1)), "planes"),
    "PSD of further channels": (
        "psd",
        struct.pack(">4sH6xHIIHH14x", b"8BPS", 1, 5, 13, 17, 8, 3)
        + BYTES[:, :, [0, 1, 2, 3, 3]].transpose(2, 0, 1).tobytes(),
        "5 channels",
    ),
    "PSD of one channel more": (
        "psd",
        struct.pack(">4sH6xHIIHH14x", b"8BPS", 1, 2, 13, 17, 8, 1) + BYTES[:, :, :2].transpose(2, 0, 1).tobytes(),
        "2 channels",
    ),
    "two PPM images": ("ppm", b"P6 1 1 255\nabcP6 1 1 255\ndef", "another image"),
    "two PGM images of 16 bits": ("pgm", b"P5 1 1 65535\nab\nP5 1 1 65535\ncd", "another image"),
    "two PBM images": ("pbm", b"P4 9 1\nab P4 9 1\ncd", "another image"),
    "TIFF of a smaller copy": ("tif", tiff(BYTES[:, :, :3], subfiletype=1), "a smaller copy"),
    "DNG": ("tif", tiff(BYTES[:, :, :3], extratags=[(50706, 1, 4, bytes((1, 4, 0, 0)), True)]), "camera's raw"),
    "TIFF of planes in depth": ("tif", tiff(BYTES[:, :, :2].transpose(2, 0, 1), volumetric=True), "planes in depth"),
    "TIFF of signed samples": ("tif", tiff(BYTES[:, :, 0].view(np.int8), photometric="minisblack"), "signed"),
    "JPEG 2000 of signed samples": ("jp2", imagecodecs.jpeg2k_encode(WORDS[:, :, 0].view(np.int16), level=0), "signed"),
    "JPEG 2000 of YCbCr": (
        "jp2",
        imagecodecs.jpeg2k_encode(BYTES[:, :, :3], level=0).replace(b"\1\0\0\0\0\0\x10", b"\1\0\0\0\0\0\x12"),
        "YCbCr",
    ),
    "Photo CD": ("pcd", bytes(2048) + b"PCD_IPI".ljust(96 * 2048 + 3 * 256 * 768, b"\0"), "larger sizes"),
    "TIFF of associated alpha, opaque in places": (
        "tif",
        tiff(np.dstack((BYTES[:, :, :3], BYTES[:, :, 3] | 0xF0)), extrasamples=["assocalpha"]),
        "unassociated",
    ),
    "16-bit TIFF of opaque associated alpha": (
        "tif",
        tiff(np.dstack((WORDS[:, :, :3], np.full(WORDS.shape[:2], 65535, np.uint16))), extrasamples=["assocalpha"]),
        "unassociated",
    ),
    "TIFF of associated alpha": ("tif", tiff(BYTES, photometric="rgb", extrasamples=["assocalpha"]), "unassociated"),
    "TIFF of another channel": ("tif", tiff(BYTES, photometric="rgb", extrasamples=[0]), "another channel"),
    "gray TIFF of another channel": (
        "tif",
        tiff(BYTES[:, :, :2], photometric="minisblack", planarconfig="contig", extrasamples=[0]),
        "another channel",
    ),
    "16-bit TIFF whose 0 is white": ("tif", tiff(WORDS[:, :, 0], photometric="miniswhite"), "0 for white"),
    "large profile": ("jpg", pillow(FRAMES[0], "JPEG", icc_profile=bytes(1 << 21)), "metadata"),
    "truncated": ("png", TAKEN["RGB"][1][:200], "cannot"),
    "empty": ("png", b"", "cannot"),
    "no image": ("png", b"text", "cannot"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_what_to_do(name, tmp_path):
    ending, content, words = REFUSED[name]
    (tmp_path / f"a.{ending}").write_bytes(content)
    with pytest.raises(InputError, match=words) as raised:
        read_picture(tmp_path / f"a.{ending}")
    assert ";" in str(raised.value)  # the remedy follows


@pytest.mark.parametrize(("bits", "value"), [(1, 0), (1, 1), (2, 0), (2, 1), (2, 3), (2, 6), (4, 1), (4, 9), (4, 31)])
def test_transparent_gray_of_few_bits(bits, value, tmp_path):
    samples = BYTES[:, :, 0] >> (8 - bits)
    rows = np.packbits(np.unpackbits(samples[:, :, None], axis=2)[:, :, 8 - bits :].reshape(13, -1), axis=1)
    header, data = image_chunks(17, 13, bits, 0, zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes()))
    png = png_file([header, (b"tRNS", struct.pack(">H", value)), data, (b"IEND", b"")])
    (tmp_path / "a.png").write_bytes(png)
    restored = Image.open(io.BytesIO(png_of(through_p59(read_picture(tmp_path / "a.png")))))
    levels = 1 << bits
    gray, alpha = samples * np.uint8(255 // (levels - 1)), np.where(samples == value % levels, 0, 255)  # low bits count
    expected = np.stack([gray, gray, gray, alpha], 2)
    assert np.array_equal(np.asarray(restored.convert("RGBA")), expected)
    with Image.open(tmp_path / "a.png") as image:
        for used in (lambda: None, lambda: None, image.load):
            used()
            again = Image.open(io.BytesIO(png_of(through_p59(picture_of(image)))))
            assert np.array_equal(np.asarray(again.convert("RGBA")), expected)
        image.putpixel((0, 0), 0)
        image.info["transparency"] = 0  # of what was loaded
        assert picture_of(image).transparency == b"\0\0"


def test_palette_of_alpha_becomes_transparency(tmp_path):
    image = Image.new("P", (7, 5), 2)
    image.putpalette(bytes(range(16)), "RGBA")
    image.save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert picture.transparency == bytes([3, 7, 11, 15])


def test_what_is_not_kept(tmp_path):
    """As docs/formats.md says: comments of JPEG and GIF, texts before the last of a key, an ICO's smaller sizes."""
    for kind in ("jpeg", "gif"):
        path = tmp_path / f"image.{kind}"
        path.write_bytes(pillow(of(BYTES[:, :, 0]), kind, comment=b"remark"))
        with Image.open(path) as image:
            assert image.info["comment"] == b"remark"
        assert "comment" not in image_of(through_p59(read_picture(path))).info
    texts, path = PngImagePlugin.PngInfo(), tmp_path / "image.png"
    for key, text in (("Comment", "first"), ("Title", "only"), ("Comment", "last")):
        texts.add_text(key, text)
    path.write_bytes(pillow(of(BYTES[:, :, 0]), pnginfo=texts))
    assert path.read_bytes().count(b"Comment") == 2
    assert image_of(through_p59(read_picture(path))).info == {"Comment": "last", "Title": "only"}
    path, sizes = tmp_path / "image.ico", [(16, 16), (32, 32), (24, 24)]
    path.write_bytes(pillow(of(BYTES).resize((32, 32)), "ICO", sizes=sizes))
    with Image.open(path) as image:
        assert image.info["sizes"] == set(sizes)
    assert through_p59(read_picture(path)).samples.shape == (32, 32, 4)


def test_pixel_limit_is_checked_before_loading(tmp_path):
    (tmp_path / "a.png").write_bytes(pillow(Image.new("1", (4000, 4000))))
    with pytest.raises(InputError, match="raise pixel_limit"):
        read_picture(tmp_path / "a.png", 1000)


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
@pytest.mark.parametrize("shape", [(4, 7), (4, 7, 3)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_tiff_that_is_stored_turned_is_refused(tmp_path, kind, shape, orientation):
    """Pillow would turn the samples, in some modes wrongly, and forget the tag."""
    samples = np.random.default_rng(0).integers(0, 255, shape).astype(kind)
    image = Image.fromarray(samples) if kind == np.uint8 or len(shape) == 2 else None
    path = tmp_path / "a.tif"
    if image is not None:
        image.save(path, tiffinfo={274: orientation})
    else:
        tifffile = pytest.importorskip("tifffile")
        tifffile.imwrite(path, samples, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    with pytest.raises(InputError, match="stored turned"):
        read_picture(path)
