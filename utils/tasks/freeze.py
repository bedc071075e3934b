"""Task: a training checkpoint to a frozen model file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from coders.container import PIXEL_LIMIT
from models.checkpoint import network_of, read_checkpoint, settings_of
from models.model_file import model_to_bytes, read_model
from models.store import ChosenModel
from utils.errors import ModelError, RequestError
from utils.files import TakenError, check_output, write_new
from utils.tasks.models import freeze_on
from utils.tasks.report import say


@dataclass(frozen=True)
class FreezeTask:
    """Freeze `checkpoint`, calibrated on images of `calibration` (None: the built-in ones), into `target`.

    The images are augmented as in the run that wrote the checkpoint; `settings` go before those of that run.
    """

    checkpoint: Path
    target: Path
    calibration: str | list[str] | None = None
    settings: dict = field(default_factory=dict)
    pixel_limit: int = PIXEL_LIMIT


def run(task: FreezeTask) -> int:
    """Returns the exit status. Raises RequestError where another model lies at `target`, which files may need."""
    check_output(task.target)
    before = _fingerprint(task.target)
    payload = read_checkpoint(task.checkpoint)
    net = network_of(payload, task.checkpoint)
    model = freeze_on(net, settings_of(payload) | task.settings, task.calibration, task.pixel_limit)
    if before is None:
        try:
            write_new(task.target, model_to_bytes(model, {"provenance": f"frozen from {task.checkpoint.name}"}))
        except TakenError:
            before = _fingerprint(task.target)  # that another run wrote meanwhile
    if before not in (None, model.fingerprint):
        raise RequestError(
            f"{task.target} exists and is another model than this would be; what was coded with it needs it to be "
            "decoded: give another frozen_path, or move it away"
        )
    say(str(ChosenModel(model, task.target)))
    return 0


def _fingerprint(target: Path) -> bytes | None:
    """Of the model that a file is; None where there is no file. Raises RequestError for a file of another kind."""
    if not target.exists():
        return None
    try:
        return read_model(target).fingerprint
    except ModelError as error:
        raise RequestError(f"frozen_path {str(target)!r} exists and is no frozen model; give another one") from error
