"""Backends that need PyTorch: on a CPU without the native core; on a GPU many images at a time, see coders.gpu."""

from __future__ import annotations

import threading

import numpy as np

from coders import codec, native
from coders.backends import Backend, native_measure_pieces
from coders.cores import Cores
from coders.gpu.batched import BatchedCoder
from coders.recorder import record
from coders.scan import Scan
from models.frozen import FrozenModel
from utils.torch_threads import torch_threads

#: Images that a GPU codes together where nobody says otherwise.
IMAGES_AT_ONCE = 24


def host_backend(threads: int | None, reason: str) -> Backend:
    """On the CPU, slowly; `reason` says why the native core does not do it."""
    in_threads = torch_threads.set_to(threads)  # decorates, too
    return Backend(
        "PyTorch on cpu",
        in_threads(lambda image, model, scan: codec.encode_stream(image, model, scan)),
        in_threads(lambda stream, height, width, model, scan: codec.decode_stream(stream, height, width, model, scan)),
        in_threads(lambda image, model, scan: codec.measure_stream(image, model, scan)),
        in_threads(_measure_pieces),
        f"the slow path is in use (PyTorch): {reason}",
    )


def batched_backend(device: str, threads: int | None, images_at_once: int | None = None) -> Backend:
    """The network on `device`, cpu or cuda, for many images at a time; the rest on the host's `threads`.

    Orders of one pixel a step have nothing for a device to do at a time: where the native core is built, it codes them.
    """
    images_at_once = images_at_once or IMAGES_AT_ONCE
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
        native_measure_pieces(cores) if reason is None else _measure_pieces,
        f"the coder is slow (Python): {reason}" if reason else None,
        images_at_once,
        room=cores.room,
        stop=stop,
        stopped=cores.stopped,
    )


def _measure_pieces(pieces: np.ndarray, model: FrozenModel, scan: Scan, margin: int) -> np.ndarray:
    inner = slice(margin, pieces.shape[1] - margin), slice(margin, pieces.shape[2] - margin)
    return np.stack([record(piece, model, scan).bits[inner].sum(2) for piece in pieces])
