"""Training samples: contexts and the pixels they precede, drawn from a rotating pool of image crops.

Letters: N contexts, T taps, C channels; S side of a crop in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from datasets.augmentation import Augmentation
from datasets.images import read_image
from models.neighbourhood import LEFT, RIGHT, TOP, Tap, pad_image


class CropPool:
    """`size` padded crops of S x S pixels held in memory; `refresh` replaces a few by new ones.

    Contexts are drawn anywhere inside any crop, so that a batch mixes hundreds of images while reading few.
    Every random choice comes from `generator`, so a seed decides the whole run.
    """

    def __init__(
        self,
        files: list[Path],
        channels: int,
        size: int,
        side: int,
        padding: str,
        augmentation: Augmentation,
        generator: np.random.Generator,
    ) -> None:
        self.files, self.channels, self.side, self.padding = files, channels, side, padding
        self.augmentation, self.generator = augmentation, generator
        self.size = size
        self._order: list[int] = []
        self._cache: dict[int, np.ndarray] = {}
        shape = (size, TOP + side, LEFT + side + RIGHT, channels)
        self.crops = torch.empty(shape, dtype=torch.uint8)
        for slot in range(size):
            self._fill(slot)

    def refresh(self, count: int) -> None:
        """Replace `count` random crops."""
        for slot in self.generator.integers(0, self.size, count):
            self._fill(int(slot))

    def _next_file(self) -> int:
        if not self._order:
            self._order = self.generator.permutation(len(self.files)).tolist()
        return self._order.pop()

    def _image(self, index: int) -> np.ndarray:
        """Images stay in memory up to about half a gigapixel, so that a small set is read only once."""
        if index in self._cache:
            return self._cache[index]
        image = read_image(self.files[index], self.channels)
        if sum(kept.size for kept in self._cache.values()) + image.size < 1.5e9:
            self._cache[index] = image
        return image

    def _fill(self, slot: int) -> None:
        image = self.augmentation(self._image(self._next_file()), self.side, self.generator)
        self.crops[slot] = torch.from_numpy(pad_image(image, self.padding))

    def draw(self, count: int, taps: tuple[Tap, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """`count` random (contexts (N, T, C), pixels (N, C)), both uint8."""
        rows, width = self.crops.shape[1], self.crops.shape[2]
        crop = self.generator.integers(0, self.size, count)
        row = self.generator.integers(TOP, rows, count)
        column = self.generator.integers(LEFT, width - RIGHT, count)
        positions = torch.from_numpy((crop * rows + row) * width + column)
        offsets = torch.tensor([dr * width + dc for dr, dc in (*taps, (0, 0))])
        values = self.crops.view(-1, self.channels)[positions[:, None] + offsets]
        return values[:, :-1], values[:, -1]


def batches(
    pool: CropPool, taps: tuple[Tap, ...], batch: int, refresh_every: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches, the next one prepared by a thread while the current one is used."""

    step = 0

    def prepare() -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal step
        step += 1
        if refresh_every and step % refresh_every == 0:
            pool.refresh(1)
        return pool.draw(batch, taps)

    with ThreadPoolExecutor(1) as executor:
        coming = executor.submit(prepare)
        while True:
            ready = coming.result()
            coming = executor.submit(prepare)
            yield ready
