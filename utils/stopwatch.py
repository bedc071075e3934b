"""Time spent in one activity among others."""

from __future__ import annotations

import time


class Stopwatch:
    """Seconds that passed between each `start` and `stop`."""

    def __init__(self) -> None:
        self._before, self._started = 0.0, None

    def start(self) -> None:
        self._started = time.monotonic()

    def stop(self) -> None:
        self._before, self._started = self.seconds, None

    @property
    def seconds(self) -> float:
        return self._before + (time.monotonic() - self._started if self._started is not None else 0.0)
