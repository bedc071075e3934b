"""Frozen networks of many pixels on a device, while the host does something else.

Inputs and outputs lie in memory of the host that a device reads and writes by itself (pinned). Where the network is one
kernel (models.fused), the kernel does so, and pixels of different models are evaluated together. Otherwise each
evaluation is one copy there, the network of one model, and one copy back. On the CPU the same code computes at once.
Letters: N pixels, I network inputs, K network outputs.
"""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from contextlib import nullcontext, suppress
from dataclasses import astuple, dataclass

import numpy as np
import torch

from models.frozen_net import FrozenNet
from models.fused import FusedNets, Launch
from utils.device_memory import is_out_of_memory
from utils.errors import DeviceMemoryError

#: Pixels that go through the network together: what keeps a GPU busy; on a CPU what stays in its caches.
BLOCK_PIXELS = {"cuda": 1 << 17, "cpu": 1 << 11}
#: Where the memory does not even suffice for so many pixels, it is of no use to try fewer.
FEWEST_PIXELS = 64


@dataclass
class Seconds:
    """Where the time of `steps` evaluations, together of `pixels` pixels, goes.

    network    on the device; where the network is one kernel with what it reads and writes on the host
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


class Evaluator(ABC):
    """Evaluates networks for rows of `inputs` (N, I) int16 into `outputs` (N, K) int32. One evaluation at a time."""

    def __init__(self, nets: FrozenNet | FusedNets, seconds: Seconds | None) -> None:
        self._nets, self._device, self._seconds = nets, nets.device, seconds
        self._cuda = nets.device.type == "cuda"
        self.inputs, self.outputs = np.empty((0, 0), np.int16), np.empty((0, 0), np.int32)
        self._inputs_moved = 0
        self.reserve(1)

    def reserve(self, pixels: int) -> None:
        """Have room for so many rows; new arrays where there was less, so that what holds the old ones keeps them."""
        if len(self.inputs) < pixels:
            pixels += pixels // 2
            self._inputs = self._memory((pixels, self._nets.inputs), torch.int16)
            self._outputs = self._memory((pixels, self._nets.outputs), torch.int32)
            self.inputs, self.outputs = self._inputs.numpy(), self._outputs.numpy()
            self._inputs_moved += 1

    def start(self, counts: list[int], slots: list[int]) -> None:
        """Begin with the first rows of `inputs`: `counts` of them, one after the other, for the models of `slots`.

        Raises DeviceMemoryError.
        """
        started = time.perf_counter()
        self._start(counts, slots)
        if self._seconds is not None and self._cuda:
            self._seconds.launching += time.perf_counter() - started

    @abstractmethod
    def wait(self) -> np.ndarray:
        """`outputs`, when they are computed."""

    @abstractmethod
    def _start(self, counts: list[int], slots: list[int]) -> None:
        """As `start`."""

    def _memory(self, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        try:
            return torch.empty(shape, dtype=dtype, pin_memory=self._cuda)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryError(f"no memory for {shape[0]} pixels at a time; set images_at_once lower") from error


class FusedEvaluator(Evaluator):
    """The kernel, any models of its architecture, on the stream that is the caller's.

    Launches of the same kind are recorded as graphs, which take a fraction of the time to begin. Where recording fails,
    it is not tried again: launching goes on without.
    """

    #: Recorded launches that are kept.
    GRAPHS = 64

    def __init__(self, nets: FusedNets, seconds: Seconds | None = None) -> None:
        super().__init__(nets, seconds)
        self._segments = self._memory((1, 3), torch.int32)
        self._table = self._segments.numpy()
        self._graphs: dict[Launch, torch.cuda.CUDAGraph] = {}
        self._segments_moved, self._recorded_for = 0, ()
        self._recording, self._record_on = self._cuda, None
        self._pixels, self._marks = 0, [self._mark(), self._mark()]

    def wait(self) -> np.ndarray:
        pixels, self._pixels = self._pixels, 0
        if pixels and self._cuda:
            self._marks[1].synchronize()
        if pixels and self._seconds is not None:
            begun, done = self._marks
            self._seconds.network += begun.elapsed_time(done) / 1e3 if self._cuda else done - begun
            self._seconds.steps += 1
            self._seconds.pixels += pixels
        return self.outputs

    def _start(self, counts: list[int], slots: list[int]) -> None:
        images, most, pixels = len(counts), max(counts), sum(counts)
        launch = self._nets.launch_for(images, most, pixels)
        if len(self._table) < launch.segments:
            self._segments = self._memory((launch.segments, 3), torch.int32)
            self._table = self._segments.numpy()
            self._segments_moved += 1
        if images == 1:
            self._table[0] = slots[0], 0, most
        else:
            table = self._table[:images]
            table[:, 0], table[:, 2] = slots, counts
            table[0, 1] = 0
            np.cumsum(counts[:-1], out=table[1:, 1])
            self._table[images : launch.segments] = 0
        if self._seconds is not None:
            self._marks[0] = self._mark(self._marks[0])
        try:
            self._run(launch)
            self._marks[1] = self._mark(self._marks[1])
        except Exception as error:
            if self._cuda:  # the kernel may have begun, and nobody knows to `wait` for it
                with suppress(RuntimeError):
                    torch.cuda.current_stream(self._device).synchronize()
            if not is_out_of_memory(error):
                raise
            raise DeviceMemoryError(f"out of memory on {self._device}; free memory there, or use device=cpu") from error
        self._pixels = pixels

    def _run(self, launch: Launch) -> None:
        places = self._inputs_moved, self._segments_moved, self._nets.moved
        if places != self._recorded_for:
            self._graphs, self._recorded_for = {}, places  # none of them is running: `start` follows `wait`
        graph = self._graphs.get(launch)
        if graph is not None:
            graph.replay()
            return
        self._launch(launch)  # which also loads all that is needed
        if self._recording:
            while len(self._graphs) >= self.GRAPHS:
                del self._graphs[next(iter(self._graphs))]
            self._record(launch)

    def _launch(self, launch: Launch) -> None:
        self._nets(launch, self._inputs, self._outputs, self._segments)

    def _record(self, launch: Launch) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            if self._record_on is None:
                self._record_on = torch.cuda.Stream(self._device)
            with torch.cuda.stream(self._record_on):
                graph.capture_begin(capture_error_mode="thread_local")
                try:
                    self._launch(launch)
                finally:
                    graph.capture_end()
        except RuntimeError as error:  # what was launched before goes on
            self._recording = False
            warnings.warn(
                f"launches cannot be recorded on {self._device}, which makes them slower: {error}", stacklevel=2
            )
        else:
            self._graphs[launch] = graph

    def _mark(self, event: torch.cuda.Event | None = None) -> torch.cuda.Event | float:
        """This point in the stream, or this time on a CPU."""
        if not self._cuda:
            return time.perf_counter()
        event = event or torch.cuda.Event(enable_timing=self._seconds is not None)
        event.record()
        return event


class CopyingEvaluator(Evaluator):
    """A network of PyTorch's operations, one model, on a stream of its own.

    Where the device's memory does not suffice, the pixels are evaluated in smaller parts from then on.
    """

    def __init__(self, net: FrozenNet, seconds: Seconds | None = None) -> None:
        super().__init__(net, seconds)
        self._stream = torch.cuda.Stream(net.device) if self._cuda else None
        self._marks: list[list] = []
        self._most = BLOCK_PIXELS[net.device.type]

    def wait(self) -> np.ndarray:
        if self._cuda:
            self._stream.synchronize()
        if self._seconds is not None and self._marks:
            self._seconds.steps += 1
            for pixels, *marks in self._marks:
                self._seconds.pixels += pixels
                self._count(*marks)
        self._marks.clear()
        return self.outputs

    def _start(self, counts: list[int], slots: list[int]) -> None:
        pixels = sum(counts)
        while not self._started(pixels, min(self._most, pixels)):
            if self._cuda:
                self._stream.synchronize()
                torch.cuda.empty_cache()

    def _started(self, pixels: int, part: int) -> bool:
        """Whether there was memory for `part` pixels at a time; next time it will be fewer where there was not."""
        try:
            for first in range(0, pixels, part):
                self._evaluate(slice(first, min(pixels, first + part)))
            return True
        except RuntimeError as error:
            self._marks.clear()
            if not is_out_of_memory(error):
                raise
            if part <= FEWEST_PIXELS:
                self._most = BLOCK_PIXELS[self._device.type]
                raise DeviceMemoryError(
                    f"out of memory on {self._device}, even for {part} pixels at a time; "
                    "free memory there, or use device=cpu"
                ) from error
            self._most = max(FEWEST_PIXELS, part // 2)
            return False

    def _evaluate(self, rows: slice) -> None:
        with torch.cuda.stream(self._stream) if self._cuda else nullcontext():
            marks = [rows.stop - rows.start, self._mark()]
            inputs = self._inputs[rows].to(self._device, non_blocking=True)
            marks.append(self._mark())
            outputs = self._nets(inputs)
            marks.append(self._mark())
            self._outputs[rows].copy_(outputs, non_blocking=True)
            marks.append(self._mark())
        self._marks.append(marks)

    def _mark(self) -> torch.cuda.Event | float | None:
        """This point in the stream, or this time on a CPU, where anybody wants to know."""
        if self._seconds is None:
            return None
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _count(self, start, there, done, back) -> None:
        if self._cuda:
            self._seconds.transfer += (start.elapsed_time(there) + done.elapsed_time(back)) / 1e3
            self._seconds.network += there.elapsed_time(done) / 1e3
        else:
            self._seconds.network += back - start
