"""Scan orders as data: which pixels are coded together, in which sequence, and what is known by then.

Every order is time = row_delay * row + column; the pixels of equal time form a step and are coded together (paper,
section 3.3). A step's symbols stand in the stream channel by channel, each channel's pixels by increasing row; a
sequential step is one pixel. Letters: H, W image height and width, N pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.neighbourhood import Tap

#: Images with longer sides or more pixels are not coded by networks, so that places in them can be counted in 64 bits.
LARGEST_SIDE, MOST_PIXELS = 1 << 24, 1 << 36
#: What stands in for a tap that an order does not know: the pixel at (-2, 1), as published.
SUBSTITUTE: Tap = (-2, 1)


def is_too_large(height: int, width: int) -> bool:
    """Whether networks code no image of that size."""
    return max(height, width) > LARGEST_SIDE or height * width > MOST_PIXELS


@dataclass(frozen=True)
class Scan:
    """One scan order. `row_delay` None means the image's width, which makes every step one pixel.

    `code` is its number in the file format.
    """

    name: str
    code: int
    row_delay: int | None

    def knows(self, tap: Tap) -> bool:
        """Whether the pixel at `tap` is coded in a step before the current pixel's."""
        row, column = tap
        if self.row_delay is None:
            return tap < (0, 0)
        return self.row_delay * row + column < 0

    def taps(self, taps: tuple[Tap, ...]) -> tuple[Tap, ...]:
        """The taps to read for a model's `taps`: one that is not known is replaced by SUBSTITUTE."""
        return tuple(tap if self.knows(tap) else SUBSTITUTE for tap in taps)

    def steps(self, height: int, width: int) -> int:
        """Number of steps: W + row_delay * (H - 1)."""
        return width + (self.row_delay or width) * (height - 1)

    def rows(self, step: int, height: int, width: int) -> np.ndarray:
        """Rows of a step's pixels, increasing; their columns are step - row_delay * row."""
        delay = self.row_delay or width
        return np.arange(max(0, -(-(step - width + 1) // delay)), min(height - 1, step // delay) + 1)

    def blocks(self, height: int, width: int, pixels: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Consecutive steps, together of at least `pixels` pixels (but for the last): rows, columns, steps, each (N,).

        With `pixels` 1 each block is one step.
        """
        delay = self.row_delay or width
        rows, times, count = [], [], 0
        for step in range(self.steps(height, width)):
            rows.append(self.rows(step, height, width))
            times.append(np.full(len(rows[-1]), step))
            count += len(rows[-1])
            if count >= pixels:
                yield _joined(rows, times, delay)
                rows, times, count = [], [], 0
        if count:
            yield _joined(rows, times, delay)


def _joined(rows: list[np.ndarray], times: list[np.ndarray], delay: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    row, time = np.concatenate(rows), np.concatenate(times)
    return row, time - delay * row, time


SEQUENTIAL = Scan("sequential", 0, None)
WAVEFRONT = Scan("wavefront", 1, 3)
DIAGONAL = Scan("diagonal", 2, 1)

SCANS = {scan.name: scan for scan in (SEQUENTIAL, WAVEFRONT, DIAGONAL)}
SCAN_OF_CODE = {scan.code: scan for scan in SCANS.values()}
