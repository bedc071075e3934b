"""The .p59 file by its byte diagram, and that no damage is ever taken for pixels."""

from __future__ import annotations

import zlib
from dataclasses import replace
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coders.backends import backend_for
from coders.codec import encode_stream
from coders.container import (
    MAGIC,
    MODE_NAMED,
    MODES,
    PIXEL_LIMIT,
    VERSION,
    ChunkType,
    Container,
    checksum_bytes,
    pixel_checksum,
)
from coders.fields import Reader, number
from coders.image_codec import decode_picture, encode_image, encode_picture, models_named, scan_named
from coders.network_rows import NETWORK, _placed
from coders.picture import Picture
from coders.placement import Placement
from coders.planes import ITSELF, TABLE, Form
from coders.scan import SCANS
from models.frozen import FINGERPRINT_BYTES
from tests.helpers import TINY, coding_of, decode_image, flips, image_of, random_frozen, random_image
from utils.errors import FormatError, LosslessError, ModelError, P59Error

MODEL = random_frozen(TINY["west"])
GRAY = random_frozen(TINY["gray"])
BACKEND = backend_for("cpu", 1)


def with_checksum(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


def decoded(data: bytes, model=MODEL, pixel_limit: int = 10_000) -> np.ndarray:
    return decode_image(Container.from_bytes(data, pixel_limit), model, BACKEND)


@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
@pytest.mark.parametrize(("model", "height", "width"), [(MODEL, 2, 150), (GRAY, 200, 1)], ids=["colour", "gray"])
def test_fields_stand_where_the_diagram_says(scan, model, height, width):
    """The diagrams at the heads of coders.container and coders.planes, read by hand."""
    image = image_of(model, height, width, scan)
    data = encode_image(image, model, scan, BACKEND)
    assert data[:4] == b"\x89P59"
    assert data[4] == 1
    assert data[5] == (3 if image.shape[2] == 3 else 1)
    position = 6
    for size in (height, width):
        if size < 128:
            assert data[position] == size
            position += 1
        else:
            assert list(data[position : position + 2]) == [size & 127 | 128, size >> 7]
            position += 2
    assert data[position : position + 4] == blake2b(data[5:position] + image.tobytes(), digest_size=4).digest()
    position += 4
    stream = encode_stream(image, model, scan)
    planes = bytes((0 << 4 | 8 + scan.code,)) + model.fingerprint[:16] + stream
    assert data[position:-4] == bytes((1,)) + number(len(planes)) + planes
    assert data[-4:] == zlib.crc32(data[:-4]).to_bytes(4, "little")
    container = Container.from_bytes(data)
    assert (container.height, container.width, container.mode.channels) == image.shape
    assert models_named(container) == (model.fingerprint[:16],)
    assert scan_named(container) == scan
    assert container.to_bytes() == data
    np.testing.assert_array_equal(decode_image(container, model, BACKEND), image)


@pytest.mark.parametrize(
    ("height", "width", "placement", "stream", "expected"),
    [
        (512, 768, Placement(), 400_000, 43),
        (512, 768, Placement(6), 400_000, 44),
        (512, 768, Placement(0, 1), 400_000, 45),
        (512, 768, Placement(6, 3), 400_000, 45),
        (4000, 6000, Placement(), (1 << 21) - 18, 43),
        (4000, 6000, Placement(), (1 << 21) - 17, 44),
        (4000, 6000, Placement(6), 1 << 21, 45),
        (4000, 6000, Placement(6, 3), 1 << 21, 46),
        (16_383, 16_383, Placement(6, 3), (1 << 21) + (1 << 20), 46),
    ],
)
def test_what_a_photograph_takes_besides_its_stream(height, width, placement, stream, expected):
    """The sizes at the head of coders.container."""
    coded = _placed(NETWORK + SCANS["wavefront"].code, placement, bytes(FINGERPRINT_BYTES + stream))
    planes = Form(ITSELF, b"", np.zeros((0, 0, 3), np.uint8)).coded(*coded)
    assert coding_of(planes).placement == placement
    chunks = ((ChunkType.PLANES, planes),)
    container = Container(MODE_NAMED["RGB"], height, width, bytes(checksum_bytes(height * width)), chunks)
    assert len(container.to_bytes()) - stream == expected


@pytest.mark.parametrize(("size", "expected"), [(1, 19), (11, 19), (12, 20), (40, 20)])
def test_what_a_tiny_image_takes_besides_its_samples(size, expected):
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 1), np.uint8)
    data = encode_picture(Picture(MODE_NAMED["L"], noise), lambda rows: None, SCANS["wavefront"], BACKEND)
    assert len(data) - noise.size == expected


@given(st.integers(0, (1 << 62) - 1), st.binary(max_size=3))
@example(0, b"")
@example(127, b"")
@example(128, b"")
def test_numbers_survive(value, rest):
    reader = Reader(number(value) + rest)
    assert reader.number() == value
    assert reader.rest() == rest
    assert len(number(value)) == max(1, -(-value.bit_length() // 7))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x00", b"\xff\x80\x00", b"\xff" * 20, b"\x80" * 9 + b"\x01"])
def test_numbers_that_are_none_are_refused(data):
    with pytest.raises(FormatError):
        Reader(data).number()


def small_file() -> tuple[np.ndarray, bytes]:
    image = image_of(MODEL, 4, 7, SCANS["wavefront"])
    data = encode_image(image, MODEL, SCANS["wavefront"], BACKEND)
    assert models_named(Container.from_bytes(data)), "coded by the network"
    return image, data


def plain_file() -> tuple[np.ndarray, bytes]:
    image = np.zeros((4, 7, 3), np.uint8)
    image[1, 2] = 200
    return image, encode_image(image, MODEL, SCANS["wavefront"], BACKEND)


FILES = {"network": small_file, "plain": plain_file}


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_every_truncation_is_refused(file):
    image, data = file()
    np.testing.assert_array_equal(decoded(data), image)
    for length in range(len(data)):
        with pytest.raises(FormatError):
            Container.from_bytes(data[:length])
    for rest in (b"\0", b"x", data):
        with pytest.raises(FormatError):
            Container.from_bytes(data + rest)


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_every_flipped_byte_is_refused(file):
    _, data = file()
    for _, changed in flips(data, range(len(data)), (0x01, 0x80, 0xFF, 0x20)):
        with pytest.raises((FormatError, LosslessError, ModelError)):
            decoded(changed)


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_damage_that_the_checksum_of_the_file_misses_gives_no_wrong_pixels(file):
    """Someone who changes a byte can compute the CRC-32 anew; the pixels' own checksum is there still."""
    image, data = file()
    accepted = 0
    for position, changed in flips(data[:-4], range(4, len(data) - 4), (0x01, 0x02, 0x10, 0x80, 0xFF)):
        try:
            result = decoded(with_checksum(changed))
        except (FormatError, LosslessError, ModelError) as error:
            assert "\n" not in str(error)  # noqa: PT017 - what is accepted is checked as well
            continue
        accepted += 1
        np.testing.assert_array_equal(result, image, f"byte {position}")
    assert accepted < len(data) // 4, "bits at the end of a stream may not matter"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80))
def test_any_content_with_a_right_checksum_raises_our_errors_only(body):
    for head in (MAGIC, MAGIC + bytes((VERSION,)), MAGIC + bytes((VERSION, 3, 4, 5)) + bytes(4)):
        try:
            decoded(with_checksum(head + body), pixel_limit=400)
        except P59Error as error:
            assert "\n" not in str(error)  # noqa: PT017 - anything else that is raised fails the test
            assert str(error).isprintable()  # noqa: PT017


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 255), st.binary(max_size=60), st.sampled_from([mode.code for mode in MODES]))
def test_any_coded_group_raises_our_errors_only(form, rest, mode):
    group = bytes((form,)) + rest
    groups = next(len(each.groups) for each in MODES if each.code == mode)
    palette = ((ChunkType.PALETTE, bytes(range(9))),) if mode == 5 else ()
    container = Container(
        MODES[[each.code for each in MODES].index(mode)], 2, 3, bytes(4), (*palette, *[(1, group)] * groups)
    )
    try:
        decoded(container.to_bytes())
    except P59Error as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_sizes_that_are_lies_are_refused_at_once():
    _, data = small_file()
    start = 8  # magic, version, mode, height, width of one byte each
    for height, width, why in (
        (0, 7, "size 0x7"),
        (4, 0, "size 4x0"),
        (1 << 40, 1 << 40, "limit"),
        (1 << 20, 1 << 20, "limit"),
        (PIXEL_LIMIT + 1, 1, "limit"),
        (3000, 3000, "cannot hold 3000x3000 pixels"),
    ):
        body = data[:6] + number(height) + number(width) + data[start:-4]
        if why.startswith("cannot"):  # the checksum of larger images has eight bytes
            body = data[:6] + number(height) + number(width) + bytes(4) + data[start:-4]
        with pytest.raises(P59Error, match=why):
            decode_image(Container.from_bytes(with_checksum(body)), MODEL, BACKEND)


def test_the_pixel_limit():
    _, data = small_file()
    assert Container.from_bytes(data, 28).height == 4
    with pytest.raises(FormatError, match="pixel_limit"):
        Container.from_bytes(data, 27)


@pytest.mark.parametrize(
    "before",
    [
        [(4, b"xy")],
        [(127, b"")],
        [(ChunkType.TRANSPARENCY, b"\0\1\0\2\0\3")] * 2,
        [(ChunkType.PALETTE, bytes(3))],
    ],
    ids=["unknown", "last unknown", "transparency twice", "a palette"],
)
def test_chunks_that_do_not_belong_before_the_planes(before):
    container = Container.from_bytes(small_file()[1])
    with pytest.raises(FormatError, match="are not those of version"):
        Container.from_bytes(replace(container, chunks=(*before, *container.chunks)).to_bytes())


def test_metadata_behind_the_planes_is_refused():
    container = Container.from_bytes(small_file()[1])
    with pytest.raises(FormatError, match="are not those of version"):
        Container.from_bytes(replace(container, chunks=(*container.chunks, (128, b"gAMA1234"))).to_bytes())


@pytest.mark.parametrize("length", [0, 2, 8, 771])
def test_palettes_are_of_one_to_256_colours(length):
    planes = (ChunkType.PLANES, bytes((0,)))
    container = Container(MODE_NAMED["P"], 1, 1, bytes(4), ((ChunkType.PALETTE, bytes(length)), planes))
    with pytest.raises(FormatError, match=f"palette of {length} bytes"):
        Container.from_bytes(container.to_bytes())


def test_indices_past_the_end_of_a_table_are_refused():
    """Three colours, of which indices of two bits can name a fourth."""
    group = bytes((TABLE << 4, 2)) + bytes(range(9)) + bytes((0b00011011,))
    container = Container(MODE_NAMED["RGB"], 1, 4, bytes(4), ((ChunkType.PLANES, group),))
    with pytest.raises(FormatError, match="past the end of their table"):
        decode_image(container, MODEL, BACKEND)


def test_newer_versions_and_unknown_chunks():
    image, data = small_file()
    with pytest.raises(FormatError, match="newer release"):
        Container.from_bytes(with_checksum(data[:4] + b"\x02" + data[5:-4]))
    for kind in (0, 4, 127):
        with pytest.raises(FormatError, match="newer release"):
            Container.from_bytes(with_checksum(data[:-4] + bytes((kind, 2)) + b"xy"))
    for kind in (129, 255):
        for body in (data[:-4] + bytes((kind, 2)) + b"xy", data[:12] + bytes((kind, 2)) + b"xy" + data[12:-4]):
            np.testing.assert_array_equal(decoded(with_checksum(body)), image)


def test_a_file_of_another_model_is_refused():
    _, data = small_file()
    other = random_frozen(TINY["west"], seed=1)
    with pytest.raises(FormatError, match=f"{MODEL.name}.*{other.name}"):
        decoded(data, other)


def test_a_model_of_other_channels_is_refused():
    with pytest.raises(FormatError, match="channels"):
        encode_image(random_image(3, 3), GRAY, SCANS["wavefront"], BACKEND)


def test_checksums_tell_every_pixel_apart():
    image = random_image(5, 6)
    sums = {pixel_checksum(image)}
    for position in np.ndindex(image.shape):
        changed = image.copy()
        changed[position] ^= 1
        sums.add(pixel_checksum(changed))
    assert len(sums) == image.size + 1
    assert len(pixel_checksum(np.zeros((256, 256, 1), np.uint8))) == 8
    assert len(pixel_checksum(np.zeros((255, 257, 1), np.uint8))) == 4


def test_samples_of_one_mode_or_size_do_not_pass_for_another():
    """Found by tests/fuzz: 16-bit gray became gray with alpha, its samples being the same bytes."""
    words = np.arange(12, dtype=np.uint16).reshape(3, 4, 1) * 999
    data = encode_picture(Picture(MODE_NAMED["I;16"], words), lambda rows: None, SCANS["wavefront"], BACKEND)
    assert data[5:8] == bytes((17, 3, 4))
    decode_picture(Container.from_bytes(data), {}.get, BACKEND)
    for fields in ((2, 3, 4), (17, 4, 3), (17, 2, 6)):
        with pytest.raises(P59Error):
            decode_picture(Container.from_bytes(with_checksum(data[:5] + bytes(fields) + data[8:-4])), {}.get, BACKEND)
