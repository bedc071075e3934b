"""What networks are trained on: the same pools whoever draws from them, contexts, crops, augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datasets.augmentation import COLOUR_STEPS, Augmentation
from datasets.published_crops import PublishedCrop, centre_crop
from datasets.training_samples import ContextPool, PatchPool, _gathered
from models.neighbourhood import BOTTOM, CAUSAL_TAPS, DIAGONAL_TAPS, LEFT, RIGHT, TOP
from tests.training_cases import photograph, pool_of, work
from utils.processes import Processes

__all__ = ["work"]  # a fixture


def test_the_shares_of_all_processes_are_the_batch_of_one(work):
    for sampling in (ContextPool, PatchPool):
        pool = pool_of(sampling)
        pool.advance(0)
        whole = pool.draw(3, slice(0, 7))
        parts = [pool.draw(3, Processes(rank, 3).share(7)) for rank in range(3)]
        for index in range(3):
            assert torch.equal(whole[index], torch.cat([part[index] for part in parts]))


@pytest.mark.parametrize("kind", [ContextPool, PatchPool])
def test_a_pool_at_a_step_does_not_depend_on_when_it_began(work, kind):
    early, late, first = pool_of(kind), pool_of(kind), pool_of(kind)
    for step in range(24):
        early.advance(step)
    late.advance(23)
    first.advance(0)
    assert not torch.equal(first.draw(23, slice(7))[0], late.draw(23, slice(7))[0])  # it rotates
    assert all(torch.equal(*pair) for pair in zip(early.draw(23, slice(7)), late.draw(23, slice(7)), strict=True))


def test_crops_are_padded_with_zeros_inside_each_crop(work):
    pool = pool_of(PatchPool)
    pool.advance(0)
    contexts, pixels, places = (part.reshape(7, 12, 12, -1) for part in pool.draw(0, slice(0, 7)))
    assert torch.equal(places, torch.from_numpy(np.indices((12, 12))).permute(1, 2, 0).expand(7, 12, 12, 2))
    for tap, (down, right) in enumerate(CAUSAL_TAPS):
        at_tap = contexts[..., 3 * tap : 3 * tap + 3]
        rows, columns = (torch.arange(12)[:, None] + down, torch.arange(12)[None, :] + right)
        inside = (rows >= 0) & (columns >= 0) & (columns < 12)
        expected = pixels[:, rows.clamp(0), columns.clamp(0, 11)] * inside[None, :, :, None]
        assert torch.equal(at_tap, expected)


def test_published_crops_are_windows_of_the_image_or_their_mirror_images():
    image = photograph(1, 14, 15)
    windows = {image[r : r + 12, c : c + 12].tobytes() for r in range(3) for c in range(4)}
    mirrored = {image[r : r + 12, c : c + 12][:, ::-1].tobytes() for r in range(3) for c in range(4)}
    crops = {PublishedCrop()(image, 12, np.random.default_rng(seed)).tobytes() for seed in range(300)}
    assert crops == windows | mirrored
    assert np.array_equal(centre_crop(image, 4), image[5:9, 5:9]) or np.array_equal(
        centre_crop(image, 4), image[5:9, 6:10]
    )
    assert np.array_equal(centre_crop(image, 100), image)


@pytest.mark.parametrize("taps", [CAUSAL_TAPS, CAUSAL_TAPS[::-2], DIAGONAL_TAPS], ids=["all", "some", "diagonal"])
def test_contexts_are_the_pixels_at_the_taps(work, taps):
    """Every context of a batch against single look-ups in the padded crops, the outermost positions among them."""
    crops = torch.randint(
        0,
        256,
        (2, TOP + 4 + BOTTOM, LEFT + 4 + RIGHT, 3),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )
    crop, row, column = (index.ravel() for index in np.mgrid[0:2, TOP : TOP + 4, LEFT : LEFT + 4])
    contexts, pixels, places = _gathered(crops, crop, row, column, taps)
    assert places.tolist() == np.stack((row - TOP, column - LEFT), 1).tolist()
    for n, (b, i, j) in enumerate(zip(crop, row, column, strict=True)):
        assert pixels[n].tolist() == crops[b, i, j].tolist()
        assert contexts[n].tolist() == [crops[b, i + di, j + dj].tolist() for di, dj in taps]


def test_augmentation_is_reproducible_and_keeps_the_shape():
    image, augmentation = photograph(3, 40, 50), Augmentation(noise=1.0, resize=1.0, sharpen=1.0, half_colour=1.0)
    crops = [augmentation(image, 16, np.random.default_rng(5)) for _ in range(2)]
    assert crops[0].shape == (16, 16, 3)
    assert np.array_equal(*crops)


def test_coarse_colour_keeps_brightness_and_sharpening_adds_contrast():
    """Against the definitions: colour differences lose detail, the weighted sum of the channels does not."""
    image = np.random.default_rng(1).integers(60, 190, (32, 32, 3), np.uint8)
    weights = np.array([0.299, 0.587, 0.114])

    def changed(**how) -> np.ndarray:
        return Augmentation(flips="none", **how)(image, 32, np.random.default_rng(2)).astype(float)

    coarse, sharp = changed(half_colour=1.0), changed(sharpen=1.0)
    assert np.abs((coarse - image) @ weights).mean() < 1.5
    assert (
        np.diff(coarse[..., 0] - coarse[..., 2], axis=1).std()
        < 0.5 * np.diff(image[..., 0] * 1.0 - image[..., 2]).std()
    )
    assert np.abs(coarse - image).mean() > 5
    assert sharp.std() > 1.1 * image.std()
    assert np.array_equal(changed(), image)
    gray = image[:, :, :1]
    assert np.array_equal(Augmentation("none", half_colour=1.0)(gray, 32, np.random.default_rng(2)), gray)


def test_colour_of_half_the_resolution_lies_on_even_rows_and_columns():
    """Of half of the crops: there red - brightness is the mean of its neighbours in odd rows and columns. Of the others
    it is not, nor is it in even ones."""
    image = np.random.default_rng(1).integers(80, 170, (32, 32, 3), np.uint8)
    rounding = 0.5 + COLOUR_STEPS[2][2] / 3

    def off(lines: np.ndarray, first: int) -> float:
        """How far every other line, from `first` on, is from the mean of the two beside it."""
        middle = lines[first:-1:2]
        return np.abs(middle - (lines[first - 1 :: 2][: len(middle)] + lines[first + 1 :: 2][: len(middle)]) / 2).mean()

    on_even = 0
    for seed in range(40):
        crop = Augmentation("none", half_colour=1.0)(image, 32, np.random.default_rng(seed)).astype(float)
        red = crop[:, :, 0] - crop @ [0.299, 0.587, 0.114]
        assert off(red, 2) > rounding < off(red.T, 2)
        assert (off(red, 1) < rounding) == (off(red.T, 1) < rounding)
        on_even += off(red, 1) < rounding
    assert 10 <= on_even <= 30
