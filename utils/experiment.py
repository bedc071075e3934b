"""The folder of a training run, experiments/<exp_name>/, and the checkpoints in it."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.checkpoint import read_checkpoint
from utils.errors import ModelError, RequestError
from utils.files import write_whole

#: Settings that older checkpoints do not have, and what they stand for.
SINCE_ADDED = {"sharpen": 0.0, "half_colour": 0.0, "rivals": [], "share_of": [], "compiled": False}


@dataclass(frozen=True)
class Experiment:
    """Files below `directory`; its last part is the experiment's name."""

    directory: Path

    @property
    def last(self) -> Path:
        return self.directory / "checkpoints" / "checkpoint.pth.tar"

    @property
    def best(self) -> Path:
        return self.directory / "checkpoints" / "model_best.pth.tar"

    def start(self, settings: dict[str, Any]) -> None:
        """Begin a new run: refuse to overwrite another one's checkpoints, and write down the settings.

        Raises RequestError where there are checkpoints, P59Error where the folder cannot be written.
        """
        for path in (self.last, self.best):
            if path.exists():
                raise RequestError(
                    f"{path} exists; continue that run with resume_training=true, or choose another exp_name"
                )
        self.write("settings.json", json.dumps(settings, indent=2).encode() + b"\n")

    def write(self, name: str, data: bytes) -> None:
        """Write one of the run's other files. Raises P59Error where it cannot be written."""
        write_whole(self.directory / name, data)

    def save(self, payload: dict[str, Any], best: bool) -> None:
        """Write the last checkpoint, and before it the best one where this is it: a run that is killed in between
        resumes from the earlier step and writes the same best again."""
        buffer = io.BytesIO()
        torch.save(payload, buffer)
        if best:
            write_whole(self.best, buffer.getvalue())
        write_whole(self.last, buffer.getvalue())

    def resume(self, settings: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The last checkpoint, and the names of settings that differ from those it was trained with.

        Raises RequestError where there is none, ModelError where it is of another kind or another model.
        """
        if not self.last.is_file():
            raise RequestError(
                f"resume_training is true, but {self.last} does not exist; leave resume_training out to begin a run"
            )
        payload = read_checkpoint(self.last)
        if not isinstance(payload.get("settings"), dict) or not isinstance(payload.get("progress"), dict):
            raise ModelError(f"{self.last} holds no state to resume from; give it as initial_weights of a new exp_name")
        before = SINCE_ADDED | payload["settings"]
        changed = [name for name, value in settings.items() if before.get(name) != value]
        if payload.get("description") != settings["description"]:
            raise ModelError(
                f"{self.last} is of another model than this configuration describes; "
                "restore the keys in its settings.json, or choose another exp_name"
            )
        return payload, changed
