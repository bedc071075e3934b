"""Training: what a user relies on - networks that learn and can be used, logs, and clear words when it fails."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import torch
from PIL import Image
from torch._dynamo.exc import TorchDynamoException

import utils.files
import utils.learning_log
import utils.tasks.train
from coders.native import INSTRUCTION_SET_VARIABLE
from coders.native.batch_bits import NativeBatchBits
from coders.native.gradients import gradient_kind
from datasets.image_set import ImageSet
from main import main
from models.checkpoint import network_of
from models.context_net import ContextNet
from models.description import PUBLISHED, ModelDescription
from tests.training_cases import CONTEXTS, REPOSITORY, checkpoint, photograph, run, work
from utils.batch_bits import batch_bits
from utils.learning_log import LogRow, curves_png, log_tsv
from utils.processes import Processes
from utils.schedule import validation_decay, warmup_cosine
from utils.stopping import StopRequest
from utils.training import Training
from utils.validation import image_bpsp, mean_rate, validation_rates

__all__ = ["work"]  # a fixture


def test_bfloat16_steps_train_float32_weights_and_end(work, monkeypatch):
    """The first steps compute in bfloat16, the rest and all validations in float32; the weights always are float32."""
    seen = []

    def watched(net, contexts, pixels, places, loss, bfloat16=False):
        seen.append(bfloat16)
        return batch_bits(net, contexts, pixels, places, loss, bfloat16)

    monkeypatch.setattr(utils.tasks.train, "chosen_batch_bits", lambda *_: watched)
    assert run(CONTEXTS, bfloat16_steps=4) == 0
    assert seen == [True] * 4 + [False] * 8
    assert {value.dtype for value in checkpoint("run")["state_dict"].values()} == {torch.float32}


def test_the_native_core_is_asked_for_bfloat16_in_the_first_steps(work, monkeypatch):
    if not gradient_kind():
        pytest.skip("the native core cannot compute gradients on this machine")
    seen, compute = [], NativeBatchBits.__call__

    def watched(bits, *sample):
        seen.append(sample[-1])
        return compute(bits, *sample)

    monkeypatch.setattr(NativeBatchBits, "__call__", watched)
    assert run(CONTEXTS, bfloat16_steps=4) == 0
    assert seen == [True] * 4 + [False] * 8
    assert checkpoint("run")["settings"]["gradients"] == str(
        NativeBatchBits(network_of(checkpoint("run"), Path("run")).description, 1)
    )


def test_a_compiled_run_computes_its_steps_with_what_the_compiler_makes(work, monkeypatch):
    made, steps = [], []

    def compiler(function, **options):
        made.append((function, options))

        def compiled(*arguments):
            steps.append(len(arguments))
            return function(*arguments)

        return compiled

    monkeypatch.setenv(INSTRUCTION_SET_VARIABLE, "portable")  # the native core rounds in another way
    monkeypatch.setattr(torch, "compile", compiler)
    assert run(CONTEXTS, exp_name="plain") == 0
    assert not made
    assert run(CONTEXTS, compiled=True) == 0
    assert made == [(batch_bits, {"dynamic": False})]
    assert len(steps) == 12
    plain, compiled = (checkpoint(name)["state_dict"] for name in ("plain", "run"))
    assert all(torch.equal(plain[key], compiled[key]) for key in plain)


def test_a_compiler_that_fails_is_named(work, monkeypatch, capsys):
    def failing(*arguments):
        raise TorchDynamoException("Failed to find C compiler")

    monkeypatch.setattr(torch, "compile", lambda function, **options: failing)
    assert run(CONTEXTS, compiled=True) == 2
    assert "compiled is true, but PyTorch's compiler fails here" in capsys.readouterr().err


def test_bfloat16_bits_are_close_to_float32_ones(work):
    net = ContextNet(ModelDescription(reference="west", scales="exponential", padding="edge"))
    net.reset_parameters(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    level = torch.randint(60, 190, (500, 1, 3), generator=generator)
    around = level + torch.randint(-9, 10, (500, 13, 3), generator=generator)
    contexts, pixels = around[:, :12].to(torch.uint8), around[:, 12].to(torch.uint8)
    places = torch.zeros(500, 2, dtype=torch.int64)
    exact, quick = (batch_bits(net, contexts, pixels, places, "coded", kind) for kind in (False, True))
    assert exact.dtype == quick.dtype == torch.float32
    assert quick != exact
    assert abs(quick - exact) < 0.01 * exact


def test_learning_rates():
    assert [warmup_cosine(step, 100, 4) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert warmup_cosine(52, 100, 4) == pytest.approx(0.5)
    assert warmup_cosine(100, 100, 4) == pytest.approx(0)
    assert [validation_decay(step, 10, 0) for step in (0, 9, 10, 35)] == pytest.approx([1, 1, 0.99, 0.99**3])


PUBLISHED_STYLE = {
    "mode": "train", "run_mode": "encode", "run_type": "P", "decoder_method": 1, "exp_name": "run", "device": "cpu",
    "resume_training": False, "num_color_channels": 3, "num_mix_GMM": 3, "res_con": False, "batch_size": 2,
    "patch_size": 16, "val_batch_size": 1, "val_patch_size": 512, "learning_rate": 1e-4, "max_epoch": 4,
    "validate_every": 2, "test_every": 100, "checkpoint_file": "model_best.pth.tar", "train_data": ["train"],
    "valid_data": "valid", "test_data": "test", "H": 512, "W": 768, "bitstream_path": "a.bin",
    "write_encode_data": "b.png", "paralel_data_matrix_512x768": "c.pkl",
}  # fmt: skip


def test_a_published_configuration_trains_the_published_model(work):
    assert run(PUBLISHED_STYLE) == 0
    payload = checkpoint("run")
    net = network_of(payload, Path("checkpoint"))
    assert net.description == PUBLISHED
    assert payload["epoch"] == 4
    # 4 images of 24x28 pixels are 2,688 contexts; a step takes 2 crops of 16x16: an epoch is 6 steps
    assert [row[0] for row in payload["progress"]["rows"]] == [12, 24]
    assert [row[3] for row in payload["progress"]["rows"]] == pytest.approx([1e-4, 0.99e-4])
    assert payload["settings"]["loss"] == "published"
    assert payload["optimizer"]["param_groups"][0]["betas"] == (0.9, 0.999)


@pytest.mark.parametrize("name", ["train", "train_paper"])
def test_the_shipped_configurations_train(work, name):
    """With smaller images, so smaller crops, and fewer steps; nothing else is changed."""
    small = {"train_data": "train", "valid_data": "valid", "exp_name": name, "max_steps": 2, "pool_size": 4}
    overrides = [f"{key}={value}" for key, value in (small | {"patch_size": 12, "batch_size": 8}).items()]
    assert main([str(REPOSITORY / "configs" / f"{name}.json"), *overrides]) == 0
    assert checkpoint(name)["iteration"] == 2


VARIANTS = {
    "M=1": {"num_mix_GMM": 1},
    "M=10": {"num_mix_GMM": 10},
    "res_con": {"res_con": True, "hidden_layers": 3},
    "1 channel": {"num_color_channels": 1},
    "9 taps": {"taps": "diagonal"},
    "published": {"reference": "none"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_train_freeze_encode_decode(work, variant):
    assert run(CONTEXTS, **VARIANTS[variant]) == 0
    assert (
        run({"mode": "freeze", "checkpoint_file": "model_best.pth.tar", "exp_name": "run", "train_data": "train"}) == 0
    )
    image = photograph(20, 7, 9)
    Image.fromarray(image[:, :, 0] if variant == "1 channel" else image).save("image.png")
    test = {"mode": "test", "exp_name": "run", "checkpoint_file": "model_best.safetensors", "bitstream_path": "coded"}
    order = {"run_type": "P", "decoder_method": 2 if variant == "9 taps" else 1}
    assert run(test | order, run_mode="encode", test_data="image.png") == 0
    assert run(test, run_mode="decode", output_path="decoded") == 0
    assert np.array_equal(np.asarray(Image.open("decoded/image.png")), np.asarray(Image.open("image.png")))


def test_the_log_and_the_curves_are_written(work, monkeypatch):
    monkeypatch.setattr(utils.training, "curves_png", curves_png)
    assert run(CONTEXTS) == 0
    head, *rows = (line.split("\t") for line in Path("experiments/run/log.tsv").read_text().splitlines())
    assert head[:6] == ["step", "epoch", "contexts", "learning_rate", "train_bpsp", "valid_bpsp"]
    assert [[int(row[0]), float(row[1]), int(row[2])] for row in rows] == [[5, 1, 320], [10, 2, 640], [12, 2.4, 768]]
    assert log_tsv([LogRow(26_001, 26.001, 213_000_192, 1e-3, 2.0, 2.0, 3e5, 700.0)]).split()[8:11] == [
        *(b"26001", b"26.001", b"213000192")
    ]
    with Image.open("experiments/run/curve.png") as plot:
        assert plot.size == (800, 600)
    assert json.loads(Path("experiments/run/settings.json").read_text())["batch_size"] == 64


def test_a_title_is_no_formula():
    row = LogRow(1, 0.1, 64, 1e-3, 2.0, 2.0, 3e5, 1.0)
    assert curves_png([row], "x$^$y: best 2.0000 bpsp", "coded").startswith(b"\x89PNG")


def test_training_learns_and_validate_reports_the_best_checkpoint(work, capsys):
    assert run(CONTEXTS, max_steps=300, steps_per_epoch=50, hidden_width=16, learning_rate=1e-2) == 0
    rates = [row[5] for row in checkpoint("run")["progress"]["rows"]]
    assert rates[-1] < rates[0] - 0.3
    capsys.readouterr()
    assert run({"mode": "validate", "exp_name": "run", "valid_data": "valid"}) == 0
    mean = re.search(r"mean of 2 +([\d.]+)", capsys.readouterr().out)
    assert float(mean[1]) == pytest.approx(min(rates), abs=1e-5)


def test_initial_weights_are_where_a_run_starts(work):
    assert run(CONTEXTS, exp_name="first") == 0
    assert run(CONTEXTS, exp_name="second", initial_weights="experiments/first/checkpoints/checkpoint.pth.tar",
               learning_rate=0) == 0  # fmt: skip
    first, second = (checkpoint(name)["state_dict"] for name in ("first", "second"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_cannot_be_used_is_skipped_counted_and_named(work, capsys):
    whole = Path("train/0.png").read_bytes()
    Path("train/truncated.png").write_bytes(whole[: len(whole) // 2])
    Path("train/text.png").write_text("not an image")
    Image.fromarray(photograph(1, 8, 40)).save("train/small.png")
    Image.fromarray(photograph(1)[:, :, 0].astype(np.uint16) << 8).save("train/deep.png")
    Path("train/deep_colour.png").write_bytes(imagecodecs.png_encode(photograph(1).astype(np.uint16) << 8))
    Path("valid/truncated.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(photograph(1)).save("train/lossy.jpg")
    Image.fromarray(photograph(1, 40, 50)).save("train/large.png")
    Image.fromarray(photograph(1, 40, 50)).save("valid/large.png")
    assert run(CONTEXTS, pixel_limit=1999) == 0
    out = capsys.readouterr().out
    assert "skipped 6 training images:" in out
    assert re.search(r"truncated\.png: cannot be read", out)
    assert re.search(r"text\.png: cannot be read", out)
    assert "small.png: 40x8 pixels are smaller than the patch of 16x16" in out
    assert "deep.png: its samples are not of 8 bits" in out
    assert "deep_colour.png: its samples are not of 8 bits but of 16" in out
    assert out.count("large.png: cannot be read (40x50 pixels are more than the limit of 1999; raise pixel_limit)") == 2
    assert "skipped 1 validation image:" in out
    assert "skipped 1 more validation image:" in out
    assert out.count("warning: 1 of the training images are JPEG") == 1


ERRORS = {
    "empty folder": ({"train_data": "empty"}, 2, "no image in directory 'empty'"),
    "folder missing": ({"train_data": "nowhere"}, 2, "'nowhere' does not exist"),
    "nothing usable": ({"patch_size": 500}, 2, "none of the 4 training images can be used.*smaller than the patch"),
    "no valid_data": ({"valid_data": None}, 2, "valid_data is missing"),
    "nothing to resume": ({"resume_training": True}, 2, "resume_training is true, but .* does not exist"),
    "even residual": ({"res_con": True}, 2, "odd number of equal widths"),
    "no visdom": ({"visdom": "localhost:1"}, 2, "no visdom server answers at localhost:1"),
    "a large seed": ({"seed": 10**22}, 2, "seed is 1.*; it must be at least 0 and at most 9223372036854775807"),
    "a large pool": ({"pool_size": 10**12}, 1, "out of memory in training on cpu; lower pool_size"),
    "diverged": ({"learning_rate": 1e38, "gradient_clip": 0, "max_steps": 50}, 1, "the loss is .* lower learning_rate"),
    "other weights": ({"initial_weights": "none.pth.tar"}, 2, "'none.pth.tar' cannot be read"),
    "an image as weights": ({"initial_weights": "train/0.png"}, 2, "'train/0.png' is no checkpoint .*; give a"),
}


def test_keys_without_effect_are_named(work, capsys):
    assert run(CONTEXTS, max_steps=1, num_color_channels=1, half_colour=0.5, reference="none", input_gain=12) == 0
    out = capsys.readouterr().out
    assert re.findall("key '(.*)' has no effect", out) == ["half_colour", "input_gain"]
    assert run({"mode": "validate", "exp_name": "run", "valid_data": "valid"}, num_mix_GMM=5, taps="diagonal") == 0
    assert re.findall("key '(.*)' is ignored", capsys.readouterr().out) == ["num_mix_GMM", "taps"]
    assert run(CONTEXTS, exp_name="other", max_steps=1, half_colour=0.5, input_gain=12) == 0
    assert "has no effect" not in capsys.readouterr().out


@pytest.mark.parametrize("said", [{"WORLD_SIZE": "2"}, {"RANK": "1"}, {"WORLD_SIZE": "2", "RANK": "1"}], ids=str)
def test_what_a_scheduler_says_makes_no_process_one_of_several(work, monkeypatch, capsys, said):
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert run(CONTEXTS, max_steps=1) == 0
    assert "1 process(es)" in capsys.readouterr().out


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_the_thing_and_the_remedy(work, capsys, case):
    overrides, status, message = ERRORS[case]
    Path("empty").mkdir()
    assert run(CONTEXTS, **overrides) == status
    assert re.search(message, capsys.readouterr().err)


def test_no_space_for_a_checkpoint(work, monkeypatch, capsys):
    replace = os.replace

    def full(source, target):
        if str(target).endswith(".pth.tar"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(utils.files.os, "replace", full)
    assert run(CONTEXTS) == 1
    assert re.search(r"cannot write '.*\.pth\.tar' \(No space left on device\)", capsys.readouterr().err)
    assert list(Path("experiments/run/checkpoints").iterdir()) == []


def test_debug_is_training_under_anomaly_detection(work, monkeypatch):
    seen = []
    update = Training._on_update
    monkeypatch.setattr(
        Training, "_on_update", lambda self, state: (seen.append(torch.is_anomaly_enabled()), update(self, state))
    )
    assert run(CONTEXTS, mode="debug", max_steps=2) == 0
    assert run(CONTEXTS, exp_name="plain", max_steps=2) == 0
    assert seen == [True, True, False, False]


def test_a_visdom_server_that_fails_costs_the_curves_and_not_the_run(work, monkeypatch, capsys):
    sent = []

    class Plot:
        def __init__(self, kind, server, port, opts):
            assert (kind, server) == ("line", "localhost")

        def log(self, x, y, name):
            sent.append(name)
            if len(sent) == 4:
                raise RecursionError("as visdom does")

    monkeypatch.setattr(utils.learning_log, "VisdomPlotLogger", Plot)
    with socket.create_server(("localhost", 0)) as server:
        assert run(CONTEXTS, visdom=f"localhost:{server.getsockname()[1]}") == 0
    assert sent == ["training", "validation"] * 2  # of three validations
    assert capsys.readouterr().out.count("live curves end here") == 1


def test_a_network_without_numbers_is_not_taken_for_an_image_without(work):
    images = ImageSet(sorted(Path("valid").iterdir()), 3)
    net = ContextNet(ModelDescription(widths=(8,)))
    net.reset_parameters(torch.Generator().manual_seed(1))
    Path("valid/10.png").write_bytes(b"no longer an image")
    rates = validation_rates(net, images, None, Processes(), StopRequest())
    assert rates[:, 1].tolist() == [0, 1]
    assert mean_rate(rates) == pytest.approx(image_bpsp(net, photograph(11), None))
    with torch.no_grad():
        net.layers[0].bias[0] = float("nan")
    assert np.isnan(mean_rate(validation_rates(net, images, None, Processes(), StopRequest())))
