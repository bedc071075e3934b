"""The images that freezing looks at: which they are, and that they are changed as those of the training were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import calibration
from datasets.augmentation import Augmentation, augmentation_of
from datasets.calibration import SIDE, calibration_images
from models.model_file import read_model
from tests.command_line_cases import checkpoint, photograph, run, save
from utils.errors import ModelError

__all__ = ["run"]  # a fixture

HALF_COLOUR = {"half_colour": 1.0}


def test_plain_images_are_read_whole(tmp_path):
    images = [photograph(20, 30), np.tile(photograph(300, 400, seed=1), (2, 2, 1))]
    for number, image in enumerate(images):
        save(tmp_path / f"{number}.png", image)
    found, skipped = calibration_images(str(tmp_path), 3)
    assert not skipped
    assert all(np.array_equal(one, other) for one, other in zip(found, images, strict=True))
    assert calibration_images(str(tmp_path), 1)[0][0].shape == (20, 30, 1)


def test_of_many_files_some_are_read_spread_over_them(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "FEWEST", 3)
    for number in range(11):
        save(tmp_path / f"{number:02}.png", np.full((3, 4, 3), number, np.uint8))
    assert [image[0, 0, 0] for image in calibration_images(str(tmp_path), 3)[0]] == [0, 3, 6, 9]


def test_augmented_crops_are_the_same_in_every_run(tmp_path):
    image = np.tile(photograph(500, 500), (2, 2, 1))
    save(tmp_path / "a.png", image)
    save(tmp_path / "b.png", image[:20, :30])
    augmentation = Augmentation("none", **HALF_COLOUR)
    once, again = (calibration_images(str(tmp_path), 3, augmentation)[0] for _ in range(2))
    assert [one.shape for one in once] == [(SIDE, SIDE, 3), (20, 20, 3)]
    assert all(np.array_equal(one, other) for one, other in zip(once, again, strict=True))


def test_files_that_cannot_be_used_are_skipped_as_in_training(run, tmp_path):
    save(tmp_path / "photos/a.png", photograph(60, 60))
    (tmp_path / "photos/broken.png").write_bytes(b"no image")
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(tmp_path / "photos/deep.png")
    use = {"checkpoint_file": checkpoint(tmp_path / "c.pth.tar"), "frozen_path": "frozen/"}
    assert run("freeze.json", calibration_data="photos", **use) == 0
    assert run.out.count("skipped calibration image") == 2
    assert (tmp_path / "frozen/c.safetensors").is_file(), "a slash at the end means a directory"
    (tmp_path / "photos/a.png").unlink()
    assert run("freeze.json", calibration_data="photos", **use) == 2
    run.says_once("calibration images can be used")


@pytest.mark.parametrize("channels", [1, 3])
def test_builtin_photographs_are_augmented_too(channels):
    plain, _ = calibration_images(None, channels)
    sharp, _ = calibration_images(None, channels, Augmentation("none", sharpen=1.0))
    assert len(plain) == len(sharp)
    assert not any(np.array_equal(one, other) for one, other in zip(plain, sharp, strict=True))


def test_what_a_run_says_of_its_crops():
    assert augmentation_of({}) is None
    assert augmentation_of({"noise": 0.0, "flips": "all", "learning_rate": 3}) is None
    assert augmentation_of({"noise": 1, "half_colour": 0.5}) == Augmentation("none", noise=1, half_colour=0.5)
    for wrong in (2, -0.1, "much", None, True, float("nan")):
        with pytest.raises(ModelError, match="probabilities"):
            augmentation_of({"sharpen": wrong})


def with_settings(path, settings):
    payload = torch.load(checkpoint(path), weights_only=True)
    torch.save(payload | {"settings": settings}, path)
    return path


def test_freezing_knows_the_settings_of_the_run_and_keys_go_before_them(run, tmp_path):
    save(tmp_path / "photos/a.png", photograph(200, 200))
    use = {"calibration_data": "photos"}

    def frozen(settings, **keys) -> str:
        source = with_settings(tmp_path / "c.pth.tar", settings)
        (tmp_path / "f.safetensors").unlink(missing_ok=True)
        assert run("freeze.json", checkpoint_file=source, frozen_path="f.safetensors", **use, **keys) == 0
        return read_model(tmp_path / "f.safetensors").name

    plain, halved = frozen({}), frozen(HALF_COLOUR)
    assert plain != halved
    assert frozen({}, half_colour=1.0) == halved
    assert frozen(HALF_COLOUR, half_colour=0) == plain
    assert run("freeze.json", checkpoint_file=with_settings(tmp_path / "c.pth.tar", {"noise": 7}), **use) == 2
    assert "probabilities" in run.err


def test_a_checkpoint_that_is_frozen_to_encode_is_frozen_alike(run, tmp_path):
    save(tmp_path / "photos/a.png", photograph(200, 200))
    source = with_settings(tmp_path / "c.pth.tar", HALF_COLOUR)
    use = {"calibration_data": "photos", "checkpoint_file": source}
    assert run("freeze.json", frozen_path="f.safetensors", **use) == 0
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="o", **use) == 0
    assert read_model(tmp_path / "f.safetensors").name in run.out


def test_another_model_is_not_overwritten(run, tmp_path):
    save(tmp_path / "photos/a.png", photograph(200, 200))
    use = {
        "calibration_data": "photos",
        "checkpoint_file": checkpoint(tmp_path / "c.pth.tar"),
        "frozen_path": "f.safetensors",
    }
    assert run("freeze.json", **use) == 0
    before = (tmp_path / "f.safetensors").read_bytes()
    assert run("freeze.json", **use) == 0, "the same once more"
    assert run("freeze.json", half_colour=1, **use) == 2
    assert "another model" in run.err
    assert (tmp_path / "f.safetensors").read_bytes() == before
    (tmp_path / "f.safetensors").write_bytes(b"my notes")
    assert run("freeze.json", **use) == 2
    assert (tmp_path / "f.safetensors").read_bytes() == b"my notes"
