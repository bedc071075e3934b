"""Many images at a time, their steps together: a device is full then, whatever the size of an image.

Images of one model form two groups. While the device evaluates the network for the pixels of one group, the host codes
those of the other and gathers their next contexts:

    device   | network A | network B | network A | network B | ...
    host                 | code A    | code B    | code A    | ...

Images join and leave at any step. An image that is encoded has its pixels known: it belongs to both groups and its
blocks are evaluated in turn. No byte depends on which images happen to be together.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np
import torch

from coders.evaluator import Evaluator, Seconds
from coders.scan import Scan
from coders.steps import StepCoder, Turns
from models.frozen import FrozenModel, FrozenNet
from utils.errors import DeviceMemoryError, P59Error


class StoppedError(P59Error):
    """Coding was stopped from another thread."""


@dataclass(eq=False)
class _Image:
    """An image on its way; `done` once it is coded or has failed with `error`."""

    coder: StepCoder
    model: FrozenModel
    done: bool = False
    error: BaseException | None = None


class _Group:
    """Images whose pixels are evaluated together; `awaited` tells how many of each are on the device."""

    def __init__(self, net: FrozenNet, turns: Turns, seconds: Seconds | None) -> None:
        self._evaluator, self._turns, self._seconds = Evaluator(net, seconds), turns, seconds
        self.images: list[_Image] = []
        self.awaited: list[int] = []

    def join(self, image: _Image) -> None:
        self.images.append(image)
        self.awaited.append(0)

    def turn(self) -> list[_Image]:
        """Code what the device has computed, gather what comes next and start on that; the images that are finished."""
        started = time.perf_counter()
        outputs = self._evaluator.wait()
        waited = time.perf_counter()
        self._evaluator.reserve(sum(image.coder.most for image in self.images))
        coders = [image.coder for image in self.images]
        gathered = self._turns.advance(coders, self.awaited, outputs, self._evaluator.inputs)
        if self._seconds is not None:
            self._seconds.waiting += waited - started
            self._seconds.host += time.perf_counter() - waited
        finished = [image for image in self.images if image.coder.finished]
        staying = [index for index, count in enumerate(gathered) if count]
        self.images, self.awaited = [self.images[i] for i in staying], [gathered[i] for i in staying]
        if self.awaited:
            self._evaluator.start(sum(self.awaited))
        return finished


class BatchedCoder:
    """Codes the images that any number of threads hand it, up to `at_once` of them together, on one device.

    It has no thread of its own: of the threads that wait for their image, one does the turns of all.
    `seconds`, where given, adds up where the time goes.
    """

    def __init__(self, device: str, at_once: int, threads: int | None = None, seconds: Seconds | None = None) -> None:
        self._device, self._at_once, self._seconds = device, at_once, seconds
        self._turns = Turns(threads)
        self._changed = threading.Condition()
        self._waiting: list[_Image] = []
        self._groups: dict[bytes, tuple[_Group, _Group]] = {}
        self._led = self._stopped = False

    def encode(self, image: np.ndarray, model: FrozenModel, scan: Scan) -> bytes:
        """Code an image (H, W, C) uint8 to the stream that coders.codec.encode_stream writes.

        Raises DeviceMemoryError, and StoppedError after `stop`, as `decode` does.
        """
        return self._coded(_Image(self._turns.encoder(image, model, scan), model))

    def decode(self, stream: bytes, height: int, width: int, model: FrozenModel, scan: Scan) -> np.ndarray:
        """The image (H, W, C) uint8 that `encode` coded. Any bytes decode to some image; checksums are elsewhere."""
        return self._coded(_Image(self._turns.decoder(stream, height, width, model, scan), model))

    def stop(self) -> None:
        """Every image on its way, and every later one, fails with StoppedError."""
        self._stopped = True

    def _coded(self, image: _Image):
        with self._changed:
            self._waiting.append(image)
        while not image.done:
            with self._changed:
                self._changed.wait_for(lambda: image.done or not self._led)
                if image.done:
                    break
                self._led = True
            try:
                while not image.done:
                    self._round()
            except Exception as error:
                self._abandon(error)
            except BaseException:  # an interrupt concerns this thread only, but nobody knows where it struck
                self._abandon(StoppedError("interrupted"))
                raise
            finally:
                with self._changed:
                    self._led = False
                    self._changed.notify_all()
        if image.error is not None:
            raise image.error
        return image.coder.result()

    def _round(self) -> None:
        """A turn of every group."""
        if self._stopped:
            raise StoppedError("interrupted")
        self._admit()
        for groups in list(self._groups.values()):
            for group in groups:
                if group.images:
                    self._finish(group.turn())

    def _admit(self) -> None:
        """Images that wait join the groups of their model while there is room."""
        under_way = {id(image) for groups in self._groups.values() for group in groups for image in group.images}
        with self._changed:
            room = max(0, self._at_once - len(under_way))
            admitted, self._waiting = self._waiting[:room], self._waiting[room:]
        for number, image in enumerate(admitted):
            try:
                groups = self._groups_of(image.model)
            except (P59Error, MemoryError) as error:
                self._finish([image], error)
                continue
            except BaseException:
                self._waiting += admitted[number:]
                raise
            if image.coder.lookahead > 1:
                for group in groups:
                    group.join(image)
            else:
                min(groups, key=lambda group: len(group.images)).join(image)

    def _groups_of(self, model: FrozenModel) -> tuple[_Group, _Group]:
        groups = self._groups.get(model.fingerprint)
        if groups is None:
            try:
                net = FrozenNet(model, self._device)
                groups = _Group(net, self._turns, self._seconds), _Group(net, self._turns, self._seconds)
            except torch.cuda.OutOfMemoryError as error:
                raise DeviceMemoryError(
                    f"out of memory on {self._device} for model {model.name}; free memory there, or use device=cpu"
                ) from error
            if self._device != "cpu":
                torch.cuda.synchronize(self._device)  # weights are there before other streams read them
            self._groups[model.fingerprint] = groups
        return groups

    def _finish(self, images: list[_Image], error: BaseException | None = None) -> None:
        if images:
            with self._changed:
                for image in images:
                    image.done, image.error = True, error
                self._changed.notify_all()

    def _abandon(self, error: Exception) -> None:
        """All images on their way fail; with `stop`, those that wait as well."""
        images = [image for groups in self._groups.values() for group in groups for image in group.images]
        if self._stopped:
            with self._changed:
                images, self._waiting = images + self._waiting, []
        self._groups.clear()
        self._finish(images, error)
