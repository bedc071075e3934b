"""run_mode compare: whether .p59 files hold exactly their images."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from coders.container import Container
from tests.command_line_cases import files_in, photograph, run, save
from utils.tasks import compare

__all__ = ["run"]  # fixtures


@pytest.fixture
def encoded_photos(run, tmp_path):
    for name, seed in (("a.png", 0), ("b.png", 1), ("deep/c.png", 2)):
        save(tmp_path / "photos" / name, photograph(40, 48, seed))
    Image.fromarray(np.arange(48 * 40, dtype=np.uint16).reshape(40, 48)).save(tmp_path / "photos/deep/d.png")
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out") == 0
    return tmp_path


def test_files_that_hold_their_images(run, encoded_photos):
    before = files_in(encoded_photos)
    assert run("compare.json", test_data="photos", bitstream_path="out") == 0
    assert "4 of 4 images are held by their files, samples and kept metadata alike" in run.out
    assert run.err == ""
    assert files_in(encoded_photos) == before
    assert run("compare.json", test_data="photos/a.png", bitstream_path="out/a.p59") == 0


def test_files_that_do_not(run, encoded_photos):
    """Missing, damaged, another image, other metadata; decoded samples that are not those of the checksums."""
    out = encoded_photos / "out"
    (out / "a.p59").unlink()
    data = (out / "b.p59").read_bytes()
    (out / "b.p59").write_bytes(data[:-1])
    assert run("compare.json", test_data="photos", bitstream_path="out") == 1
    assert "2 of 4 images are held by their files" in run.out
    first, second = run.err.splitlines()
    assert first == "failed: photos/a.png: 'out/a.p59' does not exist; encode the image"
    assert second.startswith("failed: photos/b.png: 'out/b.p59' cannot be decoded: damaged or truncated")

    (out / "b.p59").write_bytes((out / "deep/c.p59").read_bytes())
    Image.fromarray(photograph(40, 48, 0)).save(encoded_photos / "photos/a.png", dpi=(300, 300))
    assert run("encode_wavefront.json", test_data="photos/a.png", bitstream_path="out/") == 0
    save(encoded_photos / "photos/a.png", photograph(40, 48, 0))
    assert run("compare.json", test_data="photos", bitstream_path="out") == 1
    assert [line.split(";")[0] for line in run.err.splitlines()] == [
        "failed: photos/a.png: 'out/a.p59' does not hold this image with these metadata",
        "failed: photos/b.png: 'out/b.p59' does not hold this image with these metadata",
    ]

    container = Container.from_bytes(data)
    (kind, planes), *others = container.chunks
    changed = planes[:-20] + bytes(byte ^ 255 for byte in planes[-20:])
    (out / "b.p59").write_bytes(replace(container, chunks=((kind, changed), *others)).to_bytes())
    assert run("compare.json", test_data="photos/b.png", bitstream_path="out/") == 1
    run.says_once("failed: photos/b.png: ", "differ")


def test_profiles_of_the_input_count(run, tmp_path):
    Image.fromarray(photograph(16, 16)).save(tmp_path / "a.png", icc_profile=b"profile" * 50)
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out/") == 0
    assert run("compare.json", test_data="a.png", bitstream_path="out/") == 0
    Image.fromarray(photograph(16, 16)).save(tmp_path / "a.png", icc_profile=b"another" * 50)
    assert run("compare.json", test_data="a.png", bitstream_path="out/") == 1


def test_decoded_samples_are_compared_themselves(run, encoded_photos, monkeypatch):
    """Not checksums alone."""
    decoded = compare.decode_picture

    def other(*case):
        picture = decoded(*case)
        return replace(picture, samples=picture.samples ^ 1)

    monkeypatch.setattr(compare, "decode_picture", other)
    assert run("compare.json", test_data="photos/a.png", bitstream_path="out/") == 1
    run.says_once("photos/a.png", "'out/a.p59' holds other samples")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes pipes")
def test_what_is_no_file_is_not_read(run, encoded_photos):
    (encoded_photos / "out/a.p59").unlink()
    os.mkfifo(encoded_photos / "out/a.p59")
    assert run("compare.json", test_data="photos/a.png", bitstream_path="out/") == 1
    run.says_once("'out/a.p59' is no file")


def test_interrupted(run, encoded_photos, monkeypatch):
    read = compare.read_picture

    def interrupted(path, limit):
        if path.name == "b.png":
            raise KeyboardInterrupt
        return read(path, limit)

    monkeypatch.setattr(compare, "read_picture", interrupted)
    assert run("compare.json", test_data="photos", bitstream_path="out", images_at_once=1) == 130
    assert "out/a.p59" in run.out
    assert "skip_existing" not in run.out, "which it does not know"
