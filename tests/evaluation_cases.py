"""What the tests of evaluation share: photographs and rows."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from PIL import Image

from utils.evaluation.rows import Row


def photograph(height: int, width: int, row: int = 0) -> np.ndarray:
    """(H, W, 3) uint8, cut from a real photograph."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[row : row + height, 100 : 100 + width])


def row_of(**values) -> Row:
    """A row that counts, with some of its values."""
    kinds = {field.name: {"int": 1, "float": 1.0, "str": ""}[field.type] for field in fields(Row)}
    return Row(**{**kinds, "data_set": "kodak", "image": "a.png", "codec": "PNG", "device": "cpu", **values})


@pytest.fixture
def folder(tmp_path):
    """Two small photographs in a folder."""
    directory = tmp_path / "set"
    directory.mkdir()
    for number in range(2):
        Image.fromarray(photograph(24, 20, 60 * number)).save(directory / f"{number}.png")
    return directory
