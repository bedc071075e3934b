"""Arguments of functions that users call, checked as a configuration's keys are."""

from __future__ import annotations

import operator

import numpy as np

from utils.errors import RequestError

#: Threads, and processes, that may be asked for; the native core allows no more threads.
MOST_THREADS = 1024
#: Of fitting a network to an image: more are of no use.
MOST_STEPS = 1_000_000


def whole_number(name: str, value: int, least: int, most: int | None = None) -> int:
    """An argument that must be a whole number of `least` to `most`. Raises RequestError."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least or (most is not None and number > most):
        allowed = f"of at least {least}" if most is None else f"of {least} to {most}"
        raise RequestError(f"{name} is {value!r}; it must be a whole number {allowed}")
    return number


def flag(name: str, value: bool) -> bool:
    """An argument that must be True or False. Raises RequestError."""
    if not isinstance(value, bool | np.bool_):
        raise RequestError(f"{name} is {value!r}; it must be True or False")
    return bool(value)
