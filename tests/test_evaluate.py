"""Evaluation: other codecs, runs that survive interruption, jobs in processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import main as command_line
from tests.evaluation_cases import folder, photograph
from tests.helpers import ROOT, random_image
from utils.errors import InputError
from utils.evaluation import codecs
from utils.evaluation.codecs import CODECS, OURS, Codec, add_green, subtract_green
from utils.evaluation.jobs import Job, run_job
from utils.evaluation.plan import data_sets
from utils.evaluation.pool import run_jobs
from utils.evaluation.rows import read_rows

__all__ = ["folder"]  # a fixture
CONFIG = str(ROOT / "configs" / "evaluate.json")


def evaluate(folder, tmp_path, **overrides) -> int:
    given = {"num_workers": 0, "timing_sizes": "none", "device": "cpu", **overrides}
    where = [f"test_data={folder}", f"results_path={tmp_path / 'r.tsv'}", f"output_path={tmp_path / 'report'}"]
    return command_line.main([CONFIG, *where, *(f"{key}={value}" for key, value in given.items())])


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("shape", [(1, 1, 3), (17, 23, 3), (9, 14, 1)])
def test_other_codecs_come_back_identical(tmp_path, name, shape):
    if CODECS[name].missing():
        pytest.skip(CODECS[name].missing())
    path = tmp_path / "image.png"
    image = random_image(*shape)
    Image.fromarray(image.squeeze(2) if shape[2] == 1 else image).save(path)
    row = run_job(Job(path, "set", "image", name))
    assert row.error == ""
    assert (row.height, row.width, row.channels) == shape
    assert row.bytes > 0
    assert row.bpsp == pytest.approx(8 * row.bytes / image.size)
    assert any(letter.isdigit() for letter in row.versions)


def test_jpeg_ls_transform_has_an_inverse():
    image = random_image(40, 50, kind="noise")
    np.testing.assert_array_equal(add_green(subtract_green(image)), image)
    assert subtract_green(np.full((1, 1, 3), 7, np.uint8)).ravel().tolist() == [128, 7, 128]


def test_codecs_with_a_colour_transform_beat_those_without():
    """JPEG 2000 and JPEG-LS without one cost a photograph far more."""
    import imagecodecs

    image = photograph(128, 128)
    plain = len(imagecodecs.jpegls_encode(image))
    assert max(len(CODECS[name].encode(image, 1)) for name in ("JPEG-LS", "JPEG 2000")) < 0.97 * plain


def test_flif_is_used_where_it_is_on_the_path(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "flif"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo FLIF 0.4; exit; fi\nfor last; do :; done\n'
                       'case "$1" in -e) cp "$3" "$4";; -d) cp "$2" "$3";; esac\n')  # fmt: skip
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    image = random_image(5, 6)
    assert CODECS["FLIF"].missing() is None
    assert CODECS["FLIF"].version() == "FLIF 0.4"
    np.testing.assert_array_equal(CODECS["FLIF"].decode(CODECS["FLIF"].encode(image, 1), 1), image)
    program.write_text("#!/bin/sh\necho no room >&2\nexit 3\n")
    with pytest.raises(Exception, match="returned 3: no room"):
        CODECS["FLIF"].encode(image, 1)


def test_evaluation_writes_rows_tables_plots_and_report(folder, tmp_path, capsys):
    chosen = 'codecs=["P59","PNG","JPEG XL e7"]'
    assert evaluate(folder, tmp_path, codecs=chosen.partition("=")[2], timing_sizes='["16x16","40x32"]') == 0
    rows = read_rows([tmp_path / "r.tsv"])
    assert {row.data_set for row in rows} == {"set", "timing 16x16", "timing 40x32"}
    ours = [row for row in rows if row.codec == OURS and row.data_set == "set"]
    assert [(row.image, row.order) for row in ours] == [
        (f"{number}.png", order) for number in range(2) for order in ("sequential", "wavefront", "diagonal")
    ]
    assert all(row.parameters and row.macs and row.model and row.pixels and row.commit for row in ours)
    for row in ours:  # the real file costs a little more than the ideal length
        ideal = sum(map(float, row.channel_bits.split(",")))
        assert 0 <= row.bytes - ideal / 8 < 60
    assert {(row.height, row.width) for row in rows if row.is_timing} == {(16, 16), (40, 32)}
    report = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "http" not in report.replace("http-equiv", "")
    assert report.count("data:image/png;base64,") == 4
    assert "P59 wavefront" in (tmp_path / "report" / "tables.md").read_text(encoding="utf-8")
    for name in ("rate_time_light", "rate_time_dark", "size_time_light", "size_time_dark"):
        with Image.open(tmp_path / "report" / f"{name}.png") as plot:
            assert plot.width > 600
    assert "P59 diagonal" in capsys.readouterr().out


def test_an_interrupted_evaluation_continues(folder, tmp_path, capsys):
    assert evaluate(folder, tmp_path, codecs="PNG") == 0
    results = tmp_path / "r.tsv"
    whole = results.read_bytes()
    results.write_bytes(whole[:-25])  # stopped while the last row was written
    assert len(read_rows([results])) == 1
    capsys.readouterr()
    assert evaluate(folder, tmp_path, codecs="PNG") == 0
    assert "1 measurements were in" in capsys.readouterr().out
    assert [row.image for row in read_rows([results])] == ["0.png", "1.png"]
    again = results.read_bytes()
    assert evaluate(folder, tmp_path, codecs="PNG") == 0
    assert results.read_bytes() == again


def test_a_codec_that_fails_is_named_and_tried_again(folder, tmp_path, capsys, monkeypatch):
    def wrong(data: bytes, threads: int) -> np.ndarray:
        decoded = CODECS["PNG"].decode(data, threads).copy()
        decoded[0, 0, 0] ^= fault
        return decoded

    fault = 1
    monkeypatch.setitem(codecs.CODECS, "WebP", Codec("WebP", CODECS["PNG"].encode, wrong, lambda: "1", "broken"))
    assert evaluate(folder, tmp_path, codecs="WebP") == 1
    printed = capsys.readouterr()
    assert "failed: set, 0.png, WebP: LosslessError" in printed.err
    assert "| WebP    |         - |" in printed.out
    assert all(row.error for row in read_rows([tmp_path / "r.tsv"]))
    assert "LosslessError" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    fault = 0
    assert evaluate(folder, tmp_path, codecs="WebP") == 0
    assert not any(row.error for row in read_rows([tmp_path / "r.tsv"]))


def test_an_image_that_cannot_be_compared_is_a_row(folder, tmp_path, capsys):
    (folder / "2.png").write_bytes(b"no image")
    assert evaluate(folder, tmp_path, codecs='["PNG", "WebP", "P59"]', orders='["wavefront", "diagonal"]') == 1
    failures = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed:")]
    assert len(failures) == 1, "a line for all codecs"
    assert failures[0].startswith("failed: set, 2.png, PNG, WebP, P59 wavefront, P59 diagonal: InputError")
    assert "(2 of 3)" in (tmp_path / "report" / "tables.md").read_text(encoding="utf-8")


def test_another_image_of_the_same_name_is_measured_anew(folder, tmp_path, capsys):
    chosen = {"codecs": '["P59","PNG"]', "orders": "wavefront", "timing_sizes": "24x40"}
    assert evaluate(folder, tmp_path, **chosen) == 0
    before = {row.key: row for row in read_rows([tmp_path / "r.tsv"])}
    Image.fromarray(random_image(24, 20, kind="noise")).save(folder / "1.png")
    capsys.readouterr()
    assert evaluate(folder, tmp_path, **chosen) == 0
    assert "2 measurements were in" in capsys.readouterr().out
    after = {row.key: row for row in read_rows([tmp_path / "r.tsv"])}
    changed = {key for key in after if after[key].bytes != before[key].bytes}
    assert changed == {key for key in after if key[:2] != ("set", "0.png")}, "that of the timings is made of both"
    assert evaluate(folder, tmp_path, **chosen) == 0
    assert {row.key: row for row in read_rows([tmp_path / "r.tsv"])} == after
    (folder / "1.png").write_bytes(b"no image")
    chosen["timing_sizes"] = "none"
    assert evaluate(folder, tmp_path, **chosen) == 0
    assert {row.key: row for row in read_rows([tmp_path / "r.tsv"])} == after, "what cannot be read changes nothing"
    assert evaluate(folder, tmp_path, **(chosen | {"codecs": "WebP"})) == 1
    table = (tmp_path / "report" / "tables.md").read_text(encoding="utf-8")
    assert table.count("(1 of 2)") == 1, "of WebP"


def test_the_timed_image_is_put_together_from_images_of_as_many_channels(tmp_path):
    """A palette image, which is not measured, and a gray one among colour images leave the timings as they are."""
    directory = tmp_path / "set"
    directory.mkdir()
    images = {"1.png": photograph(20, 20), "2.png": photograph(20, 20)[:, :, 0], "3.png": photograph(20, 20, 90)}
    for name, image in images.items():
        Image.fromarray(image).save(directory / name)
    alone = evaluate(directory, tmp_path, codecs="PNG", timing_sizes='["20x40","40x60"]')
    Image.fromarray(images["1.png"]).quantize(4).save(directory / "0.png")
    assert (alone, evaluate(directory, tmp_path, codecs="PNG", timing_sizes='["20x40","40x60"]')) == (0, 1)
    timed = [row for row in read_rows([tmp_path / "r.tsv"]) if row.is_timing]
    assert [(row.image, row.channels, row.error) for row in timed] == [("1.png", 3, "")] * 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names that other systems do not allow")
def test_images_of_any_name_are_evaluated_once(tmp_path, capsys):
    directory = tmp_path / "a$^$"
    directory.mkdir()
    for number, name in enumerate((b"a$^$", b"b c", b"b  c", b"d\xff", rb"d\udcff ", b"\t\r\n", rb"\t\r\n", b" ")):
        Image.fromarray(photograph(9, 9, 9 * number)).save(os.fsencode(directory) + b"/" + name + b".png")
    assert evaluate(directory, tmp_path, codecs="PNG") == 0
    rows = read_rows([tmp_path / "r.tsv"])
    assert len({row.image for row in rows}) == len(rows) == 8
    assert r"d\udcff.png" in {row.image for row in rows}
    capsys.readouterr()
    assert evaluate(directory, tmp_path, codecs="PNG") == 0
    assert "8 measurements were in" in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_links_have_their_own_names(folder, tmp_path, capsys):
    elsewhere = tmp_path / "elsewhere.png"
    Image.fromarray(photograph(9, 9)).save(elsewhere)
    (folder / "linked.png").symlink_to(elsewhere)
    (tmp_path / "photos").symlink_to(folder)
    found = {(name, image) for name, image, _ in data_sets(str(tmp_path / "photos"))}
    assert found == {("photos", image) for image in ("0.png", "1.png", "linked.png")}
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "folder").symlink_to(folder)
    assert evaluate(tmp_path / "photos", tmp_path, codecs="PNG") == 1
    assert capsys.readouterr().err.count("failed: photos, loop.png, PNG: InputError") == 1
    assert len([row for row in read_rows([tmp_path / "r.tsv"]) if row.ok]) == 3


def test_what_no_network_coded_is_not_credited_to_one(folder, tmp_path):
    Image.fromarray(np.full((24, 20, 3), 7, np.uint8)).save(folder / "flat.png")
    Image.fromarray(np.repeat(photograph(24, 20)[:, :, :1], 3, 2)).save(folder / "gray.png")
    assert evaluate(folder, tmp_path, codecs="P59", orders="wavefront") == 0
    rows = {row.image: row for row in read_rows([tmp_path / "r.tsv"])}
    assert {image: row.is_plain for image, row in rows.items()} == {
        "0.png": False, "1.png": False, "flat.png": True, "gray.png": True
    }  # fmt: skip
    assert all(bool(row.channel_bits) != row.is_plain for row in rows.values())
    note = "Coded plainly, not by a network, and not counted by channel: P59 wavefront 2 of 4 images of set."
    for name in ("tables.md", "report.html"):
        assert note in (tmp_path / "report" / name).read_text(encoding="utf-8")
    for image in ("flat.png", "gray.png"):
        (folder / image).unlink()
    assert evaluate(folder, tmp_path / "others", codecs="P59", orders="wavefront") == 0
    assert "plainly" not in (tmp_path / "others" / "report" / "tables.md").read_text(encoding="utf-8")


def test_images_are_coded_as_they_lie_where_that_is_asked_for(folder, tmp_path):
    """Beside those that are turned, which a run of its own measures."""
    for turn in ("false", "true", "false"):
        assert evaluate(folder, tmp_path, codecs="P59", orders="wavefront", turn=turn, timing_sizes="8x8") == 0
    rows = [row for row in read_rows([tmp_path / "r.tsv"]) if not row.is_timing]
    assert [row.order for row in rows] == ["wavefront, not turned"] * 2 + ["wavefront"] * 2
    assert sum(row.bytes for row in rows[:2]) > sum(row.bytes for row in rows[2:])
    assert all(0 <= row.bytes - sum(map(float, row.channel_bits.split(","))) / 8 < 60 for row in rows)
    table = (tmp_path / "report" / "tables.md").read_text(encoding="utf-8")
    assert 0 < table.index("P59 wavefront ") < table.index("P59 wavefront, not turned")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("codecs", "JPEG_XL_e7", "did you mean 'JPEG XL e7'"),
        ("orders", "zigzag", "allowed are sequential, wavefront, diagonal"),
        ("timing_sizes", "large", "height x width"),
        ("test_data", "nowhere", "does not exist"),
        ("checkpoint_file", "nothing.safetensors", "does not exist"),
    ],
)
def test_wrong_requests_are_refused(folder, tmp_path, capsys, key, value, said):
    assert evaluate(folder, tmp_path, **{key: value}) == 2
    assert said in capsys.readouterr().err


def test_data_sets_of_one_name_are_refused(tmp_path):
    for parent in ("a", "b"):
        (tmp_path / parent / "set").mkdir(parents=True)
        Image.fromarray(random_image(2, 2)).save(tmp_path / parent / "set" / "x.png")
    assert [name for name, _, _ in data_sets(str(tmp_path / "a" / "set"))] == ["set"]
    with pytest.raises(InputError, match="one name"):
        list(data_sets([str(tmp_path / "a" / "set"), str(tmp_path / "b" / "set")]))


def test_processes_give_the_same_rows(folder):
    jobs = [Job(path, "set", path.name, "PNG") for path in sorted(folder.iterdir())]
    rows = {row.image: row for row in run_jobs(jobs, 2)}
    for job in jobs:
        alone = run_job(job)
        assert (rows[job.image].bytes, rows[job.image].pixels) == (alone.bytes, alone.pixels)


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize(("sent", "status"), [("SIGINT", command_line.INTERRUPTED), ("SIGKILL", -9)])
def test_an_interrupt_ends_all_processes(tmp_path, sent, status):
    directory = tmp_path / "slow"
    directory.mkdir()
    Image.fromarray(photograph(400, 400)).save(directory / "a.png")
    where = [f"test_data={directory}", f"results_path={tmp_path / 'r.tsv'}", f"output_path={tmp_path / 'out'}"]
    arguments = [sys.executable, "main.py", CONFIG, *where, 'codecs=["PNG","WebP"]', "num_workers=1"]
    running = subprocess.Popen(arguments, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, text=True)
    results = tmp_path / "r.tsv"
    assert wait_until(lambda: results.exists() and len(read_rows([results])) == 1, 90)
    running.send_signal(getattr(signal, sent))
    _, said = running.communicate(timeout=30)
    assert running.returncode == status
    assert "Traceback" not in said
    assert wait_until(lambda: not group_lives(running.pid), 10)
    assert [row.codec for row in read_rows([results])] == ["PNG"]


def wait_until(condition, seconds: float) -> bool:
    """Whether the condition came true within that time."""
    give_up = time.monotonic() + seconds
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.05)
    return condition()


def group_lives(group: int) -> bool:
    """Whether any process of a process group is alive."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
