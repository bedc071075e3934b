"""The scan orders: time = row_delay * row + column, every pixel once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from coders.scan import DIAGONAL, SCAN_OF_CODE, SCANS, SEQUENTIAL, WAVEFRONT
from models.neighbourhood import CAUSAL_TAPS
from tests.helpers import SIZES


def delay_of(scan, width: int) -> int:
    return {"sequential": width, "wavefront": 3, "diagonal": 1}[scan.name]


def test_orders_have_their_names_and_numbers_of_the_file_format():
    assert {code: scan.name for code, scan in SCAN_OF_CODE.items()} == {0: "sequential", 1: "wavefront", 2: "diagonal"}
    assert SCANS == {"sequential": SEQUENTIAL, "wavefront": WAVEFRONT, "diagonal": DIAGONAL}


@pytest.mark.parametrize(("height", "width"), [*SIZES, (64, 257), (512, 768)])
def test_numbers_of_steps(height, width):
    assert SEQUENTIAL.steps(height, width) == height * width
    assert WAVEFRONT.steps(height, width) == width + 3 * (height - 1)
    assert DIAGONAL.steps(height, width) == height + width - 1


@pytest.mark.parametrize("pixels", [1, 2, 7, 1 << 14])
@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
@pytest.mark.parametrize(("height", "width"), [*SIZES, (23, 31)])
def test_blocks_hold_every_pixel_once_in_order_of_time(height, width, scan, pixels):
    blocks = list(scan.blocks(height, width, pixels))
    rows, columns, times = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    assert sorted(zip(rows, columns, strict=True)) == [(row, col) for row in range(height) for col in range(width)]
    np.testing.assert_array_equal(times, delay_of(scan, width) * rows + columns)
    assert (np.diff(times) >= 0).all()
    assert (np.diff(rows)[np.diff(times) == 0] > 0).all(), "pixels of a step stand by increasing row"
    assert all(len(block[0]) >= pixels for block in blocks[:-1])
    boundaries = [(before[2][-1], after[2][0]) for before, after in itertools.pairwise(blocks)]
    assert all(before < after for before, after in boundaries), "a step is never split"
    if pixels == 1:
        assert all(len(set(block[2])) == 1 for block in blocks)


def test_known_taps():
    assert SEQUENTIAL.taps(CAUSAL_TAPS) == WAVEFRONT.taps(CAUSAL_TAPS) == CAUSAL_TAPS
    unknown = {(-2, 2), (-1, 1), (-1, 2)}
    assert DIAGONAL.taps(CAUSAL_TAPS) == tuple((-2, 1) if tap in unknown else tap for tap in CAUSAL_TAPS)
    known = tuple(tap for tap in CAUSAL_TAPS if tap not in unknown)
    assert DIAGONAL.taps(known) == known


@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
def test_rows_of_a_step_are_those_whose_pixels_have_its_time(scan):
    height, width = 5, 7
    for step in range(scan.steps(height, width)):
        expected = [row for row in range(height) if 0 <= step - delay_of(scan, width) * row < width]
        assert scan.rows(step, height, width).tolist() == expected
