"""Many images at a time against one image at a time: bytes equal, pixels equal, whoever is together with whom."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from coders import backends, codec, native
from coders.container import Container
from coders.gpu.batched import BatchedCoder
from coders.gpu.evaluator import Evaluator, Seconds
from coders.image_codec import scan_named
from coders.scan import SCANS, WAVEFRONT
from coders.torch_backends import IMAGES_AT_ONCE, batched_backend
from datasets.builtin import demo_photographs
from datasets.images import open_image
from datasets.png import png_bytes
from models.description import PUBLISHED, ModelDescription
from tests.batched_cases import REASON, Slow, at_once, encoded
from tests.helpers import SIZES, TINY, random_frozen, random_image
from tests.native_cases import random_case
from utils.tasks.decode import DecodeTask
from utils.tasks.decode import run as run_decode
from utils.tasks.encode import EncodeTask
from utils.tasks.encode import run as run_encode
from utils.tasks.models import ModelChoice

ALL_SCANS = pytest.mark.parametrize("scan", SCANS.values(), ids=list(SCANS))

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

    def noted(evaluator, counts, slots):
        callers.add(threading.get_ident())
        start(evaluator, counts, slots)

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
    models = ModelChoice((), "default", None)
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


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
def test_one_pixel_a_step_is_not_for_a_device(monkeypatch):
    """The native core codes the sequential order, whatever the device."""
    backend, model, image = batched_backend("cpu", 2, 4), random_frozen(TINY["west"]), random_image(9, 8)
    monkeypatch.setattr(Evaluator, "start", None)
    stream = backend.encode(image, model, SCANS["sequential"])
    assert stream == codec.encode_stream(image, model, SCANS["sequential"])
    assert np.array_equal(backend.decode(stream, 9, 8, model, SCANS["sequential"]), image)


def test_the_chosen_backend(monkeypatch):
    assert backends.backend_for("cpu", 2, 7).at_once == (1 if REASON else 7)
    assert backends.backend_for("cpu", 2).at_once == (1 if REASON else 2)
    monkeypatch.setattr(native, "unavailable_reason", lambda: "missing")
    assert backends.backend_for("cpu", images_at_once=7).at_once == 1
    assert batched_backend("cpu", 1, 7).at_once == 7


def test_the_slow_path_leaves_the_callers_number_of_threads(monkeypatch, torch_threads):
    used = []
    encode = codec.encode_stream
    monkeypatch.setattr(native, "unavailable_reason", lambda: "missing")
    monkeypatch.setattr(codec, "encode_stream", lambda *case: [used.append(torch.get_num_threads()), encode(*case)][1])
    torch_threads(2)
    backend = backends.backend_for("cpu", 3)
    assert backend.note == "the slow path is in use (PyTorch): missing"
    for _ in range(2):
        backend.encode(random_image(4, 5), random_frozen(TINY["west"]), SCANS["wavefront"])
        assert torch.get_num_threads() == 2
    assert used == [3, 3]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_takes_many_images():
    assert backends.backend_for("cuda").at_once == IMAGES_AT_ONCE
    assert backends.backend_for("cuda", None, 7).at_once == 7
