"""Files that bring an adaptation of their network: bytes, round trips, when it is used, many at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from coders import codec
from coders.container import MODE_NAMED, Container
from coders.gpu.batched import FAMILIES_KEPT, BatchedCoder
from coders.image_codec import decode_picture, encode_image, encode_picture, models_named, scan_named
from coders.network_rows import NETWORK, WORTH_ADAPTING
from coders.picture import Picture, same_picture
from coders.planes import EXPANDED, ITSELF, ONE_CHANNEL
from coders.scan import DIAGONAL, SCANS, WAVEFRONT
from coders.side_information import adaptation_to_bytes
from coders.torch_backends import batched_backend
from models.adaptation import Adaptation, adapted
from models.frozen import FrozenModel
from models.store import shipped_models
from tests.adapted_cases import BACKEND, MODELS, Given, always_worth, by_network, group_of, leb128, random_fit, suited
from tests.batched_cases import at_once
from tests.helpers import decode_image, image_of, is_adapted, random_adaptation, random_image, unadapted, with_scales

__all__ = ["always_worth", "by_network"]  # fixtures
ALL_SCANS = pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
EACH_MODEL = pytest.mark.parametrize("name", MODELS)


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
    find = {model.file_id: model for model in models.values()}
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


# Many images at a time.


def models_adapted(count: int) -> list[FrozenModel]:
    model = MODELS["west"]
    return [adapted(model, random_adaptation(model.description, seed)) for seed in range(count)]


def test_adapted_models_one_after_another_leave_the_device(device, host):
    """No more than a few are kept, and a model that comes again still codes the same."""
    coder, image = BatchedCoder(device, 4, 1), random_image(9, 11)
    models = models_adapted(3 * FAMILIES_KEPT)
    kept = set()
    for model in [*models, models[0]]:
        stream = codec.encode_stream(image, model, WAVEFRONT)
        assert coder.encode(image, model, WAVEFRONT) == stream
        assert np.array_equal(coder.decode(stream, 9, 11, model, WAVEFRONT), image)
        kept.add(len(coder._families))
    assert max(kept) <= FAMILIES_KEPT


def test_adapted_models_all_at_the_same_time(device, monkeypatch):
    """More models under way than are kept: each image comes back, and idle models go."""
    together, sizes, family_of = 6, [], BatchedCoder._family_of

    def noted(coder, model):
        family = family_of(coder, model)
        sizes.append(len(coder._families))
        return family

    monkeypatch.setattr(BatchedCoder, "_family_of", noted)
    coder, models = BatchedCoder(device, together, 2), models_adapted(20)
    cases = [(model, random_image(8 + number, 30, seed=number)) for number, model in enumerate(models * 2)]
    streams = [codec.encode_stream(image, model, WAVEFRONT) for model, image in cases]

    def check(case) -> bool:
        (model, image), stream = case
        same = coder.encode(image, model, WAVEFRONT) == stream
        return same and np.array_equal(coder.decode(stream, *image.shape[:2], model, WAVEFRONT), image)

    assert all(at_once(check, list(zip(cases, streams, strict=True))))
    assert max(sizes) <= together + FAMILIES_KEPT
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
