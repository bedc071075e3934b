"""What image files hold that is not kept is told by `compare`, before anybody deletes them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from coders.container import PIXEL_LIMIT
from datasets.unkept import PNG_CHUNKS, summary, unkept
from tests.command_line_cases import run
from utils.errors import InputError

__all__ = ["run"]  # a fixture
IMAGE = Image.linear_gradient("L").resize((9, 7))


def with_chunks(png: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file with chunks behind its header."""
    added = b"".join(
        struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return png[:33] + added + png[33:]


def with_segment(jpeg: bytes, marker: int, data: bytes) -> bytes:
    """A JPEG file with a segment behind its start."""
    return jpeg[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data + jpeg[2:]


def files(folder: Path) -> dict[str, list[str]]:
    """Files of images, and what each holds that is not kept."""
    IMAGE.save(folder / "plain.png")
    png = (folder / "plain.png").read_bytes()
    IMAGE.save(folder / "plain.jpg", dpi=(72, 72), icc_profile=b"profile", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
    jpeg = (folder / "plain.jpg").read_bytes()
    IMAGE.save(folder / "comment.jpg", comment=b"accession number 1234")
    IMAGE.save(folder / "comment.gif", comment=b"remark")
    IMAGE.save(folder / "plain.jp2")
    IMAGE.save(folder / "comment.jp2", comment=b"remark")
    IMAGE.save(folder / "plain.gif")
    IMAGE.save(folder / "plain.tif", dpi=(300, 300))
    IMAGE.save(folder / "plain.bmp")
    (folder / "iptc.jpg").write_bytes(with_segment(jpeg, 0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\0"))
    (folder / "xmp.jpg").write_bytes(with_segment(jpeg, 0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(40)))
    content = {b"sBIT": b"\x05", b"bKGD": bytes(2), b"tIME": bytes([7, 228, 1, 2, 3, 4, 5]), b"oFFs": bytes(9)}
    content |= {b"hIST": bytes(4), b"sPLT": b"a\0\x08" + bytes(6)}
    for kind, data in content.items():
        (folder / f"{kind.decode()}.png").write_bytes(with_chunks(png, (kind, data)))
    (folder / "private.png").write_bytes(with_chunks(png, (b"prVt", b"x"), (b"prVt", b"y")))
    texts = PngImagePlugin.PngInfo()
    for key in ("Author", "Title", "Author"):
        texts.add_text(key, "x")
    IMAGE.save(folder / "texts.png", pnginfo=texts)
    images = TiffImagePlugin.ImageFileDirectory_v2()
    images[330], images.tagtype[330] = 8, 13
    IMAGE.save(folder / "images.tif", tiffinfo=images)
    layers = TiffImagePlugin.ImageFileDirectory_v2()
    layers[37724] = b"Adobe Photoshop Document Data Block\0"
    IMAGE.save(folder / "layers.tif", tiffinfo=layers)
    (folder / "c2pa.jpg").write_bytes(with_segment(jpeg, 0xEB, b"JP\0\0" + bytes(9)))
    gain_map = b'<x:xmpmeta><rdf hdrgm:Version="1.0"/></x:xmpmeta>'  # else it is an image of two, which is refused
    IMAGE.save(folder / "mpf.jpg", "MPO", save_all=True, append_images=[IMAGE], xmp=gain_map)
    (folder / "motion.jpg").write_bytes(jpeg + b"\0\0\0\x18ftypmp42")
    (folder / "padded.jpg").write_bytes(jpeg + bytes(100))
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"
    (folder / "packet.jpg").write_bytes(with_segment(jpeg, 0xE1, xmp))
    (folder / "packets.jpg").write_bytes(with_segment(with_segment(jpeg, 0xE1, xmp), 0xE1, xmp))
    (folder / "behind.png").write_bytes(png + b"PK\3\4")
    gif = (folder / "plain.gif").read_bytes()
    place = 13 + 3 * (2 << (gif[10] & 7))  # behind the palette
    extension = b"!\xff\x0bXMP DataXMP\x01x\0"
    (folder / "xmp.gif").write_bytes(gif[:place] + extension + gif[place:])
    IMAGE.convert("RGB").save(folder / "colour.bmp")
    header = struct.pack("<2sIHHI", b"BM", 54 + 4 * 63, 0, 0, 54)
    header += struct.pack("<IiiHHIIiiII", 40, 9, 7, 1, 32, *[0] * 6)
    (folder / "zeros.bmp").write_bytes(header + bytes((1, 2, 3, 0)) * 63)
    (folder / "fourth.bmp").write_bytes(header + bytes((1, 2, 3, 0)) * 62 + bytes((1, 2, 3, 4)))
    IMAGE.save(folder / "plain.tga")
    IMAGE.save(folder / "name.tga", id_section=b"scan 7")
    IMAGE.save(folder / "plain.pgm")
    pgm = (folder / "plain.pgm").read_bytes()
    (folder / "comment.pgm").write_bytes(pgm.replace(b"\n", b"\n# remark\n", 1))
    IMAGE.resize((32, 32)).convert("RGBA").save(folder / "sizes.ico", sizes=[(16, 16), (32, 32)])
    return {
        "plain.png": [],
        "plain.jpg": [],
        "plain.gif": [],
        "plain.tif": [],
        "plain.bmp": [],
        "comment.jpg": ["comment"],
        "comment.gif": ["comment"],
        "plain.jp2": [],
        "comment.jp2": ["comment"],
        "iptc.jpg": ["IPTC or other fields of Photoshop's"],
        "xmp.jpg": ["second part of XMP"],
        "c2pa.jpg": ["segment APP11"],
        "mpf.jpg": ["further images (MPF)"],
        "motion.jpg": ["bytes behind the image"],
        "padded.jpg": [],
        "packet.jpg": [],
        "packets.jpg": ["segment APP1"],
        "behind.png": ["bytes behind the image"],
        "xmp.gif": ["extension XMP DataXMP"],
        "colour.bmp": [],
        "zeros.bmp": [],
        "fourth.bmp": ["fourth bytes of pixels"],
        "plain.tga": [],
        "name.tga": ["name (image ID)"],
        "plain.pgm": [],
        "comment.pgm": ["comment"],
        **{f"{kind.decode()}.png": [PNG_CHUNKS[kind]] for kind in content},
        "private.png": ["chunk prVt"],
        "texts.png": ["several texts of the same key"],
        "images.tif": ["further images (SubIFDs)"],
        "layers.tif": ["layers of Photoshop's"],
        "sizes.ico": ["smaller sizes"],
    }


def test_what_is_found(tmp_path):
    for name, expected in files(tmp_path).items():
        assert unkept(tmp_path / name, PIXEL_LIMIT) == expected, name


def test_what_is_no_image(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="as an image"):
        unkept(tmp_path / "a.png", PIXEL_LIMIT)


def test_summaries():
    assert summary([]) is None
    found = [(Path("b"), ["time"]), (Path("c"), ["place", "comment"]), (Path("a"), ["comment"])]
    expected = "3 images hold what is not kept: comment in 2 (a), place in 1 (c), time in 1 (b); see docs/formats.md"
    assert summary(found) == summary(found[::-1]) == expected


def test_compare_tells(run, tmp_path):
    (tmp_path / "photos").mkdir()
    given = files(tmp_path / "photos")
    names = [name for name in given if not name.endswith(".ico")]
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out") == 0
    assert run("compare.json", test_data="photos", bitstream_path="out") == 0
    assert f"{len(names)} of {len(names)} images are held" in run.out
    (line,) = (line for line in run.out.splitlines() if "not kept" in line)
    holding = sum(bool(found) for found in given.values()) - 1
    assert line.startswith(f"{holding} images hold what is not kept: comment in 4 (photos/comment.gif), ")
    assert "chunk prVt in 1 (photos/private.png)" in line
    for name in names:
        if not name.startswith("plain"):
            (tmp_path / "photos" / name).unlink()
    assert run("compare.json", test_data="photos", bitstream_path="out") == 0
    assert "not kept" not in run.out
