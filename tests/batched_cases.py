"""What the tests of many images at a time share."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from coders import codec, native
from coders.gpu.evaluator import Evaluator

REASON = native.unavailable_reason()


def at_once(function, items, threads: int = 16) -> list:
    """function(item) of each item, each in a thread of its own."""
    with ThreadPoolExecutor(threads) as executor:
        return list(executor.map(function, items))


def encoded(image, model, scan) -> bytes:
    """One image at a time."""
    return codec.encode_stream(image, model, scan) if REASON else native.encode_stream(image, model, scan, 1)


def outcomes(work, items, seconds: float = 30) -> list:
    """work(item) of each item, each in a thread; the exception where it raises one; None where it does not return."""
    results = [None] * len(items)

    def keep(number: int) -> None:
        try:
            results[number] = work(items[number])
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=keep, args=(number,), daemon=True) for number in range(len(items))]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    return results


class Slow:
    """A network that holds its first evaluation until it is told to go on, so that others come late."""

    def __init__(self, monkeypatch) -> None:
        self.reached, self.go_on, self.pixels = threading.Event(), threading.Event(), []
        start = Evaluator.start

        def held(evaluator, counts, slots):
            self.pixels.append(sum(counts))
            if len(self.pixels) == 3:
                self.reached.set()
                assert self.go_on.wait(20)
            start(evaluator, counts, slots)

        monkeypatch.setattr(Evaluator, "start", held)
