"""The host's cores where many images are coded on a GPU: who gets how many, how much lies in memory, clean ends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest

from coders import cores as cores_module
from coders import native
from coders.scan import SCANS, WAVEFRONT
from coders.torch_backends import batched_backend
from tests.batched_cases import REASON
from tests.helpers import TINY, random_frozen, random_image
from utils.errors import StoppedError

NATIVE = pytest.mark.skipif(REASON is not None, reason=str(REASON))
MODEL = random_frozen(TINY["west"])


@NATIVE
def test_networks_are_chosen_by_the_threads_that_are_free(monkeypatch):
    """All of them where a single image is under way."""
    backend, asked, shares = batched_backend("cpu", 6, 8), [], native.symbol_shares_of_pieces

    def noted(*case):
        asked.append(case[-1])
        return shares(*case)

    monkeypatch.setattr(native, "symbol_shares_of_pieces", noted)
    pieces = random_image(8, 8)[None]
    with backend.room(64):
        backend.measure_pieces(pieces, MODEL, WAVEFRONT, 0)
        with backend.room(64):
            backend.measure_pieces(pieces, MODEL, WAVEFRONT, 0)
    assert asked == [6, 3]


def test_large_images_wait_for_room(monkeypatch):
    monkeypatch.setattr(cores_module, "PIXELS_UNDER_WAY", 100)
    backend = batched_backend("cpu", 1, 8)

    def enter():
        with backend.room(60):
            return True

    with ThreadPoolExecutor(1) as executor:
        with backend.room(60):
            waiting = executor.submit(enter)
            assert not wait([waiting], 0.1).done
        assert waiting.result(20)
        with backend.room(60):
            waiting = executor.submit(enter)
            backend.stop()
            with pytest.raises(StoppedError):
                waiting.result(20)


@NATIVE
@pytest.mark.parametrize("direction", ["encode", "decode"])
def test_stop_ends_the_sequential_order(monkeypatch, direction):
    """Images that would take many seconds: those under way, and those that wait for their turn."""
    backend, scan, begun = batched_backend("cpu", 1, 3), SCANS["sequential"], []
    coding = getattr(native, f"{direction}_stream")

    def noted(*case):
        begun.append(case)
        return coding(*case)

    monkeypatch.setattr(native, f"{direction}_stream", noted)
    image = np.zeros((4000, 4000, 3), np.uint8)
    case = (image, MODEL, scan) if direction == "encode" else (b"\x12" * 100, 4000, 4000, MODEL, scan)
    with ThreadPoolExecutor(3) as executor:
        futures = [executor.submit(getattr(backend, direction), *case) for _ in range(3)]
        assert not wait(futures, 0.3).done
        backend.stop()
        assert [type(future.exception(20)) for future in futures] == [StoppedError] * 3
    assert len(begun) == 1
    assert backend.stopped()
