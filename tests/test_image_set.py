"""Which files images are trained and validated on: each once, what cannot be used or is lossy is said."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image, ImageCms, features

from datasets.image_set import ImageSet
from datasets.images import find_images
from tests.training_cases import photograph, run, work

__all__ = ["work"]  # a fixture


@pytest.mark.skipif(os.name != "posix", reason="makes symbolic links")
def test_a_file_that_several_sources_name_is_found_once(work):
    Path("train/sub").mkdir()
    Image.fromarray(photograph(9)).save("train/sub/9.png")
    Path("train/link.png").symlink_to("0.png")
    names = ["train/3.png", "train/sub", "./train", str(work / "train/sub/9.png"), "train/3.png"]
    found = [str(path) for path in find_images(names)]
    assert found == ["train/3.png", "train/sub/9.png", *(f"train/{name}.png" for name in (0, 1, 2, "link"))]


LOSSY = {
    "a.jpg": ({}, True),
    "plain.tif": ({}, False),
    "deflated.tif": ({"compression": "tiff_adobe_deflate"}, False),
    "jpeg.tif": ({"compression": "jpeg"}, True),
    "lossless.webp": ({"lossless": True}, False),
    "lossy.webp": ({}, True),
    "profiled.webp": ({"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}, True),
    "both.webp": ({"lossless": True, "exif": b"Exif\0\0odd"}, False),
}


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_files_are_counted(tmp_path, name):
    if not (features.check("webp") and features.check("libtiff")):
        pytest.skip("this Pillow has no WebP or no compressed TIFF")
    options, lossy = LOSSY[name]
    Image.fromarray(photograph(1)).save(tmp_path / name, **options)
    lines = ImageSet([tmp_path / name], 3).report()
    assert [line.startswith("warning: 1 of the images are JPEG or as lossy") for line in lines] == [True] * lossy


def test_a_mode_that_is_not_taken_is_named(tmp_path):
    Image.fromarray(photograph(1)).save(tmp_path / "a.png")
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    ImageCms.applyTransform(Image.fromarray(photograph(1)), to_lab).save(tmp_path / "lab.tif")
    images = ImageSet(find_images(str(tmp_path)), 3)
    assert "its colours are not taken (Pillow's mode LAB); convert it to RGB or gray" in images.report()[1]


def test_names_that_are_not_utf_8_train_and_validate(work, capsys):
    name = os.fsdecode(b"\xff\xfe.png")
    try:
        for folder in ("train", "valid"):
            Image.fromarray(photograph(5)).save(f"{folder}/{name}")
    except OSError:
        pytest.skip("this file system does not take every name")
    Path("train", os.fsdecode(b"\xfd.png")).write_bytes(b"no image")
    configuration = {"mode": "train", "train_data": "train", "valid_data": "valid", "hidden_width": 8, "max_steps": 1}
    assert run(configuration, batch_size=2) == 0
    assert r"\udcfd.png: cannot be read" in capsys.readouterr().out
    assert run({"mode": "validate", "valid_data": "valid"}) == 0
    assert r"\udcff\udcfe.png" in capsys.readouterr().out


def test_the_fingerprint_of_ordinary_names_stays(tmp_path):
    path = tmp_path / "naïve 日本.png"
    Image.fromarray(photograph(1)).save(path)
    expected = sha256(f"{path.name} {path.stat().st_size}".encode()).hexdigest()[:16]
    assert ImageSet([path], 3).fingerprint == expected
