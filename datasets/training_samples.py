"""Training samples: contexts, and the pixels they precede, drawn from a rotating pool of pieces of images.

Every random choice is a function of the seed and a number: of the piece, or of the step. Nothing else is carried from
step to step, so that a run that resumes at step t, and each process of a run that several share, sees exactly what an
unbroken run of one process sees. Letters: N contexts, T taps, C channels, B crops;
H, W image size.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from datasets.image_set import ImageSet
from models.neighbourhood import BOTTOM, LEFT, RIGHT, TOP, Tap, pad_image

#: (image (H, W, C), side, generator) -> crop (side, side, C)
Augment = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
#: (piece (H, W, C), generator) -> how little it belongs to what is trained; only negative ones are wanted
Excess = Callable[[np.ndarray, np.random.Generator], float]
#: (contexts (N, T, C), pixels (N, C)), both uint8, and the pixels' places in their crops (N, 2) int64, row and column
Sample = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

#: Pieces kept for crop sampling are at most this large; a larger image lends a random window of it.
WINDOW = 256
#: Pieces that are tried for each that is wanted; after so many, the one that belongs most is taken.
MOST_TRIES = 50
#: What random numbers are for; 0 is the order of the files.
PIECES, DRAWS = 1, 2


class RotatingPool(ABC):
    """`size` pieces of images in memory. Every `refresh_every` steps (0: never) a new one replaces the oldest.

    A batch so mixes hundreds of images while few are read. Piece number k comes from image k of the shuffled files
    and stands in slot k modulo `size`; where `excess` does not want it, a piece of any other image takes its place.
    `side` is S, `batch` how many contexts or crops a step takes.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        size: int,
        refresh_every: int,
        seed: int,
        side: int,
        batch: int,
        taps: tuple[Tap, ...],
        padding: str,
        augment: Augment,
        device: str = "cpu",
        excess: Excess | None = None,
    ) -> None:
        self.images, self.size, self.refresh_every, self.seed = images, size, refresh_every, seed
        self.side, self.batch, self.taps, self.padding = side, batch, taps, padding
        self.augment, self.device, self.excess = augment, device, excess
        self._made = 0

    def advance(self, step: int) -> None:
        """Bring the pool to its state at `step`, which is never below that of an earlier call."""
        end = self.size + (step // self.refresh_every if self.refresh_every else 0)
        numbers = range(max(self._made, end - self.size), end)
        if len(numbers) > 1:  # at the start: decoding is worth some threads
            with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as executor:
                pieces = executor.map(self._piece, numbers)
                for number, piece in zip(numbers, pieces, strict=True):
                    self._keep(number % self.size, piece)
        else:
            for number in numbers:
                self._keep(number % self.size, self._piece(number))
        self._made = end

    def _piece(self, number: int) -> np.ndarray:
        generator = np.random.default_rng([self.seed, PIECES, number])
        piece = self._cut(self.images.shuffled(number, self.seed), generator)
        if self.excess is None:
            return piece
        pieces, excesses = [piece], [self.excess(piece, generator)]
        while excesses[-1] >= 0 and len(pieces) < MOST_TRIES:
            another = self.images.shuffled(int(generator.integers(1 << 30)), self.seed)
            pieces.append(self._cut(another, generator))
            excesses.append(self.excess(pieces[-1], generator))
        return pieces[int(np.argmin(excesses))]

    @abstractmethod
    def _cut(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """The piece of an image (H, W, C) that is kept."""

    @abstractmethod
    def _keep(self, slot: int, piece: np.ndarray) -> None:
        """Put a piece into its slot."""

    @abstractmethod
    def draw(self, step: int, share: slice) -> Sample:
        """The part `share` of the batch of `step`."""


class ContextPool(RotatingPool):
    """Batches of `batch` contexts, each anywhere in any of the pool's S x S crops."""

    def __init__(self, *arguments, **keywords) -> None:
        super().__init__(*arguments, **keywords)
        shape = (self.size, TOP + self.side + BOTTOM, LEFT + self.side + RIGHT, self.images.channels)
        self.crops = torch.empty(shape, dtype=torch.uint8, device=self.device)

    def _cut(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return self.augment(image, self.side, generator)

    def _keep(self, slot: int, piece: np.ndarray) -> None:
        self.crops[slot] = torch.from_numpy(pad_image(piece, self.padding))

    def draw(self, step: int, share: slice) -> Sample:
        generator = np.random.default_rng([self.seed, DRAWS, step])
        crop = generator.integers(0, self.size, self.batch)[share]
        row = generator.integers(TOP, TOP + self.side, self.batch)[share]
        column = generator.integers(LEFT, LEFT + self.side, self.batch)[share]
        return _gathered(self.crops, crop, row, column, self.taps)


class PatchPool(RotatingPool):
    """Batches of `batch` random S x S crops, all pixels of each, with the padding inside each crop (as published)."""

    def __init__(self, *arguments, **keywords) -> None:
        super().__init__(*arguments, **keywords)
        self.windows: list[np.ndarray] = [np.empty(0, np.uint8)] * self.size

    def _cut(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        largest = max(WINDOW, self.side)
        starts = [int(generator.integers(0, max(0, length - largest) + 1)) for length in image.shape[:2]]
        return image[starts[0] : starts[0] + largest, starts[1] : starts[1] + largest].copy()

    def _keep(self, slot: int, piece: np.ndarray) -> None:
        self.windows[slot] = piece

    def draw(self, step: int, share: slice) -> Sample:
        numbers = range(self.batch)[share]
        shape = (len(numbers), TOP + self.side + BOTTOM, LEFT + self.side + RIGHT, self.images.channels)
        crops = torch.empty(shape, dtype=torch.uint8)
        for place, number in enumerate(numbers):
            generator = np.random.default_rng([self.seed, DRAWS, step, number])
            window = self.windows[int(generator.integers(0, self.size))]
            crops[place] = torch.from_numpy(pad_image(self.augment(window, self.side, generator), self.padding))
        crop, row, column = np.indices((len(numbers), self.side, self.side)).reshape(3, -1)
        return _gathered(crops.to(self.device), crop, row + TOP, column + LEFT, self.taps)


def _gathered(
    crops: torch.Tensor, crop: np.ndarray, row: np.ndarray, column: np.ndarray, taps: tuple[Tap, ...]
) -> Sample:
    """Contexts and pixels at the positions, each (N,), of padded crops (B, rows, columns, C).

    A row of the neighbourhood lies together in memory: reading whole rows takes a tenth of the time of single taps.
    """
    rows, columns, channels = crops.shape[1:]
    width = LEFT + 1 + RIGHT
    flat = crops.view(-1)
    runs = flat.as_strided((len(flat) // channels - width + 1, width * channels), (channels, 1))
    west = torch.from_numpy((crop * rows + row) * columns + column - LEFT).to(crops.device)
    down = torch.arange(-TOP, BOTTOM + 1, device=crops.device) * columns
    window = runs.index_select(0, (west[:, None] + down).flatten()).view(len(west), -1, channels)
    cells = torch.tensor([(dr + TOP) * width + dc + LEFT for dr, dc in (*taps, (0, 0))], device=crops.device)
    values = window.index_select(1, cells)
    places = torch.from_numpy(np.stack((row - TOP, column - LEFT), 1)).to(crops.device)
    return values[:, :-1], values[:, -1], places


def batches(pool: RotatingPool, first: int, last: int, share: slice) -> Iterator[Sample]:
    """The batches of steps first .. last - 1, the next one prepared by a thread while the current one is used."""

    def prepare(step: int) -> Sample:
        pool.advance(step)
        return pool.draw(step, share)

    with ThreadPoolExecutor(1) as executor:
        coming = executor.submit(prepare, first) if first < last else None
        for step in range(first, last):
            ready = coming.result()
            if step + 1 < last:
                coming = executor.submit(prepare, step + 1)
            yield ready
