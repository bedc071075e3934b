"""Many images at a time against one image at a time: bytes equal, pixels equal, whoever is together with whom."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from coders import backends, codec, native, steps
from coders.backends import batched_backend
from coders.batched import BatchedCoder, StoppedError, _Group
from coders.container import Container
from coders.evaluator import FEWEST_PIXELS, Evaluator, Seconds, is_out_of_memory
from coders.image_codec import scan_named
from coders.scan import SCANS, WAVEFRONT
from datasets.builtin import demo_photographs
from datasets.images import open_image
from datasets.png import png_bytes
from models.description import PUBLISHED, ModelDescription
from models.frozen import FrozenNet
from tests.helpers import SIZES, TINY, random_frozen, random_image
from tests.native_cases import random_case
from utils.errors import DeviceMemoryError
from utils.tasks import files
from utils.tasks.decode import DecodeTask
from utils.tasks.decode import run as run_decode
from utils.tasks.encode import EncodeTask
from utils.tasks.encode import run as run_encode
from utils.tasks.models import ModelChoice

REASON = native.unavailable_reason()
ALL_SCANS = pytest.mark.parametrize("scan", SCANS.values(), ids=list(SCANS))
WITHOUT_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, WITHOUT_CUDA])])
def device(request) -> str:
    return request.param


@pytest.fixture(params=["native", "python"])
def host(request, monkeypatch) -> str:
    """The host's part in compiled code, and without it."""
    if request.param == "python":
        monkeypatch.setattr(steps.native, "unavailable_reason", lambda: "a test does without it")
    elif REASON is not None:
        pytest.skip(REASON)
    return request.param


def at_once(function, items, threads: int = 16) -> list:
    """function(item) of each item, each in a thread of its own."""
    with ThreadPoolExecutor(threads) as executor:
        return list(executor.map(function, items))


def encoded(image, model, scan) -> bytes:
    """One image at a time."""
    return codec.encode_stream(image, model, scan) if REASON else native.encode_stream(image, model, scan, 1)


# Bytes and pixels.


@ALL_SCANS
@pytest.mark.parametrize("name", TINY)
def test_images_of_all_sizes_together(device, host, name, scan):
    """1x1, narrow, wide: every size at which borders and empty steps show, all under way at the same time."""
    model, coder = random_frozen(TINY[name]), BatchedCoder(device, 16, 2)
    images = [random_image(height, width, TINY[name].channels) for height, width in (*SIZES, (7, 1), (7, 2))]
    streams = [codec.encode_stream(image, model, scan) for image in images]
    assert at_once(lambda image: coder.encode(image, model, scan), images) == streams
    decoded = at_once(
        lambda pair: coder.decode(pair[0], *pair[1].shape[:2], model, scan), zip(streams, images, strict=True)
    )
    assert all(np.array_equal(one, image) for one, image in zip(decoded, images, strict=True))


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
def test_random_models_images_and_orders(device):
    """Any architecture, image and order; the images of different models share the device."""
    coder = BatchedCoder(device, 10, 2)
    cases = [random_case(seed) for seed in range(60)]

    def check(case) -> bool:
        stream = native.encode_stream(case.image, case.model, case.scan, 1)
        same = coder.encode(case.image, case.model, case.scan) == stream
        return same and np.array_equal(coder.decode(stream, *case.image.shape[:2], case.model, case.scan), case.image)

    assert all(at_once(check, cases))


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
@pytest.mark.parametrize("description", [ModelDescription(), PUBLISHED], ids=["west", "published"])
def test_orders_mixed_in_blocks_and_steps(device, description):
    """The published widths; images of several blocks; orders, encoding and decoding at the same time."""
    model, coder = random_frozen(description), BatchedCoder(device, 6, 3)
    cases = [
        (random_image(*size, seed=seed), scan) for seed, size in enumerate(((90, 70), (20, 250))) for scan in SCANS
    ]

    def check(case) -> bool:
        image, scan = case[0], SCANS[case[1]]
        stream = coder.encode(image, model, scan)
        same = stream == native.encode_stream(image, model, scan, 1)
        return same and np.array_equal(coder.decode(stream, *image.shape[:2], model, scan), image)

    assert all(at_once(check, [case for case in cases if case[1] != "sequential" or case[0].shape[0] < 50]))


def test_any_bytes_decode_to_what_the_reference_decodes(device, host):
    model, coder = random_frozen(TINY["west"]), BatchedCoder(device, 4, 1)
    for stream in (b"", b"\xff" * 9, bytes(range(256))):
        expected = codec.decode_stream(stream, 9, 11, model, WAVEFRONT)
        assert np.array_equal(coder.decode(stream, 9, 11, model, WAVEFRONT), expected)


# Who is together with whom.


class Slow:
    """A network that holds its first evaluation until it is told to go on, so that others come late."""

    def __init__(self, monkeypatch) -> None:
        self.reached, self.go_on, self.pixels = threading.Event(), threading.Event(), []
        start = Evaluator.start

        def held(evaluator, pixels):
            self.pixels.append(pixels)
            if len(self.pixels) == 3:
                self.reached.set()
                assert self.go_on.wait(20)
            start(evaluator, pixels)

        monkeypatch.setattr(Evaluator, "start", held)


def test_images_join_midway_and_share_steps(device, monkeypatch):
    """Images that come while others are under way are evaluated together with them, up to the number allowed."""
    model, slow = random_frozen(TINY["west"]), Slow(monkeypatch)
    coder, images = BatchedCoder(device, 4, 2), [random_image(20, 20, seed=seed) for seed in range(7)]
    streams = [encoded(image, model, WAVEFRONT) for image in images]
    with ThreadPoolExecutor(8) as executor:
        futures = [executor.submit(coder.decode, streams[0], 20, 20, model, WAVEFRONT)]
        assert slow.reached.wait(20)
        futures += [executor.submit(coder.decode, stream, 20, 20, model, WAVEFRONT) for stream in streams[1:]]
        while len(coder._waiting) < 6:
            time.sleep(0.001)
        slow.go_on.set()
        assert all(np.array_equal(future.result(), image) for future, image in zip(futures, images, strict=True))
    longest = 7  # pixels of a 20x20 image's longest wavefront step
    assert longest < max(slow.pixels) <= 2 * longest  # two images in each of the two groups


def test_one_thread_does_all_turns(device, monkeypatch):
    """Whoever waits: libraries of a device keep memory for each thread that calls them."""
    model, coder, callers, start = random_frozen(TINY["west"]), BatchedCoder(device, 3, 1), set(), Evaluator.start

    def noted(evaluator, pixels):
        callers.add(threading.get_ident())
        start(evaluator, pixels)

    monkeypatch.setattr(Evaluator, "start", noted)
    at_once(lambda seed: coder.encode(random_image(9, 9 + seed), model, WAVEFRONT), range(12), 6)
    coder.encode(random_image(5, 5), model, WAVEFRONT)
    assert len(callers) == 1
    assert threading.get_ident() not in callers


def test_seconds_are_added_up(device):
    seconds, model, image = Seconds(), random_frozen(TINY["west"]), random_image(30, 30)
    BatchedCoder(device, 1, 1, seconds).decode(encoded(image, model, WAVEFRONT), 30, 30, model, WAVEFRONT)
    assert seconds.pixels == 900
    assert seconds.steps == 30 + 3 * 29
    assert min(seconds.network, seconds.host, seconds.waiting) > 0
    assert (seconds.launching > 0) == (device != "cpu")


# Failures.


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


def test_an_image_that_does_not_fit_its_model_fails_alone(device, host):
    model, coder = random_frozen(TINY["west"]), BatchedCoder(device, 8, 1)
    good = random_image(9, 9)
    results = outcomes(lambda image: coder.encode(image, model, WAVEFRONT), [good, good[0], good])
    assert results[0] == results[2] == codec.encode_stream(good, model, WAVEFRONT)
    assert isinstance(results[1], ValueError)


def test_a_turn_that_fails_concerns_one_model(device, monkeypatch):
    """Its images fail, each with an exception of its own; another model's go on, and so do later ones of its own."""
    good, bad = (random_frozen(TINY["west"], seed=seed) for seed in (0, 1))
    coder, image, evaluate = BatchedCoder(device, 8, 1), random_image(30, 30), FrozenNet.__call__
    streams = {model.fingerprint: encoded(image, model, WAVEFRONT) for model in (good, bad)}
    calls = []

    def failing(net, inputs):
        if net.model.fingerprint == bad.fingerprint:
            calls.append(len(inputs))
            if len(calls) > 5:
                raise RuntimeError("as a test pretends")
        return evaluate(net, inputs)

    def decoded(model):
        return coder.decode(streams[model.fingerprint], 30, 30, model, WAVEFRONT)

    with monkeypatch.context() as patched:
        patched.setattr(FrozenNet, "__call__", failing)
        results = outcomes(decoded, [good, bad, good, bad, good])
    assert all(np.array_equal(result, image) for result in results[::2])
    assert [type(result) for result in results[1::2]] == [RuntimeError] * 2
    assert results[1] is not results[3]
    assert np.array_equal(outcomes(decoded, [bad])[0], image)


def test_an_image_that_finishes_in_a_turn_that_fails_is_not_lost(device, monkeypatch):
    """It is decoded before the next step of the others cannot be started."""
    model, coder, start = random_frozen(TINY["west"]), BatchedCoder(device, 4, 1), Evaluator.start
    images = [random_image(6, 6), random_image(6, 40), random_image(6, 40)]
    streams, advance, finishing = [encoded(image, model, WAVEFRONT) for image in images], _Group.advance, []

    def advanced(group):
        finished = advance(group)
        if finished and group.images:
            finishing.append(group._evaluator)
        return finished

    def failing(evaluator, pixels):
        if evaluator in finishing:
            raise DeviceMemoryError("as a test pretends")
        start(evaluator, pixels)

    monkeypatch.setattr(_Group, "advance", advanced)
    monkeypatch.setattr(Evaluator, "start", failing)

    def decoded(number):
        return coder.decode(streams[number], *images[number].shape[:2], model, WAVEFRONT)

    with coder._changed:  # all are admitted in the same turn
        waiting = threading.Thread(target=lambda: results.extend(outcomes(decoded, [0, 1, 2])), daemon=True)
        results: list = []
        waiting.start()
        time.sleep(0.3)
    waiting.join(40)
    assert np.array_equal(results[0], images[0])
    assert finishing
    assert [type(result) for result in results[1:]] == [DeviceMemoryError] * 2


def test_a_model_that_cannot_be_made_fails_its_images(device, monkeypatch):
    """Whatever the reason: it is not tried for ever, and others are coded."""
    good, bad = (random_frozen(TINY["west"], seed=seed) for seed in (0, 1))
    coder, image, tries = BatchedCoder(device, 2, 1), random_image(9, 9), []

    def making(model, device):
        if model is bad:
            tries.append(model)
            raise RuntimeError("CUDA error: as a test pretends")
        return FrozenNet(model, device)

    monkeypatch.setattr("coders.batched.FrozenNet", making)
    results = outcomes(lambda model: coder.encode(image, model, WAVEFRONT), [bad, good, bad, good])
    assert results[1] == results[3] == encoded(image, good, WAVEFRONT)
    assert [type(result) for result in results[::2]] == [RuntimeError] * 2
    assert len(tries) == 2


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
    assert not any(group.images for _, group in coder._all_groups())


# Memory of the device.


def limited_network(monkeypatch, most: int) -> list[int]:
    """From now on a network has memory for `most` pixels; how many it was asked for."""
    asked, evaluate = [], FrozenNet.__call__

    def limited(net, inputs):
        asked.append(len(inputs))
        if len(inputs) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory, as a test pretends")
        return evaluate(net, inputs)

    monkeypatch.setattr(FrozenNet, "__call__", limited)
    return asked


def test_smaller_parts_where_memory_is_short(device, monkeypatch):
    model, image, coder = random_frozen(TINY["west"]), random_image(70, 60), BatchedCoder(device, 4, 1)
    expected, asked = encoded(image, model, WAVEFRONT), limited_network(monkeypatch, 300)
    assert at_once(lambda one: coder.encode(one, model, WAVEFRONT), [image] * 3) == [expected] * 3
    too_many = sum(count > 300 for count in asked)
    assert 1 <= too_many <= 12  # halved until it fits, in each group, and not tried again for every block


def test_no_memory_at_all_is_a_clear_error(device, monkeypatch):
    model, image, coder = random_frozen(TINY["west"]), random_image(70, 60), BatchedCoder(device, 4, 1)
    with monkeypatch.context() as patched:
        limited_network(patched, FEWEST_PIXELS // 2 - 1)

        def attempt(one) -> str:
            with pytest.raises(DeviceMemoryError, match=r"out of memory on .*device=cpu") as caught:
                coder.encode(one, model, WAVEFRONT)
            return str(caught.value)

        at_once(attempt, [image] * 3)
    assert coder.encode(image, model, WAVEFRONT) == encoded(image, model, WAVEFRONT)


def test_never_fewer_pixels_than_the_fewest_before_giving_up(device, monkeypatch):
    """Between the fewest and twice as many, the fewest are tried; the error names how many did not fit."""
    evaluator = Evaluator(FrozenNet(random_frozen(TINY["west"]), device))
    evaluator.reserve(100)
    with monkeypatch.context() as patched:
        asked = limited_network(patched, FEWEST_PIXELS)
        evaluator.start(100)
        evaluator.wait()
        assert asked == [100, FEWEST_PIXELS, 100 - FEWEST_PIXELS]
    asked = limited_network(monkeypatch, FEWEST_PIXELS - 1)
    with pytest.raises(DeviceMemoryError, match=f"even for {FEWEST_PIXELS} pixels"):
        evaluator.start(100)
    assert min(asked) == FEWEST_PIXELS


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("any"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
)
def test_what_says_that_memory_is_short(error):
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))


def test_only_a_lack_of_memory_is_called_so(monkeypatch):
    """Where room for more pixels is made on the host."""
    evaluator = Evaluator(FrozenNet(random_frozen(TINY["west"]), "cpu"))
    for error, expected in ((RuntimeError("other"), RuntimeError), (RuntimeError("out of memory"), MemoryError)):

        def failing(*arguments, error=error, **options):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(torch, "empty", failing)
            with pytest.raises(expected):
                evaluator.reserve(1000)


def test_no_memory_for_the_model(device, monkeypatch):
    def full(*arguments):
        raise torch.cuda.OutOfMemoryError("as a test pretends")

    monkeypatch.setattr("coders.batched.FrozenNet", full)
    with pytest.raises(DeviceMemoryError, match="for model"):
        BatchedCoder(device, 2, 1).encode(random_image(3, 3), random_frozen(TINY["west"]), WAVEFRONT)


def test_stop_ends_everything(device, monkeypatch):
    """Images on their way and images that wait; nothing hangs."""
    model, slow, coder = random_frozen(TINY["west"]), Slow(monkeypatch), BatchedCoder(device, 2, 1)
    with ThreadPoolExecutor(5) as executor:
        futures = [executor.submit(coder.encode, random_image(300, 90), model, WAVEFRONT) for _ in range(5)]
        assert slow.reached.wait(20)
        coder.stop()
        slow.go_on.set()
        assert all(isinstance(future.exception(20), StoppedError) for future in futures)


# Directories of images.


def photographs(directory: Path, sizes) -> None:
    """Parts of a photograph."""
    directory.mkdir()
    image = next(iter(demo_photographs().values()))
    for number, (height, width) in enumerate(sizes):
        part = image[40 * number : 40 * number + height, 50:][:, :width]
        (directory / f"{number:02}.png").write_bytes(png_bytes(part))


@pytest.mark.parametrize("scan", [SCANS["wavefront"], SCANS["diagonal"]], ids=["wavefront", "diagonal"])
def test_directories_are_coded_together(device, tmp_path, capsys, scan):
    """Files equal to those of one image at a time, rows and failures in the order of the files, a damaged one alone."""
    photographs(tmp_path / "in", [(30, 30), (24, 71), (1, 1), (60, 23), (38, 50)])
    (tmp_path / "in" / "02.png").write_bytes(b"no image")
    many, one = batched_backend(device, 1, 3), backends.backend_for("cpu", 1)
    models = ModelChoice(None, "default", None)
    for name, backend in (("many", many), ("one", one)):
        assert run_encode(EncodeTask(str(tmp_path / "in"), tmp_path / name, scan, models, backend)) == 1
    printed = capsys.readouterr()
    assert printed.err.count("failed: ") == 2
    assert printed.err.count("in/02.png: ") == 2
    rows = [line.split()[0] for line in printed.out.splitlines() if line.startswith(str(tmp_path))]
    assert rows == sorted(rows, key=lambda row: ("one/" in row, row))
    found = sorted(path.name for path in (tmp_path / "many").iterdir())
    assert found == ["00.p59", "01.p59", "03.p59", "04.p59"]
    for name in found:
        assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
        assert scan_named(Container.from_bytes((tmp_path / "one" / name).read_bytes())) == scan
    damaged = tmp_path / "many" / "01.p59"
    damaged.write_bytes(damaged.read_bytes()[:-3] + b"abc")
    assert run_decode(DecodeTask(tmp_path / "many", tmp_path / "out", models, many)) == 1
    assert capsys.readouterr().err.count("failed: ") == 1
    for name in ("00.png", "03.png", "04.png"):
        with open_image(tmp_path / "out" / name) as restored, open_image(tmp_path / "in" / name) as original:
            assert np.array_equal(np.asarray(restored), np.asarray(original))


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


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
def test_one_pixel_a_step_is_not_for_a_device(monkeypatch):
    """The native core codes the sequential order, whatever the device."""
    backend, model, image = batched_backend("cpu", 2, 4), random_frozen(TINY["west"]), random_image(9, 8)
    monkeypatch.setattr(Evaluator, "start", None)
    stream = backend.encode(image, model, SCANS["sequential"])
    assert stream == codec.encode_stream(image, model, SCANS["sequential"])
    assert np.array_equal(backend.decode(stream, 9, 8, model, SCANS["sequential"]), image)


def test_the_chosen_backend():
    assert backends.backend_for("cpu", 1, 7).at_once == 1
    assert batched_backend("cpu", 1, 7).at_once == 7


@pytest.mark.gpu
@WITHOUT_CUDA
def test_cuda_takes_many_images():
    assert backends.backend_for("cuda").at_once == backends.IMAGES_AT_ONCE
    assert backends.backend_for("cuda", None, 7).at_once == 7
