"""Where the command line writes: names of outputs, nothing overwritten, nothing half written."""

from __future__ import annotations

import errno
import os
import signal
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.pictures import read_picture
from tests.command_line_cases import encoded, files_in, load, photograph, run, save
from utils.tasks import encode
from utils.tasks.files import Results, conclude
from utils.tasks.report import timing_row

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
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out", skip_existing="true") == 1
    run.says_once("photos/a.png", "does not hold this image")
    assert (tmp_path / "out/a.p59").read_bytes() == b"mine"
    assert (tmp_path / "out/b.p59").is_file()
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out", overwrite="true") == 0
    assert (tmp_path / "out/a.p59").read_bytes() != b"mine"
    (tmp_path / "restored").mkdir()
    (tmp_path / "restored/b.png").write_bytes(b"mine")
    assert run("decode.json", bitstream_path="out", output_path="restored", skip_existing="true") == 1
    run.says_once("out/b.p59", "another picture")
    assert (tmp_path / "restored/b.png").read_bytes() == b"mine"
    (tmp_path / "restored/b.png").unlink()
    assert run("decode.json", bitstream_path="out", output_path="restored", skip_existing="true") == 0
    assert "1 outputs exist and were left as they are, not compared with their inputs" in run.out


def nothing_of(data: bytes) -> bytes:
    return b""


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [nothing_of, cut, flipped])
def test_damaged_outputs_are_not_taken_for_done(run, tmp_path, damage):
    """Empty, cut short or changed ones; another whole image's stay."""
    for name, seed in (("a.png", 0), ("b.png", 1)):
        save(tmp_path / "photos" / name, photograph(40, 48, seed))
    whole = {}
    for config, source, target, names in (
        ("encode_wavefront.json", "test_data", "bitstream_path", ("photos", "out", "a.p59", "b.p59")),
        ("decode.json", "bitstream_path", "output_path", ("out", "back", "a.png", "b.png")),
    ):
        request = {source: names[0], target: names[1]}
        assert run(config, **request) == 0
        first, second = (tmp_path / names[1] / name for name in names[2:])
        whole[first], other = first.read_bytes(), second.read_bytes()
        first.write_bytes(damage(whole[first]))
        second.write_bytes(whole[first])
        assert run(config, **request, skip_existing="true") == 0
        assert f"{names[1]}/{names[2]} is damaged" in run.out
        assert "1 outputs exist" in run.out
        assert first.read_bytes() == whole[first]
        assert second.read_bytes() == whole[first], "it was not compared"
        second.write_bytes(other)


def test_a_file_with_other_metadata_is_another_file(run, tmp_path):
    image = Image.fromarray(photograph(16, 16))
    image.save(tmp_path / "a.png", dpi=(72, 72))
    request = {"test_data": "a.png", "bitstream_path": "out/"}
    assert run("encode_wavefront.json", **request) == 0
    before = (tmp_path / "out/a.p59").read_bytes()
    image.save(tmp_path / "a.png", dpi=(300, 300))
    assert run("encode_wavefront.json", **request) == 1
    run.says_once("out/a.p59", "metadata", "overwrite=true")
    assert (tmp_path / "out/a.p59").read_bytes() == before
    assert run("encode_wavefront.json", **request, overwrite="true") == 0
    assert run("encode_wavefront.json", **request) == 0, "the same metadata"


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


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_being_terminated_shows_what_was_done(run, tmp_path, monkeypatch):
    for name in ("a.png", "b.png"):
        save(tmp_path / "photos" / name, photograph(16, 16))

    def terminated(path, limit):
        if path.name == "b.png":
            os.kill(os.getpid(), signal.SIGTERM)
        return read_picture(path, limit)

    monkeypatch.setattr("utils.tasks.encode.read_picture", terminated)
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out") == 143
    assert "out/a.p59" in run.out
    run.says_once("interrupted")
    assert files_in(tmp_path / "out") == ["a.p59"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_file_needs_the_ending_that_a_directory_is_searched_for(run, tmp_path):
    save(tmp_path / "a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out/scans.2024") == 2
    run.says_once("'out/scans.2024'", ".p59", "directory's in /")
    assert files_in(tmp_path) == ["a.png"]
    (tmp_path / "out/scans.2024").mkdir(parents=True)
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out/scans.2024") == 0
    assert files_in(tmp_path / "out") == ["scans.2024/a.p59"]


@pytest.mark.parametrize("name", ["2024", "true", "[1]", "1e3"])
def test_names_that_look_like_json_are_names(run, tmp_path, name):
    save(tmp_path / "a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path=name) == 0
    assert files_in(tmp_path / name) == ["a.p59"]


# Wrong requests: exit status 2, one line, nothing written.


def test_nothing_half_written_is_left(run, tmp_path, monkeypatch):
    """Where a disk is full in the middle of a file, or the run is interrupted there."""
    save(tmp_path / "a.png", photograph(16, 16))
    for error, status in ((OSError(errno.ENOSPC, "No space left on device"), 1), (KeyboardInterrupt(), 130)):

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


def test_whatever_one_file_raises_the_others_are_done(run, tmp_path, monkeypatch):
    """A name whose output's is too long, and a mistake in the program."""
    for name in ("x" * 251 + ".png", "x" * 251 + ".bmp", "bad.png", "good.png"):
        save(tmp_path / "photos" / name, photograph(16, 16))

    def mistaken(path, limit):
        if path.name == "bad.png":
            raise ValueError("as a test pretends\nand more")
        return read_picture(path, limit)

    monkeypatch.setattr("utils.tasks.encode.read_picture", mistaken)
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out") == 1
    assert files_in(tmp_path / "out") == ["good.p59"]
    first, *others = run.err.splitlines()
    assert first.startswith("failed: photos/bad.png: internal error (ValueError: as a test pretends, in line ")
    assert "of test_output_files.py" in first
    assert all("File name too long" in line for line in others)
    assert len(others) == 2
    assert "3 failed:\n  photos/bad.png: internal error" in run.out, "again, below the table"


def test_a_full_disk_ends_the_run(run, tmp_path, monkeypatch):
    for number in range(4):
        save(tmp_path / f"photos/{number}.png", photograph(16, 16))
    written, flush = [], os.fsync

    def full(handle):
        written.append(handle)
        if len(written) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(handle)

    monkeypatch.setattr(os, "fsync", full)
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out") == 1
    run.says_once("photos/1.png: ", "No space left on device", "the run ends here", "skip_existing=true")
    assert files_in(tmp_path / "out") == ["0.p59"]
    assert len(written) == 2


def test_names_that_differ_in_case_only(monkeypatch):
    """Each has an output of its own, and finding it takes as long for the last one as for the first."""
    calls, key = [], encode._key
    monkeypatch.setattr(encode, "_key", lambda path: calls.append(path) or key(path))
    names = [*product(*zip("abcdefg", "ABCDEFG", strict=True))]
    files = [Path("in", "".join(letters) + ".png") for letters in names]
    outputs = encode.output_paths(files, "in", Path("out"), ".p59")
    assert [path.name for path in outputs[:3]] == ["abcdefg.png.p59", "abcdefG.png~2.p59", "abcdeFg.png~3.p59"]
    assert len({str(path).casefold() for path in outputs}) == len(files) == 128
    assert len(calls) <= 12 * len(files)


def test_sub_folders_are_those_below_the_first_directory_of_a_list():
    files = [Path("in/deep/a.png"), Path("c.png"), Path("/elsewhere/b.png")]
    outputs = encode.output_paths(files, ["/elsewhere", "in", "in/deep", "c.png"], Path("out"), ".p59")
    assert outputs == [Path("out/deep/a.p59"), Path("out/c.p59"), Path("out/b.p59")]


def test_long_tables_show_their_totals_only(capsys):
    row = timing_row("some.p59", 10, 30, 5, 1.0, "wavefront", "0123")
    assert conclude(Results(rows=[row] * 1001)) == 0
    shown = capsys.readouterr().out
    assert "1001 files (mean bpsp)" in shown
    assert "1001 rows are not shown" in shown
    assert "some.p59" not in shown


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
