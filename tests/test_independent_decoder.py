"""The codec against a decoder that was written from docs/file_format.md alone: what files say is what the page says."""

from __future__ import annotations

import lzma
import random
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import p59
from coders import plain
from coders.backends import backend_for
from coders.container import MODE_NAMED, MODES, ChunkType, Container
from coders.fields import number
from coders.image_codec import decode_picture, models_named
from coders.picture import Picture
from coders.placement import Placement, turned
from coders.planes import TABLE, bits_of
from coders.scan import SCANS, Scan
from coders.side_information import adaptation_to_bytes
from models.adaptation import Adaptation, adapted
from models.frozen import FrozenModel
from models.model_file import model_from_bytes, model_to_bytes, read_model
from models.store import OLDER, SHIPPED, model_for_file
from tests import independent_decoder as independent
from tests.command_line_cases import photograph
from tests.helpers import GOLDEN, LAYERED, image_of, noise, random_adaptation, random_frozen, random_image
from tests.native_cases import random_case
from utils.errors import P59Error

BACKEND = backend_for("cpu", 1)
FILES = sorted([*SHIPPED.glob("*.safetensors"), *OLDER.glob("*.safetensors"), *GOLDEN.glob("*.safetensors")])


@cache
def model_of(name: str) -> FrozenModel:
    return random_frozen(LAYERED[name], seed=21)


def of_independent(*models: FrozenModel) -> dict[bytes, independent.Model]:
    """The models as the independent decoder takes them, read from their files."""
    read = [independent.read_model(model_to_bytes(model)) for model in models]
    return {model.fingerprint[:16]: model for model in read}


def check(data: bytes, picture: Picture, *models: FrozenModel) -> None:
    """Both decoders find the picture in the file."""
    known = {model.file_id: model for model in models}
    ours = decode_picture(Container.from_bytes(data), known.__getitem__, BACKEND)
    theirs = independent.decode(data, of_independent(*models))
    for found in (ours, theirs):
        assert found.samples.dtype == picture.samples.dtype
        np.testing.assert_array_equal(found.samples, picture.samples)
        assert found.transparency == picture.transparency
        assert found.palette == picture.palette
        assert found.metadata == picture.metadata
    assert theirs.mode == picture.mode.code


def file_of(picture: Picture, *groups: bytes, unknown: bytes = b"") -> bytes:
    """The file whose groups are coded so; with a chunk of a type that nobody knows, where something is to be in it."""
    chunks = [(ChunkType.METADATA, kind + data) for kind, data in picture.metadata]
    chunks += [(ChunkType.PALETTE, picture.palette)] * bool(picture.palette)
    chunks += [(ChunkType.TRANSPARENCY, picture.transparency)] * (picture.transparency is not None)
    chunks += [(200, unknown)] * bool(unknown) + [(ChunkType.PLANES, group) for group in groups]
    return Container(picture.mode, picture.height, picture.width, picture.checksum, tuple(chunks)).to_bytes()


# Models.


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_models_are_read_and_named_alike(path):
    found = independent.read_model(path.read_bytes())
    model = read_model(path)
    assert found.fingerprint == model.fingerprint
    assert [tuple(tap) for tap in found.taps] == list(model.description.taps)
    for theirs, ours in zip(found.layers, model.layers, strict=True):
        for one, other in zip(theirs, (ours.weight, ours.bias, ours.shift), strict=True):
            np.testing.assert_array_equal(one, other)


# Files that networks coded.


def network_group(
    image: np.ndarray,
    model: FrozenModel,
    scan: Scan,
    placement: Placement = Placement(),  # noqa: B008
    adaptation: Adaptation | None = None,
) -> bytes:
    """An image (H, W, C) as a plane group, in whatever way."""
    coding, side, coded_with = 8 + scan.code, b"", model.phases[placement.phase]
    if adaptation is not None:
        coding += 3
        coded_with, side = adapted(coded_with, adaptation), adaptation_to_bytes(adaptation, model.description)
        side = number(len(side)) + side
    head = bytes([coding])
    if placement != Placement():
        low = placement.orientation | (8 if placement.phase else 0)
        head = bytes([14, coding << 4 | low, *([placement.phase] if placement.phase else [])])
    return head + model.file_id + side + BACKEND.encode(turned(image, placement.orientation), coded_with, scan)


def fits(model: FrozenModel, adaptation: Adaptation) -> bool:
    """Whether the adaptation can be applied; both think alike."""
    (theirs,) = of_independent(model).values()
    side = adaptation_to_bytes(adaptation, model.description)
    try:
        adapted(model, adaptation)
    except P59Error:
        with pytest.raises(independent.FileError, match="does not fit"):
            independent.adapt(theirs, theirs.layers, side)
        return False
    independent.adapt(theirs, theirs.layers, side)
    return True


def picture_of(image: np.ndarray) -> Picture:
    return Picture(MODE_NAMED["RGB" if image.shape[2] == 3 else "L"], image)


@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
@pytest.mark.parametrize("name", LAYERED)
def test_images_of_every_shape(name, scan):
    model = model_of(name)
    for seed, (height, width) in enumerate([(1, 1), (1, 6), (6, 1), (2, 2), (3, 4), (4, 3), (9, 14)]):
        for image in (
            image_of(model, height, width, scan, seed),
            noise(height, width, model.description.channels),
        ):
            check(file_of(picture_of(image), network_group(image, model, scan)), picture_of(image), model)


@pytest.mark.parametrize("seed", range(60))
def test_models_whose_numbers_may_be_any(seed):
    """Sums reach their bound, all that is clamped is clamped; adapted, rows are narrowed for it."""
    case = random_case(seed)
    image, model = case.image[:9, :11], case.model
    adaptation = random_adaptation(model.description, seed, 1, 12, (2, 5, 10))
    for how in ((), (Placement(), adaptation) if fits(model, adaptation) else ()):
        check(file_of(picture_of(image), network_group(image, model, case.scan, *how)), picture_of(image), model)


@pytest.mark.parametrize("name", ["west", "parities", "gray parities", "diagonal parities"])
def test_every_placement(name):
    model = model_of(name)
    for orientation in range(8):
        for phase in range(model.description.phases):
            scan = list(SCANS.values())[(orientation + phase) % 3]
            image = random_image(7, 10, model.description.channels, seed=orientation)
            for adaptation in (None, random_adaptation(model.description, orientation)):
                group = network_group(image, model, scan, Placement(orientation, phase), adaptation)
                check(file_of(picture_of(image), group), picture_of(image), model)


@pytest.mark.parametrize("name", LAYERED)
def test_adaptations_of_every_form(name):
    """Of all exponents, of no products and of the most; rows that have to be narrowed, and models that change not."""
    model, narrowed, generator = model_of(name), 0, np.random.default_rng(0)
    for seed in range(24):
        exponents = tuple(int(exponent) for exponent in generator.integers((0, 0, 6), (10, 16, 16)))
        products = (0, 1, 3, 15)[seed % 4]
        adaptation = random_adaptation(model.description, seed, products, (1, 12, 127)[seed % 3], exponents)
        if seed % 5 == 0:  # some kinds of numbers are all 0, and take nothing
            adaptation = tuple(replace(layer, gains=0 * layer.gains, left=0 * layer.left) for layer in adaptation)
        if not fits(model, adaptation):
            continue
        fitted = adapted(model, adaptation)
        narrowed += sum(
            int((one.shift < other.shift).sum()) for one, other in zip(fitted.layers, model.layers, strict=True)
        )
        scan = list(SCANS.values())[seed % 3]
        image = random_image(5, 8, model.description.channels, seed=seed)
        group = network_group(image, model, scan, adaptation=adaptation)
        check(file_of(picture_of(image), group), picture_of(image), model)
    assert narrowed > 10


@pytest.mark.parametrize("order", SCANS)
def test_photographs_by_the_shipped_networks(order):
    for image in (photograph(40, 36), photograph(33, 37)[:, :, :1], photograph(24, 24).repeat(2, 1)):
        data = p59.encode(image, order=order)
        container = Container.from_bytes(data)
        assert models_named(container)
        models = [model_for_file(fingerprint, []).model for fingerprint in models_named(container)]
        check(data, picture_of(image), *models)


def test_a_photograph_that_a_network_was_fitted_to():
    image = photograph(100, 110)
    data = p59.encode(image, adapt_steps=60)
    container = Container.from_bytes(data)
    assert container.planes[0][0] & 15 >= 11
    check(data, picture_of(image), *(model_for_file(one, []).model for one in models_named(container)))


# Files coded plainly.


def codings_of(rows: np.ndarray) -> Iterator[tuple[int, bytes]]:
    yield plain.RAW, rows.tobytes()
    if not rows.size:
        return
    yield plain.ROWS, plain.encode_rows(rows)
    dictionary = min(max(4096, 1 << (rows.size - 1).bit_length()), 1 << 25)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": dictionary}]
    for coding, axes in enumerate(plain.AXES, plain.DIFFERENCES):
        different = rows
        for axis in axes:
            different = np.diff(different, axis=axis, prepend=np.uint8(0))
        yield coding, lzma.compress(np.ascontiguousarray(different).tobytes(), lzma.FORMAT_RAW, filters=filters)


def packed(values: np.ndarray, bits: int) -> np.ndarray:
    """Values (H, W) in rows of bytes, by way of strings of digits."""
    rows = ["".join(f"{value:08b}"[8 - bits :] for value in row) for row in values]
    return np.array(
        [[int(row[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(row), 8)] for row in rows], np.uint8
    )


def plain_cases() -> Iterator[tuple[str, Picture, list[bytes]]]:
    """(name, picture, its group coded in every way) for each form."""
    generator = np.random.default_rng(5)
    colour = random_image(20, 21)
    yield "itself", picture_of(colour), list(_all(0, b"", colour))
    gray = random_image(9, 14, 1)
    yield "itself, gray", picture_of(gray), list(_all(0, b"", gray))
    yield "one channel", picture_of(gray.repeat(3, 2)), list(_all(1, b"", gray))
    for count in (1, 2, 3, 4, 5, 16, 17, 256):
        table = generator.integers(0, 256, (count, 3), np.uint8)
        indices = generator.integers(0, count, (7, 13), np.uint8)
        rows = packed(indices, bits_of(count))[:, :, None] if count > 1 else np.zeros((7, 0, 1), np.uint8)
        needs = bytes([count - 1]) + table.tobytes()
        yield f"table of {count}", picture_of(table[indices]), list(_all(TABLE, needs, rows))
    for form, bits in ((3, 1), (4, 2), (5, 4)):
        values = generator.integers(0, 1 << bits, (8, 11, 1), np.uint8)
        coded = list(_all(form, b"", packed(values[:, :, 0], bits)[:, :, None]))
        yield f"{bits} bits", picture_of(values), coded
        if bits == 1:
            yield "bilevel", Picture(MODE_NAMED["1"], values), coded
    palette = bytes([9, 9, 9, 1, 2, 3, 9, 9, 9, 4, 5, 6])  # the first colour is there twice
    indices = generator.choice(np.array([0, 1, 3], np.uint8), (6, 7, 1))
    colours = np.frombuffer(palette, np.uint8).reshape(-1, 3)[indices[:, :, 0]]
    yield "palette", Picture(MODE_NAMED["P"], indices, palette, b"\x01"), list(_all(6, b"", colours))
    beyond = Picture(MODE_NAMED["P"], indices + np.uint8(2), palette)
    yield "beyond the palette", beyond, list(_all(0, b"", beyond.samples))


def _all(form: int, needs: bytes, rows: np.ndarray) -> Iterator[bytes]:
    for coding, data in codings_of(rows):
        yield bytes([form << 4 | coding]) + needs + data


@pytest.mark.parametrize(("picture", "groups"), [pytest.param(*case, id=name) for name, *case in plain_cases()])
def test_every_form_and_coding(picture, groups):
    for unknown, group in enumerate(groups):
        picture = replace(picture, metadata=((b"gAMA", b"\0\0\0\1"), (b"tEXt", b"a\0b")) if unknown % 2 else ())
        check(file_of(picture, group, unknown=b"?" * (unknown % 3)), picture)


def test_every_filter_of_png():
    """Ties of Paeth's predictor among them; Pillow says what the rows are."""
    rows = np.random.default_rng(3).integers(0, 4, (50, 3 * 12), np.uint8)
    for channels in (1, 3):
        shape = (50, rows.shape[1] // channels, channels)
        lines = b"".join(bytes([at % 5]) + row.tobytes() for at, row in enumerate(rows))
        data = zlib.compress(lines)
        image = plain.decode_plain(plain.ROWS, data, shape)
        check(file_of(picture_of(image), bytes([plain.ROWS]) + data), picture_of(image))


@pytest.mark.parametrize("name", [mode.name for mode in MODES if len(mode.groups) > 1])
def test_several_groups(name):
    mode = MODE_NAMED[name]
    samples = noise(5, 6, mode.channels, kind=np.uint16 if mode.wide else np.uint8)
    picture = Picture(mode, samples)
    check(file_of(picture, *(bytes(1) + group.tobytes() for group in picture.groups())), picture)
    if mode.wide:
        samples = (samples >> 8) * np.uint16(257)
        picture, half = Picture(mode, samples), len(mode.groups) // 2
        coded = [bytes(1) + group.tobytes() for group in picture.groups()[:half]]
        check(file_of(picture, *coded, *(bytes([0x70, at]) for at in range(half))), picture)


def test_filtered_rows_of_no_bytes_are_refused():
    """As none are written: one colour needs nothing."""
    picture = picture_of(np.full((3, 4, 1), 7, np.uint8))
    check(file_of(picture, bytes([TABLE << 4, 0, 7])), picture)
    data = file_of(picture, bytes([TABLE << 4 | plain.ROWS, 0, 7]) + zlib.compress(bytes(3)))
    with pytest.raises(P59Error, match="cannot be decoded"):
        decode_picture(Container.from_bytes(data), {}.__getitem__, BACKEND)
    with pytest.raises(independent.FileError, match="no bytes"):
        independent.decode(data, {})


def test_zlibs_streams_are_whole():
    picture = picture_of(random_image(5, 6, 1))
    lines = b"".join(bytes(1) + row.tobytes() for row in picture.samples)
    deflated, flushed = zlib.compress(lines), zlib.compressobj()
    unfinished = flushed.compress(lines) + flushed.flush(zlib.Z_SYNC_FLUSH)
    check(file_of(picture, bytes([plain.ROWS]) + deflated), picture)
    wrong = deflated[:-1] + bytes([deflated[-1] ^ 1])
    sizes = zlib.compress(lines + bytes(7)), zlib.compress(lines[:-1])
    for data in (deflated[:-4], deflated + b"x", wrong, unfinished, *sizes):
        file = file_of(picture, bytes([plain.ROWS]) + data)
        with pytest.raises(P59Error, match="planes"):
            decode_picture(Container.from_bytes(file), {}.__getitem__, BACKEND)
        with pytest.raises(independent.FileError):
            independent.decode(file, {})


def test_chunks_are_65536_at_most():
    picture = picture_of(np.full((3, 4, 1), 7, np.uint8))
    for count in (65536, 65537):
        chunks = ((200, b""),) * (count - 1) + ((ChunkType.PLANES, bytes([TABLE << 4, 0, 7])),)
        data = Container(picture.mode, 3, 4, picture.checksum, chunks).to_bytes()
        if count == 65536:
            check(data, picture)
            continue
        with pytest.raises(P59Error, match="65536 chunks"):
            Container.from_bytes(data)
        with pytest.raises(independent.FileError, match="chunks"):
            independent.decode(data, {})


def test_large_images_have_long_checksums():
    for height, width, length in ((255, 257, 4), (256, 256, 8), (1, 65536, 8)):
        picture = picture_of(np.full((height, width, 1), 7, np.uint8))
        assert len(picture.checksum) == length
        check(file_of(picture, bytes([TABLE << 4, 0, 7])), picture)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.p59")), ids=lambda path: path.stem)
def test_golden_files(path: Path):
    models = [model_from_bytes(file.read_bytes(), file.name)[0] for file in GOLDEN.glob("*.safetensors")]
    known = {model.file_id: model for model in models}
    container = Container.from_bytes(path.read_bytes())
    check(path.read_bytes(), decode_picture(container, known.__getitem__, BACKEND), *models)
    if path.with_suffix(".png").is_file():
        with Image.open(path.with_suffix(".png")) as image:
            samples = independent.decode(path.read_bytes(), of_independent(*models)).samples
            np.testing.assert_array_equal(samples, np.asarray(image).reshape(samples.shape))


# Damaged and forged files.


def test_both_refuse_the_same_files(monkeypatch):
    """Whatever the pixels' checksum says, which would hide most of what they may think different."""
    generator, models = random.Random(0), [model_of(name) for name in LAYERED]
    files = [path.read_bytes() for path in sorted(GOLDEN.glob("mode_*.p59"))]
    files += [file_of(picture, group) for _, picture, groups in plain_cases() for group in groups]
    for model in models:
        image = random_image(4, 5, model.description.channels)
        adaptation, placement = random_adaptation(model.description), Placement(5, model.description.phases - 1)
        files += [
            file_of(picture_of(image), network_group(image, model, scan, *how))
            for scan in SCANS.values()
            for how in ((), (placement,), (placement, adaptation))
        ]
    known, theirs = {model.file_id: model for model in models}, of_independent(*models)
    require = independent.require

    def but_pixels(condition: object, complaint: str) -> None:
        require(condition or complaint == "wrong pixels", complaint)

    monkeypatch.setattr(independent, "require", but_pixels)
    monkeypatch.setattr(Picture, "checksum", property(lambda _: AnyChecksum()))

    def find(fingerprint: bytes) -> FrozenModel:
        if fingerprint not in known:
            raise P59Error("not at hand")
        return known[fingerprint]

    outcomes = {True: 0, False: 0}
    for _ in range(4000):
        data = damaged(generator.choice(files), generator)
        complaint = ""
        try:
            found = independent.decode(data, theirs).samples
        except independent.FileError as error:
            found, complaint = None, str(error)
        try:
            ours = decode_picture(Container.from_bytes(data), find, BACKEND).samples
        except P59Error:
            ours = None
        outcomes[ours is not None] += 1
        assert (found is None) == (ours is None), (complaint, data.hex())
        np.testing.assert_array_equal(found, ours, data.hex())
    assert min(outcomes.values()) > 400


class AnyChecksum(bytes):
    """Equal to whatever a file says."""

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


def damaged(data: bytes, generator: random.Random) -> bytes:
    """A file with some bytes changed, added or missing, and a checksum that is right."""
    content = bytearray(data[:-4])
    for _ in range(generator.choice((1, 1, 2, 3))):
        place = generator.randrange(5, min(len(content), generator.choice((40, 1 << 20))))
        how = generator.random()
        if how < 0.6:
            content[place] = generator.choice((generator.randrange(256), content[place] ^ 1 << generator.randrange(8)))
        elif how < 0.8:
            content.insert(place, generator.randrange(256))
        else:
            del content[place : place + generator.choice((1, 1, 5))]
        if len(content) < 7:
            break
    return bytes(content) + zlib.crc32(content).to_bytes(4, "little")
