"""Which implementation codes an image; all give the same bytes.

On the CPU that is the native core where it is built, else PyTorch; on a GPU many images at a time, see coders.batched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from coders import codec, native
from coders.batched import BatchedCoder
from coders.cores import Cores
from coders.recorder import record
from coders.scan import Scan
from models.frozen import FrozenModel
from utils.errors import RequestError
from utils.torch_threads import torch_threads

#: (image (H, W, C) uint8, model, scan) -> ideal bits of each channel (C,) float64
Measure = Callable[[np.ndarray, FrozenModel, Scan], np.ndarray]
#: (pieces (N, H, W, C) uint8, model, scan, margin) -> ideal bits (N, H - 2 margin, W - 2 margin) float64 of each pixel
#: that is at least `margin` pixels from the sides of its piece
Glance = Callable[[np.ndarray, FrozenModel, Scan, int], np.ndarray]
#: Images that a GPU codes together where nobody says otherwise.
IMAGES_AT_ONCE = 24


@dataclass(frozen=True)
class Backend:
    """The things done with an image, bound to a device or a number of threads.

    Where `at_once` is more than 1, that many threads should hand over images at a time, each in the `room` for its
    pixels; `stop` ends their work, and `stopped` says that it was called.

    encode      (image (H, W, C) uint8, model, scan) -> stream
    decode      (stream, H, W, model, scan) -> image
    measure     ideal bits of an image, on the device
    glance      ideal bits of each pixel of small images, on the host; done before images are coded
    note        a line for the user where the slow path is in use, else None
    """

    name: str
    encode: Callable[[np.ndarray, FrozenModel, Scan], bytes]
    decode: Callable[[bytes, int, int, FrozenModel, Scan], np.ndarray]
    measure: Measure
    glance: Glance
    note: str | None = None
    at_once: int = 1
    room: Callable[[int], AbstractContextManager] = lambda pixels: nullcontext()
    stop: Callable[[], None] = lambda: None
    stopped: Callable[[], bool] = lambda: False


def device_of(requested: str) -> str:
    """ "auto", "cpu", "cuda" or "cuda:N" -> a PyTorch device name. Raises RequestError where it cannot be had.

    CUDA cannot be used in a process that was forked from one that has used it.
    """
    if requested == "auto":
        return "cuda" if not torch.cuda._is_in_bad_fork() and torch.cuda.is_available() else "cpu"
    kind, _, index = requested.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdecimal())):
        raise RequestError(f"device is {requested!r}; allowed are auto, cpu, cuda and cuda:<index>")
    if kind == "cuda":
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
    """
    if device != "cpu":
        return batched_backend(device, threads, images_at_once or IMAGES_AT_ONCE)
    cores, reason = Cores(threads), native.unavailable_reason()
    if reason is None:
        return _native_backend(cores, images_at_once)
    in_threads = torch_threads.set_to(threads)  # decorates, too
    return Backend(
        f"PyTorch on {device}",
        in_threads(lambda image, model, scan: codec.encode_stream(image, model, scan)),
        in_threads(lambda stream, height, width, model, scan: codec.decode_stream(stream, height, width, model, scan)),
        in_threads(_measure_on_host(threads)),
        in_threads(_glance_on_host(cores)),
        f"the slow path is in use (PyTorch): {reason}",
    )


def _native_backend(cores: Cores, images_at_once: int | None) -> Backend:
    def encode(image: np.ndarray, model: FrozenModel, scan: Scan) -> bytes:
        return native.encode_stream(image, model, scan, cores.share(), cores.check)

    def decode(stream: bytes, height: int, width: int, model: FrozenModel, scan: Scan) -> np.ndarray:
        return native.decode_stream(stream, height, width, model, scan, cores.share(), cores.check)

    return Backend(
        "native",
        encode,
        decode,
        _measure_on_host(cores.threads),
        _glance_on_host(cores),
        at_once=images_at_once or cores.threads,
        room=cores.room,
        stop=cores.stop,
        stopped=cores.stopped,
    )


def _measure_on_host(threads: int | None) -> Measure:
    """By the native core where it is built, else by PyTorch on the CPU."""
    if native.unavailable_reason() is None:
        return lambda *case: codec.bits_of_shares(native.symbol_shares(*case, threads)).sum((0, 1))
    return lambda image, model, scan: codec.measure_stream(image, model, scan, "cpu")


def _glance_on_host(cores: Cores) -> Glance:
    """By the threads that an image may use of the native core where it is built, else by PyTorch on the CPU."""
    if native.unavailable_reason() is None:
        return lambda *case: codec.bits_of_shares(native.symbol_shares_of_pieces(*case, cores.share())).sum(3)

    def glance(pieces: np.ndarray, model: FrozenModel, scan: Scan, margin: int) -> np.ndarray:
        inner = slice(margin, pieces.shape[1] - margin), slice(margin, pieces.shape[2] - margin)
        return np.stack([record(piece, model, scan).bits[inner].sum(2) for piece in pieces])

    return glance


def batched_backend(device: str, threads: int | None, images_at_once: int) -> Backend:
    """The network on `device`, cpu or cuda, for many images at a time; the rest on the host's `threads`.

    Orders of one pixel a step have nothing for a device to do at a time: where the native core is built, it codes them.
    """
    cores, coder = Cores(threads), BatchedCoder(device, images_at_once, threads)
    reason, encode, decode = native.unavailable_reason(), coder.encode, coder.decode
    if reason is None:
        encoding, decoding = threading.Lock(), threading.Semaphore(cores.threads)

        def encode(image: np.ndarray, model: FrozenModel, scan: Scan) -> bytes:
            if scan.row_delay is not None:
                return coder.encode(image, model, scan)
            with encoding:
                cores.check()
                return native.encode_stream(image, model, scan, threads, cores.check)

        def decode(stream: bytes, height: int, width: int, model: FrozenModel, scan: Scan) -> np.ndarray:
            if scan.row_delay is not None:
                return coder.decode(stream, height, width, model, scan)
            with decoding:  # a pixel is not shared among threads, but each thread can have an image
                cores.check()
                return native.decode_stream(stream, height, width, model, scan, 1, cores.check)

    def stop() -> None:
        cores.stop()
        coder.stop()

    return Backend(
        f"PyTorch on {device}",
        encode,
        decode,
        lambda image, model, scan: codec.measure_stream(image, model, scan, device),
        _glance_on_host(cores),
        f"the coder is slow (Python): {reason}" if reason else None,
        images_at_once,
        room=cores.room,
        stop=stop,
        stopped=cores.stopped,
    )
