"""Padding, contexts and causality against definitions that are slow and written apart from the code."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from coders.scan import DIAGONAL, SCANS
from models.contexts import Canvas, gather_contexts
from models.neighbourhood import (
    ALLOWED_TAPS,
    BOTTOM,
    CAUSAL_TAPS,
    DIAGONAL_TAPS,
    LEFT,
    PADDINGS,
    RIGHT,
    TOP,
    Tap,
    pad_image,
)
from tests.helpers import SIZES, random_image, source_of, whole_context

SMALL = [(height, width) for height in (1, 2, 3, 5) for width in (1, 2, 3, 4, 6)]


def allowed_with(padding: str) -> tuple[Tap, ...]:
    """All taps that a model with this padding may have."""
    return tuple(sorted(tap for tap in ALLOWED_TAPS if padding != "edge" or tap[0] <= 0))


def test_the_taps_are_the_window_before_the_pixel():
    window = [(row, column) for row in range(-2, 1) for column in range(-2, 3)]
    assert list(CAUSAL_TAPS) == window[:12]


def test_the_diagonal_taps_are_known_to_their_order():
    assert len(set(DIAGONAL_TAPS)) == 19
    assert set(DIAGONAL_TAPS) == {tap for tap in ALLOWED_TAPS if sum(tap) < 0} - {(-3, -3)}
    assert set(DIAGONAL_TAPS) <= ALLOWED_TAPS
    assert DIAGONAL.taps(DIAGONAL_TAPS) == DIAGONAL_TAPS
    assert all(row + column < 0 for row, column in DIAGONAL_TAPS)


def test_taps_that_an_order_does_not_know_are_replaced():
    unknown = [tap for tap in CAUSAL_TAPS if not DIAGONAL.knows(tap)]
    assert unknown == [(-2, 2), (-1, 1), (-1, 2)]
    assert DIAGONAL.taps(((-1, 1), (0, -1))) == ((-2, 1), (0, -1))
    for scan in (SCANS["sequential"], SCANS["wavefront"]):
        assert scan.taps(CAUSAL_TAPS) == CAUSAL_TAPS
        assert scan.taps(((1, -2), (0, -1), (1, -3))) == ((-2, 1), (0, -1), (-2, 1))


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_contexts_follow_the_definition(height, width, channels, padding):
    image = random_image(height, width, channels, kind="noise")
    rows, columns = np.mgrid[:height, :width].reshape(2, -1)
    order = np.random.default_rng(1).permutation(rows.size)
    rows, columns = rows[order], columns[order]
    taps = (*allowed_with(padding), (-2, 1), (0, -1))  # substituted taps may stand twice
    padded = torch.from_numpy(pad_image(image, padding))
    assert padded.shape == (TOP + height + BOTTOM, LEFT + width + RIGHT, channels)
    contexts = gather_contexts(padded, torch.from_numpy(rows), torch.from_numpy(columns), taps)
    expected = [whole_context(image, row, column, taps, padding) for row, column in zip(rows, columns, strict=True)]
    assert contexts.dtype == torch.uint8
    np.testing.assert_array_equal(contexts.numpy(), expected)


def test_unknown_padding_is_refused():
    with pytest.raises(ValueError, match=r"reflect.*zero, edge, diagonal"):
        pad_image(random_image(2, 2), "reflect")


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("height", "width"), SMALL)
def test_canvas_filled_in_any_order_is_the_padded_image(height, width, padding):
    image = random_image(height, width, kind="noise")
    for seed in range(4):
        generator = np.random.default_rng(seed)
        canvas = Canvas.blank(height, width, 3, padding)
        positions = generator.permutation(height * width)
        for part in np.array_split(positions, generator.integers(1, positions.size + 1)):
            rows, columns = torch.from_numpy(part // width), torch.from_numpy(part % width)
            canvas.put(rows, columns, torch.from_numpy(image)[rows, columns])
        np.testing.assert_array_equal(canvas.padded.numpy(), pad_image(image, padding))
        np.testing.assert_array_equal(canvas.image(), image)
        np.testing.assert_array_equal(Canvas.of(image, padding).padded.numpy(), canvas.padded.numpy())


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
@pytest.mark.parametrize(("height", "width"), SMALL)
def test_no_tap_reads_a_pixel_of_its_own_step_or_a_later_one(height, width, scan, padding):
    delay = {"sequential": width, "wavefront": 3, "diagonal": 1}[scan.name]
    for row, column in itertools.product(range(height), range(width)):
        for down, right in scan.taps(allowed_with(padding)):
            source = source_of(row + down, column + right, height, width, padding)
            if not isinstance(source, int):
                assert delay * source[0] + source[1] < delay * row + column, (row, column, down, right)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
@pytest.mark.parametrize(("height", "width"), SMALL)
def test_a_canvas_being_filled_shows_the_contexts_of_the_whole_image(height, width, scan, padding):
    image = random_image(height, width, kind="noise") | 1  # a blank canvas holds 0, which no pixel of the image is
    taps = scan.taps(allowed_with(padding))
    whole, canvas = torch.from_numpy(pad_image(image, padding)), Canvas.blank(height, width, 3, padding)
    for rows, columns, _ in scan.blocks(height, width, 1):
        row, column = torch.from_numpy(rows), torch.from_numpy(columns)
        seen = gather_contexts(canvas.padded, row, column, taps)
        np.testing.assert_array_equal(seen.numpy(), gather_contexts(whole, row, column, taps).numpy())
        canvas.put(row, column, torch.from_numpy(image)[row, column])
