"""The one traversal: every order, encoding, decoding and measuring, with PyTorch. The reference for the native core.

Data flows contexts -> frozen network -> integer mixture -> CDF points -> symbol coder. What is done with a symbol is
the coder passed in: write it, read it, or add up its bits. Letters: H, W image size; C channels; N pixels of a
block, M components of a mixture.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from coders.numpyac import TOTAL_BITS, Decoder, Encoder
from coders.scan import Scan
from models.contexts import Canvas, inputs_at
from models.fixed_mixture import FixedMixture, cdf_points, channel_means, fixed_mixture, scalar_cdf_point
from models.frozen import FrozenModel
from models.frozen_net import FrozenNet
from models.neighbourhood import LEFT, TOP

#: Pixels whose contexts are evaluated together where all of them are known. Changes speed and memory, never a byte.
BLOCK_PIXELS = 1 << 14


class SymbolCoder(Protocol):
    """What is done with the symbols of a block.

    `values_known` tells whether `code` is given the pixels' values or must return them; only where they are known
    may a block be more than one step.
    """

    values_known: bool

    def code(
        self, channel: int, means: torch.Tensor, scales: torch.Tensor, weights: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        """Code a channel of a block, the first one first: mixtures (N, M) each and values (N,) -> values (N,)."""

    def end_block(self, steps: np.ndarray) -> None:
        """All channels of the block are done; `steps` (N,) holds each pixel's step."""


def traverse(canvas: Canvas, model: FrozenModel, scan: Scan, coder: SymbolCoder, device: str, pixels: int) -> None:
    """Visit all pixels of `canvas` in the order of `scan`, coding each; decoded values are put on the canvas.

    Where values are known a block has at least so many `pixels`, else it is a step.
    """
    net, description = FrozenNet(model, device), model.description
    taps = scan.taps(description.taps)
    for rows, columns, steps in scan.blocks(canvas.height, canvas.width, pixels if coder.values_known else 1):
        row, column = torch.from_numpy(rows), torch.from_numpy(columns)
        inputs, reference = inputs_at(canvas.padded, row, column, description, taps)
        mixture = FixedMixture(*(part.cpu() for part in fixed_mixture(net(inputs), reference.to(device), description)))
        code_block(canvas, coder, (row, column, steps), mixture, reference)


def code_block(
    canvas: Canvas,
    coder: SymbolCoder,
    block: tuple[torch.Tensor, torch.Tensor, np.ndarray],
    mixture: FixedMixture,
    reference: torch.Tensor,
) -> None:
    """Code the pixels of a block, given their mixtures and references (N, C); `block` is rows, columns, steps, (N,)."""
    row, column, steps = block
    values = canvas.padded[row + TOP, column + LEFT].to(torch.int64)
    for channel in range(values.shape[1]):
        means = channel_means(mixture, channel, values - reference)
        values[:, channel] = coder.code(
            channel, means, mixture.scales[:, channel], mixture.weights[:, channel], values[:, channel]
        )
    coder.end_block(steps)
    if not coder.values_known:
        canvas.put(row, column, values.to(torch.uint8))


class SymbolWriter:
    """Writes symbols to a stream."""

    values_known = True

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._channels: list[np.ndarray] = []

    def code(self, channel, means, scales, weights, values):
        points = cdf_points(means, scales, weights, torch.stack((values, values + 1), 1))
        self._channels.append(points.numpy())
        return values

    def end_block(self, steps: np.ndarray) -> None:
        channels = len(self._channels)
        order = np.argsort((steps[None, :] * channels + np.arange(channels)[:, None]).reshape(-1), kind="stable")
        for c_low, c_high in np.concatenate(self._channels)[order].tolist():
            self._encoder.encode(c_low, c_high)
        self._channels = []

    def finish(self) -> bytes:
        return self._encoder.finish()


class SymbolReader:
    """Reads symbols from a stream."""

    values_known = False

    def __init__(self, stream: bytes) -> None:
        self._decoder = Decoder(stream)

    def code(self, channel, means, scales, weights, values):
        mixtures = zip(means.tolist(), scales.tolist(), weights.tolist(), strict=True)
        values = [self._decoder.decode(scalar_cdf_point(*mixture), 256) for mixture in mixtures]
        return torch.tensor(values, device="cpu")

    def end_block(self, steps: np.ndarray) -> None:
        pass


class SymbolMeter:
    """Adds up ideal code lengths: `bits` (C,) of each channel."""

    values_known = True

    def __init__(self, channels: int) -> None:
        self.bits = np.zeros(channels)

    def code(self, channel, means, scales, weights, values):
        self.bits[channel] += float(ideal_bits(means, scales, weights, values).sum())
        return values

    def end_block(self, steps: np.ndarray) -> None:
        pass


def ideal_bits(means: torch.Tensor, scales: torch.Tensor, weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Of values (N,) under mixtures (N, M) each -> (N,) float64."""
    points = cdf_points(means, scales, weights, torch.stack((values, values + 1), 1))
    return TOTAL_BITS - torch.log2((points[:, 1] - points[:, 0]).to(torch.float64))


def encode_stream(
    image: np.ndarray, model: FrozenModel, scan: Scan, device: str = "cpu", pixels: int = BLOCK_PIXELS
) -> bytes:
    """Code an image (H, W, C) uint8 to an arithmetic-coded stream."""
    writer = SymbolWriter()
    traverse(Canvas.of(image, model.description.padding), model, scan, writer, device, pixels)
    return writer.finish()


def decode_stream(
    stream: bytes, height: int, width: int, model: FrozenModel, scan: Scan, device: str = "cpu"
) -> np.ndarray:
    """The image (H, W, C) uint8 that `encode_stream` coded. Any bytes decode to some image; checksums are elsewhere."""
    canvas = Canvas.blank(height, width, model.description.channels, model.description.padding)
    traverse(canvas, model, scan, SymbolReader(stream), device, 1)
    return canvas.image()


def measure_stream(
    image: np.ndarray, model: FrozenModel, scan: Scan, device: str = "cpu", pixels: int = BLOCK_PIXELS
) -> np.ndarray:
    """Ideal bits of each channel (C,) float64 under the frozen model."""
    meter = SymbolMeter(model.description.channels)
    traverse(Canvas.of(image, model.description.padding), model, scan, meter, device, pixels)
    return meter.bits
