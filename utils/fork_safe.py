"""What a process that was forked must not take over: a lock's holder may be a thread that it does not have."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable


class ForkSafe:
    """A `lock` that is open in a forked process, whoever held it: `with one.lock: ...`."""

    def __init__(self) -> None:
        self._renew()
        after_fork(self._renew)

    def _renew(self) -> None:
        self.lock = threading.Lock()


def after_fork(renew: Callable[[], None]) -> None:
    """Call `renew` in every process forked from this one."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)
