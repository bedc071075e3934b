"""Ctrl-C and SIGTERM as a wish to stop, which long work looks at where it can stop cleanly."""

from __future__ import annotations

import signal
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
