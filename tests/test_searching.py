"""Directories that the command line searches: what is found, left out, or cannot be listed."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.command_line_cases import encoded, files_in, load, photograph, run, save

__all__ = ["encoded", "run"]  # fixtures


def test_directories_with_the_ending_of_a_file_are_not_files(run, tmp_path):
    save(tmp_path / "photos/really.png/a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out/really.p59/") == 0
    assert run("decode.json", bitstream_path="out", output_path="restored") == 0
    assert len(files_in(tmp_path / "restored")) == 1


def test_files_that_are_left_out_by_their_endings_are_counted(run, tmp_path):
    for name in ("a.png", "c.jfif"):
        save(tmp_path / "photos" / name, photograph(16, 16))
    Image.fromarray(photograph(16, 16)[:, :, 0] > 90).save(tmp_path / "photos/b.PBM", "PPM")
    for name in ("x.cr2", "y.CR2", "notes", "deep/z.txt"):
        (tmp_path / "photos" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(b"")
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out") == 0
    assert files_in(tmp_path / "out") == ["a.p59", "b.p59", "c.p59"]
    assert "2 .cr2, 1 .txt, 1 no ending not taken for images" in run.out
    (tmp_path / "out/a.p59").rename(tmp_path / "out/a.P59")
    assert run("decode.json", bitstream_path="out", output_path="restored") == 0
    assert len(files_in(tmp_path / "restored")) == 3


def test_links_and_pipes_in_a_directory(run, tmp_path):
    """Links to nothing are failures, pipes are not read but counted, linked directories are named."""
    save(tmp_path / "photos/a.png", photograph(16, 16))
    save(tmp_path / "elsewhere/c.png", photograph(16, 16))
    os.mkfifo(tmp_path / "photos/pipe.png")
    (tmp_path / "photos/broken.png").symlink_to("nowhere.png")
    (tmp_path / "photos/more").symlink_to(tmp_path / "elsewhere")
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out") == 1
    run.says_once("broken.png")
    assert "1 linked directories" in run.out
    assert "photos: 1 pipes, devices or sockets with endings of images" in run.out
    assert files_in(tmp_path / "out") == ["a.p59"]
    (tmp_path / "out/b.p59").symlink_to("nowhere.p59")
    assert run("decode.json", bitstream_path="out", output_path="restored") == 1
    run.says_once("b.p59")
    assert files_in(tmp_path / "restored") == ["a.png"]


def test_directories_that_cannot_be_listed_are_failures(run, tmp_path, monkeypatch):
    for name in ("a.png", "locked/b.png"):
        save(tmp_path / "photos" / name, photograph(16, 16))
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out") == 0
    listed = os.scandir

    def refused(path):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="new") == 1
    run.says_once("photos/locked: ", "cannot be listed")
    assert run("decode.json", bitstream_path="out", output_path="restored") == 1
    run.says_once("out/locked: ", "cannot be listed")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert files_in(tmp_path / "new") == ["a.p59"]
    assert files_in(tmp_path / "restored") == ["a.png"]
    monkeypatch.setattr(os, "scandir", refused)
    assert run("encode_wavefront.json", test_data="photos/locked", bitstream_path="new") == 2
    run.says_once("photos/locked", "cannot be listed")


@pytest.mark.skipif(os.name != "posix", reason="makes symbolic links")
def test_links_to_themselves_are_failures(run, tmp_path):
    save(tmp_path / "photos/a.png", photograph(16, 16))
    for link in ("photos/self.png", "out/self.p59"):
        (tmp_path / link).parent.mkdir(exist_ok=True)
        (tmp_path / link).symlink_to(tmp_path / link)
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out") == 1
    run.says_once("photos/self.png")
    assert run("decode.json", bitstream_path="out", output_path="restored") == 1
    run.says_once("out/self.p59")
    assert files_in(tmp_path / "restored") == ["a.png"]
    (tmp_path / "loop").symlink_to("loop")
    assert run("encode_wavefront.json", test_data="photos/a.png", bitstream_path="loop/") == 1
    run.says_once("loop/a.p59")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a path longer than other systems allow")
def test_a_deep_tree(run, tmp_path):
    deep = Path(*["d"] * 1200)
    for folder in reversed([tmp_path / "photos" / deep, *(tmp_path / "photos" / deep).parents[:1200]]):
        folder.mkdir()
    save(tmp_path / "photos" / deep / "a.png", photograph(16, 16))
    try:
        assert run("encode_wavefront.json", test_data="photos", bitstream_path="out") == 0
        assert run("decode.json", bitstream_path="out", output_path="back") == 0
        np.testing.assert_array_equal(load(tmp_path / "back" / deep / "a.png"), photograph(16, 16))
    finally:  # shutil.rmtree cannot
        for top in ("photos", "out", "back"):
            folders = [tmp_path / top / deep, *(tmp_path / top / deep).parents[:1200]]
            for file in folders[0].glob("a.*"):
                file.unlink()
            for folder in folders:
                if folder.is_dir():
                    folder.rmdir()
