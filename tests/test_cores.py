"""A CPU's cores shared by several images: who waits for whom, the same files, clean ends."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from coders import cores as cores_module
from coders import fitting, native
from coders.backends import backend_for
from coders.cores import Cores
from coders.fitting import Fitting
from coders.scan import SCANS, WAVEFRONT
from datasets.builtin import demo_photographs
from datasets.png import png_bytes
from models.adaptation import adapted
from models.store import shipped_models
from tests.batched_cases import at_once
from tests.helpers import TINY, random_frozen, random_image
from utils.errors import StoppedError
from utils.tasks import encode as encoding
from utils.tasks import files
from utils.tasks.decode import DecodeTask
from utils.tasks.decode import run as run_decode
from utils.tasks.encode import EncodeTask
from utils.tasks.encode import run as run_encode
from utils.tasks.models import ModelChoice

REASON = native.unavailable_reason()
NATIVE = pytest.mark.skipif(REASON is not None, reason=str(REASON))


# Threads and room.


def test_threads_are_shared_by_those_who_have_room():
    cores, shares = Cores(6), []
    assert cores.share() == 6
    with cores.room(1):
        shares.append(cores.share())
        with cores.room(1):
            shares.append(cores.share())
            with cores.room(1), cores.room(1):
                shares.append(cores.share())
                with cores.room(1), cores.room(1), cores.room(1):
                    shares.append(cores.share())
    assert shares == [6, 3, 1, 1]
    assert cores.share() == 6


def test_large_images_wait_and_nobody_overtakes_them(monkeypatch):
    """One of more pixels than are allowed together comes in alone; a small one that comes after it waits behind it."""
    monkeypatch.setattr(cores_module, "PIXELS_UNDER_WAY", 100)
    cores, entered = Cores(4), []

    def enter(name, pixels, leave):
        with cores.room(pixels):
            entered.append(name)
            assert leave.wait(20)

    def begin(*case):
        future = executor.submit(enter, *case)
        time.sleep(0.1)  # it stands in line
        return future

    with ThreadPoolExecutor(5) as executor:
        first, second, third = threading.Event(), threading.Event(), threading.Event()
        futures = [begin("a", 60, first), begin("b", 40, second)]
        futures += [begin("huge", 1000, third), begin("small", 1, third)]
        assert entered == ["a", "b"]
        first.set()
        time.sleep(0.1)
        assert entered == ["a", "b"]
        second.set()
        while len(entered) < 3:
            time.sleep(0.01)
        assert entered == ["a", "b", "huge"]
        third.set()
        for future in futures:
            future.result(20)
    assert entered == ["a", "b", "huge", "small"]


def test_who_waits_is_told_of_the_end(monkeypatch):
    monkeypatch.setattr(cores_module, "PIXELS_UNDER_WAY", 100)
    cores = Cores(2)

    def enter():
        with cores.room(100):
            pass

    with ThreadPoolExecutor(3) as executor, cores.room(100):
        waiting = [executor.submit(enter) for _ in range(3)]
        assert not wait(waiting, 0.1).done
        cores.stop()
        for future in waiting:
            with pytest.raises(StoppedError):
                future.result(20)
    with pytest.raises(StoppedError):
        enter()


# Directories.


@NATIVE
@pytest.mark.parametrize("scan", SCANS.values(), ids=list(SCANS))
def test_directories_become_the_same_files(tmp_path, capsys, scan):
    """Whatever the number of images at once; rows and failures in the order of the files, a damaged one alone."""
    (tmp_path / "in").mkdir()
    image = next(iter(demo_photographs().values()))
    for number in range(9):
        part = image[10 * number :][: 20 + 13 * number, : 70 - 6 * number]
        (tmp_path / "in" / f"{number}.png").write_bytes(png_bytes(np.ascontiguousarray(part)))
    (tmp_path / "in" / "2.png").write_bytes(b"no image")
    models = ModelChoice((), "default", None)
    for name, backend in (("one", backend_for("cpu", 1)), ("many", backend_for("cpu", 3)), ("all", backend_for("cpu"))):
        assert run_encode(EncodeTask(str(tmp_path / "in"), tmp_path / name, scan, models, backend)) == 1
        printed = capsys.readouterr()
        rows = [line.split()[0] for line in printed.out.splitlines() if ".p59 " in line]
        assert rows == [str(tmp_path / name / f"{number}.p59") for number in range(9) if number != 2]
        assert printed.err.count("in/2.png: ") == 1
        assert run_decode(DecodeTask(tmp_path / name, tmp_path / "out" / name, models, backend)) == 0
        for number in (0, 1, 3, 4, 5, 6, 7, 8):
            streams = [tmp_path / each / f"{number}.p59" for each in ("one", name)]
            assert streams[0].read_bytes() == streams[1].read_bytes()
            images = [tmp_path / "out" / each / f"{number}.png" for each in ("one", name)]
            assert images[0].read_bytes() == images[1].read_bytes()


@NATIVE
def test_images_are_under_way_at_the_same_time(tmp_path, monkeypatch):
    """As many as there are threads: each waits here until the others have come."""
    (tmp_path / "in").mkdir()
    for number in range(6):
        (tmp_path / "in" / f"{number}.png").write_bytes(png_bytes(random_image(8, 8, seed=number)))
    together, read = threading.Barrier(3, timeout=20), encoding.read_picture

    def reading(*case):
        together.wait()
        return read(*case)

    monkeypatch.setattr(encoding, "read_picture", reading)
    task = EncodeTask(
        str(tmp_path / "in"), tmp_path / "out", WAVEFRONT, ModelChoice((), "default", None), backend_for("cpu", 3)
    )
    assert run_encode(task) == 0
    assert len(list((tmp_path / "out").iterdir())) == 6


# Ends.


@NATIVE
@pytest.mark.parametrize("scan", SCANS.values(), ids=list(SCANS))
def test_a_check_that_raises_ends_coding(scan):
    """Of an image that would take many seconds, in any thread; what it raises comes through."""

    class EnoughError(Exception):
        pass

    def check():
        raise EnoughError

    model, image = random_frozen(TINY["west"]), np.zeros((4000, 4000, 3), np.uint8)
    for threads in (1, 2):
        with pytest.raises(EnoughError):
            native.encode_stream(image, model, scan, threads, check)
        with pytest.raises(EnoughError):
            native.decode_stream(b"\x12" * 100, 4000, 4000, model, scan, threads, check)


@NATIVE
def test_an_interrupt_ends_all_images():
    """What is under way is stopped, what waits is never begun, and the interrupt goes on."""
    backend, begun = backend_for("cpu", 2), []
    model, image = random_frozen(TINY["west"]), np.zeros((4000, 4000, 3), np.uint8)

    def work(number):
        begun.append(number)
        if number == 1:
            raise KeyboardInterrupt
        with backend.room(image.size):
            backend.encode(image, model, SCANS["sequential"])

    with pytest.raises(KeyboardInterrupt):
        list(files.together(work, [1, 2, 3, 4, 5, 6], backend))
    assert set(begun) <= {1, 2, 3}


@NATIVE
def test_what_is_left_early_ends_all_images():
    backend = backend_for("cpu", 2)
    model, image = random_frozen(TINY["west"]), random_image(200, 200)

    def work(number):
        while number > 1:
            with backend.room(image.size):
                backend.encode(image, model, WAVEFRONT)

    with closing(files.together(work, [1, 2, 3, 4], backend)) as done:
        next(done)
    with pytest.raises(StoppedError), backend.room(1):
        pass


# Fitting.


@pytest.mark.parametrize("where", ["native", "pytorch"])
def test_images_are_fitted_at_the_same_time_on_a_thread_each(monkeypatch, torch_threads, where):
    """To what is found for each alone, and PyTorch's number of threads is what it was."""
    if where == "pytorch":
        monkeypatch.setattr(fitting, "gradient_kind", lambda bfloat16: None)
    monkeypatch.setattr(fitting, "CONTEXTS", 256)
    torch_threads(2)
    before, together = torch.get_num_threads(), threading.Barrier(3, timeout=20)

    def stopped():
        assert torch.get_num_threads() == (1 if where == "pytorch" else before)
        together.wait()
        return False

    model = shipped_models("wavefront", 3)[0].model
    photograph, taps = next(iter(demo_photographs().values())), model.description.taps
    images = [photograph[100 * number :][:100, 100:250] for number in range(3)]
    alone = [Fitting(40, threads=1)(image, model, taps) for image in images]
    fit = Fitting(40, threads=2, stopped=stopped, progress=True).among_others()
    found = at_once(lambda image: fit(image, model, taps), images)
    fingerprints = [adapted(model, adaptation).fingerprint for adaptation in found]
    assert fingerprints == [adapted(model, adaptation).fingerprint for adaptation in alone]
    assert model.fingerprint not in fingerprints
    assert torch.get_num_threads() == before
    assert at_once(lambda _: torch.get_num_threads(), [0]) == [before]


def test_on_a_gpu_images_are_fitted_one_after_the_other_by_pytorch(monkeypatch):
    monkeypatch.setattr(fitting, "gradient_kind", lambda bfloat16: None)
    fit = Fitting(4, "cuda", 3)
    assert fit.among_others() is fit


@NATIVE
def test_directories_are_fitted_to_the_same_files(tmp_path, monkeypatch):
    """Of several images each is fitted on one thread, however many are at once; a single one has all threads."""
    monkeypatch.setattr(fitting, "CONTEXTS", 256)
    (tmp_path / "in").mkdir()
    image = next(iter(demo_photographs().values()))
    for number in range(3):
        part = np.ascontiguousarray(image[100 * number :][:64, 100:164])
        (tmp_path / "in" / f"{number}.png").write_bytes(png_bytes(part))
    models = ModelChoice((str(Path("models/weights/rgb.safetensors").resolve()),), "default", None)
    seen = []

    class Watched(Fitting):
        def __call__(self, *case):
            seen.append((self.threads, self.progress))
            return super().__call__(*case)

    for name, threads in (("one", 1), ("many", 3)):
        backend = backend_for("cpu", threads)
        fit = Watched(3, "cpu", threads, backend.stopped, progress=True)
        task = EncodeTask(str(tmp_path / "in"), tmp_path / name, WAVEFRONT, models, backend, fit)
        assert run_encode(task) == 0
    assert seen == [(1, True)] * 3 + [(1, False)] * 3
    for number in range(3):
        assert (tmp_path / "one" / f"{number}.p59").read_bytes() == (tmp_path / "many" / f"{number}.p59").read_bytes()
    task = EncodeTask(str(tmp_path / "in" / "0.png"), tmp_path / "0.p59", WAVEFRONT, models, backend, fit)
    assert run_encode(task) == 0
    assert seen[-1] == (3, True)
