"""Many images at a time, their steps together: a device is full then, whatever the size of an image.

Images whose models are evaluated together (coders.gpu.networks) form two groups. While the device evaluates the network
for the pixels of one group, the host codes those of the other and gathers their next contexts:

    device   | network A | network B | network A | network B | ...
    host                 | code A    | code B    | code A    | ...

Images join and leave at any step. An image that is encoded has its pixels known: it belongs to both groups and its
blocks are evaluated in turn. No byte depends on which images happen to be together.
"""

from __future__ import annotations

import copy
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch

from coders.gpu.evaluator import Evaluator, Seconds
from coders.gpu.networks import Networks, networks_key
from coders.gpu.steps import StepCoder, Turns
from coders.scan import Scan
from models.frozen import FrozenModel
from utils.device_memory import is_out_of_memory
from utils.errors import DeviceMemoryError, P59Error, StoppedError, reason_of, without_tracebacks

#: Where so many families are on the device when another comes, those that have no image leave it: without the kernel
#: each image may bring an adapted model.
FAMILIES_KEPT = 16


@dataclass(eq=False)
class _Image:
    """An image on its way; `done` once it is coded, has failed with `error`, or nobody wants it any more.

    `slot` is its model's among those that are evaluated together.
    """

    coder: StepCoder
    model: FrozenModel
    slot: int = 0
    done: bool = False
    error: BaseException | None = None


class _Group:
    """Images whose pixels are evaluated together; `awaited` tells how many of each are on the device."""

    def __init__(self, evaluator: Evaluator, turns: Turns, seconds: Seconds | None) -> None:
        self._evaluator, self._turns, self._seconds = evaluator, turns, seconds
        self.images: list[_Image] = []
        self.awaited: list[int] = []

    def join(self, image: _Image) -> None:
        self.images.append(image)
        self.awaited.append(0)

    def advance(self) -> list[_Image]:
        """Code what the device has computed and gather what comes next; the images that are finished."""
        started = time.perf_counter()
        outputs = self._without_done(self._evaluator.wait())
        waited = time.perf_counter()
        self._evaluator.reserve(sum(image.coder.most for image in self.images))
        coders = [image.coder for image in self.images]
        gathered = self._turns.advance(coders, self.awaited, outputs, self._evaluator.inputs)
        if self._seconds is not None:
            self._seconds.waiting += waited - started
            self._seconds.host += time.perf_counter() - waited
        finished = [image for image in self.images if image.coder.finished]
        self._keep([index for index, count in enumerate(gathered) if count], gathered)
        return finished

    def wait(self) -> None:
        """Until the device has computed what it began."""
        self._evaluator.wait()

    def start(self) -> None:
        """The device begins with what is gathered."""
        if self.awaited:
            self._evaluator.start(self.awaited, [image.slot for image in self.images])

    def _without_done(self, outputs: np.ndarray) -> np.ndarray:
        """Images that failed elsewhere or were given up leave, and with them their rows of `outputs`."""
        staying = [index for index, image in enumerate(self.images) if not image.done]
        if len(staying) < len(self.images):
            ends = np.cumsum(self.awaited)
            rows = [outputs[ends[index] - self.awaited[index] : ends[index]] for index in staying]
            outputs = np.concatenate([outputs[:0], *rows])
            self._keep(staying, self.awaited)
        return outputs

    def _keep(self, indices: list[int], awaited: list[int]) -> None:
        self.images, self.awaited = [self.images[i] for i in indices], [awaited[i] for i in indices]


class _Family:
    """The images whose models are evaluated together."""

    def __init__(self, model: FrozenModel, device: str, turns: Turns, seconds: Seconds | None) -> None:
        self._networks = Networks(model, device)
        self.groups = tuple(_Group(self._networks.evaluator(seconds), turns, seconds) for _ in range(2))

    def images(self) -> list[_Image]:
        return [image for group in self.groups for image in group.images]

    def settle(self) -> None:
        """Wait for the device, which reads and writes memory of the host that others may get when this one is gone."""
        for group in self.groups:
            with suppress(Exception):
                group.wait()

    def join(self, image: _Image) -> None:
        image.slot = self._networks.slot(image.model, {other.slot for other in self.images()})
        if image.coder.lookahead > 1:
            for group in self.groups:
                group.join(image)
        else:
            min(self.groups, key=lambda group: len(group.images)).join(image)


class BatchedCoder:
    """Codes the images that any number of threads hand it, up to `at_once` of them together, on one device.

    One thread of its own does the turns of all, as libraries of the device keep memory for every thread that calls
    them; it works while there are images. `seconds`, where given, adds up where the time goes.
    """

    def __init__(self, device: str, at_once: int, threads: int | None = None, seconds: Seconds | None = None) -> None:
        self._device, self._at_once, self._seconds = device, at_once, seconds
        self._turns = Turns(threads)
        self._families: dict[tuple | bytes, _Family] = {}
        self._worker = ThreadPoolExecutor(1, "p59-turns")  # its thread begins with the first image
        self._changed = threading.Condition()  # guards what follows
        self._waiting: list[_Image] = []
        self._under_way: set[_Image] = set()
        self._working = self._stopped = False

    def encode(self, image: np.ndarray, model: FrozenModel, scan: Scan) -> bytes:
        """Code an image (H, W, C) uint8 to the stream that coders.codec.encode_stream writes.

        Raises P59Error where the device fails (DeviceMemoryError where its memory does not suffice), and StoppedError
        after `stop`, as `decode` does.
        """
        return self._coded(_Image(self._turns.encoder(image, model, scan), model))

    def decode(self, stream: bytes, height: int, width: int, model: FrozenModel, scan: Scan) -> np.ndarray:
        """The image (H, W, C) uint8 that `encode` coded. Any bytes decode to some image; checksums are elsewhere."""
        return self._coded(_Image(self._turns.decoder(stream, height, width, model, scan), model))

    def stop(self) -> None:
        """Every image on its way, and every later one, fails with StoppedError."""
        with self._changed:
            self._stopped = True
            self._finish([*self._waiting, *self._under_way], StoppedError("interrupted"))

    def _coded(self, image: _Image):
        try:
            with self._changed:
                if self._stopped:
                    raise StoppedError("interrupted")
                if not self._working:
                    self._worker.submit(self._work)
                    self._working = True
                self._waiting.append(image)
                self._changed.wait_for(lambda: image.done)
        except BaseException:  # an interrupt concerns the image of this thread only
            self._finish([image], StoppedError("interrupted"))
            raise
        if image.error is not None:
            raise copy.copy(image.error) from image.error  # many threads may have this error
        return image.coder.result()

    def _work(self) -> None:
        """Turns, until there is no image left."""
        try:
            if self._device != "cpu":
                # Not the stream that all share; its device becomes this thread's, for kernels, events and graphs.
                torch.cuda.set_stream(torch.cuda.Stream(self._device))
            while self._has_work():
                self._admit()
                for key, family in list(self._families.items()):
                    for group in family.groups:
                        if group.images and key in self._families:
                            self._turn(key, group)
        except BaseException as error:  # none is expected, but nobody may wait for ever
            with self._changed:
                self._working = False
                for family in self._families.values():
                    family.settle()
                self._families.clear()
                self._finish([*self._waiting, *self._under_way], self._named(error))

    def _has_work(self) -> bool:
        with self._changed:
            self._working = bool(self._waiting) or any(family.images() for family in self._families.values())
            return self._working

    def _turn(self, key: tuple | bytes, group: _Group) -> None:
        """Where it fails, the images of this family fail; those of others go on."""
        try:
            self._finish(group.advance())
            group.start()
        except Exception as error:
            family = self._families.pop(key)
            family.settle()
            self._finish(family.images(), self._named(error))

    def _admit(self) -> None:
        """Images that wait join those their models are evaluated with, while there is room."""
        with self._changed:
            room = max(0, self._at_once - len(self._under_way))
            admitted, self._waiting = self._waiting[:room], self._waiting[room:]
            self._under_way.update(admitted)
        for image in admitted:
            try:
                self._family_of(image.model).join(image)
            except Exception as error:
                self._finish([image], self._named(error, image.model))

    def _named(self, error: BaseException, model: FrozenModel | None = None) -> BaseException:
        """What the user is told of an error of the device, a RuntimeError of PyTorch; `model` is that being made."""
        if isinstance(error, P59Error | MemoryError):
            return without_tracebacks(error)
        if not isinstance(error, RuntimeError):
            return error
        if is_out_of_memory(error):
            purpose = f" for model {model.name}" if model else ""
            named = DeviceMemoryError(f"out of memory on {self._device}{purpose}; free memory there, or use device=cpu")
        else:
            named = P59Error(f"device {self._device} failed ({reason_of(error)}); run it again, or use device=cpu")
        named.__cause__ = error
        return without_tracebacks(named)

    def _family_of(self, model: FrozenModel) -> _Family:
        key = networks_key(model, self._device)
        if key not in self._families:
            if len(self._families) >= FAMILIES_KEPT:
                self._families = {key: family for key, family in self._families.items() if family.images()}
            self._families[key] = _Family(model, self._device, self._turns, self._seconds)
        return self._families[key]

    def _finish(self, images: list[_Image], error: BaseException | None = None) -> None:
        """Their threads go on; their groups let go of them in their next turn."""
        if not images:
            return
        with self._changed:
            for image in images:
                if not image.done:
                    image.done, image.error = True, error
                    self._under_way.discard(image)
            self._waiting = [image for image in self._waiting if not image.done]
            self._changed.notify_all()
