"""Training that is stopped, killed, resumed or shared among processes: the result of one unbroken run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import utils.experiment
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
from utils.distributed import joined
from utils.errors import P59Error, RequestError
from utils.training import Training

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


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="the system has no hangup")
def test_a_hangup_stops_a_run_cleanly_unless_it_is_ignored(work, monkeypatch):
    """Under nohup it is."""
    assert run(CONTEXTS, exp_name="unbroken") == 0
    disturb(monkeypatch, 3, lambda: signal.raise_signal(signal.SIGHUP))
    assert run(CONTEXTS, exp_name="broken") == 130
    assert run(CONTEXTS, exp_name="broken", resume_training=True) == 0
    assert same_result(checkpoint("unbroken"), checkpoint("broken"))
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    disturb(monkeypatch, 3, lambda: signal.raise_signal(signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(CONTEXTS, exp_name="ignored") == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert same_result(checkpoint("unbroken"), checkpoint("ignored"))


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


def test_a_run_whose_first_checkpoint_was_not_finished_resumes_from_the_best(work, monkeypatch, capsys):
    """The disk is full between the two."""
    assert run(CONTEXTS, exp_name="unbroken") == 0
    write = utils.experiment.write_whole

    def full(path, data):
        if path.name == "checkpoint.pth.tar":
            raise P59Error("as a test pretends")
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(utils.experiment, "write_whole", full)
        assert run(CONTEXTS, exp_name="broken") == 1
    assert [path.name for path in Path("experiments/broken/checkpoints").iterdir()] == ["model_best.pth.tar"]
    capsys.readouterr()
    assert run(CONTEXTS, exp_name="broken") == 2
    assert "resume_training=true" in capsys.readouterr().err
    assert run(CONTEXTS, exp_name="broken", resume_training=True) == 0
    out = capsys.readouterr().out
    assert re.search(r"\Scheckpoint.pth.tar does not exist; \S*model_best.pth.tar is continued\n", out)
    assert "from step 5" in out
    for which in ("checkpoint", "model_best"):
        assert same_result(checkpoint("unbroken", which), checkpoint("broken", which))


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


@pytest.mark.parametrize("moment", ["step", "validation"])
def test_a_stop_at_the_last_step_resumes_with_the_last_validation(work, monkeypatch, capsys, moment):
    assert run(CONTEXTS, exp_name="unbroken") == 0
    if moment == "step":
        disturb(monkeypatch, 12, lambda: signal.raise_signal(signal.SIGINT))
    else:
        validation = Training._validation

        def interrupted(self):
            if self.step == 12:
                monkeypatch.setattr(Training, "_validation", validation)
                signal.raise_signal(signal.SIGINT)
            return validation(self)

        monkeypatch.setattr(Training, "_validation", interrupted)
    assert run(CONTEXTS, exp_name="broken") == 130
    assert checkpoint("broken")["iteration"] == 12
    assert [row[0] for row in checkpoint("broken")["progress"]["rows"]] == [5, 10]
    assert run(CONTEXTS, exp_name="broken", resume_training=True) == 0
    assert same_result(checkpoint("unbroken"), checkpoint("broken"))
    assert same_result(checkpoint("unbroken", "model_best"), checkpoint("broken", "model_best"))
    assert "nothing to do" not in capsys.readouterr().out
    assert run(CONTEXTS, exp_name="broken", resume_training=True) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("second", [{}, {"resume_training": True}], ids=["new", "resumed"])
def test_two_runs_do_not_write_to_one_experiment(work, monkeypatch, capsys, second):
    pytest.importorskip("fcntl")
    assert run(CONTEXTS, exp_name="alone") == 0
    statuses = []
    disturb(monkeypatch, 8, lambda: statuses.append(run(CONTEXTS, exp_name="both", **second)))
    assert run(CONTEXTS, exp_name="both") == 0
    assert statuses == [2]
    assert re.search(r"another run is writing to \S*both; .*another exp_name\n", capsys.readouterr().err)
    assert same_result(checkpoint("alone"), checkpoint("both"))
    assert run(CONTEXTS, exp_name="both", resume_training=True) == 0, "the first run has ended"


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


def test_a_process_without_a_gpu_is_told(monkeypatch):
    said = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(RequestError, match=r"^process 2 of .* there are 1; start fewer .*device=cpu$"), joined("cuda"):
        pass


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


CHANGES_OF_VALIDATION = {
    "validation_images": {"valid_data": "others"},
    "val_patch_size": {"val_patch_size": 12},
    "rivals": {"initial_weights": "first.pth.tar", "rivals": ["first.pth.tar"]},
}


@pytest.mark.parametrize("setting", CHANGES_OF_VALIDATION)
def test_the_best_model_is_chosen_among_rates_that_can_be_compared(work, monkeypatch, capsys, setting):
    """Rows before the change look better than any; a stop before the first validation after it changes nothing."""
    Path("others").mkdir()
    Image.fromarray(photograph(12)).save("others/12.png")
    assert run(CONTEXTS, exp_name="first", max_steps=1) == 0
    Path("experiments/first/checkpoints/checkpoint.pth.tar").rename("first.pth.tar")
    assert run(CONTEXTS) == 0
    path = Path("experiments/run/checkpoints/checkpoint.pth.tar")
    payload = checkpoint("run")
    payload["progress"]["rows"][1][5] = 0.001
    torch.save(payload, path)
    longer = CONTEXTS | CHANGES_OF_VALIDATION[setting] | {"max_steps": 20, "resume_training": True}
    disturb(monkeypatch, 13, lambda: signal.raise_signal(signal.SIGINT))
    assert run(longer) == 130
    out = capsys.readouterr().out
    assert re.search(rf"changed since the run began.*: .*{setting}", out)
    assert "validation was another up to step 12" in out
    assert run(longer) == 0
    assert "validation was another" not in capsys.readouterr().out
    rows = checkpoint("run")["progress"]["rows"]
    assert [row[0] for row in rows] == [5, 10, 12, 15, 20]
    assert checkpoint("run", "model_best")["best_valid_loss"] == min(row[5] for row in rows[3:])


def test_checkpoints_that_do_not_name_their_validation_images_resume(work, capsys):
    assert run(CONTEXTS) == 0
    payload = checkpoint("run")
    for name in ("validation_images", "initial_weights"):
        del payload["settings"][name]
    del payload["progress"]["not_comparable"]
    torch.save(payload, "experiments/run/checkpoints/checkpoint.pth.tar")
    assert run(CONTEXTS, resume_training=True, max_steps=14) == 0
    assert re.search(r"changed since the run began.*: max_steps\n", capsys.readouterr().out)


def test_settings_say_what_decided_the_whole_run(work):
    def settings() -> dict:
        return json.loads(Path("experiments/run/settings.json").read_text())

    assert run(CONTEXTS, exp_name="first", max_steps=1) == 0
    assert run(CONTEXTS, initial_weights="experiments/first/checkpoints/checkpoint.pth.tar") == 0
    began = settings()
    assert re.fullmatch("[0-9a-f]{16}", began["initial_weights"])
    assert run(CONTEXTS, resume_training=True) == 0
    assert settings() == began, "nothing was done"
    assert run(CONTEXTS, resume_training=True, max_steps=14) == 0
    assert run(CONTEXTS, resume_training=True, max_steps=16, learning_rate=1e-3) == 0
    assert settings() == began | {"max_steps": 16, "learning_rate": 1e-3} | {
        "before": [
            {"until_step": 12, "max_steps": 12},
            {"until_step": 14, "max_steps": 14, "learning_rate": 3e-3},
        ]
    }
    assert settings() == checkpoint("run")["settings"]


def test_another_number_of_threads_is_said(work, capsys):
    """Sums are rounded otherwise, so the weights are others."""
    assert run(CONTEXTS) == 0
    began = checkpoint("run")["settings"]
    assert (began["threads"], began["processes"], began["device"]) == (1, 1, "cpu")
    assert began["pytorch"].startswith(torch.__version__)
    assert run(CONTEXTS, resume_training=True, max_steps=14, num_threads=2) == 0
    assert re.search(r"changed since the run began.*: max_steps, threads\n", capsys.readouterr().out)
    assert checkpoint("run")["settings"]["before"] == [{"until_step": 12, "max_steps": 12, "threads": 1}]


def test_another_optimizer_is_refused_and_another_decay_takes_effect(work, capsys):
    assert run(CONTEXTS) == 0
    assert run(CONTEXTS, resume_training=True, max_steps=14, optimizer="soap") == 2
    error = capsys.readouterr().err
    assert re.search(
        r"optimizer is soap, but \S* was trained with adam; .*initial_weights of another exp_name\n", error
    )
    assert run(CONTEXTS, resume_training=True, max_steps=14, adam_beta2=0.9) == 0
    assert checkpoint("run")["optimizer"]["param_groups"][0]["betas"] == (0.9, 0.9)
