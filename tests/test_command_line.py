"""The command line: what a person types, what is written, what is said, and the exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from easydict import EasyDict
from PIL import Image

import main as command_line
from coders.container import Container
from models.context_net import ContextNet
from models.description import PUBLISHED
from models.model_file import model_to_bytes, read_model
from models.store import SHIPPED
from tests.helpers import ROOT, random_image
from utils.config import KEYS, read_config
from utils.tasks import choose

CONFIGS = ROOT / "configs"
ENCODE = ("encode_sequential.json", "encode_wavefront.json", "encode_diagonal.json")


def photograph(height: int = 40, width: int = 48, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: a photograph's crop, so that the network is what codes it best."""
    from skimage import data

    generator = np.random.default_rng(seed)
    whole = data.astronaut()
    row, column = generator.integers(0, 512 - height), generator.integers(0, 512 - width)
    return whole[row : row + height, column : column + width]


def save(path, image: np.ndarray):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(path)
    return path


def load(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).reshape(image.height, image.width, -1)


class Run:
    """Runs main() here; remembers what it printed."""

    def __init__(self, capsys) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, config, **overrides) -> int:
        arguments = [str(CONFIGS / config), *(f"{key}={value}" for key, value in overrides.items())]
        try:
            status = command_line.main(arguments)
        except SystemExit as ended:
            status = ended.code
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.err
        return status

    def says_once(self, *parts: str) -> None:
        """One line on stderr that holds all parts."""
        assert self.err.count("\n") == 1, self.err
        assert self.err.endswith("\n")
        for part in parts:
            assert part in self.err, self.err


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Run(capsys)


def files_in(directory) -> list[str]:
    """Relative paths of everything below, hidden files too."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """A photograph coded with the shipped weights in the wavefront order: (image, file's bytes)."""
    directory = tmp_path_factory.mktemp("encoded")
    image = photograph()
    save(directory / "photo.png", image)
    arguments = [f"test_data={directory}", f"bitstream_path={directory}/photo.p59"]
    assert command_line.main([str(CONFIGS / "encode_wavefront.json"), *arguments]) == 0
    return image, (directory / "photo.p59").read_bytes()


@pytest.fixture
def other_model(tmp_path):
    """A model file that differs from the shipped one in one integer."""
    model = read_model(SHIPPED / "rgb.safetensors")
    bias = model.layers[-1].bias.copy()
    bias[0] += 1
    path = tmp_path / "other.safetensors"
    path.write_bytes(model_to_bytes(replace(model, layers=(*model.layers[:-1], replace(model.layers[-1], bias=bias)))))
    return path


# What is asked for is done.


@pytest.mark.parametrize("config", ENCODE)
def test_encode_and_decode(run, tmp_path, config):
    colour, gray = photograph(), photograph(seed=1)[:, :, :1]
    save(tmp_path / "photos/colour.png", colour)
    save(tmp_path / "photos/gray.png", gray)
    assert run(config, test_data="photos/", bitstream_path="out/") == 0
    assert files_in(tmp_path / "out") == ["colour.p59", "gray.p59"]
    assert "fingerprint" in run.out
    assert "bpsp" in run.out
    assert run.err == ""
    assert run("decode.json", bitstream_path="out", output_path="restored") == 0
    assert files_in(tmp_path / "restored") == ["colour.png", "gray.png"]
    np.testing.assert_array_equal(load(tmp_path / "restored/colour.png"), colour)
    np.testing.assert_array_equal(load(tmp_path / "restored/gray.png"), gray)
    assert config.split("_")[1].split(".")[0] in run.out, "the table names the order"


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (2, 3), (5, 5)])
def test_small_sizes_in_all_orders(run, tmp_path, height, width):
    image = random_image(height, width, kind="noise")
    save(tmp_path / "a.png", image)
    for config in ENCODE:
        assert run(config, test_data="a.png", bitstream_path="a.p59") == 0
        assert run("decode.json", bitstream_path="a.p59", output_path="b.png") == 0
        np.testing.assert_array_equal(load(tmp_path / "b.png"), image)


def test_bytes_do_not_depend_on_threads(run, tmp_path):
    save(tmp_path / "a.png", photograph())
    for config in ENCODE:
        for threads in (1, 2, 3):
            out = f"{threads}.p59"
            assert run(config, test_data="a.png", bitstream_path=out, num_threads=threads) == 0
        assert (
            (tmp_path / "1.p59").read_bytes() == (tmp_path / "2.p59").read_bytes() == (tmp_path / "3.p59").read_bytes()
        )


def test_measure(run, tmp_path, encoded):
    image, data = encoded
    save(tmp_path / "a.png", image)
    assert run("measure.json", test_data="a.png") == 0
    ideal = float(next(line for line in run.out.splitlines() if line.startswith("a.png")).split()[-1])
    assert 8 * (len(data) - 64) / image.size <= ideal * 1.001
    assert ideal <= 8 * len(data) / image.size
    assert files_in(tmp_path) == ["a.png"], "measuring writes nothing"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.name)
def test_every_configuration_is_accepted(path):
    config, notes = read_config(str(path), [])
    assert config.mode is not None
    assert notes == []


def checkpoint(path):
    """A small network with the published conventions, as a training checkpoint of this project."""
    description = replace(PUBLISHED, widths=(8,))
    net = ContextNet(description)
    net.reset_parameters(torch.Generator().manual_seed(0))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": net.state_dict(), "description": description.to_json()}, path)
    return path


def test_freeze_then_use(run, tmp_path):
    checkpoint(tmp_path / "experiments/mine/checkpoints/model_best.pth.tar")
    save(tmp_path / "photos/a.png", photograph())
    status = run("freeze.json", exp_name="mine", calibration_data="photos", frozen_path="m/mine.safetensors")
    assert status == 0
    name = read_model(tmp_path / "m/mine.safetensors").name
    assert name in run.out
    assert (
        run("encode_wavefront.json", test_data="photos", bitstream_path="o", checkpoint_file="m/mine.safetensors") == 0
    )
    assert name in run.out
    status = run("decode.json", bitstream_path="o", output_path="r", checkpoint_file="m/mine.safetensors")
    assert status == 0
    np.testing.assert_array_equal(load(tmp_path / "r/a.png"), photograph())


def test_a_checkpoint_is_frozen_once_and_then_decodes(run, tmp_path):
    """The bare name is looked for where the published code keeps checkpoints."""
    directory = tmp_path / "experiments/mine/checkpoints"
    checkpoint(directory / "model_best.pth.tar")
    save(tmp_path / "photos/a.png", photograph())
    use = {"exp_name": "mine", "checkpoint_file": "model_best.pth.tar"}
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="1", calibration_data="photos", **use) == 0
    kept = [path for path in directory.iterdir() if path.suffix == ".safetensors"]
    assert len(kept) == 1
    before = kept[0].read_bytes()
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="2", **use) == 0
    assert kept[0].read_bytes() == before
    assert (tmp_path / "1/a.p59").read_bytes() == (tmp_path / "2/a.p59").read_bytes()
    assert run("decode.json", bitstream_path="2", output_path="r", **use) == 0
    np.testing.assert_array_equal(load(tmp_path / "r/a.png"), photograph())


PUBLISHED_JSON = {
    "mode": "test", "run_mode": "encode", "run_type": "P", "decoder_method": 1, "exp_name": "lossless",
    "device": "cpu", "resume_training": False, "num_color_channels": 3, "num_mix_GMM": 3, "res_con": False,
    "batch_size": 32, "patch_size": 16, "val_batch_size": 1, "val_patch_size": 512, "learning_rate": 1e-4,
    "max_epoch": 400, "validate_every": 5, "test_every": 50, "checkpoint_file": "model_best.pth.tar",
    "train_data": ["train/a", "train/b"], "valid_data": "valid", "test_data": "photos", "H": 64, "W": 64,
    "bitstream_path": "out/outfile.bin", "write_encode_data": "restored/", "paralel_data_matrix": "a.pkl",
    "paralel_data_matrix_dec_1": "b.pkl", "paralel_data_matrix_dec_2": "c.pkl", "paralel_data_matrix_ctx": "d.pkl",
}  # fmt: skip


def test_the_published_json_runs(run, tmp_path):
    checkpoint(tmp_path / "experiments/lossless/checkpoints/model_best.pth.tar")
    image = photograph(64, 64)
    save(tmp_path / "photos/a.png", image)
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED_JSON))
    assert run(tmp_path / "config.json", calibration_data="photos") == 0
    for key in PUBLISHED_JSON:
        if key.startswith("paralel") or key in ("H", "W"):
            mentions = [line for line in run.out.splitlines() if repr(key) in line]
            assert len(mentions) == 1, f"one line says that {key} has no meaning"
    assert (tmp_path / "out/outfile.bin").is_file()
    (tmp_path / "config.json").write_text(json.dumps({**PUBLISHED_JSON, "run_mode": "decode"}))
    assert run(tmp_path / "config.json") == 0
    np.testing.assert_array_equal(load(tmp_path / "restored/outfile.png"), image)


def test_an_image_is_never_cropped(run, tmp_path):
    image = photograph(30, 50)
    save(tmp_path / "a.png", image)
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="a.p59", H=16, W=16) == 0
    assert sum("is ignored: the whole image is coded" in line for line in run.out.splitlines()) == 2
    assert run("decode.json", bitstream_path="a.p59", output_path="b.png") == 0
    np.testing.assert_array_equal(load(tmp_path / "b.png"), image)


def test_a_cpu_codes_one_image_after_the_other(run, tmp_path):
    save(tmp_path / "a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="a.p59", images_at_once=8, device="cpu") == 0
    assert sum("'images_at_once' is ignored" in line for line in run.out.splitlines()) == 1
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="b.p59", images_at_once=0) == 2
    run.says_once("images_at_once", "at least 1")


def test_some_tasks_take_one_image_after_the_other_on_any_device(monkeypatch):
    """Measuring and the demo: `images_at_once` changes nothing there, and a note says so."""
    monkeypatch.setattr(choose, "device_of", lambda device: device)
    monkeypatch.setattr(choose, "backend_for", lambda *arguments: None)
    for task, notes_expected in (("measure", 1), ("demo", 1), (None, 0)):
        notes: list[str] = []
        choose.backend_of(EasyDict(device="cuda", num_threads=None, images_at_once=8), notes, task)
        assert len(notes) == notes_expected
        assert all(f"run_mode {task} takes one image after the other" in note for note in notes)


# Where things go.


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
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out") == 0
    assert (tmp_path / "out/a.p59").read_bytes() != b"mine"
    (tmp_path / "restored").mkdir()
    (tmp_path / "restored/b.png").write_bytes(b"mine")
    assert run("decode.json", bitstream_path="out", output_path="restored", skip_existing="true") == 0
    assert (tmp_path / "restored/b.png").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["2024", "true", "[1]", "1e3"])
def test_names_that_look_like_json_are_names(run, tmp_path, name):
    save(tmp_path / "a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path=name) == 0
    assert files_in(tmp_path / name) == ["a.p59"]


# Wrong requests: exit status 2, one line, nothing written.


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
        ({"test_data": "[]"}, ["test_data"]),
        ({"test_data": "[1]"}, ["test_data"]),
        ({"test_data": "absent.png"}, ["absent.png", "does not exist"]),
        ({"test_data": "empty"}, ["empty", "no image"]),
        ({"test_data": "x" * 5000}, ["xxx"]),
        ({"bitstream_path": "null"}, ["bitstream_path"]),
        ({"checkpoint_file": "absent.pth.tar"}, ["absent.pth.tar", "does not exist"]),
        ({"checkpoint_file": "a.png"}, ["a.png"]),
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
    save(tmp_path / "colour.png", photograph(16, 16))
    save(tmp_path / "gray.png", photograph(16, 16)[:, :, :1])
    gray, rgb = SHIPPED / "gray.safetensors", SHIPPED / "rgb.safetensors"
    for config, target in (("encode_wavefront.json", {"bitstream_path": "out"}), ("measure.json", {})):
        assert run(config, test_data="colour.png", checkpoint_file=gray, **target) == 1
        run.says_once("colour.png", "channels")
        assert run(config, test_data="gray.png", num_color_channels=3, **target) == 1
        run.says_once("gray.png", "channels")
    assert run("measure.json", test_data="gray.png", checkpoint_file=rgb) in (0, 1)
    assert not (tmp_path / "out").exists()


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


def in_a_process(arguments, cwd, code=None) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "main.py"), *map(str, arguments)]
    if code is not None:
        command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONHASHSEED": "99", "PYTHONWARNINGS": "error", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300)


def test_a_fresh_process_decodes_what_this_one_encoded(tmp_path, encoded):
    image, data = encoded
    (tmp_path / "a.p59").write_bytes(data)
    result = in_a_process([CONFIGS / "decode.json", "bitstream_path=a.p59", "output_path=a.png"], tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    np.testing.assert_array_equal(load(tmp_path / "a.png"), image)


def test_a_fresh_process_encodes_the_same_bytes(tmp_path, encoded):
    image, data = encoded
    save(tmp_path / "a.png", image)
    arguments = ["test_data=a.png", "bitstream_path=a.p59", "num_threads=2"]
    result = in_a_process([CONFIGS / "encode_wavefront.json", *arguments], tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "a.p59").read_bytes() == data


def test_the_exit_status_of_a_process(tmp_path):
    result = in_a_process([CONFIGS / "decode.json", "output_pth=x"], tmp_path)
    assert result.returncode == 2
    assert result.stderr == "error: unknown configuration key 'output_pth'; did you mean 'output_path'?\n"
    assert result.stdout == ""


MEMORY = """
import resource, sys
import main
for megapixels in (0, *map(float, sys.argv[1].split(","))):
    target = f"{megapixels}.p59"
    arguments = [sys.argv[2], f"test_data={megapixels}.png", f"bitstream_path={target}", *sys.argv[3:]]
    assert main.main(arguments) == 0
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def bytes_per_pixel(tmp_path, small: tuple[int, int], large: tuple[int, int], *overrides: str) -> float:
    """Growth of the peak memory of a process from encoding a small image to encoding a large one after it."""
    from skimage import data

    peaks, whole = [], data.astronaut()
    for name, (height, width) in (("0", small), ("1.0", large)):
        repeats = (-(-height // 512), -(-width // 512), 1)
        save(tmp_path / f"{name}.png", np.tile(whole, repeats)[:height, :width] ^ random_image(height, width) % 4)
    result = in_a_process(["1.0", CONFIGS / "encode_wavefront.json", *overrides], tmp_path, MEMORY)
    assert result.returncode == 0, result.stderr
    peaks = [int(line.split()[1]) for line in result.stdout.splitlines() if line.startswith("peak")]
    return (peaks[1] - peaks[0]) / (large[0] * large[1] - small[0] * small[1])


def test_memory_of_encoding(tmp_path):
    assert bytes_per_pixel(tmp_path, (64, 64), (384, 768), "verify=false") <= 100


@pytest.mark.slow
def test_memory_of_encoding_6_megapixels(tmp_path):
    assert bytes_per_pixel(tmp_path, (128, 128), (2000, 3000)) <= 100


def test_the_file_says_what_decoding_needs(encoded):
    image, data = encoded
    container = Container.from_bytes(data)
    assert (container.height, container.width, container.channels) == image.shape
