"""Damage of files that bring an adaptation of their network: noticed, and never taken for pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from coders.container import ChunkType, Container
from coders.image_codec import encode_image
from coders.network_rows import ADAPTED, NETWORK
from coders.scan import WAVEFRONT
from coders.side_information import adaptation_to_bytes
from tests.adapted_cases import BACKEND, MODELS, always_worth, by_network, group_of, leb128, random_fit, suited
from tests.helpers import decode_image, flips, is_adapted, random_adaptation
from utils.errors import FormatError, LosslessError

__all__ = ["always_worth", "by_network"]  # fixtures


def with_group(data: bytes, group: bytes) -> bytes:
    """The file with another coded group, all checksums but the pixels' made anew."""
    container = Container.from_bytes(data)
    return replace(container, chunks=((ChunkType.PLANES, group),)).to_bytes()


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
