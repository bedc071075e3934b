"""The folder of a training run, experiments/<exp_name>/, and the checkpoints in it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, BinaryIO

import torch

from models.checkpoint import read_checkpoint
from utils.errors import ModelError, RequestError
from utils.files import write_whole
from utils.folder_lock import lock

#: Settings that older checkpoints do not have, and what they stand for.
SINCE_ADDED = {
    "sharpen": 0.0,
    "half_colour": 0.0,
    "rivals": [],
    "share_of": [],
    "compiled": False,
    "gradients": "pytorch",
}


class Experiment:
    """Files below `directory`; its last part is the experiment's name. One run writes there, until `close`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock: BinaryIO | None = None

    def close(self) -> None:
        """Let other runs write there."""
        if self._lock:
            self._lock.close()

    @property
    def last(self) -> Path:
        return self.directory / "checkpoints" / "checkpoint.pth.tar"

    @property
    def best(self) -> Path:
        return self.directory / "checkpoints" / "model_best.pth.tar"

    @property
    def latest(self) -> Path:
        """What a run resumes from: the last checkpoint, or the best, which holds as much, where no last one was ever
        finished."""
        return self.best if self.best.is_file() and not self.last.is_file() else self.last

    def start(self, settings: dict[str, Any]) -> None:
        """Begin a new run: refuse to overwrite another one's checkpoints, and write down the settings.

        Raises RequestError where there are checkpoints or another run is writing, P59Error where the folder cannot be
        written.
        """
        self._lock = lock(self.directory)
        for path in (self.last, self.best):
            if path.exists():
                raise RequestError(
                    f"{path} exists; continue that run with resume_training=true, or choose another exp_name"
                )
        self.describe(settings)

    def describe(self, settings: dict[str, Any]) -> None:
        """Write down the settings. Raises P59Error where that cannot be done."""
        self.write("settings.json", json.dumps(settings, indent=2).encode() + b"\n")

    def write(self, name: str, data: bytes) -> None:
        """Write one of the run's other files. Raises P59Error where it cannot be written."""
        write_whole(self.directory / name, data)

    def save(self, payload: dict[str, Any], best: bool) -> None:
        """Write the last checkpoint, and before it the best one where this is it: a run that is killed in between
        resumes from the earlier step and writes the same best again, or from that where it is the first."""
        buffer = io.BytesIO()
        torch.save(payload, buffer)
        if best:
            write_whole(self.best, buffer.getvalue())
        write_whole(self.last, buffer.getvalue())

    def resume(self, settings: dict[str, Any], writes: bool) -> tuple[dict[str, Any], list[str]]:
        """The latest checkpoint, and the names of settings that differ from those it had, as far as it says;
        `writes`: this process is the one that will write here.

        Raises RequestError where there is none, another run is writing or the optimizer is another, ModelError where
        the checkpoint is of another kind or another model.
        """
        path = self.latest
        if not path.is_file():
            raise RequestError(
                f"resume_training is true, but {path} does not exist; leave resume_training out to begin a run"
            )
        if writes:
            self._lock = lock(self.directory)
        payload = read_checkpoint(path)
        if not isinstance(payload.get("settings"), dict) or not isinstance(payload.get("progress"), dict):
            raise ModelError(f"{path} holds no state to resume from; give it as initial_weights of a new exp_name")
        before = SINCE_ADDED | payload["settings"]
        changed = [name for name, value in settings.items() if name in before and before[name] != value]
        if payload.get("description") != settings["description"]:
            raise ModelError(
                f"{path} is of another model than this configuration describes; "
                "restore the keys in its settings.json, or choose another exp_name"
            )
        if "optimizer" in changed:
            raise RequestError(
                f"optimizer is {settings['optimizer']}, but {path} was trained with {before['optimizer']}; "
                "restore that, or give the checkpoint as initial_weights of another exp_name"
            )
        return payload, changed


def continued(settings: dict[str, Any], payload: dict[str, Any], changed: list[str]) -> dict[str, Any]:
    """The settings of a run resumed from a checkpoint's dictionary, with what is to be kept of those before: which
    weights it began with, and as `before` a list of what the settings named in `changed` were until which step."""
    were = SINCE_ADDED | payload["settings"]
    kept = {name: were[name] for name in ("initial_weights", "before") if name in were}
    if changed:
        until = {"until_step": payload["iteration"]} | {name: were[name] for name in changed}
        kept["before"] = [*kept.get("before", []), until]
    return settings | kept
