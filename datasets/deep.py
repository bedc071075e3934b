"""Images of more bits than Pillow would read (of colour 8, of gray 16): found, and read with imagecodecs or refused."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image, UnidentifiedImageError

from datasets.tiff import BITS_OF_SAMPLE, PALETTE, PLANES
from utils.errors import InputError
from utils.png_chunks import png_chunks, png_file

REMEDY = "save it as PNG or TIFF of 16 bits"
#: Bits that Pillow holds of a sample, or of a palette's colours, in each mode that files of more may be read as.
HELD = {"L": 8, "LA": 8, "RGB": 8, "RGBA": 8, "P": 8, "I;16": 16}
#: Boxes of JPEG 2000 and AVIF files that hold boxes, and the bytes before the first of these.
HOLDERS = dict.fromkeys((b"jp2h", b"iprp", b"ipco", b"moov", b"trak", b"mdia", b"minf", b"stbl"), 0)
HOLDERS |= {b"meta": 4, b"stsd": 8, b"av01": 78}
#: How a JPEG 2000 file's colour box says that its samples are YCbCr, or that an ICC profile follows.
YCBCR = struct.pack(">I", 18)
ICC_METHODS = (b"\2", b"\3")
#: What a JPEG 2000 codestream begins with: its SOC marker and that of the SIZ segment, which says the depths.
CODESTREAM = b"\xff\x4f\xff\x51"
XPM_COLOUR = re.compile(rb"\sc\s+#([0-9A-Fa-f]+)")


def deep_samples(image: Image.Image) -> np.ndarray | None:
    """Samples (H, W, C) uint16 of an opened file where Pillow would drop bits, else None.

    None too where the samples have been loaded already: the bits are lost by then. Raises InputError where they cannot
    be read.
    """
    if getattr(image, "fp", None) is None or image.mode not in HELD:
        return None
    bits = bits_of(image)
    if bits <= HELD[image.mode]:
        return None
    name = f"{image.format} {'palette' if image.mode == 'P' else 'image'} of {bits} bits"
    if image.format not in READERS or bits != 16 or image.mode == "P":
        raise InputError(f"{name} cannot be read without loss; {REMEDY}")
    try:
        samples = READERS[image.format](image)
    except Exception as error:  # imagecodecs raises a type for each library beneath it
        raise InputError(f"{name} cannot be read ({error}); get the file again, or {REMEDY}") from error
    channels = samples.shape[2:] if image.format == "PNG" else (len(image.getbands()),)  # PNG's LA is opened as RGBA
    if samples.dtype != np.uint16 or samples.ndim != 3 or samples.shape != (image.height, image.width, *channels):
        raise InputError(f"{name} is laid out as {samples.shape}; {REMEDY}")
    return samples


def bits_of(image: Image.Image) -> int:
    """Bits of a sample, or of a palette's colours, as an opened file stores them; at most 8 where Pillow keeps all.

    Raises InputError where a JPEG 2000 or AVIF file does not say, or has samples that Pillow would change.
    """
    if image.format in ("ICO", "ICNS"):
        return _icon_bits(image)
    if not image.tile:
        return 8
    return BITS.get(image.format, _raw_bits)(image)


def _raw_bits(image: Image.Image) -> int:
    modes = [tile.args if isinstance(tile.args, str) else str((tile.args or ("",))[0]) for tile in image.tile]
    deep = any(";16" in mode and mode != "BGR;16" for mode in modes)  # BGR;16: 16 bits of a pixel
    return 16 if deep or image.tile[0].codec_name == "SGI16" else 8


def _tiff_bits(image: Image.Image) -> int:
    colours = image.tag_v2.get(PALETTE, ()) if image.mode == "P" else ()
    if any(colour % 256 not in (0, colour // 256) for colour in colours):  # not 8 bits, times 256 or 257
        return 16
    return max(image.tag_v2.get(BITS_OF_SAMPLE, (1,)))


def _ppm_bits(image: Image.Image) -> int:
    values = [tile.args[1] for tile in image.tile if isinstance(tile.args, tuple)]
    return max([8, *(int(value).bit_length() for value in values if isinstance(value, int))])


def _dds_bits(image: Image.Image) -> int:
    codec, _, _, args = image.tile[0]
    if codec == "dds_rgb":  # args: bits of a pixel, mask of each channel
        return max(mask.bit_count() for mask in args[1])
    return 16 if codec == "bcn" and args[0] == 6 else 8  # BC6: floats of 16 bits


def _xpm_bits(image: Image.Image) -> int:
    return max([8, *(len(digits) * 4 // 3 for digits in XPM_COLOUR.findall(content_of(image)))])


def _icon_bits(image: Image.Image) -> int:
    """Of the PNG or JPEG 2000 file in an icon that Pillow takes."""
    if image.format == "ICO":
        places = [image.ico.entry[image.ico.getentryindex(image.size)].offset]
    else:
        kinds = (kind for kind, _ in image.icns.SIZES[image.best_size])
        places = [image.icns.dct[kind][0] for kind in kinds if kind in image.icns.dct]
    content, bits = content_of(image), [8]
    for place in places:
        try:
            with Image.open(io.BytesIO(content[place:]), formats=("PNG", "JPEG2000")) as inside:
                bits.append(bits_of(inside))
        except UnidentifiedImageError:  # plain samples of 8 bits
            continue
    return max(bits)


def _avif_bits(image: Image.Image) -> int:
    """The most of any of its images: in the third byte of an av1C box, bit 6 says 10 bits or, with bit 5, 12."""
    content = content_of(image)
    flags = [content[start + 2] for kind, start in _boxes(content) if kind == b"av1C" and start + 2 < len(content)]
    if not flags:
        raise _unknown(image)
    return max(8 if not flag & 0x40 else 12 if flag & 0x20 else 10 for flag in flags)


def _jpeg2000_bits(image: Image.Image) -> int:
    """The most of a component of the codestream, and of a column of the palette before it."""
    content, start, depths = content_of(image), 0, b""
    if not content.startswith(CODESTREAM):
        for kind, start in _boxes(content):
            if kind == b"pclr":  # number of colours in two bytes, of columns in one, then a byte for each column
                depths = content[start + 3 :][: int.from_bytes(content[start + 2 : start + 3])]
            elif kind == b"colr" and content[start : start + 1] == b"\1" and content[start + 3 : start + 7] == YCBCR:
                raise InputError("JPEG2000 image is stored as YCbCr, which becomes RGB by rounding; save it as RGB")
            elif kind == b"jp2c":
                break
        else:
            raise _unknown(image)
    (components,) = struct.unpack(">H", content[start + 40 : start + 42].rjust(2, b"\0"))
    own = content[start + 42 : start + 42 + 3 * components : 3]
    if not content.startswith(CODESTREAM, start) or not 0 < components == len(own):
        raise _unknown(image)
    if any(depth & 128 for depth in own + depths):
        raise InputError("JPEG2000 image has signed samples; save it with unsigned ones")
    return max((depth & 127) + 1 for depth in own + depths)


def _unknown(image: Image.Image) -> InputError:
    return InputError(f"{image.format} image does not say where expected how many bits its samples have; {REMEDY}")


def _boxes(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Kind, and where the content starts, of each box of a file, those inside others (HOLDERS) included."""
    place = 0
    while place + 8 <= len(content):
        length, kind, longer = struct.unpack(">I4sQ", content[place : place + 16].ljust(16, b"\0"))
        start = place + (16 if length == 1 else 8)
        yield kind, start
        if kind in HOLDERS:
            place = start + HOLDERS[kind]
        elif length:
            place = max(start, place + (longer if length == 1 else length))
        else:  # up to the end of the file
            return


def jpeg2000_profile(content: bytes) -> bytes:
    """The ICC profile in a JPEG 2000 file, whose own first four bytes are its length; empty where there is none."""
    for kind, start in () if content.startswith(CODESTREAM) else _boxes(content):
        if kind == b"colr" and content[start : start + 1] in ICC_METHODS:
            profile = content[start + 3 :]
            return profile[: int.from_bytes(profile[:4])]
    return b""


def content_of(image: Image.Image) -> bytes:
    """The file of an opened image that has not been loaded yet."""
    place = image.fp.tell()
    image.fp.seek(0)
    content = image.fp.read()
    image.fp.seek(place)
    return content


def _png(image: Image.Image) -> np.ndarray:
    import imagecodecs

    chunks = png_chunks(content_of(image))
    return imagecodecs.png_decode(png_file([chunk for chunk in chunks if chunk[0] != b"tRNS"]))  # else made alpha


def _tiff(image: Image.Image) -> np.ndarray:
    import imagecodecs

    samples = imagecodecs.tiff_decode(content_of(image))
    planes_apart = samples.ndim == 3 and image.tag_v2.get(PLANES) == 2
    return samples.transpose(1, 2, 0) if planes_apart else samples


def _jpeg2000(image: Image.Image) -> np.ndarray:
    import imagecodecs

    content = bytearray(content_of(image))
    for kind, start in _boxes(content):
        if kind == b"colr" and content[start : start + 1] in ICC_METHODS:  # the library would convert the samples
            place = content.rindex(kind, 0, start)
            content[place : place + len(kind)] = b"free"
    return imagecodecs.jpeg2k_decode(bytes(content))


def _ppm(image: Image.Image) -> np.ndarray:
    codec, _, start, args = image.tile[0]
    if (codec, args) != ("ppm", ("RGB", 65535)):
        raise ValueError(f"of codec {codec}, largest value {args[1]}")
    shape = (image.height, image.width, 3)
    return np.frombuffer(content_of(image), ">u2", int(np.prod(shape)), start).reshape(shape).astype(np.uint16)


#: Format -> what finds its bits; `_raw_bits` for others.
BITS = {
    "TIFF": _tiff_bits,
    "PPM": _ppm_bits,
    "JPEG2000": _jpeg2000_bits,
    "AVIF": _avif_bits,
    "DDS": _dds_bits,
    "XPM": _xpm_bits,
}
READERS = {"PNG": _png, "TIFF": _tiff, "JPEG2000": _jpeg2000, "PPM": _ppm}
