"""Which implementation codes an image; all give the same bytes.

On a CPU that is the native core, which needs no PyTorch; where it is not built, and on a GPU, coders.torch_backends.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from coders import native
from coders.cores import Cores
from coders.numpyac import bits_of_shares
from coders.scan import Scan
from models.frozen import FrozenModel
from utils.errors import RequestError
from utils.gpu_driver import has_gpu_driver

#: (image (H, W, C) uint8, model, scan) -> ideal bits of each channel (C,) float64
Measure = Callable[[np.ndarray, FrozenModel, Scan], np.ndarray]
#: (pieces (N, H, W, C) uint8, model, scan, margin) -> ideal bits (N, H - 2 margin, W - 2 margin) float64 of each pixel
#: that is at least `margin` pixels from the sides of its piece
MeasurePieces = Callable[[np.ndarray, FrozenModel, Scan, int], np.ndarray]


@dataclass(frozen=True)
class Backend:
    """The things done with an image, bound to a device or a number of threads.

    Where `at_once` is more than 1, that many threads should hand over images at a time, each in the `room` for its
    pixels; `stop` ends their work, and `stopped` says that it was called.

    encode          (image (H, W, C) uint8, model, scan) -> stream
    decode          (stream, H, W, model, scan) -> image
    measure         ideal bits of an image, on the device
    measure_pieces  ideal bits of each pixel of small images, on the host; done before images are coded
    note            a line for the user where the slow path is in use, else None
    """

    name: str
    encode: Callable[[np.ndarray, FrozenModel, Scan], bytes]
    decode: Callable[[bytes, int, int, FrozenModel, Scan], np.ndarray]
    measure: Measure
    measure_pieces: MeasurePieces
    note: str | None = None
    at_once: int = 1
    room: Callable[[int], AbstractContextManager] = lambda pixels: nullcontext()
    stop: Callable[[], None] = lambda: None
    stopped: Callable[[], bool] = lambda: False


def device_of(requested: str) -> str:
    """ "auto", "cpu", "cuda" or "cuda:N" -> a PyTorch device name. Raises RequestError where it cannot be had.

    CUDA cannot be used in a process that was forked from one that has used it. PyTorch, which takes a second to import,
    is asked only where there may be a GPU.
    """
    kind, colon, index = requested.partition(":")
    if requested != "auto" and (kind not in ("cpu", "cuda") or (colon and not (kind == "cuda" and index.isdecimal()))):
        raise RequestError(f"device is {requested!r}; allowed are auto, cpu, cuda and cuda:<index>")
    if kind == "cpu" or (requested == "auto" and "torch" not in sys.modules and not has_gpu_driver()):
        return "cpu"
    try:
        import torch
    except ModuleNotFoundError as error:
        if requested == "auto":
            return "cpu"
        raise RequestError(f"device is {requested!r}, which takes PyTorch; install it, or use device=cpu") from error
    if requested == "auto":
        return "cuda" if not torch.cuda._is_in_bad_fork() and torch.cuda.is_available() else "cpu"
    if torch.cuda._is_in_bad_fork():
        raise RequestError(
            f"device is {requested!r}, but this process was forked from one that has used CUDA; start processes by "
            '"spawn" (multiprocessing.get_context("spawn")), or use device=cpu'
        )
    if not torch.cuda.is_available():
        built = "this PyTorch is built without CUDA" if torch.version.cuda is None else "no CUDA device is found"
        raise RequestError(f"device is {requested!r}, but {built}; use device=auto or device=cpu")
    if index and int(index) >= torch.cuda.device_count():
        raise RequestError(f"device is {requested!r}, but there are {torch.cuda.device_count()} CUDA devices")
    return requested


def backend_for(device: str, threads: int | None = None, images_at_once: int | None = None) -> Backend:
    """The backend for a device as `device_of` returns it.

    `images_at_once`: by default 24 on a GPU, and on a CPU as many as threads; without the native core always one.
    Raises RequestError where there is neither the native core nor PyTorch, or P59_INSTRUCTION_SET names what this
    machine does not have.
    """
    reason = native.unavailable_reason()
    if reason is None:
        native.chosen_instruction_set()  # a wrong one is refused before anything is coded
    if device == "cpu" and reason is None:
        return _native_backend(Cores(threads), images_at_once)
    try:
        from coders import torch_backends
    except ModuleNotFoundError as error:
        if device != "cpu":
            raise RequestError(f"device is {device!r}, which takes {error.name}; install it") from error
        raise RequestError(
            f"neither the native core nor {error.name} can be used: {reason}; the package's is coders/native, and its "
            "extra 'pytorch' brings PyTorch"
        ) from error
    if device == "cpu":
        return torch_backends.host_backend(threads, reason)
    return torch_backends.batched_backend(device, threads, images_at_once)


def _native_backend(cores: Cores, images_at_once: int | None) -> Backend:
    def encode(image: np.ndarray, model: FrozenModel, scan: Scan) -> bytes:
        return native.encode_stream(image, model, scan, cores.share(), cores.check)

    def decode(stream: bytes, height: int, width: int, model: FrozenModel, scan: Scan) -> np.ndarray:
        return native.decode_stream(stream, height, width, model, scan, cores.share(), cores.check)

    return Backend(
        "native",
        encode,
        decode,
        native_measure(cores.threads),
        native_measure_pieces(cores),
        at_once=images_at_once or cores.threads,
        room=cores.room,
        stop=cores.stop,
        stopped=cores.stopped,
    )


def native_measure(threads: int | None) -> Measure:
    """By so many threads of the native core."""
    return lambda *case: bits_of_shares(native.symbol_shares(*case, threads)).sum((0, 1))


def native_measure_pieces(cores: Cores) -> MeasurePieces:
    """By the threads that an image may use of the native core."""
    return lambda *case: bits_of_shares(native.symbol_shares_of_pieces(*case, cores.share())).sum(3)
