"""What goes wrong around the codec: kills, full disks, unreadable inputs, two runs at once, strange names."""

from __future__ import annotations

import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import main
from coders.picture import Picture
from models.model_file import model_to_bytes
from tests.helpers import ROOT, TINY, random_frozen, random_image
from utils.tasks import encode as task

NAMES = ("日本.png", "naïve café.png", "Ωμέγα.png", "emoji 🙂.png", 'a b\'s "c".png', "-dash.png", "percent%20.png")


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_to_bytes(random_frozen(TINY["west"])))
    return str(path)


def images(directory: Path, names, size: int = 20) -> dict[Path, np.ndarray]:
    written = {}
    for number, name in enumerate(names):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        written[path] = random_image(size, size + 3, seed=number)
        Image.fromarray(written[path]).save(path)
    return written


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "main.py"), *arguments]


def encode(source: Path, target: Path, model: str, *more: str) -> list[str]:
    configuration = str(ROOT / "configs/encode_wavefront.json")
    return command(configuration, f"test_data={source}", f"bitstream_path={target}", f"checkpoint_file={model}", *more)


def decode(source: Path, target: Path, model: str) -> list[str]:
    configuration = str(ROOT / "configs/decode.json")
    return command(configuration, f"bitstream_path={source}", f"output_path={target}", f"checkpoint_file={model}")


def finished(arguments: list[str], **options) -> subprocess.CompletedProcess:
    return subprocess.run(arguments, capture_output=True, cwd=ROOT, timeout=120, **options)


def test_trees_equal_stems_and_names_in_any_alphabet(tmp_path, model):
    names = [*NAMES, "a/x.png", "b/x.png", "a/b/x.png", "a/x.bmp", "a/X.png", "many.dots.in.it.png"]
    try:
        originals = images(tmp_path / "in", names)
    except OSError:  # a file system that cannot hold these names
        pytest.skip("this file system does not take every name")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = finished(encode(tmp_path / "in", tmp_path / "out", model), env=environment)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").rglob("*.p59"))) == len(originals)
    assert main.main(decode(tmp_path / "out", tmp_path / "back", model)[2:]) == 0
    restored = [np.asarray(Image.open(path)).tobytes() for path in (tmp_path / "back").rglob("*.png")]
    assert sorted(restored) == sorted(image.tobytes() for image in originals.values())
    assert (tmp_path / "back" / "日本.png").is_file()
    assert (tmp_path / "back" / "a" / "b" / "x.png").is_file()


def test_unreadable_inputs_among_many(tmp_path, model, capsys):
    originals = images(tmp_path / "in", [f"{number:03}.png" for number in range(100)], 6)
    broken = list(originals)[7::31]
    for path in broken:
        path.write_bytes(path.read_bytes()[:50])
    (tmp_path / "in" / "notes.png").write_text("no image")
    (tmp_path / "in" / "gone.png").symlink_to(tmp_path / "nowhere")
    assert main.main(encode(tmp_path / "in", tmp_path / "out", model)[2:]) == 1
    failures = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed:")]
    assert len(failures) == len(broken) + 2
    assert len(list((tmp_path / "out").iterdir())) == 100 - len(broken)


def test_killed_in_the_middle_then_finished(tmp_path, model, capsys):
    """SIGKILL at some moment: every file that is there is whole, and a second run does the rest and only that."""
    originals = images(tmp_path / "in", [f"{number:03}.png" for number in range(60)], 60)
    out = tmp_path / "out"
    with subprocess.Popen(
        encode(tmp_path / "in", out, model), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 100
        while len(list(out.glob("*.p59"))) < 3 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.p59")}
    assert before
    assert main.main([*encode(tmp_path / "in", out, model)[2:], "skip_existing=true"]) == 0
    assert f"{len(before)} outputs exist" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert main.main(decode(out, tmp_path / "back", model)[2:]) == 0
    for path, image in originals.items():
        assert np.array_equal(np.asarray(Image.open(tmp_path / "back" / path.name)), image)


def test_two_runs_into_one_directory(tmp_path, model):
    originals = images(tmp_path / "in", [f"{number:02}.png" for number in range(12)])
    arguments = encode(tmp_path / "in", tmp_path / "out", model)
    runs = [subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    for run in runs:
        _, errors = run.communicate(timeout=120)
        assert run.returncode == 0, errors
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{number:02}.p59" for number in range(12)]
    assert main.main(decode(tmp_path / "out", tmp_path / "back", model)[2:]) == 0
    for path, image in originals.items():
        assert np.array_equal(np.asarray(Image.open(tmp_path / "back" / path.name)), image)


@pytest.mark.parametrize("direction", ["encode", "decode"])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, model, direction):
    """A limit on the size of files stands in for the disk: the small image is written, the large one is not."""
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    images(tmp_path / "in", ["small.png"], 5)
    Image.fromarray(noise).save(tmp_path / "in" / "large.png")
    source, target = tmp_path / "in", tmp_path / "out"
    if direction == "decode":
        assert main.main(encode(source, target, model)[2:]) == 0
        source, target = target, tmp_path / "back"

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    done = finished((encode if direction == "encode" else decode)(source, target, model), preexec_fn=limited)
    assert done.returncode == 1
    assert b"large" in done.stderr
    assert b"Traceback" not in done.stderr
    assert [path.stem for path in target.iterdir()] == ["small"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_what_is_printed_is_lost_and_the_files_are_written(tmp_path, model):
    images(tmp_path / "in", ["a.png"], 5)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            encode(tmp_path / "in", tmp_path / "out", model), cwd=ROOT, stdout=full, stderr=subprocess.PIPE, timeout=120
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"standard output cannot be written (No space left on device)")
    assert done.stderr.count(b"\n") == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.p59"]


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_output_that_was_closed_is_lost_too(tmp_path, model):
    images(tmp_path / "in", ["a.png"], 5)
    command = shlex.join(map(str, encode(tmp_path / "in", tmp_path / "out", model)))
    done = subprocess.run(["sh", "-c", f"{command} >&-"], cwd=ROOT, stderr=subprocess.PIPE, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith(b"standard output cannot be written (Bad file descriptor)")
    assert done.stderr.count(b"\n") == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.p59"]


def test_a_read_only_target(tmp_path, model, capsys):
    images(tmp_path / "in", ["a.png"], 5)
    target = tmp_path / "out"
    target.mkdir()
    target.chmod(0o500)
    try:
        if os.access(target, os.W_OK):
            target = tmp_path / "in" / "a.png" / "below a file"  # root may write anywhere, but not there
        assert main.main(encode(tmp_path / "in", target, model)[2:]) == 1
        assert "cannot write" in capsys.readouterr().err
    finally:
        (tmp_path / "out").chmod(0o700)


def changed(picture: Picture) -> Picture:
    return replace(picture, samples=picture.samples ^ np.uint8(1))


def test_verify_notices_a_codec_that_lies(tmp_path, model, monkeypatch, capsys):
    images(tmp_path / "in", ["a.png"], 5)
    decoded = task.decode_picture
    monkeypatch.setattr(task, "decode_picture", lambda *all_: changed(decoded(*all_)))
    arguments = encode(tmp_path / "in", tmp_path / "out", model)[2:]
    assert main.main(arguments) == 1
    assert "does not decode" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main.main([*arguments, "verify=false"]) == 0
