"""The traversal with PyTorch, which is the reference: round trips, and that nothing but the file and model matters."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coders.backends import backend_for
from coders.codec import decode_stream, encode_stream, measure_stream
from coders.numpyac import TOTAL, Encoder, bits_of_shares
from coders.scan import DIAGONAL, SCANS
from models.contexts import integer_inputs
from models.description import PUBLISHED, ModelDescription
from models.fixed_mixture import cdf_points, channel_means, fixed_mixture
from models.frozen_net import FrozenNet
from models.model_file import model_to_bytes
from models.neighbourhood import CAUSAL_TAPS
from tests.helpers import ROOT, SIZES, TINY, random_frozen, random_image, whole_context

MODELS = {name: random_frozen(description, seed=7) for name, description in TINY.items()}
#: Knows only what the diagonal knows.
NINE_TAPS = tuple(tap for tap in CAUSAL_TAPS if DIAGONAL.knows(tap))
MODELS["nine taps"] = random_frozen(ModelDescription(taps=NINE_TAPS, widths=(8,)))
MODELS["no west"] = random_frozen(ModelDescription(taps=((-1, 0), (-2, 2)), widths=(4,), reference="none"))


def each_order():
    return pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)


def shares_by_definition(image: np.ndarray, model, scan) -> np.ndarray:
    """(H, W, C) c_high - c_low and the points themselves, pixel by pixel from the whole image: (H, W, C, 2)."""
    description, net = model.description, FrozenNet(model)
    height, width, channels = image.shape
    points = np.zeros((height, width, channels, 2), np.int64)
    for row in range(height):
        for column in range(width):
            context = whole_context(image, row, column, scan.taps(description.taps), description.padding)
            place = torch.tensor([[row, column]])
            inputs, reference = integer_inputs(torch.from_numpy(context)[None], description, place)
            mixture = fixed_mixture(net(inputs), reference, description)
            pixel = torch.from_numpy(image[row, column].astype(np.int64))[None]
            for channel in range(channels):
                means = channel_means(mixture, channel, pixel - reference)
                value = pixel[:, channel]
                pair = torch.stack((value, value + 1), 1)
                points[row, column, channel] = cdf_points(
                    means, mixture.scales[:, channel], mixture.weights[:, channel], pair
                )[0].numpy()
    return points


def order_by_definition(scan, height: int, width: int, channels: int):
    """(row, column, channel) in the order of the stream."""
    if scan.name == "sequential":
        return [(r, c, k) for r in range(height) for c in range(width) for k in range(channels)]
    delay = {"wavefront": 3, "diagonal": 1}[scan.name]
    pixels = [(delay * r + c, r, c) for r in range(height) for c in range(width)]
    steps = sorted({time for time, _, _ in pixels})
    return [
        (r, c, k)
        for step in steps
        for k in range(channels)
        for r, c in sorted((r, c) for t, r, c in pixels if t == step)
    ]


@each_order()
@pytest.mark.parametrize("name", MODELS)
def test_streams_are_those_of_the_definition(name, scan):
    model = MODELS[name]
    channels = model.description.channels
    image = random_image(5, 6, channels)
    points = shares_by_definition(image, model, scan)
    encoder = Encoder()
    for position in order_by_definition(scan, 5, 6, channels):
        encoder.encode(*points[position].tolist())
    stream = encoder.finish()
    assert encode_stream(image, model, scan) == stream
    np.testing.assert_array_equal(decode_stream(stream, 5, 6, model, scan), image)
    shares = np.diff(points)[..., 0]
    np.testing.assert_allclose(measure_stream(image, model, scan), bits_of_shares(shares).sum((0, 1)))
    np.testing.assert_allclose(bits_of_shares(shares), -np.log2(shares / TOTAL))


@each_order()
@pytest.mark.parametrize("kind", ["smooth", "extreme"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_round_trip(height, width, kind, scan):
    for name in ("west", "gray zero"):
        model = MODELS[name]
        image = random_image(height, width, model.description.channels, kind=kind)
        stream = encode_stream(image, model, scan)
        decoded = decode_stream(stream, height, width, model, scan)
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, image)


@pytest.mark.parametrize("name", ["wavefront", "diagonal"])
def test_round_trip_of_a_larger_image(name):
    model, image, scan = MODELS["gray"], random_image(24, 257, 1), SCANS[name]
    np.testing.assert_array_equal(decode_stream(encode_stream(image, model, scan), 24, 257, model, scan), image)


@each_order()
def test_the_backend_in_use_codes_as_the_reference_does(scan):
    """The native core where it is built; then also the size that takes one step for each pixel too long."""
    backend = backend_for("cpu", 1)
    sizes = [*SIZES, (7, 1), (7, 2), *([(64, 257)] if backend.name == "native" else [])]
    for height, width in sizes:
        model, image = MODELS["gray"], random_image(height, width, 1)
        stream = backend.encode(image, model, scan)
        np.testing.assert_array_equal(backend.decode(stream, height, width, model, scan), image)
        assert stream == encode_stream(image, model, scan)
        np.testing.assert_allclose(backend.measure(image, model, scan), measure_stream(image, model, scan))


@each_order()
def test_round_trip_with_the_network_of_the_paper(scan):
    for description in (PUBLISHED, ModelDescription()):
        model, image = random_frozen(description), random_image(5, 11)
        stream = encode_stream(image, model, scan)
        np.testing.assert_array_equal(decode_stream(stream, 5, 11, model, scan), image)


@each_order()
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_round_trip_of_any_image(scan, data):
    height, width = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    model = MODELS[data.draw(st.sampled_from(sorted(MODELS)))]
    size = height * width * model.description.channels
    values = data.draw(st.lists(st.integers(0, 255), min_size=size, max_size=size))
    image = np.array(values, np.uint8).reshape(height, width, -1)
    np.testing.assert_array_equal(decode_stream(encode_stream(image, model, scan), height, width, model, scan), image)


@each_order()
@pytest.mark.parametrize("name", ["west", "gray zero"])
def test_bytes_do_not_depend_on_blocks_or_threads(name, scan, torch_threads):
    model = MODELS[name]
    image = random_image(7, 10, model.description.channels)
    expected = encode_stream(image, model, scan)
    ideal = measure_stream(image, model, scan)
    for pixels in (1, 20, 10**6):
        assert encode_stream(image, model, scan, pixels=pixels) == expected
        np.testing.assert_allclose(measure_stream(image, model, scan, pixels=pixels), ideal, rtol=1e-12)
    for threads in (1, 2):
        torch_threads(threads)
        assert encode_stream(image, model, scan) == expected
        np.testing.assert_array_equal(decode_stream(expected, *image.shape[:2], model, scan), image)


@each_order()
def test_other_layouts_of_the_same_pixels_give_the_same_bytes(scan):
    model, image = MODELS["west"], random_image(6, 7)
    expected = encode_stream(image, model, scan)
    strided = np.zeros((12, 21, 3), np.uint8)[::2, ::3]
    strided[:] = image
    for other in (strided, np.asfortranarray(image), np.ascontiguousarray(image[::-1])[::-1]):
        assert encode_stream(other, model, scan) == expected
    read_only = image.copy()
    read_only.flags.writeable = False
    assert encode_stream(read_only, model, scan) == expected


@each_order()
def test_coding_leaves_the_image_alone_and_the_result_is_the_callers(scan):
    model, image = MODELS["west"], random_image(4, 5)
    before = image.copy()
    stream = encode_stream(image, model, scan)
    np.testing.assert_array_equal(image, before)
    first, second = (decode_stream(stream, 4, 5, model, scan) for _ in range(2))
    first[:] = 0
    np.testing.assert_array_equal(second, image)


@each_order()
@pytest.mark.parametrize("name", ["west", "published", "gray"])
def test_real_bytes_are_the_ideal_length(name, scan):
    """Within 0.1 % and 64 bytes; the arithmetic coder alone is far closer."""
    model = MODELS[name]
    image = random_image(30, 40, model.description.channels)
    ideal = measure_stream(image, model, scan).sum() / 8
    size = len(encode_stream(image, model, scan))
    assert ideal - 1 <= size <= ideal * 1.001 + 64
    assert math.isclose(size, ideal, rel_tol=1e-4, abs_tol=2)


@each_order()
@settings(max_examples=10, deadline=None)
@given(stream=st.binary(max_size=60))
def test_any_bytes_decode_to_some_image(scan, stream):
    assert decode_stream(stream, 4, 5, MODELS["west"], scan).shape == (4, 5, 3)


PROGRAM = """
import sys, hashlib
from pathlib import Path
import numpy as np
from coders.codec import decode_stream, encode_stream
from coders.backends import backend_for
from coders.scan import DIAGONAL, SCANS
from models.model_file import read_model

directory, height, width = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
model = read_model(directory / "model.safetensors")
for name, scan in SCANS.items():
    image = decode_stream((directory / name).read_bytes(), height, width, model, scan)
    print(name, hashlib.sha256(image.tobytes()).hexdigest())
    assert encode_stream(image, model, scan) == (directory / name).read_bytes()
"""


def test_another_process_decodes_and_encodes_the_same(tmp_path):
    """It has only the streams, the model's file and the size."""
    model, image = MODELS["west"], random_image(11, 13)
    (tmp_path / "model.safetensors").write_bytes(model_to_bytes(model))
    for name, scan in SCANS.items():
        (tmp_path / name).write_bytes(encode_stream(image, model, scan))
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "4242",
        "OMP_NUM_THREADS": "2",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path), "11", "13"]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    expected = hashlib.sha256(image.tobytes()).hexdigest()
    assert result.stdout.split() == [part for name in SCANS for part in (name, expected)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@each_order()
def test_cuda_gives_the_same_bytes(scan):
    for model in MODELS.values():
        image = random_image(17, 23, model.description.channels)
        stream = encode_stream(image, model, scan)
        assert encode_stream(image, model, scan, "cuda") == stream
        np.testing.assert_array_equal(decode_stream(stream, 17, 23, model, scan, "cuda"), image)
        np.testing.assert_allclose(measure_stream(image, model, scan, "cuda"), measure_stream(image, model, scan))
