"""The models of a task: what `checkpoint_file` names, or the shipped weights, announced once each."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from threading import RLock

from coders.scan import Scan
from datasets.builtin import calibration_photographs
from datasets.images import find_images, read_image
from models.context_net import ContextNet
from models.freeze import freeze
from models.frozen import FINGERPRINT_BYTES, FrozenModel
from models.store import ChosenModel, chosen_model, find_checkpoint, model_for_file, shipped_model
from utils.errors import InputError
from utils.tasks.report import say

#: At most this many images, spread over the given ones, calibrate a model.
CALIBRATION_IMAGES = 200


@dataclass
class ModelChoice:
    """Models by scan order and channels. `checkpoint` (a name or path) replaces the shipped ones where given.

    Several threads may ask; a model is made and announced once.
    """

    checkpoint: str | None
    experiment: str
    calibration: str | list[str] | None
    channels: int | None = None
    _known: dict = field(default_factory=dict)
    _lock: RLock = field(default_factory=RLock)

    def given(self) -> ChosenModel | None:
        """The model that `checkpoint_file` names, if it names one."""
        if self.checkpoint is None:
            return None
        path = find_checkpoint(self.checkpoint, self.experiment)
        return self._remember("given", lambda: chosen_model(path, partial(freeze_on, sources=self.calibration)))

    def for_image(self, scan: Scan, channels: int) -> ChosenModel:
        """The given model, else the shipped one. Raises InputError where the configuration asks for other channels."""
        if self.channels not in (None, channels):
            raise InputError(
                f"image has {channels} channels, num_color_channels is {self.channels}; convert it or remove that key"
            )
        chosen = self.given() or self._remember((scan.name, channels), lambda: shipped_model(scan.name, channels))
        coded = chosen.model.description.channels
        if coded != channels:
            raise InputError(
                f"image has {channels} channels, model {chosen.source} codes {coded}; choose another model"
            )
        return chosen

    def network(self, scan: Scan, channels: int) -> FrozenModel:
        """The model for plane groups of 3 or 1 channels: the given one where it codes so many, else the shipped one."""
        given = self.given()
        if given is not None and given.model.description.channels == channels:
            return given.model
        return self._remember((scan.name, channels), lambda: shipped_model(scan.name, channels)).model

    def check(self, channels: int) -> None:
        """Raises InputError where an image whose colours have so many channels cannot be coded as configured."""
        given = self.given()
        most = given.model.description.channels if given is not None and self.channels is None else self.channels
        if (most == 1 and channels == 3) or (self.channels == 3 and channels == 1):
            what = f"num_color_channels is {most}" if self.channels else f"the model of checkpoint_file codes {most}"
            raise InputError(f"image has {channels} channels, {what}; convert it or choose another model")

    def named(self, fingerprint: bytes) -> FrozenModel:
        """The model that a file names. Raises ModelError where it is not at hand."""
        given = self.given()
        with self._lock:
            for known in self._known.values():
                if known.model.fingerprint[:FINGERPRINT_BYTES] == fingerprint:
                    return known.model
            return self._remember(fingerprint, lambda: model_for_file(fingerprint, [given] if given else [])).model

    def _remember(self, key, make) -> ChosenModel:
        with self._lock:
            if key not in self._known:
                announced = set(map(str, self._known.values()))
                self._known[key] = made = make()
                if str(made) not in announced:
                    say(str(made))
            return self._known[key]


def freeze_on(net: ContextNet, sources: str | list[str] | None) -> FrozenModel:
    """Freeze a network, calibrated on images spread evenly over the sources; on built-in ones where none are given."""
    channels = net.description.channels
    if sources is None:
        return freeze(net, calibration_photographs(channels))
    files = find_images(sources)
    return freeze(net, [read_image(path, channels) for path in files[:: max(1, len(files) // CALIBRATION_IMAGES)]])
