"""Where the command line writes: names of outputs, nothing overwritten, nothing half written."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from datasets.pictures import read_picture
from tests.command_line_cases import encoded, files_in, load, photograph, run, save

__all__ = ["encoded", "run"]  # fixtures


def test_sub_folders_and_equal_stems_do_not_overwrite_each_other(run, tmp_path):
    images = {name: photograph(16, 16, seed) for seed, name in enumerate(("a.png", "a.bmp", "deep/er/a.png", "b.png"))}
    for name, image in images.items():
        save(tmp_path / "photos" / name, image)
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out") == 0
    assert len(files_in(tmp_path / "out")) == 4
    assert {"b.p59", "deep/er/a.p59"} <= set(files_in(tmp_path / "out"))
    assert run("decode.json", bitstream_path="out", output_path="restored") == 0
    restored = [load(tmp_path / "restored" / name) for name in files_in(tmp_path / "restored")]
    for image in images.values():
        assert sum(np.array_equal(image, other) for other in restored) == 1


def test_a_list_of_files_and_directories(run, tmp_path):
    for index, name in enumerate(("x/a.png", "y/a.png", "c.png")):
        save(tmp_path / name, photograph(16, 16, index))
    assert run("encode_wavefront.json", test_data='["x", "y", "c.png"]', bitstream_path="out") in (0, 2)
    if not run.err:  # refused, or all three are there
        assert len(files_in(tmp_path / "out")) == 3
    else:
        run.says_once("a.png", "encode them apart")
        assert not (tmp_path / "out").exists()


def test_several_images_into_one_file_are_refused(run, tmp_path):
    for name in ("a.png", "b.png"):
        save(tmp_path / "photos" / name, photograph(16, 16))
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="all.p59") == 2
    run.says_once("all.p59", "2", "directory")
    assert not (tmp_path / "all.p59").exists()


def test_one_image_to_exactly_the_file_that_is_named(run, tmp_path):
    save(tmp_path / "a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="deep/name.bin") == 0
    assert files_in(tmp_path) == ["a.png", "deep/name.bin"]
    assert run("decode.json", bitstream_path="deep/name.bin", output_path="deep/other.png") == 0
    np.testing.assert_array_equal(load(tmp_path / "deep/other.png"), photograph(16, 16))


@pytest.mark.parametrize("target", ["version.2/", "out.d/"])
def test_a_slash_at_the_end_means_a_directory(run, tmp_path, target):
    save(tmp_path / "a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path=target) == 0
    assert files_in(tmp_path / target) == ["a.p59"]
    assert run("decode.json", bitstream_path=target, output_path=f"restored.{target}") == 0
    assert files_in(tmp_path / f"restored.{target}") == ["a.png"]


def test_a_tilde_means_the_home_directory(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    save(tmp_path / "home/a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="~/a.png", bitstream_path="~/out") == 0
    assert run("decode.json", bitstream_path="~/out", output_path="~/restored") == 0
    assert files_in(tmp_path) == ["home/a.png", "home/out/a.p59", "home/restored/a.png"]


def test_an_output_never_replaces_its_input(run, tmp_path, encoded):
    save(tmp_path / "a.png", photograph(16, 16))
    before = (tmp_path / "a.png").read_bytes()
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="a.png") == 2
    run.says_once("a.png")
    assert (tmp_path / "a.png").read_bytes() == before
    (tmp_path / "coded.png").write_bytes(encoded[1])
    assert run("decode.json", bitstream_path="coded.png", output_path="coded.png") == 2
    assert (tmp_path / "coded.png").read_bytes() == encoded[1]


def test_directories_with_the_ending_of_a_file_are_not_files(run, tmp_path):
    save(tmp_path / "photos/really.png/a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out/really.p59/") == 0
    assert run("decode.json", bitstream_path="out", output_path="restored") == 0
    assert len(files_in(tmp_path / "restored")) == 1


def test_skip_existing(run, tmp_path):
    save(tmp_path / "photos/a.png", photograph(16, 16))
    save(tmp_path / "photos/b.png", photograph(16, 16, 1))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.p59").write_bytes(b"mine")
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out", skip_existing="true") == 0
    assert (tmp_path / "out/a.p59").read_bytes() == b"mine"
    assert (tmp_path / "out/b.p59").is_file()
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out", overwrite="true") == 0
    assert (tmp_path / "out/a.p59").read_bytes() != b"mine"
    (tmp_path / "restored").mkdir()
    (tmp_path / "restored/b.png").write_bytes(b"mine")
    assert run("decode.json", bitstream_path="out", output_path="restored", skip_existing="true") == 0
    assert (tmp_path / "restored/b.png").read_bytes() == b"mine"


def test_only_files_of_the_same_image_are_replaced(run, tmp_path):
    """Two folders whose images have the same names, encoded into one; and images restored beside others."""
    for folder, seed in (("trip1", 0), ("trip2", 1)):
        save(tmp_path / folder / "a.png", photograph(40, 48, seed))
    save(tmp_path / "trip2/b.png", photograph(40, 48, 2))
    assert run("encode_wavefront.json", test_data="trip1", bitstream_path="out") == 0
    before = (tmp_path / "out/a.p59").read_bytes()
    assert run("encode_diagonal.json", test_data="trip1", bitstream_path="out") == 0, "the same image in another order"
    other_order = (tmp_path / "out/a.p59").read_bytes()
    assert other_order != before
    assert run("encode_wavefront.json", test_data="trip2", bitstream_path="out") == 1
    run.says_once("a.p59", "does not hold this image", "overwrite=true")
    assert files_in(tmp_path / "out") == ["a.p59", "b.p59"], "the others are done"
    assert (tmp_path / "out/a.p59").read_bytes() == other_order

    same, other = (tmp_path / "trip1/a.png").read_bytes(), (tmp_path / "trip2/a.png").read_bytes()
    assert run("decode.json", bitstream_path="out/a.p59", output_path="trip1") == 0
    assert (tmp_path / "trip1/a.png").read_bytes() == same, "it stays as it is"
    assert run("decode.json", bitstream_path="out/a.p59", output_path="trip2") == 1
    run.says_once("a.png", "another picture", "overwrite=true")
    assert (tmp_path / "trip2/a.png").read_bytes() == other
    (tmp_path / "trip2/b.png").write_bytes(b"no image")
    assert run("decode.json", bitstream_path="out/b.p59", output_path="trip2") == 1
    assert (tmp_path / "trip2/b.png").read_bytes() == b"no image"
    assert run("decode.json", bitstream_path="out", output_path="trip2", overwrite="true") == 0
    np.testing.assert_array_equal(load(tmp_path / "trip2/a.png"), photograph(40, 48, 0))


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


def test_an_interrupt_shows_what_was_done(run, tmp_path, monkeypatch):
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / "photos" / name, photograph(16, 16))
    (tmp_path / "photos/a.png").write_bytes(b"no image")

    def interrupted(path, limit):
        if path.name == "c.png":
            raise KeyboardInterrupt
        return read_picture(path, limit)

    monkeypatch.setattr("utils.tasks.encode.read_picture", interrupted)
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out") == 130
    assert "b.p59" in run.out
    assert "skip_existing" in run.out
    assert "a.png" in run.err
    assert "interrupted" in run.err
    assert files_in(tmp_path / "out") == ["b.p59"]


@pytest.mark.parametrize("name", ["2024", "true", "[1]", "1e3"])
def test_names_that_look_like_json_are_names(run, tmp_path, name):
    save(tmp_path / "a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path=name) == 0
    assert files_in(tmp_path / name) == ["a.p59"]


# Wrong requests: exit status 2, one line, nothing written.


def test_nothing_half_written_is_left(run, tmp_path, monkeypatch):
    """Where a disk is full in the middle of a file, or the run is interrupted there."""
    save(tmp_path / "a.png", photograph(16, 16))
    for error, status in ((OSError(28, "No space left on device"), 1), (KeyboardInterrupt(), 130)):

        def fail(*_, error=error):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out") == status
        assert files_in(tmp_path) == ["a.png"]


@pytest.mark.parametrize("name", ["ü" * 120, "写" * 80, "a" * 250, "with space and 'quotes'", "-dash", ".hidden"])
def test_file_names_as_long_as_allowed(run, tmp_path, name):
    save(tmp_path / f"in/{name}.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data=f"in/{name}.png", bitstream_path="out") == 0
    assert files_in(tmp_path / "out") == [f"{name}.p59"]


# As a process of its own.


def test_links_and_pipes_in_a_directory(run, tmp_path):
    """Links to nothing are failures, pipes are not read, linked directories are named."""
    save(tmp_path / "photos/a.png", photograph(16, 16))
    save(tmp_path / "elsewhere/c.png", photograph(16, 16))
    os.mkfifo(tmp_path / "photos/pipe.png")
    (tmp_path / "photos/broken.png").symlink_to("nowhere.png")
    (tmp_path / "photos/more").symlink_to(tmp_path / "elsewhere")
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out") == 1
    run.says_once("broken.png")
    assert "1 linked directories" in run.out
    assert files_in(tmp_path / "out") == ["a.p59"]
    (tmp_path / "out/b.p59").symlink_to("nowhere.p59")
    assert run("decode.json", bitstream_path="out", output_path="restored") == 1
    run.says_once("b.p59")
    assert files_in(tmp_path / "restored") == ["a.png"]


def test_both_inputs_of_one_output_are_named(run, tmp_path):
    for folder in ("x", "y"):
        save(tmp_path / folder / "a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data='["x", "y"]', bitstream_path="out") == 2
    run.says_once("x/a.png", "y/a.png")


@pytest.mark.parametrize("key", ["test_data", "bitstream_path", "checkpoint_file"])
def test_an_empty_value_is_refused(run, tmp_path, key):
    save(tmp_path / "a.png", photograph(16, 16))
    request = {"test_data": "a.png", "bitstream_path": "out/"} | {key: ""}
    assert run("encode_wavefront.json", **request) == 2
    run.says_once(key, "is empty")
    assert files_in(tmp_path) == ["a.png"]
