"""Which model a task uses: a frozen file, a checkpoint frozen on the spot, or the shipped weights.

A checkpoint that codes files is frozen once; the result is kept beside it, so that they can be decoded ever after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from models.frozen import FrozenModel
from models.model_file import is_model_file, model_to_bytes, read_model
from utils.errors import ModelError
from utils.files import TakenError, write_new

if TYPE_CHECKING:
    from models.context_net import ContextNet

SHIPPED = Path(__file__).parent / "weights"


def _with_specialists(name: str, count: int) -> tuple[str, ...]:
    """A network for all photographs, and `count` that code one kind of them better."""
    return (f"{name}.safetensors", *(f"{name}_{number:02}.safetensors" for number in range(1, count + 1)))


_RGB, _GRAY = _with_specialists("rgb", 12), _with_specialists("gray", 7)
#: Shipped files of each (scan order, channels), of which each image takes the one that suits it; the sequential order
#: uses the wavefront's, which knows the same taps.
SHIPPED_FILES = {
    ("sequential", 3): _RGB,
    ("wavefront", 3): _RGB,
    ("diagonal", 3): _with_specialists("rgb_diagonal", 12),
    ("sequential", 1): _GRAY,
    ("wavefront", 1): _GRAY,
    ("diagonal", 1): _with_specialists("gray_diagonal", 7),
}
#: Models that were shipped before, each named by the first 8 bytes of its fingerprint: what they coded stays readable.
OLDER = SHIPPED / "older"
EXPERIMENTS = Path("experiments")
#: What PyTorch writes begins with: a zip archive, or formerly a pickle.
CHECKPOINT_STARTS = (b"PK", b"\x80")


@dataclass(frozen=True)
class ChosenModel:
    """A frozen model, where it came from, and the float network it was frozen from where that is at hand.

    kept    whether it is the frozen form of a checkpoint that an earlier run left
    frozen  whether `source` is a checkpoint, whose frozen form is kept nowhere
    """

    model: FrozenModel
    source: Path
    net: ContextNet | None = None
    kept: bool = False
    frozen: bool = False

    def __str__(self) -> str:
        description = self.model.description
        return (
            f"model {self.source} ({description.parameters:,} parameters, {description.channels} channels, "
            f"fingerprint {self.model.name})"
        )


def find_checkpoint(name: str, experiment: str) -> Path:
    """The file `checkpoint_file` means: a bare name in the experiment's checkpoints, or a path.

    Where a checkpoint of that bare name is not there, `model_best.pth.tar` is, which the published code always tests.
    """
    path = Path(name)
    inside = EXPERIMENTS / experiment / "checkpoints"
    bare = path.name == name
    fallback = [inside / "model_best.pth.tar"] if bare and name.endswith(".pth.tar") else []
    for candidate in ([inside / name] if bare else []) + [path] + fallback:
        if candidate.is_file():
            return candidate
    raise ModelError(f"checkpoint_file {name!r} does not exist, neither as a path nor in {inside}; give a model file")


def shipped_models(scan: str, channels: int) -> tuple[ChosenModel, ...]:
    """The shipped weights for a scan order and number of channels."""
    return tuple(_shipped(SHIPPED / name) for name in SHIPPED_FILES[scan, channels])


@cache
def _shipped(path: Path) -> ChosenModel:
    return ChosenModel(read_model(path), path)


def chosen_model(path: Path, freezer: Callable[[ContextNet, dict], FrozenModel], keep: bool = True) -> ChosenModel:
    """The model in a file: frozen, or a checkpoint, whose network `freezer` freezes, given the settings of its run.

    With `keep`, as it must be for whoever codes files with it, the frozen form of a checkpoint is kept beside it in
    `<checkpoint>.<hash>.safetensors`; it is used again from there. Raises P59Error where that cannot be written.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"model {str(path)!r} cannot be read ({error.strerror}); check checkpoint_file") from error
    if is_model_file(data):
        return ChosenModel(read_model(path), path)
    if not data.startswith(CHECKPOINT_STARTS):
        raise ModelError(f"{str(path)!r} is no checkpoint, nor a frozen model; give a .pth.tar or a .safetensors file")

    from models.checkpoint import network_of, read_checkpoint, settings_of  # brings PyTorch

    payload = read_checkpoint(path)
    net = network_of(payload, path)
    kept = frozen_path_of(path, data)
    if kept.is_file():
        return ChosenModel(read_model(kept), kept, net, kept=True)
    model = freezer(net, settings_of(payload))
    if not keep:
        return ChosenModel(model, path, net, frozen=True)
    try:
        write_new(kept, model_to_bytes(model, {"provenance": f"frozen from {path.name}"}))
    except TakenError:  # another run froze it meanwhile, perhaps on other images
        return ChosenModel(read_model(kept), kept, net, kept=True)
    return ChosenModel(model, kept, net)


def frozen_path_of(path: Path, data: bytes) -> Path:
    """Where the frozen form of a checkpoint is kept: the name holds a hash of the checkpoint's contents."""
    return path.with_name(f"{path.name.split('.')[0]}.{sha256(data).hexdigest()[:8]}.safetensors")


def model_for_file(fingerprint: bytes, candidates: Sequence[ChosenModel]) -> ChosenModel:
    """The candidate or shipped model whose fingerprint starts with a file's. Raises ModelError where none does."""
    for candidate in candidates:
        if candidate.model.file_id == fingerprint:
            return candidate
    for name in sorted({name for names in SHIPPED_FILES.values() for name in names}):
        if (SHIPPED / name).is_file():
            shipped = _shipped(SHIPPED / name)
            if shipped.model.file_id == fingerprint:
                return shipped
    older = OLDER / f"{fingerprint[:8].hex()}.safetensors"
    if older.is_file() and _shipped(older).model.file_id == fingerprint:
        return _shipped(older)
    given = ", ".join(candidate.model.name for candidate in candidates) or "the shipped weights only"
    raise ModelError(f"coded with model {fingerprint[:8].hex()}, at hand: {given}; give that model as checkpoint_file")
