"""How many threads PyTorch computes with: a number each thread has, taken over from whoever set theirs last."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from utils.fork_safe import after_fork


class TorchThreads:
    """Sets PyTorch's number of threads for a while, for several callers at the same time.

    `forked` says that this process was forked, where PyTorch would wait for threads that are the parent's: it computes
    with one.
    """

    def __init__(self) -> None:
        self._lock, self._users, self._usual, self.forked = threading.Lock(), 0, 0, False
        after_fork(self._after_fork)

    def _after_fork(self) -> None:
        self._lock, self.forked = threading.Lock(), True

    @contextmanager
    def set_to(self, count: int | None) -> Iterator[None]:
        """So many while the block runs, None: as many as usual; afterwards as many as before anyone set them."""
        with self._lock:
            if not self._users:
                self._usual = torch.get_num_threads()
            self._users, usual = self._users + 1, self._usual
        _compute_with(1 if self.forked else usual if count is None else count)
        try:
            yield
        finally:
            _compute_with(usual)
            with self._lock:
                self._users -= 1


def _compute_with(count: int) -> None:
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


torch_threads = TorchThreads()
