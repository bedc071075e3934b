"""The native core against the PyTorch path: bytes equal, pixels equal, whatever the model, image, order and threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coders import codec, native
from coders import scan as scans
from coders.scan import DIAGONAL, LARGEST_SIDE, SCANS, SEQUENTIAL, WAVEFRONT, Scan
from models import description, fixed_point, frozen, neighbourhood, output_units
from models.description import ModelDescription
from models.frozen import FrozenModel
from tests.helpers import ROOT, SIZES, TINY, random_frozen, random_image
from tests.native_cases import compare, frozen_layers, random_case
from utils.errors import InputError

REASON = native.unavailable_reason()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))

SETS = native.instruction_sets() if REASON is None else ["none"]
ALL_SCANS = pytest.mark.parametrize("scan", SCANS.values(), ids=list(SCANS))


@pytest.fixture(params=SETS)
def instruction_set(request, monkeypatch) -> str:
    """Every instruction set of this machine in turn."""
    monkeypatch.setenv(native.INSTRUCTION_SET_VARIABLE, request.param)
    return request.param


@pytest.fixture(autouse=True)
def one_torch_thread(torch_threads):
    torch_threads(1)


@ALL_SCANS
@pytest.mark.parametrize("name", TINY)
def test_small_sizes(instruction_set, name, scan):
    """Every size at which borders and unfinished tiles show."""
    model = random_frozen(TINY[name])
    for height, width in SIZES:
        image = random_image(height, width, TINY[name].channels)
        stream = codec.encode_stream(image, model, scan)
        assert native.encode_stream(image, model, scan, 2) == stream
        assert np.array_equal(native.decode_stream(stream, height, width, model, scan, 2), image)
        assert np.array_equal(codec.decode_stream(stream, height, width, model, scan), image)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(seed=st.integers(0, 1 << 30))
def test_random_models_and_images(instruction_set, seed):
    """Architectures, weights, images and orders drawn at random; 1, 2 and 3 threads; measured bits."""
    compare(random_case(seed))


@ALL_SCANS
@pytest.mark.parametrize("name", ["west", "diagonal"])
@pytest.mark.parametrize(("height", "width"), [(100, 130), (230, 40), (37, 400)])
def test_many_steps_and_blocks(instruction_set, scan, height, width, name):
    """Images whose steps and blocks are shared by threads, and what a step waits for is in the rows of others."""
    model = random_frozen(TINY[name])
    image = random_image(height, width)
    stream = codec.encode_stream(image, model, scan)
    for threads in (1, 2, 3, 4, 7):
        assert native.encode_stream(image, model, scan, threads) == stream
        assert np.array_equal(native.decode_stream(stream, height, width, model, scan, threads), image)


@ALL_SCANS
def test_published_architecture(instruction_set, scan):
    """Widths of 128, three mixtures, on rows that need every tile size."""
    model = random_frozen(ModelDescription())
    image = random_image(30, 50)
    stream = codec.encode_stream(image, model, scan)
    assert native.encode_stream(image, model, scan) == stream
    assert np.array_equal(native.decode_stream(stream, 30, 50, model, scan), image)


def test_widest_layers(instruction_set):
    description = ModelDescription(widths=(1024, 5, 1023))
    model = frozen_layers(description, np.random.default_rng(0), 2000, wild=False)
    image = random_image(3, 4)
    stream = codec.encode_stream(image, model, WAVEFRONT)
    assert native.encode_stream(image, model, WAVEFRONT) == stream
    assert np.array_equal(native.decode_stream(stream, 3, 4, model, WAVEFRONT), image)


@ALL_SCANS
@pytest.mark.parametrize("kind", ["smooth", "noise", "extreme"])
def test_shares_add_up_to_measured_bits(instruction_set, scan, kind):
    model = random_frozen(TINY["published"])
    image = random_image(21, 34, kind=kind)
    shares = native.symbol_shares(image, model, scan)
    assert shares.shape == image.shape
    assert shares.dtype == np.uint32
    bits = (16 - np.log2(shares)).sum((0, 1))
    np.testing.assert_allclose(bits, codec.measure_stream(image, model, scan), rtol=1e-12)
    stream = native.encode_stream(image, model, scan)
    assert bits.sum() <= 8 * len(stream) <= bits.sum() * 1.001 + 16


@ALL_SCANS
@pytest.mark.parametrize("threads", [1, 3, 20])
@pytest.mark.parametrize("name", ["gray", "parities"])
def test_shares_of_many_pieces_are_those_of_each(instruction_set, scan, threads, name):
    model, channels = random_frozen(TINY[name]), TINY[name].channels
    for count, height, width, margin in ((1, 9, 11, 0), (7, 20, 13, 0), (7, 20, 13, 3), (3, 7, 8, 3), (2, 1, 1, 0)):
        pieces = np.stack([random_image(height, width, channels, seed) for seed in range(count)])
        shares = native.symbol_shares_of_pieces(pieces, model, scan, margin, threads)
        assert shares.shape == (count, height - 2 * margin, width - 2 * margin, channels)
        for own, piece in zip(shares, pieces, strict=True):
            whole = native.symbol_shares(piece, model, scan, 1)
            assert np.array_equal(own, whole[margin : height - margin, margin : width - margin])
    with pytest.raises(ValueError, match="channels, the model"):
        native.symbol_shares_of_pieces(np.zeros((2, 4, 4, 2), np.uint8), model, scan)
    with pytest.raises(ValueError, match="there are none"):
        native.symbol_shares_of_pieces(np.zeros((0, 4, 4, channels), np.uint8), model, scan)
    for margin in (-1, 2, 3, 2**40):
        with pytest.raises(ValueError, match="margin"):
            native.symbol_shares_of_pieces(np.zeros((1, 4, 5, channels), np.uint8), model, scan, margin)


@ALL_SCANS
def test_any_bytes_decode_as_the_reference_decodes_them(instruction_set, scan):
    """Truncated, empty and random streams: some image, and the same one."""
    model = random_frozen(TINY["west"])
    image = random_image(6, 9)
    stream = native.encode_stream(image, model, scan)
    garbage = np.random.default_rng(5).bytes(300)
    for broken in (b"", stream[:1], stream[: len(stream) // 2], stream[:-1], garbage, b"\xff" * 300, stream + garbage):
        restored = native.decode_stream(broken, 6, 9, model, scan, 2)
        assert np.array_equal(restored, codec.decode_stream(broken, 6, 9, model, scan))


def test_images_of_any_memory_layout(instruction_set):
    model = random_frozen(TINY["west"])
    image = random_image(12, 14)[::2, ::-1]
    stream = codec.encode_stream(image.copy(), model, WAVEFRONT)
    assert native.encode_stream(image, model, WAVEFRONT) == stream


def test_sizes_are_checked():
    """Wrong sizes raise ValueError and reach no compiled loop."""
    model, gray = random_frozen(TINY["west"]), random_image(4, 4, 1)
    with pytest.raises(ValueError, match="channels"):
        native.encode_stream(gray, model, WAVEFRONT)
    with pytest.raises(ValueError, match="uint8"):
        native.encode_stream(random_image(4, 4).astype(np.int16), model, WAVEFRONT)
    with pytest.raises(ValueError, match="uint8"):
        native.symbol_shares(random_image(4, 4)[0], model, WAVEFRONT)
    with pytest.raises(ValueError, match="sides"):
        native.encode_stream(np.zeros((0, 4, 3), np.uint8), model, WAVEFRONT)
    for height, width in ((0, 4), (4, 0), (-1, 4), (LARGEST_SIDE + 1, 1)):
        with pytest.raises(ValueError, match="sides"):
            native.decode_stream(b"", height, width, model, WAVEFRONT)
    with pytest.raises(ValueError, match="pixels"):
        native.decode_stream(b"", LARGEST_SIDE, 1 << 13, model, WAVEFRONT)
    with pytest.raises(InputError, match="too large"):
        native.symbol_shares(np.zeros((1, LARGEST_SIDE + 1, 3), np.uint8), model, WAVEFRONT)
    with pytest.raises(ValueError, match="threads"):
        native.decode_stream(b"", 4, 4, model, WAVEFRONT, 0)
    with pytest.raises(ValueError, match="row_delay"):
        native.decode_stream(b"", 4, 4, model, Scan("slow", 9, 1 << 20))
    with pytest.raises(ValueError, match="uint8"):
        native.symbol_shares_of_pieces(np.zeros((1, 4, 4, 3)), model, WAVEFRONT)


def test_steps_take_no_array_that_would_be_copied():
    """What was written into a copy would be lost. A stream is given once."""
    model, image, pool = random_frozen(TINY["gray"]), random_image(3, 3, 1), native.pool(1)
    encoder, description = native.step_encoder(image, model, WAVEFRONT, 100), model.description
    inputs, outputs = np.zeros((9, description.inputs), np.int16), np.zeros((9, description.outputs), np.int32)
    for wrong in (inputs.astype(np.int32), np.zeros((9, 2 * description.inputs), np.int16)[:, ::2]):
        with pytest.raises(TypeError):
            native.advance([encoder], [0], outputs, wrong, pool)
    assert native.advance([encoder], [0], outputs, inputs, pool) == [9]
    with pytest.raises(ValueError, match="not whole"):
        encoder.result()
    assert native.advance([encoder], [9], outputs, inputs, pool) == [0]
    assert len(encoder.result()) > 0
    with pytest.raises(ValueError, match="given"):
        encoder.result()


@ALL_SCANS
def test_long_sides(scan):
    """More than a million rows or columns."""
    model, length = random_frozen(TINY["gray"]), (1 << 20) + 3
    for height, width in ((length, 1), (1, length)):
        image = random_image(height, width, 1)
        stream = native.encode_stream(image, model, scan, 2)
        assert np.array_equal(native.decode_stream(stream, height, width, model, scan, 2), image)


SHORT_OF_MEMORY = """
import resource
import numpy as np
from coders import native
from coders.scan import WAVEFRONT
from tests.helpers import TINY, random_frozen, random_image

model, image, short = random_frozen(TINY["gray"]), random_image(2600, 2600, 1), 0
native.encode_stream(image[:40], model, WAVEFRONT, 2)
unlimited = resource.getrlimit(resource.RLIMIT_AS)
for mebibytes in range(10, 28):  # more than threads need for themselves
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (mebibytes << 20), unlimited[1]))
    try:
        native.encode_stream(image, model, WAVEFRONT, 2)
    except MemoryError:
        short += 1
    resource.setrlimit(resource.RLIMIT_AS, unlimited)
print(short, "times short of memory")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer needs all addresses")
def test_memory_that_any_thread_lacks_is_an_error_of_the_call():
    """The stream grows on whichever thread writes it."""
    command = [sys.executable, "-c", SHORT_OF_MEMORY]
    # What is freed does not serve the next turn, and no thread has addresses put by.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.split()[0]) > 5


def test_instruction_sets(monkeypatch):
    assert SETS[-1] == "portable"
    monkeypatch.setenv(native.INSTRUCTION_SET_VARIABLE, "portable")
    assert native.chosen_instruction_set() == "portable"
    monkeypatch.setenv(native.INSTRUCTION_SET_VARIABLE, "mmx")
    with pytest.raises(Exception, match=r"mmx.*portable"):
        native.encode_stream(random_image(2, 2), random_frozen(TINY["west"]), WAVEFRONT)


def test_models_are_prepared_once_and_dropped_with_the_model():
    model = random_frozen(TINY["gray"], seed=77)
    image = random_image(3, 3, 1)
    before = len(native._models)
    native.encode_stream(image, model, WAVEFRONT)
    prepared = native._prepared(model)
    native.encode_stream(image, model, WAVEFRONT)
    assert native._prepared(model) is prepared
    del model
    assert len(native._models) == before


def _large_model() -> FrozenModel:
    return frozen_layers(ModelDescription(widths=(256,) * 8), np.random.default_rng(0), 2000, wild=False)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals between threads")
@pytest.mark.parametrize("scan", [SEQUENTIAL, DIAGONAL], ids=["sequential", "diagonal"])
@pytest.mark.parametrize("direction", ["encode", "decode", "measure"])
def test_interrupt_stops_within_a_second(scan, direction):
    """Ctrl-C in the middle of seconds of work; no thread is left."""
    model = _large_model()
    image = np.zeros((1500, 1500, 3), np.uint8)
    calls = {
        "encode": lambda: native.encode_stream(image, model, scan, 2),
        "decode": lambda: native.decode_stream(b"", 1500, 1500, model, scan, 2),
        "measure": lambda: native.symbol_shares(image, model, scan, 2),
    }
    threads = _thread_count()
    main_thread = threading.main_thread().ident
    sent = []

    def interrupt() -> None:
        sent.append(time.perf_counter())
        signal.pthread_kill(main_thread, signal.SIGINT)

    timer = threading.Timer(0.2, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        calls[direction]()
    assert time.perf_counter() - sent[0] < 1
    timer.join()
    assert _thread_count() == threads


def _thread_count() -> int:
    tasks = "/proc/self/task"
    return len(os.listdir(tasks)) if os.path.isdir(tasks) else threading.active_count()


def test_other_python_threads_run_meanwhile():
    """Python's lock is released inside an image."""
    model, image = _large_model(), np.zeros((60, 60, 3), np.uint8)
    worker = threading.Thread(target=native.encode_stream, args=(image, model, WAVEFRONT, 1))
    turns = 0
    worker.start()
    while worker.is_alive():
        turns += 1
        time.sleep(0.001)
    worker.join()
    assert turns > 3


def test_missing_extension_is_named(tmp_path):
    """Without the extension the Python face still imports and says why it cannot be used."""
    (tmp_path / "p59_native.py").write_text("raise ImportError('not built here')")
    code = "from coders import native; print(native.unavailable_reason())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "not built here" in result.stdout
    assert "make native" in result.stdout


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (fixed_point, "CROSS_BITS"),
        (output_units, "SCALE_MINIMUM"),
        (description, "LEAKY_SLOPE"),
        (neighbourhood, "MID_GREY"),
        (frozen, "LEAKY_SHIFT"),
        (scans, "LARGEST_SIDE"),
    ],
)
def test_an_extension_of_other_constants_is_refused(monkeypatch, place, name):
    monkeypatch.setattr(place, name, getattr(place, name) + 1)
    native.extension.cache_clear()
    try:
        assert "built from other sources" in native.unavailable_reason()
    finally:
        monkeypatch.undo()
        native.extension.cache_clear()
    assert native.unavailable_reason() is None


def test_an_image_that_is_not_whole_is_not_given():
    model, image = random_frozen(TINY["west"]), random_image(3, 4)
    stream = native.encode_stream(image, model, WAVEFRONT, 1)
    with pytest.raises(ValueError, match="not whole yet"):
        native.step_decoder(stream, 3, 4, model, WAVEFRONT).result()


def test_torch_path_is_unaffected_by_native_threads():
    """The reference with several threads gives the same bytes as one native thread."""
    torch.set_num_threads(2)
    model, image = random_frozen(TINY["west"]), random_image(20, 30)
    assert codec.encode_stream(image, model, WAVEFRONT) == native.encode_stream(image, model, WAVEFRONT, 1)
