"""The causal neighbourhood as data, and what lies beyond the border of an image.

A *tap* is a (row, column) offset from the current pixel. Letters: H, W image height and width; C channels.
"""

from __future__ import annotations

import numpy as np

Tap = tuple[int, int]

#: The 12 pixels of the 5x5 window that precede the current one in raster order (paper, section 3.1).
CAUSAL_TAPS: tuple[Tap, ...] = (
    (-2, -2), (-2, -1), (-2, 0), (-2, 1), (-2, 2),
    (-1, -2), (-1, -1), (-1, 0), (-1, 1), (-1, 2),
    (0, -2), (0, -1),
)  # fmt: skip

#: Pixels that the diagonal order knows, nearly all within reach: none on its own diagonal or a later one, such as
#: (-1, 1), but some of the next row.
DIAGONAL_TAPS: tuple[Tap, ...] = (
    (-3, -2), (-3, -1), (-3, 0), (-3, 1), (-3, 2),
    (-2, -3), (-2, -2), (-2, -1), (-2, 0), (-2, 1),
    (-1, -3), (-1, -2), (-1, -1), (-1, 0),
    (0, -3), (0, -2), (0, -1),
    (1, -3), (1, -2),
)  # fmt: skip

WEST: Tap = (0, -1)

#: Widths of the border that the taps can reach: rows above and below, columns left and right.
TOP, BOTTOM, LEFT, RIGHT = 3, 1, 3, 2

#: The taps that a model may have: those of earlier pixels of the same row and of earlier rows, and those of the next
#: row that lie on an earlier diagonal.
ALLOWED_TAPS = frozenset(
    (row, column)
    for row in range(-TOP, BOTTOM + 1)
    for column in range(-LEFT, RIGHT + 1)
    if row < 0 or row + column < 0
)

#: What a model may see beside its taps: whether the row and the column of the current pixel are even or odd.
PARITIES = 2

#: How pixels outside the image read. "zero" is the published rule. "edge" continues the image causally: left of
#: row i stands pixel (i-1, 0), right of row i pixel (i, W-1), above the image (and left of row 0) mid-grey 128.
#: "diagonal" is "edge" for taps of the next row too: k columns left of row i stands pixel (i-k, 0), k rows below
#: column j pixel (H-1, j+k), which lie on the same diagonal; grey where there is no such pixel.
PADDINGS = ("zero", "edge", "diagonal")
MID_GREY = 128


def pad_image(image: np.ndarray, padding: str) -> np.ndarray:
    """Return `image` (H, W, C) with its border, shape (TOP + H + BOTTOM, LEFT + W + RIGHT, C), same dtype."""
    height, width, channels = image.shape
    below, right = TOP + height, LEFT + width
    padded = np.zeros((below + BOTTOM, right + RIGHT, channels), image.dtype)
    if padding not in PADDINGS:
        raise ValueError(f"padding {padding!r}: allowed are {', '.join(PADDINGS)}")
    if padding != "zero":
        padded[:] = MID_GREY
        padded[TOP:below, right:] = image[:, -1:]
    if padding == "edge":
        padded[TOP + 1 : below, :LEFT] = image[:-1, :1]
    elif padding == "diagonal":
        for distance in range(1, LEFT + 1):
            cells = padded[TOP + distance :, LEFT - distance]
            cells[:] = image[: len(cells), 0]
        for distance in range(1, BOTTOM + 1):
            padded[below + distance - 1, LEFT : right - distance] = image[-1, distance:]
    padded[TOP:below, LEFT:right] = image
    return padded


def parity_signs(phase: int) -> tuple[int, int]:
    """Signs of the inputs that say whether row and column are even or odd: bit 0 of `phase` takes even columns for odd
    ones, bit 1 rows."""
    return -1 if phase & 2 else 1, -1 if phase & 1 else 1
