"""Training that is stopped, killed, resumed or shared among processes: the result of one unbroken run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training_cases import (
    CONTEXTS,
    REPOSITORY,
    SAMPLINGS,
    KilledError,
    checkpoint,
    disturb,
    kill,
    photograph,
    run,
    same_result,
    work,
)

__all__ = ["work"]  # a fixture


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("step", [3, 10], ids="step{}".format)
def test_a_stopped_and_resumed_run_equals_the_unbroken_one(work, monkeypatch, capsys, sampling, step):
    """Ctrl-C before the first validation, and (step 10) after one where the next is about to begin."""
    configuration = SAMPLINGS[sampling]
    assert run(configuration, exp_name="unbroken") == 0
    disturb(monkeypatch, step, lambda: signal.raise_signal(signal.SIGINT))
    assert run(configuration, exp_name="broken") == 130
    assert "resume_training=true" in capsys.readouterr().out
    assert step <= checkpoint("broken")["iteration"] <= step + 1  # the signal is seen in the next step
    assert not same_result(checkpoint("unbroken"), checkpoint("broken"))
    assert run(configuration, exp_name="broken", resume_training=True) == 0
    assert same_result(checkpoint("unbroken"), checkpoint("broken"))
    assert same_result(checkpoint("unbroken", "model_best"), checkpoint("broken", "model_best"))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_killed_and_resumed_run_equals_the_unbroken_one(work, monkeypatch, sampling):
    configuration = SAMPLINGS[sampling]
    assert run(configuration, exp_name="unbroken") == 0
    disturb(monkeypatch, 8, kill)
    with pytest.raises(KilledError):
        run(configuration, exp_name="broken")
    assert checkpoint("broken")["iteration"] == 5
    assert run(configuration, exp_name="broken", resume_training=True) == 0
    assert same_result(checkpoint("unbroken"), checkpoint("broken"))


def test_the_seed_decides(work):
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        assert run(CONTEXTS, exp_name=name, seed=seed) == 0
    assert same_result(checkpoint("first"), checkpoint("again"))
    assert not same_result(checkpoint("first"), checkpoint("other"))


def test_a_stop_during_validation_resumes_with_that_validation(work, monkeypatch):
    assert run(CONTEXTS, exp_name="unbroken") == 0
    import utils.validation as validation

    measure = validation.image_bits

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGTERM)
        monkeypatch.setattr(validation, "image_bits", measure)
        return measure(*arguments)

    monkeypatch.setattr(validation, "image_bits", interrupted)
    assert run(CONTEXTS, exp_name="broken") == 130
    assert checkpoint("broken")["iteration"] == 5
    assert not checkpoint("broken")["progress"]["rows"]
    assert run(CONTEXTS, exp_name="broken", resume_training=True) == 0
    assert same_result(checkpoint("unbroken"), checkpoint("broken"))


def test_the_signal_handlers_are_put_back(work):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert run(CONTEXTS, max_steps=2) == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_two_processes_train_as_one(work):
    whole = Path("valid/10.png").read_bytes()
    Path("valid/105.png").write_bytes(whole[: len(whole) // 2])  # between the two others: the second process reads it
    assert run(CONTEXTS, exp_name="one", batch_size=63) == 0  # 63: shares of different sizes
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", REPOSITORY / "main.py"]
    done = subprocess.run(
        [*command, "config.json", "exp_name=two", "batch_size=63"],
        capture_output=True, text=True, timeout=400, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done: best validation") == 1
    assert "2 process(es)" in done.stdout
    assert done.stdout.count("skipped 1 validation image:") == done.stdout.count("105.png: cannot be read") == 1
    rows = [np.array([row[:6] for row in checkpoint(name)["progress"]["rows"]]) for name in ("one", "two")]
    np.testing.assert_allclose(*rows, rtol=1e-4)


def test_a_run_is_not_overwritten_and_another_model_not_resumed(work, capsys):
    assert run(CONTEXTS) == 0
    before = Path("experiments/run/checkpoints/checkpoint.pth.tar").read_bytes()
    assert run(CONTEXTS) == 2
    assert "resume_training=true, or choose another exp_name" in capsys.readouterr().err
    assert run(CONTEXTS, resume_training=True, hidden_width=9) == 2
    assert "another model" in capsys.readouterr().err
    assert Path("experiments/run/checkpoints/checkpoint.pth.tar").read_bytes() == before


def test_a_resumed_run_may_be_longer_and_says_what_changed(work, capsys):
    assert run(CONTEXTS) == 0
    Image.fromarray(photograph(7)).save("train/new.png")
    assert run(CONTEXTS, resume_training=True, max_steps=14) == 0
    assert re.search(r"changed since the run began.*: training_images, max_steps", capsys.readouterr().out)
    assert checkpoint("run")["iteration"] == 14
    assert run(CONTEXTS, resume_training=True, max_steps=14) == 0
    assert "nothing to do" in capsys.readouterr().out
