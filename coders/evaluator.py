"""The frozen network of many pixels on a device, while the host does something else.

Inputs and outputs lie in memory of the host that the device reads and writes by itself (pinned); each evaluation is one
copy there, the network, and one copy back, on a stream of its own. On the CPU the same code computes at once.
Letters: N pixels, I network inputs, K network outputs.
"""

from __future__ import annotations

import time
from dataclasses import astuple, dataclass

import numpy as np
import torch

from models.frozen import FrozenNet
from utils.device_memory import is_out_of_memory
from utils.errors import DeviceMemoryError

#: Pixels that go through the network together: what keeps a GPU busy; on a CPU what stays in its caches.
MOST_PIXELS = {"cuda": 1 << 17, "cpu": 1 << 11}
#: Where the memory does not even suffice for so many pixels, it is of no use to try fewer.
FEWEST_PIXELS = 64


@dataclass
class Seconds:
    """Where the time of `steps` evaluations, together of `pixels` pixels, goes.

    network    on the device
    transfer   copies between host and device
    host       the host's part: contexts, mixtures, arithmetic coder
    launching  the host hands copies and the network's operations to the device; none on a CPU, which computes at once
    waiting    the host waits for the device
    """

    network: float = 0.0
    transfer: float = 0.0
    host: float = 0.0
    launching: float = 0.0
    waiting: float = 0.0
    steps: int = 0
    pixels: int = 0

    def since(self, earlier: Seconds) -> Seconds:
        """What has been added after `earlier` was copied from here."""
        return Seconds(*(now - before for now, before in zip(astuple(self), astuple(earlier), strict=True)))


class Evaluator:
    """Evaluates `net` for rows of `inputs` (N, I) int16 into `outputs` (N, K) int32. One evaluation at a time.

    Where the device's memory does not suffice, the pixels are evaluated in smaller parts from then on.
    """

    def __init__(self, net: FrozenNet, seconds: Seconds | None = None) -> None:
        self._net, self._seconds = net, seconds
        self._cuda = net.device.type == "cuda"
        self._stream = torch.cuda.Stream(net.device) if self._cuda else None
        self._events: list[list] = []
        self._most = MOST_PIXELS[net.device.type]
        self.inputs, self.outputs = np.empty((0, 0), np.int16), np.empty((0, 0), np.int32)
        self.reserve(1)

    def reserve(self, pixels: int) -> None:
        """Have room for so many rows; new arrays where there was less, so that what holds the old ones keeps them."""
        description = self._net.model.description
        if len(self.inputs) < pixels:
            pixels += pixels // 2
            try:
                self._inputs = torch.empty((pixels, description.inputs), dtype=torch.int16, pin_memory=self._cuda)
                self._outputs = torch.empty((pixels, description.outputs), dtype=torch.int32, pin_memory=self._cuda)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                raise MemoryError(f"no memory for {pixels} pixels at a time; set images_at_once lower") from error
            self.inputs, self.outputs = self._inputs.numpy(), self._outputs.numpy()

    def start(self, pixels: int) -> None:
        """Begin with the first `pixels` rows of `inputs`. Raises DeviceMemoryError."""
        started = time.perf_counter()
        while not self._started(pixels, min(self._most, pixels)):
            if self._cuda:
                self._stream.synchronize()
                torch.cuda.empty_cache()
        if self._seconds is not None and self._cuda:
            self._seconds.launching += time.perf_counter() - started

    def _started(self, pixels: int, part: int) -> bool:
        """Whether there was memory for `part` pixels at a time; next time it will be fewer where there was not."""
        try:
            for first in range(0, pixels, part):
                self._evaluate(slice(first, min(pixels, first + part)))
            return True
        except RuntimeError as error:
            self._events.clear()
            if not is_out_of_memory(error):
                raise
            if part <= FEWEST_PIXELS:
                self._most = MOST_PIXELS[self._net.device.type]
                raise DeviceMemoryError(
                    f"out of memory on {self._net.device}, even for {part} pixels at a time; "
                    "free memory there, or use device=cpu"
                ) from error
            self._most = max(FEWEST_PIXELS, part // 2)
            return False

    def wait(self) -> np.ndarray:
        """`outputs`, when they are computed."""
        if self._cuda:
            self._stream.synchronize()
        self._count()
        return self.outputs

    def _evaluate(self, rows: slice) -> None:
        if not self._cuda:
            started = time.perf_counter()
            self._outputs[rows] = self._net(self._inputs[rows])
            self._events.append([rows, time.perf_counter() - started])
            return
        with torch.cuda.stream(self._stream):
            marks = [rows, self._mark()]
            inputs = self._inputs[rows].to(self._net.device, non_blocking=True)
            marks.append(self._mark())
            outputs = self._net(inputs)
            marks.append(self._mark())
            self._outputs[rows].copy_(outputs, non_blocking=True)
            marks.append(self._mark())
        self._events.append(marks)

    def _mark(self):
        """A point in the stream whose time can be asked for later, where anybody wants to know."""
        if self._seconds is None:
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _count(self) -> None:
        if self._seconds is not None and self._events:
            self._seconds.steps += 1
            for rows, *marks in self._events:
                self._seconds.pixels += rows.stop - rows.start
                if self._cuda:
                    start, there, done, back = marks
                    self._seconds.transfer += (start.elapsed_time(there) + done.elapsed_time(back)) / 1e3
                    self._seconds.network += there.elapsed_time(done) / 1e3
                else:
                    self._seconds.network += marks[0]
        self._events.clear()
