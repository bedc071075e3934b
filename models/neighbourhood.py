"""The causal neighbourhood as data, and the gathering of contexts.

A *tap* is a (row, column) offset from the current pixel; a *context* is the pixel values at all taps.
Letters: H, W image height and width; C channels; T taps; N contexts.
"""

from __future__ import annotations

import numpy as np
import torch

Tap = tuple[int, int]

#: The 12 pixels of the 5x5 window that precede the current one in raster order (paper, section 3.1).
CAUSAL_TAPS: tuple[Tap, ...] = (
    (-2, -2), (-2, -1), (-2, 0), (-2, 1), (-2, 2),
    (-1, -2), (-1, -1), (-1, 0), (-1, 1), (-1, 2),
    (0, -2), (0, -1),
)  # fmt: skip

#: What the diagonal order knows: nine of the window, and three outside it in place of what lies to the north-east.
DIAGONAL_TAPS: tuple[Tap, ...] = (
    (-3, 1), (-3, 2),
    (-2, -2), (-2, -1), (-2, 0), (-2, 1),
    (-1, -2), (-1, -1), (-1, 0),
    (0, -3), (0, -2), (0, -1),
)  # fmt: skip

WEST: Tap = (0, -1)

#: Widths of the border that the taps can reach: rows above, columns left and right.
TOP, LEFT, RIGHT = 3, 3, 2

#: The taps that a model may have.
ALLOWED_TAPS = frozenset((*CAUSAL_TAPS, *DIAGONAL_TAPS))

#: How pixels outside the image read. "zero" is the published rule. "edge" continues the image causally: left of
#: row i stands pixel (i-1, 0), right of row i pixel (i, W-1), above the image (and left of row 0) mid-grey 128.
PADDINGS = ("zero", "edge")
MID_GREY = 128


def pad_image(image: np.ndarray, padding: str) -> np.ndarray:
    """Return `image` (H, W, C) with its border, shape (TOP + H, LEFT + W + RIGHT, C), same dtype."""
    height, width, channels = image.shape
    padded = np.zeros((TOP + height, LEFT + width + RIGHT, channels), image.dtype)
    if padding == "edge":
        padded[: TOP + 1] = MID_GREY
        padded[TOP + 1 :, :LEFT] = image[:-1, :1]
        padded[TOP:, LEFT + width :] = image[:, -1:]
    elif padding != "zero":
        raise ValueError(f"padding {padding!r}: allowed are {', '.join(PADDINGS)}")
    padded[TOP:, LEFT : LEFT + width] = image
    return padded


class Canvas:
    """A padded image that may be filled pixel by pixel; its border follows from the pixels already put.

    padded      (TOP + H, LEFT + W + RIGHT, C) uint8 tensor
    """

    def __init__(self, padded: torch.Tensor, padding: str) -> None:
        self.padded, self.padding = padded, padding
        self.height, self.width = padded.shape[0] - TOP, padded.shape[1] - LEFT - RIGHT

    @classmethod
    def of(cls, image: np.ndarray, padding: str) -> Canvas:
        """A complete image (H, W, C) uint8."""
        return cls(torch.from_numpy(pad_image(image, padding)), padding)

    @classmethod
    def blank(cls, height: int, width: int, channels: int, padding: str) -> Canvas:
        """An image to be filled by `put`."""
        return cls.of(np.zeros((height, width, channels), np.uint8), padding)

    def put(self, rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor) -> None:
        """Set the pixels (N, C) at (rows, columns), each (N,), and the border cells that continue them."""
        self.padded[rows + TOP, columns + LEFT] = values
        if self.padding == "edge":
            last = columns == self.width - 1
            self.padded[rows[last] + TOP, LEFT + self.width :] = values[last, None]
            first = (columns == 0) & (rows < self.height - 1)
            self.padded[rows[first] + TOP + 1, :LEFT] = values[first, None]

    def image(self) -> np.ndarray:
        """The image (H, W, C) uint8 without its border."""
        return self.padded[TOP:, LEFT : LEFT + self.width].numpy()


def gather_contexts(
    padded: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, taps: tuple[Tap, ...]
) -> torch.Tensor:
    """Contexts of the pixels at (`rows`, `columns`), each (N,), of a padded image (TOP + H, LEFT + W + RIGHT, C).

    Returns (N, T, C) in the image's dtype.
    """
    stride = padded.shape[1]
    offsets = torch.tensor([dr * stride + dc for dr, dc in taps], device=padded.device)
    positions = (rows + TOP) * stride + (columns + LEFT)
    return padded.reshape(-1, padded.shape[2])[positions[:, None] + offsets]
