"""A CPU's cores, shared by the images that are coded at the same time: a thread each, where there are images enough.

One after the other, each by all threads, images would wait for each other wherever one cannot be shared: a file is read
and written by one thread, and the sequential order is decoded by one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from coders import native
from utils.errors import StoppedError

#: Images under way have no more pixels together, but that one may be larger: a pixel takes some ten bytes of memory.
PIXELS_UNDER_WAY = 1 << 26


class Cores:
    """`threads` of a CPU; None: all cores that this process may use."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = native.thread_count(threads)
        self._images, self._pixels = 0, 0
        self._changed, self._entrance = threading.Condition(), threading.Lock()
        self._stop = threading.Event()

    @contextmanager
    def room(self, pixels: int) -> Iterator[None]:
        """While the block works on an image of so many pixels. Waits for room, first come first served.

        Raises StoppedError where `stop` was called.
        """
        with self._entrance, self._changed:
            self._changed.wait_for(
                lambda: self.stopped() or not self._images or self._pixels + pixels <= PIXELS_UNDER_WAY
            )
            self.check()
            self._images, self._pixels = self._images + 1, self._pixels + pixels
        try:
            yield
        finally:
            with self._changed:
                self._images, self._pixels = self._images - 1, self._pixels - pixels
                self._changed.notify_all()

    def share(self) -> int:
        """How many threads an image may use now; all where none has asked for room."""
        return max(1, self.threads // max(1, self._images))

    def stop(self) -> None:
        """End the work on all images, soon."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def stopped(self) -> bool:
        return self._stop.is_set()

    def check(self) -> None:
        """Raises StoppedError where `stop` was called."""
        if self.stopped():
            raise StoppedError("interrupted")
