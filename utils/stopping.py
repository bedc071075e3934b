"""Ctrl-C and SIGTERM: as a wish to stop, which long work looks at where it can stop cleanly, or as an exception."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType


class StopRequest:
    """While its block runs, the first SIGINT or SIGTERM only sets `wanted`; a second one acts as it always does."""

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

    def _heard(self, number: int, frame: object) -> None:
        self.wanted = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what an interrupt ends, this ends, too."""


@contextmanager
def terminable() -> Iterator[None]:
    """While its block runs, SIGTERM raises Terminated in the main thread, unless something else is arranged for it."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: object) -> None:
    raise Terminated
