"""What tests of training share: a directory with images, configurations, and runs that are cut short."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import utils.training
from datasets.augmentation import Augmentation
from datasets.image_set import ImageSet
from datasets.published_crops import PublishedCrop
from datasets.training_samples import PatchPool
from main import main
from models.checkpoint import read_checkpoint
from models.neighbourhood import CAUSAL_TAPS
from utils.training import Training

REPOSITORY = Path(__file__).parent.parent

CONTEXTS = {
    "mode": "train",
    "exp_name": "run",
    "device": "cpu",
    "train_data": "train",
    "valid_data": "valid",
    "sampling": "contexts",
    "reference": "west",
    "loss": "coded",
    "hidden_width": 8,
    "hidden_layers": 2,
    "batch_size": 64,
    "patch_size": 16,
    "pool_size": 5,
    "refresh_every": 2,
    "noise": 0.5,
    "schedule": "cosine",
    "warmup_steps": 3,
    "learning_rate": 3e-3,
    "gradient_clip": 1.0,
    "max_steps": 12,
    "steps_per_epoch": 5,
    "validate_every": 1,
    "num_threads": 1,
}
CROPS = CONTEXTS | {
    "sampling": "crops", "reference": "none", "loss": "published", "batch_size": 3, "noise": 0.0,
    "schedule": "step", "val_patch_size": 12,
}  # fmt: skip
SAMPLINGS = {"contexts": CONTEXTS, "crops": CROPS, "soap": CONTEXTS | {"optimizer": "soap"}}


def photograph(seed: int, height: int = 24, width: int = 28) -> np.ndarray:
    """Smooth, with a little noise: something that can be learned."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(30, 220, (4, 4, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(smooth + generator.integers(-3, 4, smooth.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A directory with training and validation images, where the test runs."""
    for folder, seeds in (("train", range(4)), ("valid", range(10, 12))):
        (tmp_path / folder).mkdir()
        for seed in seeds:
            Image.fromarray(photograph(seed)).save(tmp_path / folder / f"{seed}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(utils.training, "curves_png", lambda *arguments: b"")  # plotting would take most of the time
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def run(configuration: dict, **overrides) -> int:
    """Like a user: a JSON file and the command line."""
    Path("config.json").write_text(json.dumps(configuration))
    return main(["config.json", *(f"{name}={json.dumps(value)}" for name, value in overrides.items())])


def checkpoint(name: str, which: str = "checkpoint") -> dict:
    return read_checkpoint(Path(f"experiments/{name}/checkpoints/{which}.pth.tar"))


def same_result(one: dict, other: dict) -> bool:
    """Bit for bit: weights, Adam's state, the step, the running mean of the loss and the log but for its times."""

    def comparable(payload: dict) -> list:
        progress = payload["progress"]
        tensors = [*payload["state_dict"].values()]
        tensors += [
            torch.as_tensor(value) for state in payload["optimizer"]["state"].values() for value in state.values()
        ]
        numbers = [payload["iteration"], payload["best_valid_loss"], [row[:6] for row in progress["rows"]]]
        return [[tensor.numpy().tobytes() for tensor in tensors], repr(numbers), repr(progress["meter"])]

    return comparable(one) == comparable(other)


def disturb(monkeypatch, step: int, action) -> None:
    """Do `action` once, right after `step` is trained."""
    update = Training._on_update

    def disturbed(self, state):
        if self.step + 1 == step:
            monkeypatch.setattr(Training, "_on_update", update)
            action()
        update(self, state)

    monkeypatch.setattr(Training, "_on_update", disturbed)


class KilledError(Exception):
    """Stands for a process that ends in the middle of a step."""


def kill():
    raise KilledError


def pool_of(kind, **keywords):
    images = ImageSet(sorted(Path("train").iterdir()), 3, 12)
    keywords |= {"size": 5, "refresh_every": 2, "seed": 4, "side": 12, "batch": 7, "taps": CAUSAL_TAPS}
    return kind(images, **keywords, padding="zero", augment=PublishedCrop() if kind is PatchPool else Augmentation())
