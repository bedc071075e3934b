"""Wrong requests and files that fail: one line that names the thing, and the exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import imagecodecs
import numpy as np
import pytest
import torch

import main as command_line
from coders import native
from coders.cores import Cores
from models.model_file import read_model
from models.store import SHIPPED
from tests.command_line_cases import CONFIGS, checkpoint, encoded, files_in, load, other_model, photograph, run, save
from tests.helpers import ROOT
from utils.keys import KEYS

__all__ = ["encoded", "other_model", "run"]  # fixtures


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        ({"bitstream_pth": "x"}, ["bitstream_pth", "'bitstream_path'"]),
        ({"numthreads": 3}, ["numthreads", "'num_threads'"]),
        ({"zzzzzz": 3}, ["zzzzzz", "--help"]),
        ({"run_type": "X"}, ["run_type", "'X'", "S, P"]),
        ({"decoder_method": 3}, ["decoder_method", "3", "1, 2"]),
        ({"decoder_method": "one"}, ["decoder_method", "'one'"]),
        ({"num_threads": 0}, ["num_threads", "0", "at least 1"]),
        ({"num_threads": "true"}, ["num_threads"]),
        ({"H": 1.5}, ["H", "1.5"]),
        ({"learning_rate": "NaN"}, ["learning_rate", "nan"]),
        ({"verify": 1}, ["verify", "1"]),
        ({"mode": "tset"}, ["mode", "'tset'", "test"]),
        ({"run_mode": "compress"}, ["run_mode", "'compress'", "encode"]),
        ({"run_mode": "null"}, ["run_mode"]),
        ({"mode": "null"}, ["mode"]),
        ({"device": "gpu"}, ["device", "'gpu'", "cuda"]),
        ({"device": "cuda:x"}, ["device", "'cuda:x'"]),
        ({"device": "cuda:²"}, ["device", "'cuda:²'"]),
        ({"test_data": "[]"}, ["test_data"]),
        ({"test_data": "[1]"}, ["test_data"]),
        ({"test_data": "~no-such-user/a.png"}, ["~no-such-user/a.png", "does not exist"]),
        ({"bitstream_path": "a\0b"}, ["bitstream_path", "null"]),
        ({"test_data": "absent.png"}, ["absent.png", "does not exist"]),
        ({"test_data": "empty"}, ["empty", "no image"]),
        ({"test_data": "x" * 5000}, ["xxx"]),
        ({"bitstream_path": "null"}, ["bitstream_path"]),
        ({"checkpoint_file": "absent.pth.tar"}, ["absent.pth.tar", "does not exist"]),
        ({"checkpoint_file": "a.png"}, ["'a.png' is no checkpoint", "give a .pth.tar"]),
        ({"checkpoint_file": "empty"}, ["empty"]),
        ({"num_color_channels": 2}, ["num_color_channels", "2", "allowed are"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_requests(run, tmp_path, overrides, parts):
    save(tmp_path / "a.png", photograph(16, 16))
    (tmp_path / "empty").mkdir()
    if overrides.get("bitstream_path") == "null":
        (tmp_path / "c.json").write_text('{"mode": "test", "run_mode": "encode", "test_data": "a.png"}')
        status = run(tmp_path / "c.json")
    else:
        status = run("encode_wavefront.json", **{"test_data": "a.png", "bitstream_path": "out", **overrides})
    assert status == 2
    run.says_once("error: ", *parts)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(native.unavailable_reason() is not None, reason="needs the native core")
def test_an_instruction_set_that_the_machine_has_not_is_refused_at_once(run, tmp_path, monkeypatch):
    monkeypatch.setenv(native.INSTRUCTION_SET_VARIABLE, "mmx")
    save(tmp_path / "a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out") == 2
    run.says_once("error: P59_INSTRUCTION_SET", "'mmx'", "portable")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_cuda(run, tmp_path):
    save(tmp_path / "a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out", device="cuda") == 2
    run.says_once("'cuda'", "device=cpu")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["not valid JSON"]),
        ("{", ["not valid JSON"]),
        ("[]", ["not a JSON object"]),
        ("3", ["not a JSON object"]),
        ("[" * 100_000, ["config.json"]),
        ('{"mode": "test"}', ["run_mode"]),
        ("{}", ["mode"]),
        ('{"mode": "test", "run_mode": "encode"}', ["test_data"]),
        ('{"mode": "test", "run_mode": "decode"}', ["output_path"]),
        ('{"mode": "test", "run_mode": "decode", "output_path": "x"}', ["bitstream_path"]),
        ('{"mode": "test", "run_mode": "measure"}', ["test_data"]),
        ('{"mode": "freeze"}', ["checkpoint_file"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_configurations(run, tmp_path, text, parts):
    (tmp_path / "config.json").write_text(text)
    assert run(tmp_path / "config.json") == 2
    run.says_once("error: ", *parts)


def test_missing_and_unreadable_configurations(run, tmp_path):
    for path in (tmp_path / "absent.json", tmp_path):
        assert run(path) == 2
        run.says_once(str(path))
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{")
    assert run(tmp_path / "config.json") == 2
    run.says_once("not valid JSON")


def test_an_argument_without_a_value(run):
    status = command_line.main([str(CONFIGS / "decode.json"), "output_path"])
    assert status == 2


def test_help_lists_every_key(run, capsys):
    with pytest.raises(SystemExit) as ended:
        command_line.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(key in text for key in KEYS)


def test_interrupted(run, monkeypatch, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "task_of", interrupt)
    assert run("decode.json", output_path="x") == 130
    run.says_once("interrupted")


# Files that fail: exit status 1, the others are done.


def test_what_is_not_an_image_fails_and_the_others_are_done(run, tmp_path):
    save(tmp_path / "photos/good.png", photograph(16, 16))
    whole = (tmp_path / "photos/good.png").read_bytes()
    (tmp_path / "photos/empty.png").write_bytes(b"")
    (tmp_path / "photos/half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "photos/text.jpg").write_text("no image")
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out") == 1
    assert files_in(tmp_path / "out") == ["good.p59"]
    lines = run.err.splitlines()
    assert len(lines) == 3
    for name in ("empty.png", "half.png", "text.jpg"):
        assert sum(name in line for line in lines) == 1
    assert run("measure.json", test_data="photos") == 1
    assert len(run.err.splitlines()) == 3


def test_damaged_images_fail_in_one_line(run, tmp_path):
    """Whatever Pillow raises on them."""
    generator = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for ending in ("png", "tif", "gif", "bmp", "webp", "jp2", "tga", "ppm"):
        whole = save(tmp_path / f"whole.{ending}", photograph(12, 12)).read_bytes()
        for number in range(12):
            changed = bytearray(whole)
            for position in generator.integers(0, min(len(whole), 200), 3):
                changed[position] = generator.integers(0, 256)
            (tmp_path / f"photos/{ending}{number}.{ending}").write_bytes(changed)
    assert run("measure.json", test_data="photos") in (0, 1)
    assert all(line.startswith("failed: ") for line in run.err.splitlines())


def test_damaged_files_fail_and_the_others_are_done(run, tmp_path, encoded):
    image, data = encoded
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 4
    (tmp_path / "in").mkdir()
    files = {
        "good": data,
        "flipped": bytes(flipped),
        "truncated": data[:-7],
        "empty": b"",
        "text": b"hello",
        "twice": data * 2,
    }
    for name, content in files.items():
        (tmp_path / f"in/{name}.p59").write_bytes(content)
    assert run("decode.json", bitstream_path="in", output_path="out") == 1
    assert files_in(tmp_path / "out") == ["good.png"]
    np.testing.assert_array_equal(load(tmp_path / "out/good.png"), image)
    assert len(run.err.splitlines()) == 5
    for name in ("flipped", "truncated", "empty", "text", "twice"):
        assert run("decode.json", bitstream_path=f"in/{name}.p59", output_path="one.png") == 1
        run.says_once("failed: ", f"{name}.p59")
        assert not (tmp_path / "one.png").exists()


def test_a_file_of_another_model(run, tmp_path, encoded, other_model):
    image, data = encoded
    save(tmp_path / "a.png", image)
    run("encode_wavefront.json", test_data="a.png", bitstream_path="a.p59", checkpoint_file=other_model)
    assert (tmp_path / "a.p59").read_bytes() != data
    assert run("decode.json", bitstream_path="a.p59", output_path="r.png") == 1
    run.says_once("failed: ", "a.p59", read_model(other_model).name, "checkpoint_file")
    assert not (tmp_path / "r.png").exists()
    assert run("decode.json", bitstream_path="a.p59", output_path="r.png", checkpoint_file=other_model) == 0
    np.testing.assert_array_equal(load(tmp_path / "r.png"), image)
    (tmp_path / "b.p59").write_bytes(data)
    assert run("decode.json", bitstream_path="b.p59", output_path="s.png", checkpoint_file=other_model) == 0
    np.testing.assert_array_equal(load(tmp_path / "s.png"), image)


def test_height_and_width_must_agree_with_the_file(run, tmp_path, encoded):
    image, data = encoded
    height, width = image.shape[:2]
    (tmp_path / "a.p59").write_bytes(data)
    assert run("decode.json", bitstream_path="a.p59", output_path="a.png", H=height, W=width) == 0
    for key, value, found in (("H", height + 1, height), ("W", width - 1, width)):
        assert run("decode.json", bitstream_path="a.p59", output_path="b.png", **{key: value}) == 1
        run.says_once("failed: ", f"{key} is {value}", str(found))
        assert not (tmp_path / "b.png").exists()


def test_images_of_other_channels_than_the_model(run, tmp_path):
    save(tmp_path / "colour.png", photograph())
    save(tmp_path / "gray.png", photograph()[:, :, :1])
    gray, rgb = SHIPPED / "gray.safetensors", SHIPPED / "rgb.safetensors"
    for config, target in (("encode_wavefront.json", {"bitstream_path": "out"}), ("measure.json", {})):
        assert run(config, test_data="colour.png", checkpoint_file=gray, **target) == 1
        run.says_once("colour.png", "channels")
        assert run(config, test_data="gray.png", num_color_channels=3, **target) == 1
        run.says_once("gray.png", "channels")
    assert run("measure.json", test_data="gray.png", checkpoint_file=rgb) in (0, 1)
    assert not (tmp_path / "out").exists()


def test_images_of_more_bits_than_pillow_reads_are_not_measured(run, tmp_path):
    """Pillow gives the high bytes of 16-bit colour; what they cost is not what the image does."""
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(photograph(8, 8).astype(np.uint16) * 257))
    where = {"test_data": "a.png", "output_path": "out", "results_path": "r.tsv", "device": "cpu"}
    where |= {"codecs": "PNG", "num_workers": 0, "timing_sizes": "none"}
    for config in ("measure.json", "analyze.json", "evaluate.json"):
        assert run(config, **where) == 1
        run.says_once("failed: ", "a.png", "16 bits", "images of 8 bits are")


def test_places_that_cannot_be_written(run, tmp_path, encoded):
    """Below a regular file nothing can be made, whoever asks."""
    (tmp_path / "file").write_text("regular")
    (tmp_path / "a.p59").write_bytes(encoded[1])
    save(tmp_path / "a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="file/deep/out") == 1
    run.says_once("failed: ", "file/deep/out")
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="file/out.p59") == 1
    assert run("decode.json", bitstream_path="a.p59", output_path="file/restored") == 1
    run.says_once("failed: ", "file/restored")
    assert run("freeze.json", checkpoint_file=checkpoint(tmp_path / "c.pth.tar"), calibration_data="a.png",
               frozen_path="file/m.safetensors") in (1, 2)  # fmt: skip
    run.says_once("error: ", "file/m.safetensors")
    (tmp_path / "taken.p59").mkdir()
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="taken.p59") == 0
    assert files_in(tmp_path / "taken.p59") == ["a.p59"]
    assert (tmp_path / "file").read_text() == "regular"


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_an_interrupt_amid_the_imports_ends_without_a_traceback():
    arguments = [sys.executable, "-X", "importtime", "main.py", str(CONFIGS / "validate.json"), "valid_data=missing"]
    listening = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # whatever this process does
    with subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True, **listening) as starting:
        for line in starting.stderr:
            if line.split()[-1] == "numpy._core":  # most of the others are still to come
                break
        starting.send_signal(signal.SIGINT)
        said = starting.stderr.read()
    assert starting.returncode == -signal.SIGINT
    assert "Traceback" not in said


def test_a_package_that_is_not_installed_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert run("demo.json", bitstream_path="demo") == 2
    assert run.err == "error: this needs the Python module skimage, which is not installed; see docs/python.md\n"


def test_a_file_here_comes_before_the_shipped_configuration_of_that_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "decode.json").write_text('{"mode": "mine"}')
    assert command_line.main(["decode.json"]) == 2
    assert "mode is 'mine'" in capsys.readouterr().err
    assert command_line.main(["decode"]) == 2
    assert "bitstream_path" in capsys.readouterr().err
    assert command_line.main(["demo", "mode=mine"]) == 2
    assert "mode is 'mine'" in capsys.readouterr().err


def test_the_limit_on_pixels_holds_for_images_and_files(run, tmp_path):
    save(tmp_path / "a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out/", pixel_limit=255) == 1
    run.says_once("a.png", "more than the limit of 255")
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out/", pixel_limit=256) == 0
    assert run("decode.json", bitstream_path="out", output_path="back/", pixel_limit=255) == 1
    run.says_once("a.p59", "more than the limit of 255")
    assert run("decode.json", bitstream_path="out", output_path="back/", pixel_limit=256) == 0


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_images_of_which_one_channel_differs_are_in_colour(run, tmp_path, channel):
    image = photograph(16, 16)[:, :, :1].repeat(3, 2)
    save(tmp_path / "gray.png", image)
    image[5, 5, channel] ^= 1
    save(tmp_path / "colour.png", image)
    for name, status in (("gray.png", 0), ("colour.png", 1)):
        assert run("encode_wavefront.json", test_data=name, bitstream_path="out/", num_color_channels=1) == status
    run.says_once("colour.png", "image has 3 channels, num_color_channels is 1")


def test_images_wait_for_room(run, tmp_path, monkeypatch):
    """Each takes as much as it has pixels, in both directions."""
    asked = []
    room = Cores.room
    monkeypatch.setattr(Cores, "room", lambda cores, pixels: asked.append(pixels) or room(cores, pixels))
    for name, height in (("a.png", 16), ("b.png", 20)):
        save(tmp_path / "photos" / name, photograph(height, 24))
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out", device="cpu") == 0
    assert run("decode.json", bitstream_path="out", output_path="back", device="cpu") == 0
    assert sorted(asked) == sorted([16 * 24, 20 * 24] * 2)
