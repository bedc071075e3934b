"""Contexts, with PyTorch: gathered from an image, and as the integers that go into a network.

A *context* is the pixel values at all taps of a pixel. Letters: H, W image height and width; C channels; T taps;
N contexts; I inputs of the network.
"""

from __future__ import annotations

import numpy as np
import torch

from models.description import ModelDescription
from models.neighbourhood import BOTTOM, LEFT, RIGHT, TOP, WEST, Tap, pad_image


class Canvas:
    """A padded image that may be filled pixel by pixel; its border follows from the pixels already put.

    padded      (TOP + H + BOTTOM, LEFT + W + RIGHT, C) uint8 tensor
    """

    def __init__(self, padded: torch.Tensor, padding: str) -> None:
        self.padded, self.padding = padded, padding
        self.height, self.width = padded.shape[0] - TOP - BOTTOM, padded.shape[1] - LEFT - RIGHT

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
        if self.padding == "zero":
            return
        last, first = columns == self.width - 1, columns == 0
        self.padded[rows[last] + TOP, LEFT + self.width :] = values[last, None]
        if self.padding == "edge":
            first &= rows < self.height - 1
            self.padded[rows[first] + TOP + 1, :LEFT] = values[first, None]
            return
        for distance in range(1, LEFT + 1):
            inside = first & (rows + distance < self.height + BOTTOM)
            self.padded[rows[inside] + TOP + distance, LEFT - distance] = values[inside]
        for distance in range(1, BOTTOM + 1):
            inside = (rows == self.height - 1) & (columns >= distance)
            self.padded[self.height + TOP + distance - 1, columns[inside] + LEFT - distance] = values[inside]

    def image(self) -> np.ndarray:
        """The image (H, W, C) uint8 without its border."""
        return self.padded[TOP : TOP + self.height, LEFT : LEFT + self.width].numpy()


def gather_contexts(
    padded: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, taps: tuple[Tap, ...]
) -> torch.Tensor:
    """Contexts of the pixels at (`rows`, `columns`), each (N,), of a padded image
    (TOP + H + BOTTOM, LEFT + W + RIGHT, C).

    Returns (N, T, C) in the image's dtype.
    """
    stride = padded.shape[1]
    offsets = torch.tensor([dr * stride + dc for dr, dc in taps], device=padded.device)
    positions = (rows + TOP) * stride + (columns + LEFT)
    return padded.reshape(-1, padded.shape[2])[positions[:, None] + offsets]


def inputs_at(
    padded: torch.Tensor,
    rows: torch.Tensor,
    columns: torch.Tensor,
    description: ModelDescription,
    taps: tuple[Tap, ...] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`integer_inputs` of the pixels at (`rows`, `columns`), each (N,), of a padded image (see models.neighbourhood).

    `taps` replaces the description's where an order does not know all of them (see coders.scan).
    """
    contexts = gather_contexts(padded, rows, columns, taps or description.taps)
    return integer_inputs(contexts, description, torch.stack((rows, columns), 1))


def integer_inputs(
    contexts: torch.Tensor, description: ModelDescription, places: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The network's inputs as integers, and the reference that inputs and means are relative to.

    contexts (N, T, C) uint8, for parities the places (N, 2), row and column -> inputs (N, I), reference (N, C), int16.
    Reference "none": the values themselves, reference 0. Reference "west": differences from the west pixel Wst,
    and 2 * Wst - 255 at the west tap itself. Parities, where the network sees them: -255 in even rows, 255 in odd ones,
    and in the same way for columns. `ModelDescription.input_scales` says what one unit is worth.
    """
    values = contexts.to(torch.int16)
    if description.reference == "none":
        reference = torch.zeros_like(values[:, 0])
    else:
        west = description.taps.index(WEST)
        reference = values[:, west]
        values = values - reference[:, None]
        values[:, west] = 2 * reference - 255
    inputs = values.flatten(1)
    if description.parities:
        inputs = torch.cat((inputs, (places & 1).to(inputs) * 510 - 255), 1)
    return inputs, reference
