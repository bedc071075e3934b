"""The models of a task: what `checkpoint_file` names, or the shipped weights, announced once each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

import numpy as np

from coders.backends import Backend
from coders.container import PIXEL_LIMIT
from coders.model_choice import best_model
from coders.scan import Scan
from datasets.augmentation import augmentation_of
from datasets.calibration import calibration_images
from models.frozen import FrozenModel
from models.store import ChosenModel, chosen_model, find_checkpoint, model_for_file, shipped_models
from utils.errors import InputError
from utils.tasks.report import say

if TYPE_CHECKING:
    from models.context_net import ContextNet

#: Up to so many models are announced with a line each.
FEW_MODELS = 3
NO_CHECKPOINT = "only a checkpoint_file is looked for in an experiment's checkpoints"
SHIPPED_ARE_FROZEN = "the shipped models are frozen; give a checkpoint as checkpoint_file"


@dataclass
class ModelChoice:
    """Models by scan order and channels. `checkpoints` (names or paths) replace the shipped ones where given.

    Where there are several of them, each image takes the one that suits it (see coders.model_choice). Several threads
    may ask; a model is made and announced once. `keep`: what is frozen from a checkpoint is kept beside it; PyTorch
    freezes it in `threads`.
    """

    checkpoints: tuple[str, ...]
    experiment: str
    calibration: str | list[str] | None
    channels: int | None = None
    keep: bool = True
    threads: int | None = None
    _known: dict = field(default_factory=dict)
    _said: set[str] = field(default_factory=set)
    _lock: RLock = field(default_factory=RLock)

    def given(self) -> tuple[ChosenModel, ...]:
        """The models that `checkpoint_file` names, none where it names none."""

        def find() -> tuple[ChosenModel, ...]:
            if self.calibration is not None and not self.checkpoints:
                say(f"calibration_data is ignored: {SHIPPED_ARE_FROZEN}")
            return chosen_models(self.checkpoints, self.experiment, self.calibration, self.keep, self.threads)

        return self._remember("given", find)

    def for_image(self, scan: Scan, backend: Backend, image: np.ndarray) -> ChosenModel:
        """The model for an image (H, W, C) uint8: of the given ones, else of the shipped ones.

        Raises InputError where the configuration or the given models ask for other channels.
        """
        channels = image.shape[2]
        if self.channels not in (None, channels):
            raise InputError(
                f"image has {channels} channels, num_color_channels is {self.channels}; convert it or remove that key"
            )
        given = self.given()
        if given and not _with_channels(given, channels):
            coded = ", ".join(f"{chosen.source} codes {chosen.model.description.channels}" for chosen in given)
            raise InputError(f"image has {channels} channels, model {coded}; choose another model")
        candidates = self._candidates(scan, channels)
        model = best_model([chosen.model for chosen in candidates], image, scan, backend)
        return next(chosen for chosen in candidates if chosen.model is model)

    def network(self, scan: Scan, backend: Backend, rows: np.ndarray) -> FrozenModel | None:
        """The model for a plane group (H, W, C) uint8: of the given ones that code so many channels, else shipped."""
        candidates = self._candidates(scan, rows.shape[2])
        return best_model([chosen.model for chosen in candidates], rows, scan, backend)

    def _candidates(self, scan: Scan, channels: int) -> tuple[ChosenModel, ...]:
        if given := _with_channels(self.given(), channels):
            self._say_what_stands_in(scan, given)
            return given
        return self._remember((scan.name, channels), lambda: shipped_models(scan.name, channels))

    def _say_what_stands_in(self, scan: Scan, given: tuple[ChosenModel, ...]) -> None:
        """Models made for another order work, but worse."""
        for chosen in given:
            taps = chosen.model.description.taps
            if unknown := sum(not scan.knows(tap) for tap in taps):
                self._say_once(
                    f"{chosen.source}: {unknown} of the {len(taps)} pixels it sees are not known in the {scan.name} "
                    "order, another is taken for them"
                )

    def _say_once(self, line: str) -> None:
        with self._lock:
            if line not in self._said:
                self._said.add(line)
                say(line)

    def check(self, channels: int) -> None:
        """Raises InputError where an image whose colours have so many channels cannot be coded as configured."""
        coded = [chosen.model.description.channels for chosen in self.given()]
        most = max(coded) if coded and self.channels is None else self.channels
        if (most == 1 and channels == 3) or (self.channels == 3 and channels == 1):
            what = f"num_color_channels is {most}" if self.channels else f"the model of checkpoint_file codes {most}"
            raise InputError(f"image has {channels} channels, {what}; convert it or choose another model")

    def named(self, fingerprint: bytes) -> FrozenModel:
        """The model that a file names. Raises ModelError where it is not at hand."""
        return self.chosen(fingerprint).model

    def chosen(self, fingerprint: bytes) -> ChosenModel:
        """The same, with the file it is in."""
        given = self.given()
        with self._lock:
            for known in (chosen for models in self._known.values() for chosen in models):
                if known.model.file_id == fingerprint:
                    return known
            return self._remember(fingerprint, lambda: (model_for_file(fingerprint, given),))[0]

    def _remember(self, key, make: Callable[[], tuple[ChosenModel, ...]]) -> tuple[ChosenModel, ...]:
        with self._lock:
            if key not in self._known:
                known = {str(chosen) for models in self._known.values() for chosen in models}
                self._known[key] = made = make()
                new = [chosen for chosen in made if str(chosen) not in known]
                for line in announced(new):
                    say(line)
            return self._known[key]


def chosen_models(
    names: tuple[str, ...],
    experiment: str,
    calibration: str | list[str] | None,
    keep: bool = True,
    threads: int | None = None,
) -> tuple[ChosenModel, ...]:
    """The models in the files that names mean, see models.store; says what is not as it was asked for."""
    paths = [checkpoint_named(name, experiment) for name in names]
    found = tuple(chosen_model(path, partial(freeze_on, sources=calibration, threads=threads), keep) for path in paths)
    for chosen in found:
        if calibration is not None and (chosen.kept or chosen.net is None):
            say(f"calibration_data is ignored: {chosen.source} was frozen before; mode freeze makes another")
        images = "calibration_data" if calibration else "built-in photographs"
        if chosen.frozen:
            say(f"{chosen.source} is frozen for this run only, on {images}; mode freeze makes a model that is kept")
        elif chosen.net is not None and not chosen.kept:
            say(f"{chosen.source} is the checkpoint frozen on {images}; decoding needs it, as checkpoint_file")
    return found


def checkpoint_named(name: str, experiment: str) -> Path:
    """The file that `checkpoint_file` means, see find_checkpoint; says which it is where it has another name."""
    path = find_checkpoint(name, experiment)
    if path.name != Path(name).name:
        say(f"checkpoint_file {name!r} is not there; {path} is taken")
    return path


def announced(models: list[ChosenModel]) -> list[str]:
    """A line for each model; one for all where they are many."""
    if len(models) <= FEW_MODELS:
        return [str(chosen) for chosen in models]
    sizes = sorted({chosen.model.description.parameters for chosen in models})
    first, last = models[0].source, models[-1].source.name
    return [
        f"{len(models)} models {first} ... {last} ({' or '.join(f'{size:,}' for size in sizes)} parameters each), "
        "each image takes the one that suits it"
    ]


def _with_channels(models: tuple[ChosenModel, ...], channels: int) -> tuple[ChosenModel, ...]:
    return tuple(chosen for chosen in models if chosen.model.description.channels == channels)


def freeze_on(
    net: ContextNet,
    settings: dict,
    sources: str | list[str] | None,
    pixel_limit: int = PIXEL_LIMIT,
    threads: int | None = None,
) -> FrozenModel:
    """Freeze a network, calibrated on the sources' images, or built-in ones where they are None, changed as those were
    that a run of these settings trained it on; with so many of PyTorch's threads, None: as many as it has."""
    from models.freeze import freeze
    from utils.torch_threads import torch_threads

    images, skipped = calibration_images(sources, net.description.channels, augmentation_of(settings), pixel_limit)
    for path, reason in skipped.items():
        say(f"skipped calibration image {path}: {reason}")
    with torch_threads.set_to(threads):
        return freeze(net, images)
