"""Backends for calls that come one by one, as those of p59.encode do: a GPU's are kept from call to call.

A process that is forked makes its own. Its parent's have threads that it has not, and memory that is not its to free.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

from coders.backends import Backend, backend_for
from utils.fork_safe import ForkSafe, after_fork


def kept_backend(device: str, threads: int | None) -> Backend:
    """The backend for a device as `coders.backends.device_of` returns it.

    A GPU's is kept with the models that are on it, and threads that call at the same time share its steps.
    """
    if device == "cpu":
        return backend_for(device, threads)
    with _one_at_a_time.lock:
        return _gpu_backends(device, threads)


#: Of two threads that ask for a backend at the same time one makes it.
_one_at_a_time = ForkSafe()
_gpu_backends = lru_cache(4)(backend_for)


def _after_fork() -> None:
    """What the parent keeps is not freed here, not even when this process ends."""
    global _gpu_backends
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_gpu_backends))
    _gpu_backends = lru_cache(4)(backend_for)


after_fork(_after_fork)
