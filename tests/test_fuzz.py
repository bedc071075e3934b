"""A short run of the mutation fuzzer, the files it found, and model files that lie. Long runs: make fuzz."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.model_file import model_from_bytes, model_to_bytes
from tests.fuzz.mutate import run
from tests.fuzz.seeds import decode, seeds, with_crc
from tests.helpers import TINY, random_frozen
from utils.errors import ModelError, P59Error

MODEL = model_to_bytes(random_frozen(TINY["west"]))


def test_mutated_files_give_their_pixels_or_an_error(tmp_path):
    count, found, longest = run(12345, 3000, str(tmp_path))
    assert (count, found) == (3000, [])
    assert longest < 1


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_files_spliced_from_two(data):
    one, other = (data.draw(st.sampled_from(seeds()))[0] for _ in range(2))
    start, end = data.draw(st.integers(0, len(one))), data.draw(st.integers(0, len(other)))
    picture = None
    try:
        picture = decode(with_crc(one[:start] + other[end:] + bytes(4)))
    except P59Error as error:
        assert "\n" not in str(error)  # noqa: PT017 - anything else that is raised fails the test
    assert picture is None or picture.samples.size


def lying(**changes) -> bytes:
    """The tiny model with fields of its metadata replaced."""
    length = int.from_bytes(MODEL[:8], "little")
    header = json.loads(MODEL[8 : 8 + length])
    header["__metadata__"] |= changes
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + MODEL[8 + length :]


DESCRIPTION = json.loads(model_from_bytes(MODEL, "tiny")[0].description.to_json())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8 + b"{",
        MODEL[:-1],
        MODEL[:100],
        (1 << 60).to_bytes(8, "little") + MODEL[8:],
        lying(format="p59 frozen 2"),
        lying(limit="0"),
        lying(limit="99999"),
        lying(limit="nan"),
        lying(limit="9" * 5000),
        lying(description="[]"),
        lying(description="{}"),
        lying(description="[" * 100_000),
        *(
            lying(description=json.dumps({**DESCRIPTION, **change}))
            for change in (
                {"widths": [1 << 40]},
                {"widths": [1024] * 32},
                {"widths": []},
                {"widths": "88"},
                {"channels": 1},
                {"channels": True},
                {"channels": 4},
                {"mixtures": 1 << 40},
                {"mixtures": 2.5},
                {"taps": [[0, 0]]},
                {"taps": [[0, -1]] * 9},
                {"reference": "north"},
                {"residual": 1},
                {"surprise": 1},
            )
        ),
    ],
    ids=lambda data: f"{len(data)} bytes",
)
def test_model_files_that_lie_are_refused(data):
    with pytest.raises(ModelError):
        model_from_bytes(data, "lying")


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(MODEL) - 1), st.integers(0, 255))
def test_changed_model_files_are_other_models_or_refused(position, value):
    changed = bytearray(MODEL)
    changed[position] = value
    try:
        model, _ = model_from_bytes(bytes(changed), "changed")
    except ModelError:
        return
    assert np.abs(model.layers[0].weight.astype(int)).max() < 1 << 15
