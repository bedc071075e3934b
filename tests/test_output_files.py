"""Where the command line writes: names of outputs, nothing overwritten, nothing half written."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from coders import native
from datasets.pictures import read_picture
from tests.command_line_cases import encoded, files_in, load, photograph, run, save
from utils.config import read_config
from utils.tasks import names
from utils.tasks.files import Results, conclude, together
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
    for order in ('["x", "y", "c.png"]', '["c.png", "y", "x"]'):
        assert run("encode_wavefront.json", test_data=order, bitstream_path="out") == 0
        assert "y/a.png becomes out/a.png~2.p59" in run.out
    assert files_in(tmp_path / "out") == ["a.png.p59", "a.png~2.p59", "c.p59"]


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
    config, _ = read_config("train", ["exp_name=~/x", 'valid_data=["~/y","z"]'])
    assert (config.exp_name, config.valid_data) == (str(tmp_path / "home/x"), [str(tmp_path / "home/y"), "z"])


def test_numbered_outputs_are_not_those_of_inputs_with_such_names(run, tmp_path):
    inputs = ("x/a.png", "y/a.png", "z/a.png~2.png", "w/a.png~3.png")
    for seed, name in enumerate(inputs):
        save(tmp_path / name, photograph(16, 16, seed))
    outputs = names.output_paths([Path(name) for name in inputs], list(inputs), Path("out"), ".p59", False)
    assert len(set(outputs)) == 4
    sources = json.dumps(list(inputs))
    assert run("encode_wavefront.json", test_data=sources, bitstream_path="out") == 0
    for seed, output in enumerate(outputs):
        assert run("decode.json", bitstream_path=str(output), output_path="back.png", overwrite="true") == 0
        np.testing.assert_array_equal(load(tmp_path / "back.png"), photograph(16, 16, seed))


def test_an_output_never_replaces_its_input(run, tmp_path, encoded):
    save(tmp_path / "a.png", photograph(16, 16))
    before = (tmp_path / "a.png").read_bytes()
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="a.png") == 2
    run.says_once("a.png")
    assert (tmp_path / "a.png").read_bytes() == before
    (tmp_path / "coded.png").write_bytes(encoded[1])
    assert run("decode.json", bitstream_path="coded.png", output_path="coded.png") == 2
    assert (tmp_path / "coded.png").read_bytes() == encoded[1]


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


@pytest.mark.skipif(native.unavailable_reason() is not None, reason="several images at once need the native core")
@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (OSError(errno.ENOSPC, "No space left on device"), 1)]
)
def test_what_was_done_behind_a_file_that_was_not_is_shown(run, tmp_path, monkeypatch, error, status):
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / "photos" / name, photograph(16, 16))
    (tmp_path / "photos/b.png").write_bytes(b"no image")

    def late(path, limit):
        if path.name == "a.png":
            give_up = time.monotonic() + 60
            while not (tmp_path / "out/c.p59").exists() and time.monotonic() < give_up:
                time.sleep(0.01)
            raise error
        return read_picture(path, limit)

    monkeypatch.setattr("utils.tasks.encode.read_picture", late)
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out", images_at_once=2) == status
    assert "out/c.p59" in run.out
    assert "1 files (mean bpsp)" in run.out
    assert run.err.count("failed: photos/b.png: ") == 1
    assert files_in(tmp_path / "out") == ["c.p59"]


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_being_terminated_shows_what_was_done(run, tmp_path, monkeypatch, name, status):
    number = getattr(signal, name)
    for name in ("a.png", "b.png"):
        save(tmp_path / "photos" / name, photograph(16, 16))

    def terminated(path, limit):
        if path.name == "b.png":
            os.kill(os.getpid(), number)
        return read_picture(path, limit)

    monkeypatch.setattr("utils.tasks.encode.read_picture", terminated)
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out", images_at_once=1) == status
    assert "out/a.p59" in run.out
    run.says_once("interrupted")
    assert files_in(tmp_path / "out") == ["a.p59"]
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_a_hangup_that_is_ignored_stays_so(run, tmp_path, monkeypatch):
    """As under nohup."""
    save(tmp_path / "a.png", photograph(16, 16))

    def hung_up(path, limit):
        os.kill(os.getpid(), signal.SIGHUP)
        return read_picture(path, limit)

    monkeypatch.setattr("utils.tasks.encode.read_picture", hung_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out/") == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert files_in(tmp_path / "out") == ["a.p59"]


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


@pytest.mark.parametrize("name", ["ü" * 120, "写" * 80, "a" * 250, "with space and 'quotes'", "-dash", ".hidden"])
def test_file_names_as_long_as_allowed(run, tmp_path, name):
    save(tmp_path / f"in/{name}.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data=f"in/{name}.png", bitstream_path="out") == 0
    assert files_in(tmp_path / "out") == [f"{name}.p59"]


def test_names_that_a_terminal_cannot_show(run, tmp_path):
    """Each file keeps to its line, whatever its name is."""
    inputs = tmp_path / "in"
    for name in (b"two\nlines.png", b"\x1b[31mred.png", b"not \xff utf-8.png"):
        save(inputs / os.fsdecode(name), photograph(16, 16))
    (inputs / "no\nimage.png").write_bytes(b"no image")
    assert run("encode_wavefront.json", test_data="in", bitstream_path="out") == 1
    assert len(files_in(tmp_path / "out")) == 3
    for name in (r"out/two\nlines.p59", r"out/\x1b[31mred.p59", r"out/not \udcff utf-8.p59"):
        assert sum(line.startswith(f"{name}  ") for line in run.out.splitlines()) == 1, name
    assert [line.split(": ")[:2] for line in run.err.splitlines()] == [["failed", r"in/no\nimage.png"]]
    assert r"1 failed:" "\n" r"  in/no\nimage.png: " in run.out
    assert run("inspect.json", bitstream_path="out") == 0
    assert sum(line.startswith("out/") for line in run.out.splitlines()) == 3


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


def test_few_files_are_done_ahead_of_one_that_takes_long(monkeypatch):
    """A million would be too many to hold; results come in order all the same."""
    monkeypatch.setattr("utils.tasks.files.MOST_AHEAD", 10)
    slow, rest_is_done, begun = Event(), Event(), []

    def work(item):
        begun.append(item)
        if item == 0:
            assert slow.wait(60)
        if item == 12:  # ten ahead, beside the two that are under way
            rest_is_done.set()
        return -item

    results = together(work, range(1000), SimpleNamespace(at_once=2, stop=lambda: None))
    with ThreadPoolExecutor(1) as reader:
        first = reader.submit(next, results)
        assert rest_is_done.wait(60)
        assert sorted(begun) == list(range(13))
        slow.set()
        assert first.result(60) == 0
    assert list(results) == [-item for item in range(1, 1000)]
    assert sorted(begun) == list(range(1000))


def test_names_that_differ_in_case_only(monkeypatch):
    """Each has an output of its own, whatever the order, and finding it takes as long for the last as for the first."""
    calls, key = [], names._key
    monkeypatch.setattr(names, "_key", lambda path: calls.append(path) or key(path))
    letters_of = [*product(*zip("ABCDEFG", "abcdefg", strict=True))]
    files = [Path("in", "".join(letters) + ".png") for letters in letters_of]
    outputs = names.output_paths(files, "in", Path("out"), ".p59")
    assert [path.name for path in outputs[:3]] == ["ABCDEFG.png.p59", "ABCDEFg.png~2.p59", "ABCDEfG.png~3.p59"]
    assert names.output_paths(files[::-1], "in", Path("out"), ".p59") == outputs[::-1]
    assert len({str(path).casefold() for path in outputs}) == len(files) == 128
    assert len(calls) <= 2 * 12 * len(files)
    assert len(names.numbered(files, outputs)) == 1, "not a line for each of so many"


def test_sub_folders_are_those_below_the_first_directory_of_a_list():
    files = [Path("in/deep/a.png"), Path("c.png"), Path("/elsewhere/b.png")]
    outputs = names.output_paths(files, ["/elsewhere", "in", "in/deep", "c.png"], Path("out"), ".p59")
    assert outputs == [Path("out/deep/a.p59"), Path("out/c.p59"), Path("out/b.p59")]


def test_long_tables_show_their_totals_only(capsys):
    row = timing_row("some.p59", 10, 30, 5, 1.0, "wavefront", "0123")
    assert conclude(Results(rows=[row] * 1001)) == 0
    shown = capsys.readouterr().out
    assert "1001 files (mean bpsp)" in shown
    assert "1001 rows are not shown" in shown
    assert "some.p59" not in shown


def test_restored_beside_their_originals_images_are_encoded_again(run, tmp_path):
    """a.png.png and a.png would both be a.png.p59."""
    for seed, name in enumerate(("a.png", "a.bmp")):
        save(tmp_path / "photos" / name, photograph(16, 16, seed))
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out") == 0
    assert run("decode.json", bitstream_path="out", output_path="photos") == 0
    assert files_in(tmp_path / "photos") == ["a.bmp", "a.bmp.png", "a.png", "a.png.png"]
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out") == 0
    assert "photos/a.png.png becomes out/a.png.png~2.p59" in run.out
    assert run("decode.json", bitstream_path="out", output_path="restored") == 0
    names = {"a.bmp.png": 1, "a.bmp.png~2.png": 1, "a.png.png": 0, "a.png.png~2.png": 0}
    assert files_in(tmp_path / "restored") == sorted(names)
    for name, seed in names.items():
        np.testing.assert_array_equal(load(tmp_path / "restored" / name), photograph(16, 16, seed))


@pytest.mark.parametrize("key", ["test_data", "bitstream_path", "checkpoint_file"])
def test_an_empty_value_is_refused(run, tmp_path, key):
    save(tmp_path / "a.png", photograph(16, 16))
    request = {"test_data": "a.png", "bitstream_path": "out/"} | {key: ""}
    assert run("encode_wavefront.json", **request) == 2
    run.says_once(key, "is empty")
    assert files_in(tmp_path) == ["a.png"]


def test_files_that_are_larger_than_the_images_own_are_counted(run, tmp_path):
    """Those of lossy images are."""
    Image.fromarray(photograph(120, 160)).save(tmp_path / "a.jpg", quality=80)
    save(tmp_path / "b.png", photograph(120, 160))
    assert run("encode_wavefront.json", test_data='["a.jpg", "b.png"]', bitstream_path="out") == 0
    assert (tmp_path / "out/a.p59").stat().st_size > (tmp_path / "a.jpg").stat().st_size
    assert "1 of 2 files are larger than the images' own files; " in run.out
    assert run("encode_wavefront.json", test_data="b.png", bitstream_path="out") == 0
    assert "larger" not in run.out
