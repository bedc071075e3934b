"""Images whose network is evaluated elsewhere, on a GPU say: contexts go out, network outputs come back.

A turn takes the outputs of the pixels whose contexts were gathered before, codes these pixels, and gathers the next
ones: a step where values are decoded, a block of steps where they are known. Many images take their turns together.
Compiled code does it where the native core is built; otherwise PyTorch, slowly, with the same bytes.
Letters: N pixels of all images of a turn, I network inputs, K network outputs; H, W image size, C channels.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np
import torch

from coders import native
from coders.codec import SymbolReader, SymbolWriter, code_block
from coders.scan import Scan
from models.contexts import Canvas, inputs_at
from models.fixed_mixture import fixed_mixture
from models.frozen import FrozenModel

#: Pixels of an image that is encoded, in one turn. Changes speed and memory, never a byte.
ENCODE_PIXELS = 1 << 12


class StepCoder(Protocol):
    """One image on its way.

    finished    all pixels are coded
    lookahead   turns that may be under way at a time: 2 where the values are known, else 1
    most        no turn has more pixels
    """

    finished: bool
    lookahead: int
    most: int

    def result(self):
        """Once, when finished: the stream, or the image (H, W, C) uint8."""


class Turns:
    """Makes images that take turns, and gives them their turns."""

    def __init__(self, threads: int | None = None) -> None:
        self._native = native.unavailable_reason() is None
        self._pool = native.pool(threads) if self._native else None

    def encoder(self, image: np.ndarray, model: FrozenModel, scan: Scan) -> StepCoder:
        """Encodes an image (H, W, C) uint8."""
        if self._native:
            return native.step_encoder(image, model, scan, ENCODE_PIXELS)
        return _TorchEncoder(image, model, scan)

    def decoder(self, stream: bytes, height: int, width: int, model: FrozenModel, scan: Scan) -> StepCoder:
        """Decodes a stream; any bytes decode to some image."""
        if self._native:
            return native.step_decoder(stream, height, width, model, scan)
        return _TorchDecoder(stream, height, width, model, scan)

    def advance(
        self, coders: list[StepCoder], awaited: list[int], outputs: np.ndarray, inputs: np.ndarray
    ) -> list[int]:
        """A turn of several images.

        Image i takes `awaited[i]` rows of `outputs` (N, K) int32, which stand there image by image: as many as it has
        gathered in the turn before, none in its first. What is gathered goes to `inputs` (N, I) int16 in the same way.
        Returns how many pixels that is of each image, 0 after its last.
        """
        if self._native:
            return native.advance(coders, awaited, outputs, inputs, self._pool)
        gathered, taken, filled = [], 0, 0
        for coder, count in zip(coders, awaited, strict=True):
            if count:
                coder.take(outputs[taken : taken + count])
                taken += count
            gathered.append(coder.gather(inputs[filled:]))
            filled += gathered[-1]
        return gathered


class _TorchCoder:
    """A traversal of coders.codec, cut in two where the network is evaluated."""

    def __init__(self, canvas: Canvas, model: FrozenModel, scan: Scan, coder, pixels: int, lookahead: int) -> None:
        self.lookahead = lookahead
        delay = scan.row_delay or canvas.width
        self.most = pixels + min(canvas.height, (canvas.width - 1) // delay + 1)
        self._canvas, self._description, self._coder = canvas, model.description, coder
        self._taps = scan.taps(model.description.taps)
        self._blocks = scan.blocks(canvas.height, canvas.width, pixels)
        self._next = next(self._blocks, None)
        self._gathered: deque = deque()

    @property
    def finished(self) -> bool:
        return self._next is None and not self._gathered

    def gather(self, inputs: np.ndarray) -> int:
        if self._next is None:
            return 0
        row, column = (torch.from_numpy(part) for part in self._next[:2])
        own, reference = inputs_at(self._canvas.padded, row, column, self._description, self._taps)
        inputs[: len(own)] = own.numpy()
        self._gathered.append(((row, column, self._next[2]), reference))
        self._next = next(self._blocks, None)
        return len(own)

    def take(self, outputs: np.ndarray) -> None:
        block, reference = self._gathered.popleft()
        mixture = fixed_mixture(torch.from_numpy(outputs), reference, self._description)
        code_block(self._canvas, self._coder, block, mixture, reference)


class _TorchEncoder(_TorchCoder):
    def __init__(self, image: np.ndarray, model: FrozenModel, scan: Scan) -> None:
        canvas = Canvas.of(image, model.description.padding)
        super().__init__(canvas, model, scan, SymbolWriter(), ENCODE_PIXELS, 2)

    def result(self) -> bytes:
        return self._coder.finish()


class _TorchDecoder(_TorchCoder):
    def __init__(self, stream: bytes, height: int, width: int, model: FrozenModel, scan: Scan) -> None:
        canvas = Canvas.blank(height, width, model.description.channels, model.description.padding)
        super().__init__(canvas, model, scan, SymbolReader(stream), 1, 1)

    def result(self) -> np.ndarray:
        return self._canvas.image()
