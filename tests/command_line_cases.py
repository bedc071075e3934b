"""What tests of the command line share: a run, images, files, models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import main as command_line
from models.context_net import ContextNet
from models.description import PUBLISHED
from models.model_file import model_to_bytes, read_model
from models.store import SHIPPED
from tests.helpers import ROOT

CONFIGS = ROOT / "configs"
ENCODE = ("encode_sequential.json", "encode_wavefront.json", "encode_diagonal.json")


def photograph(height: int = 40, width: int = 48, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: a photograph's crop, so that the network is what codes it best."""
    from skimage import data

    generator = np.random.default_rng(seed)
    whole = data.astronaut()
    row, column = generator.integers(0, 512 - height), generator.integers(0, 512 - width)
    return whole[row : row + height, column : column + width]


def save(path, image: np.ndarray):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(path)
    return path


def load(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).reshape(image.height, image.width, -1)


class Run:
    """Runs main() here; remembers what it printed."""

    def __init__(self, capsys) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, config, **overrides) -> int:
        arguments = [str(CONFIGS / config), *(f"{key}={value}" for key, value in overrides.items())]
        try:
            status = command_line.main(arguments)
        except SystemExit as ended:
            status = ended.code
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.err
        return status

    def says_once(self, *parts: str) -> None:
        """One line on stderr that holds all parts."""
        assert self.err.count("\n") == 1, self.err
        assert self.err.endswith("\n")
        for part in parts:
            assert part in self.err, self.err


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Run(capsys)


def files_in(directory) -> list[str]:
    """Relative paths of everything below, hidden files too."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """A photograph coded with the shipped weights in the wavefront order: (image, file's bytes)."""
    directory = tmp_path_factory.mktemp("encoded")
    image = photograph()
    save(directory / "photo.png", image)
    arguments = [f"test_data={directory}", f"bitstream_path={directory}/photo.p59"]
    assert command_line.main([str(CONFIGS / "encode_wavefront.json"), *arguments]) == 0
    return image, (directory / "photo.p59").read_bytes()


@pytest.fixture
def other_model(tmp_path):
    """A model file that differs from the shipped one in one integer."""
    model = read_model(SHIPPED / "rgb.safetensors")
    bias = model.layers[-1].bias.copy()
    bias[0] += 1
    path = tmp_path / "other.safetensors"
    path.write_bytes(model_to_bytes(replace(model, layers=(*model.layers[:-1], replace(model.layers[-1], bias=bias)))))
    return path


# What is asked for is done.


def checkpoint(path):
    """A small network with the published conventions, as a training checkpoint of this project."""
    description = replace(PUBLISHED, widths=(8,))
    net = ContextNet(description)
    net.reset_parameters(torch.Generator().manual_seed(0))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": net.state_dict(), "description": description.to_json()}, path)
    return path
