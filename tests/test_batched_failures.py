"""Many images at a time, when something fails: the right images, with the right error, and nobody waits for ever."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
import torch

from coders import codec
from coders.gpu.batched import BatchedCoder, _Group
from coders.gpu.evaluator import Evaluator
from coders.scan import WAVEFRONT
from coders.torch_backends import batched_backend
from models.frozen_net import FrozenNet
from tests.batched_cases import Slow, encoded, outcomes
from tests.helpers import TINY, random_frozen, random_image
from utils.errors import DeviceMemoryError, P59Error, StoppedError
from utils.tasks import files

# Failures.


def test_an_image_that_does_not_fit_its_model_fails_alone(device, host):
    model, coder = random_frozen(TINY["west"]), BatchedCoder(device, 8, 1)
    good = random_image(9, 9)
    results = outcomes(lambda image: coder.encode(image, model, WAVEFRONT), [good, good[0], good])
    assert results[0] == results[2] == codec.encode_stream(good, model, WAVEFRONT)
    assert isinstance(results[1], ValueError)


def test_a_turn_that_fails_concerns_one_model(device, monkeypatch, without_kernel):
    """Its images fail, each with an exception of its own; another model's go on, and so do later ones of its own."""
    good, bad = (random_frozen(TINY["west"], seed=seed) for seed in (0, 1))
    coder, image, evaluate = BatchedCoder(device, 8, 1), random_image(30, 30), FrozenNet.__call__
    streams = {model.fingerprint: encoded(image, model, WAVEFRONT) for model in (good, bad)}
    calls = []

    def failing(net, inputs):
        if net.model.fingerprint == bad.fingerprint:
            calls.append(len(inputs))
            if len(calls) > 5:
                raise RuntimeError("as a test pretends\nCompile with TORCH_USE_CUDA_DSA")
        return evaluate(net, inputs)

    def decoded(model):
        return coder.decode(streams[model.fingerprint], 30, 30, model, WAVEFRONT)

    with monkeypatch.context() as patched:
        patched.setattr(FrozenNet, "__call__", failing)
        results = outcomes(decoded, [good, bad, good, bad, good])
    assert all(np.array_equal(result, image) for result in results[::2])
    assert [type(result) for result in results[1::2]] == [P59Error] * 2
    assert str(results[1]) == f"device {device} failed (as a test pretends); run it again, or use device=cpu"
    assert results[1] is not results[3]
    assert np.array_equal(outcomes(decoded, [bad])[0], image)


def test_an_image_that_finishes_in_a_turn_that_fails_is_not_lost(device, monkeypatch):
    """It is decoded before the next step of the others cannot be started."""
    model, coder, start = random_frozen(TINY["west"]), BatchedCoder(device, 4, 1), Evaluator.start
    images = [random_image(6, 6), *(random_image(6, 40) for _ in range(3))]  # two in each group, whoever comes first
    streams, advance, finishing = [encoded(image, model, WAVEFRONT) for image in images], _Group.advance, []

    def advanced(group):
        finished = advance(group)
        if finished and group.images:
            finishing.append(group._evaluator)
        return finished

    def failing(evaluator, counts, slots):
        if evaluator in finishing:
            raise DeviceMemoryError("as a test pretends")
        start(evaluator, counts, slots)

    monkeypatch.setattr(_Group, "advance", advanced)
    monkeypatch.setattr(Evaluator, "start", failing)

    def decoded(number):
        return coder.decode(streams[number], *images[number].shape[:2], model, WAVEFRONT)

    def admitted(coder):
        while not together and len(coder._waiting) < len(images):  # all join in the same turn
            time.sleep(0.01)
        together.append(True)
        admit(coder)

    admit, together = BatchedCoder._admit, []
    monkeypatch.setattr(BatchedCoder, "_admit", admitted)
    results = outcomes(decoded, [0, 1, 2, 3])
    assert np.array_equal(results[0], images[0])
    assert finishing
    assert [type(result) for result in results[1:]] == [DeviceMemoryError] * 3


def test_a_model_that_cannot_be_made_fails_its_images(device, monkeypatch, without_kernel):
    """Whatever the reason: it is not tried for ever, and others are coded."""
    good, bad = (random_frozen(TINY["west"], seed=seed) for seed in (0, 1))
    coder, image, tries = BatchedCoder(device, 2, 1), random_image(9, 9), []

    def making(model, device):
        if model is bad:
            tries.append(model)
            raise RuntimeError("CUDA error: as a test pretends")
        return FrozenNet(model, device)

    monkeypatch.setattr("coders.gpu.networks.FrozenNet", making)
    results = outcomes(lambda model: coder.encode(image, model, WAVEFRONT), [bad, good, bad, good])
    assert results[1] == results[3] == encoded(image, good, WAVEFRONT)
    assert [type(result) for result in results[::2]] == [P59Error] * 2
    assert len(tries) == 2


def test_an_error_of_the_device_fails_files_and_not_the_run(device, monkeypatch, without_kernel, tmp_path):
    """Those of one model; files of another are coded, and what is no error of the device is told as our own."""
    good, bad = (random_frozen(TINY["west"], seed=seed) for seed in (0, 1))
    backend, image = batched_backend(device, 1, 4), random_image(9, 9)
    paths, evaluate, kind = [tmp_path / f"{number}.png" for number in range(6)], FrozenNet.__call__, RuntimeError

    def failing(net, inputs):
        if net.model.fingerprint == bad.fingerprint:
            raise kind("CUDA error: an illegal memory access was encountered")
        return evaluate(net, inputs)

    def work(path, output):
        return 81, 243, len(backend.encode(image, (good, bad)[paths.index(path) % 2], WAVEFRONT))

    monkeypatch.setattr(FrozenNet, "__call__", failing)
    results = files.run_files(work, paths, paths, backend)
    assert [row[0] for row in results.rows] == [str(path) for path in paths[::2]]
    reason = f"device {device} failed (CUDA error: an illegal memory access was encountered)"
    assert results.failures == [f"{path}: {reason}; run it again, or use device=cpu" for path in paths[1::2]]
    kind = ValueError
    results = files.run_files(work, paths, paths, backend)
    assert [row[0] for row in results.rows] == [str(path) for path in paths[::2]]
    assert all("internal error (ValueError: CUDA error: an illegal" in line for line in results.failures)
    assert len(results.failures) == 3


def test_a_device_that_cannot_be_used_at_all(monkeypatch):
    """As after an error that a process cannot recover from; each later image tries again."""

    def failing(*arguments):
        raise RuntimeError("CUDA error: as a test pretends")

    monkeypatch.setattr(torch.cuda, "Stream", failing)
    coder, image, model = BatchedCoder("cuda", 2, 1), random_image(9, 9), random_frozen(TINY["west"])
    for _ in range(2):
        results = outcomes(lambda one: coder.encode(one, model, WAVEFRONT), [image])
        assert [str(result) for result in results] == [
            "device cuda failed (CUDA error: as a test pretends); run it again, or use device=cpu"
        ]
        assert isinstance(results[0], P59Error)


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_an_interrupted_image_leaves_and_the_others_stay(device, monkeypatch):
    """The interrupt strikes the main thread, whose image is under way together with another's."""
    model, slow, coder = random_frozen(TINY["west"]), Slow(monkeypatch), BatchedCoder(device, 4, 1)
    image, results = random_image(20, 20), []
    stream, long = encoded(image, model, WAVEFRONT), bytes(100)

    def interrupt():
        assert slow.reached.wait(20)
        while len(coder._waiting) + len(coder._under_way) < 3:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(
        target=lambda: results.extend(
            outcomes(lambda one: coder.decode(one, 20, 20, model, WAVEFRONT), [stream, stream])
        ),
        daemon=True,
    )
    other.start()
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        coder.decode(long, 400, 400, model, WAVEFRONT)
    slow.go_on.set()
    other.join(40)
    assert all(np.array_equal(result, image) for result in results)
    assert len(results) == 2
    assert not coder._waiting
    assert not coder._under_way
    assert np.array_equal(coder.decode(stream, 20, 20, model, WAVEFRONT), image)
    assert not any(family.images() for family in coder._families.values())


# Interrupts and what is left early.


def test_stop_ends_everything(device, monkeypatch):
    """Images on their way and images that wait; nothing hangs."""
    model, slow, coder = random_frozen(TINY["west"]), Slow(monkeypatch), BatchedCoder(device, 2, 1)
    with ThreadPoolExecutor(5) as executor:
        futures = [executor.submit(coder.encode, random_image(300, 90), model, WAVEFRONT) for _ in range(5)]
        assert slow.reached.wait(20)
        coder.stop()
        slow.go_on.set()
        assert all(isinstance(future.exception(20), StoppedError) for future in futures)


def test_an_interrupt_ends_the_threads(device):
    """What is under way is stopped, what waits is never begun, and the interrupt goes on."""
    backend, begun = batched_backend(device, 1, 2), []
    model, image = random_frozen(TINY["west"]), random_image(200, 200)

    def work(number):
        begun.append(number)
        if number == 1:
            raise KeyboardInterrupt
        while True:
            backend.encode(image, model, WAVEFRONT)

    with pytest.raises(KeyboardInterrupt):
        list(files.together(work, [1, 2, 3, 4, 5, 6], backend))
    assert set(begun) <= {1, 2, 3}  # 3 where the thread of 1 was faster than the interrupt


def test_what_is_left_early_ends_the_threads(device):
    """Also where the work of another thread goes on for ever."""
    backend = batched_backend(device, 1, 2)
    model, image = random_frozen(TINY["west"]), random_image(200, 200)

    def work(number):
        while number > 1:
            backend.encode(image, model, WAVEFRONT)

    with closing(files.together(work, [1, 2, 3, 4], backend)) as done:
        next(done)
    with pytest.raises(StoppedError):
        backend.encode(image, model, WAVEFRONT)
