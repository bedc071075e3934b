"""Image files of many formats, made here: some by Pillow and others, some byte by byte."""

from __future__ import annotations

import io
import struct

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

from utils.png_chunks import png_chunks, png_file

RANDOM = np.random.default_rng(3)
BYTES = RANDOM.integers(0, 256, (13, 17, 4), np.uint8)
WORDS = RANDOM.integers(0, 65536, (13, 17, 4)).astype(np.uint16)


def exif() -> Image.Exif:
    fields = Image.Exif()
    fields[0x0112], fields[0x010F] = 6, "maker"
    return fields


def png_info() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 45455))
    info.add(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
    info.add(b"sRGB", b"\1")
    info.add_text("Title", "Größe")
    info.add_text("Long", "word " * 50, zip=True)
    info.add_itxt("Titel", "標題", "zh", "t")
    return info


def fits(samples: np.ndarray) -> bytes:
    """Planes (N, H, W) uint8, of which Pillow reads the first."""
    count, height, width = samples.shape
    cards = (
        "SIMPLE = T",
        "BITPIX = 8",
        "NAXIS = 3",
        f"NAXIS1 = {width}",
        f"NAXIS2 = {height}",
        f"NAXIS3 = {count}",
        "END",
    )
    header = "".join(
        f"{name:8}{value and '= ' + value:72}" for name, _, value in (card.partition(" = ") for card in cards)
    )
    return header.ljust(2880).encode() + samples.tobytes().ljust(2880, b"\0")


def pillow(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def of(samples: np.ndarray) -> Image.Image:
    return Image.fromarray(samples if samples.shape[2:] != (1,) else samples[:, :, 0])


def palette_image(colours: int) -> Image.Image:
    image = Image.fromarray((BYTES[:, :, 0] % np.uint16(colours)).astype(np.uint8))
    image.putpalette(bytes(RANDOM.integers(0, 256, 3 * colours, np.uint8)))
    return image


def tiff(samples: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **options)
    return buffer.getvalue()


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    header, *rest = png_chunks(png)
    return png_file([header, (kind, data), *rest])


def with_box(content: bytes, kind: bytes) -> bytes:
    """A file of boxes with one of 70 kB, larger than any head of a file, put before that of a kind."""
    start = content.index(kind) - 4
    return content[:start] + struct.pack(">I4s", 8 + 70000, b"free") + bytes(70000) + content[start:]


def jpeg2000_of_palette(bits: int) -> bytes:
    """A gray JPEG 2000 file whose header names a palette of one colour."""
    content = imagecodecs.jpeg2k_encode(BYTES[:, :, 0], level=0)
    box = struct.pack(">I4sHB3B3H", 20, b"pclr", 1, 3, *[bits - 1] * 3, 1, 2, 3)
    start, end = content.index(b"jp2h") - 4, content.index(b"jp2c") - 4
    return content[:start] + struct.pack(">I", end - start + 20) + content[start + 4 : end] + box + content[end:]


def jpeg2000_with_profile(content: bytes, profile: bytes) -> bytes:
    """A JPEG 2000 file whose colours are those of an ICC profile instead of an enumerated space."""
    start, end = content.index(b"jp2h") - 4, content.index(b"jp2c") - 4
    colour = content.index(b"colr") - 4
    (length,) = struct.unpack_from(">I", content, colour)
    box = struct.pack(">I4sBBB", 11 + len(profile), b"colr", 2, 0, 0) + profile
    inside = content[start + 8 : colour] + box + content[colour + length : end]
    return content[:start] + struct.pack(">I4s", 8 + len(inside), b"jp2h") + inside + content[end:]


def profile_swapping_red_and_blue() -> bytes:
    """An sRGB profile whose red and blue are exchanged: who applies it changes samples."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"?XYZ", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"?XYZ", b"bXYZ", 1)


def later_avif(content: bytes) -> bytes:
    """An AVIF file with its description behind a large box, and so the place of its data changed."""
    place = content.index(b"mdat") + 4
    assert content.count(struct.pack(">I", place)) == 1
    return with_box(content.replace(struct.pack(">I", place), struct.pack(">I", place + 8 + 70000)), b"meta")


def sgi(samples: np.ndarray) -> bytes:
    height, width, channels = samples.shape
    header = struct.pack(">HBBHHHH", 474, 0, samples.itemsize, 3 if channels > 1 else 2, width, height, channels).ljust(
        512, b"\0"
    )
    return header + samples[::-1].transpose(2, 0, 1).astype(samples.dtype.newbyteorder(">")).tobytes()


def ico(png: bytes) -> bytes:
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(png), 22) + png


def icns(content: bytes) -> bytes:
    return struct.pack(">4sI4sI", b"icns", 16 + len(content), b"icp4", 8 + len(content)) + content


def dds(flags: int, masks: tuple[int, ...], fourcc: bytes = bytes(4), tenth: tuple[int, ...] = ()) -> bytes:
    """A DDS file of 16x16 pixels that are all zero."""
    header = struct.pack("<7I44x", 124, 0x1007, 16, 16, 0, 0, 0) + struct.pack("<2I4sI", 32, flags, fourcc, 32)
    rest = struct.pack("<4I5I", *masks, 0x1000, 0, 0, 0, 0) + struct.pack(f"<{len(tenth)}I", *tenth)
    return b"DDS " + header + rest + bytes(1024)


def bmp_565() -> bytes:
    """A BMP file of 17x13 pixels of 16 bits each."""
    sizes = struct.pack("<IiiHHIIiiII", 40, 17, 13, 1, 16, 3, 0, 0, 0, 0, 0) + struct.pack("<3I", 0xF800, 0x7E0, 0x1F)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 66) + sizes + RANDOM.bytes(36 * 13)


def xpm(colour: str) -> bytes:
    return f'/* XPM */\nstatic char *a[] = {{\n"2 1 1 1",\n"a c #{colour}",\n"aa"\n}};\n'.encode()


ICON = np.ascontiguousarray(np.tile(WORDS, (2, 1, 1))[:16, :16, :3])
#: name -> (file ending, contents, mode of the picture). One or more for each row of the README's table.
