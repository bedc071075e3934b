"""Files that bring an adaptation of their network: bytes, round trips, when it is used, and damage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from coders import codec
from coders.backends import backend_for, batched_backend
from coders.batched import MODELS_KEPT, BatchedCoder
from coders.container import MODE_NAMED, ChunkType, Container
from coders.image_codec import decode_picture, encode_image, encode_picture, models_named, scan_named
from coders.network_rows import ADAPTED, NETWORK, WORTH_ADAPTING
from coders.picture import Picture, same_picture
from coders.planes import EXPANDED, ITSELF, ONE_CHANNEL, is_adapted
from coders.scan import DIAGONAL, SCANS, WAVEFRONT
from coders.side_information import adaptation_to_bytes
from models.adaptation import Adaptation, adapted
from models.description import ModelDescription
from models.frozen import FINGERPRINT_BYTES, FrozenModel
from models.neighbourhood import CAUSAL_TAPS
from models.store import shipped_models
from tests.batched_cases import at_once
from tests.helpers import (
    TINY,
    decode_image,
    flips,
    image_of,
    random_adaptation,
    random_frozen,
    random_image,
    unadapted,
    with_scales,
)
from utils.errors import FormatError, LosslessError

BACKEND = backend_for("cpu", 1)
MODELS = {name: random_frozen(description, seed=7) for name, description in TINY.items()}
NINE_TAPS = tuple(tap for tap in CAUSAL_TAPS if DIAGONAL.knows(tap))
MODELS["nine taps"] = random_frozen(ModelDescription(taps=NINE_TAPS, widths=(8,)))
ALL_SCANS = pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
EACH_MODEL = pytest.mark.parametrize("name", MODELS)


class Given:
    """A `fit` that returns an adaptation made before; remembers what it was asked."""

    def __init__(self, adaptation: Adaptation) -> None:
        self.adaptation, self.calls = adaptation, []

    def __call__(self, image, model, taps) -> Adaptation:
        self.calls.append((image, model, taps))
        return self.adaptation


def random_fit(model: FrozenModel, seed: int = 0, products: int = 2) -> Given:
    """Numbers that make a difference: clamped scales have units of their own."""
    offset = 9 if model.description.scales == "clamped" else 4
    largest = 30 if model.description.channels == 3 else 20
    return Given(random_adaptation(model.description, seed, products, largest, (offset, 6, 8)))


@pytest.fixture(autouse=True)
def worth(monkeypatch):
    """Adapting is tried for the smallest images too."""
    monkeypatch.setattr("coders.network_rows.WORTH_ADAPTING", 0)


@pytest.fixture
def by_network(monkeypatch):
    """No plain coding is small."""
    monkeypatch.setattr("coders.planes._quick", lambda form: bytes(1 << 20))
    monkeypatch.setattr("coders.planes._thorough", lambda *_: ())


def suited(model: FrozenModel, fit: Given, scan, height: int = 30, width: int = 37) -> np.ndarray:
    """An image that the adapted model codes as well as any can be, and the model itself does not."""
    return image_of(adapted(model, fit.adaptation), height, width, scan)


def leb128(value: int) -> bytes:
    return bytes((value,)) if value < 128 else bytes((value & 127 | 128,)) + leb128(value >> 7)


def group_of(data: bytes) -> bytes:
    (group,) = Container.from_bytes(data).planes
    return group


def with_group(data: bytes, group: bytes) -> bytes:
    """The file with another coded group, all checksums but the pixels' made anew."""
    container = Container.from_bytes(data)
    return replace(container, chunks=((ChunkType.PLANES, group),)).to_bytes()


# What is written.


@ALL_SCANS
@EACH_MODEL
def test_an_adapted_file_holds_what_it_says_and_decodes(by_network, name, scan):
    """Byte for byte: coding, fingerprint of the model before, length, adaptation, the reference path's stream."""
    model, products = MODELS[name], len(name) % 4
    fit = random_fit(model, products=products)
    image = suited(model, fit, scan)
    data = encode_image(image, model, scan, BACKEND, fit)
    side = adaptation_to_bytes(fit.adaptation, model.description)
    stream = codec.encode_stream(image, adapted(model, fit.adaptation), scan)
    before = model.fingerprint[:16]
    assert group_of(data) == bytes((11 + scan.code,)) + before + leb128(len(side)) + side + stream
    assert BACKEND.encode(image, adapted(model, fit.adaptation), scan) == stream
    assert len(data) < len(encode_image(image, model, scan, BACKEND))
    container = Container.from_bytes(data)
    assert (models_named(container), scan_named(container)) == ((before,), scan)
    assert is_adapted(group_of(data))
    assert not is_adapted(group_of(encode_image(image, model, scan, BACKEND)))
    np.testing.assert_array_equal(decode_image(container, model, BACKEND), image)
    ((asked, asked_model, taps),) = fit.calls
    np.testing.assert_array_equal(asked, image)
    assert asked_model is model
    assert taps == scan.taps(model.description.taps)


@pytest.mark.parametrize("name", ["published", "gray"])
def test_pytorch_decodes_what_the_backend_in_use_coded(by_network, name):
    model, backend = MODELS[name], batched_backend("cpu", 1, 2)
    fit = random_fit(model)
    image = suited(model, fit, DIAGONAL)
    data = encode_image(image, model, DIAGONAL, BACKEND, fit)
    assert is_adapted(group_of(data))
    assert encode_image(image, model, DIAGONAL, backend, fit) == data
    np.testing.assert_array_equal(decode_image(Container.from_bytes(data), model, backend), image)


def spoiled(model: FrozenModel) -> FrozenModel:
    """The model with scales that are all too large, which an adaptation puts right again."""
    return adapted(model, with_scales(model, 20))


def put_right(image, model: FrozenModel, taps) -> Adaptation:
    return with_scales(model, -20)


def photograph(height: int, width: int) -> np.ndarray:
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[100 : 100 + height, 100 : 100 + width])


def pictures():
    """(picture, high nibbles of its adapted groups)."""
    colour = photograph(40, 50)
    gray = colour[:, :, 1:2].copy()
    random = np.random.default_rng(0)
    values = gray // 8
    palette = np.stack([np.arange(32) * 8, np.arange(32) * 7, 255 - np.arange(32) * 5], 1).astype(np.uint8)
    shuffled = random.permutation(32).astype(np.uint8)
    wide = colour.astype(np.uint16) << 8 | random.integers(0, 256, colour.shape).astype(np.uint16)
    yield "L", Picture(MODE_NAMED["L"], gray), [ITSELF]
    yield "RGB of one channel", Picture(MODE_NAMED["RGB"], np.repeat(gray, 3, 2)), [ONE_CHANNEL]
    yield "RGBA", Picture(MODE_NAMED["RGBA"], np.dstack([colour, gray])), [ITSELF, ITSELF]
    yield "RGB;16", Picture(MODE_NAMED["RGB;16"], wide), [ITSELF, ITSELF]
    yield "P", Picture(MODE_NAMED["P"], shuffled[values], palette[np.argsort(shuffled)].tobytes()), [EXPANDED]


@pytest.mark.parametrize(("picture", "forms"), [case[1:] for case in pictures()], ids=[case[0] for case in pictures()])
def test_pictures_of_every_form(by_network, picture, forms):
    """Each group has an adaptation of its own; a palette's colours are adapted to as well."""
    coded = (3,) if forms == [EXPANDED] else (1, 3)
    models = {channels: spoiled(shipped_models("wavefront", channels)[0].model) for channels in coded}
    find = {model.fingerprint[:FINGERPRINT_BYTES]: model for model in models.values()}
    data = encode_picture(picture, lambda rows: models.get(rows.shape[2]), WAVEFRONT, BACKEND, put_right)
    container = Container.from_bytes(data)
    assert [group[0] >> 4 for group in container.planes if is_adapted(group)] == forms
    assert set(models_named(container)) <= set(find)
    assert scan_named(container) == WAVEFRONT
    assert same_picture(decode_picture(container, find.__getitem__, BACKEND), picture)
    assert len(data) < len(encode_picture(picture, lambda rows: models.get(rows.shape[2]), WAVEFRONT, BACKEND))


# When it is used.


def test_what_makes_the_file_no_smaller_is_not_used(by_network):
    """Worse numbers, numbers that change nothing but take room, numbers too large: the bytes of the plain network."""
    for name in ("west", "gray"):
        model = MODELS[name]
        image = image_of(model, 20, 20, WAVEFRONT)
        expected = encode_image(image, model, WAVEFRONT, BACKEND)
        assert group_of(expected)[0] == NETWORK + WAVEFRONT.code
        largest = random_adaptation(model.description, 0, 15, 128, (15, 0, 0))
        for adaptation in (random_fit(model).adaptation, unadapted(model), largest):
            fit = Given(adaptation)
            assert encode_image(image, model, WAVEFRONT, BACKEND, fit) == expected
            assert len(fit.calls) == 1


def test_numbers_too_large_for_integers_are_not_used(by_network):
    model = MODELS["gray"]
    model = replace(model, layers=tuple(replace(layer, shift=layer.shift * 0) for layer in model.layers))
    fit, image = Given(random_adaptation(model.description, 0, 2, 128, (0, 0, 0))), random_image(9, 9, 1)
    with pytest.raises(Exception, match="too large"):
        adapted(model, fit.adaptation)
    expected = encode_image(image, model, WAVEFRONT, BACKEND)
    assert group_of(expected)[0] >= NETWORK
    assert encode_image(image, model, WAVEFRONT, BACKEND, fit) == expected
    assert fit.calls


def test_small_files_and_plain_ones_are_not_fitted(by_network, monkeypatch):
    model = MODELS["gray"]
    fit = random_fit(model)
    image = suited(model, fit, WAVEFRONT)
    size = len(group_of(encode_image(image, model, WAVEFRONT, BACKEND)))
    for worth, calls in ((size + 1, 0), (size, 1)):
        monkeypatch.setattr("coders.network_rows.WORTH_ADAPTING", worth)
        assert is_adapted(group_of(encode_image(image, model, WAVEFRONT, BACKEND, fit))) == bool(calls)
        assert len(fit.calls) == calls
    assert WORTH_ADAPTING == 2048
    monkeypatch.undo()
    monkeypatch.setattr("coders.network_rows.WORTH_ADAPTING", 0)
    fit.calls.clear()
    flat = Picture(MODE_NAMED["L"], np.full((50, 60, 1), 7, np.uint8))
    bilevel = Picture(MODE_NAMED["1"], random_image(9, 9, 1, kind="extreme") // 255)
    for picture in (flat, bilevel):
        plain = encode_picture(picture, lambda _: model, WAVEFRONT, BACKEND)
        assert encode_picture(picture, lambda _: model, WAVEFRONT, BACKEND, fit) == plain
    assert encode_picture(flat, lambda _: None, WAVEFRONT, BACKEND, fit) == encode_picture(
        flat, lambda _: None, WAVEFRONT, BACKEND
    )
    assert fit.calls == []


# Damage.


@pytest.fixture
def damaged(by_network):
    """model, file, and a function of (adaptation's bytes) that gives the file with these for its own."""
    model = MODELS["gray"]
    fit = random_fit(model)
    data = encode_image(suited(model, fit, WAVEFRONT, 22, 23), model, WAVEFRONT, BACKEND, fit)
    side, group = adaptation_to_bytes(fit.adaptation, model.description), group_of(data)
    assert is_adapted(group)
    start = 17 + len(leb128(len(side)))
    stream = group[start + len(side) :]
    return model, data, side, lambda other: with_group(data, group[:17] + leb128(len(other)) + other + stream)


def test_a_damaged_adaptation_is_noticed(damaged):
    """Checksums are right again but for the pixels': another form, other numbers, too few bytes, too many."""
    model, data, side, file_with = damaged
    image = decode_image(Container.from_bytes(file_with(side)), model, BACKEND)
    assert file_with(side) == data
    errors = {FormatError: 0, LosslessError: 0}
    same = 0
    for changed in [*(one for _, one in flips(side, range(len(side)))), *(side[:end] for end in range(len(side)))]:
        try:
            found = decode_image(Container.from_bytes(file_with(changed)), model, BACKEND)
        except (FormatError, LosslessError) as error:
            errors[type(error)] += 1
        else:
            same += 1
            np.testing.assert_array_equal(found, image)
    assert min(errors.values()) > 5
    assert same < 40, "the end of the bytes, and spreads of what is all zero, mean little; the rest must be noticed"


def test_numbers_too_large_for_integers_are_a_damaged_file(damaged):
    model, _, _, file_with = damaged
    largest = random_adaptation(model.description, 0, 15, 128, (15, 0, 0))
    flat = replace(model, layers=tuple(replace(layer, shift=layer.shift * 0) for layer in model.layers))
    container = Container.from_bytes(file_with(adaptation_to_bytes(largest, model.description)))
    group = bytearray(container.planes[0])
    group[1:17] = flat.fingerprint[:16]
    container = replace(container, chunks=((ChunkType.PLANES, bytes(group)),))
    with pytest.raises(FormatError, match="too large"):
        decode_image(container, flat, BACKEND)


def test_lengths_that_lie_and_unknown_codings_are_refused(damaged):
    model, data, side, _ = damaged
    group = group_of(data)
    rest = group[17 + len(leb128(len(side))) :]
    for length in (leb128(len(rest) + 1), leb128(1 << 40), b"\xff" * 9, b"\x80\x00", b""):
        with pytest.raises((FormatError, LosslessError)):
            decode_image(Container.from_bytes(with_group(data, group[:17] + length + rest)), model, BACKEND)
    for end in range(1, 20):
        with pytest.raises(FormatError):
            decode_image(Container.from_bytes(with_group(data, group[:end])), model, BACKEND)
    for coding in (14, 15):
        with pytest.raises(FormatError, match="unknown coding"):
            decode_image(Container.from_bytes(with_group(data, bytes((coding,)) + group[1:])), model, BACKEND)
    for coding in (NETWORK + 1, ADAPTED, ADAPTED + 2):  # another order, or no adaptation
        with pytest.raises((FormatError, LosslessError)):
            decode_image(Container.from_bytes(with_group(data, bytes((coding,)) + group[1:])), model, BACKEND)
    with pytest.raises(FormatError, match="give that model"):
        decode_image(Container.from_bytes(data), MODELS["gray zero"], BACKEND)


# Many images at a time.


def models_adapted(count: int) -> list[FrozenModel]:
    model = MODELS["west"]
    return [adapted(model, random_adaptation(model.description, seed)) for seed in range(count)]


def test_adapted_models_one_after_another_leave_the_device(device, host):
    """No more than a few are kept, and a model that comes again still codes the same."""
    coder, image = BatchedCoder(device, 4, 1), random_image(9, 11)
    models = models_adapted(3 * MODELS_KEPT)
    kept = set()
    for model in [*models, models[0]]:
        stream = codec.encode_stream(image, model, WAVEFRONT)
        assert coder.encode(image, model, WAVEFRONT) == stream
        assert np.array_equal(coder.decode(stream, 9, 11, model, WAVEFRONT), image)
        kept.add(len(coder._groups))
    assert max(kept) <= MODELS_KEPT


def test_adapted_models_all_at_the_same_time(device, monkeypatch):
    """More models under way than are kept: each image comes back, and idle models go."""
    together, sizes, groups_of = 6, [], BatchedCoder._groups_of

    def noted(coder, model):
        groups = groups_of(coder, model)
        sizes.append(len(coder._groups))
        return groups

    monkeypatch.setattr(BatchedCoder, "_groups_of", noted)
    coder, models = BatchedCoder(device, together, 2), models_adapted(20)
    cases = [(model, random_image(8 + number, 30, seed=number)) for number, model in enumerate(models * 2)]
    streams = [codec.encode_stream(image, model, WAVEFRONT) for model, image in cases]

    def check(case) -> bool:
        (model, image), stream = case
        same = coder.encode(image, model, WAVEFRONT) == stream
        return same and np.array_equal(coder.decode(stream, *image.shape[:2], model, WAVEFRONT), image)

    assert all(at_once(check, list(zip(cases, streams, strict=True))))
    assert max(sizes) <= together + MODELS_KEPT
    assert len(sizes) == 2 * len(cases)


def test_adapted_files_are_coded_together(by_network):
    """As one image at a time: encoding with `fit`, decoding with each file's own numbers."""
    many, model = batched_backend("cpu", 1, 5), MODELS["west"]
    fits = [random_fit(model, seed) for seed in range(8)]
    cases = [(suited(model, fit, WAVEFRONT, 18 + number, 21), fit) for number, fit in enumerate(fits)]
    files = [encode_image(image, model, WAVEFRONT, BACKEND, fit) for image, fit in cases]
    assert all(is_adapted(group_of(data)) for data in files)
    assert at_once(lambda case: encode_image(case[0], model, WAVEFRONT, many, case[1]), cases) == files
    decoded = at_once(lambda data: decode_image(Container.from_bytes(data), model, many), files)
    assert all(np.array_equal(one, image) for one, (image, _) in zip(decoded, cases, strict=True))
