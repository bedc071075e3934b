"""The published checkpoint gives the published rates, as floats and frozen."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
from PIL import Image

import main as command_line
from coders.backends import backend_for
from coders.codec import decode_stream
from coders.image_codec import encode_image
from coders.scan import DIAGONAL, SCANS, SEQUENTIAL, WAVEFRONT
from datasets.builtin import calibration_photographs
from models.checkpoint import network_of, read_checkpoint
from models.freeze import freeze
from models.measure import image_bits
from tests.helpers import ROOT

CHECKPOINT = "reference/authors/model_best.pth.tar"
ONE_IMAGE = "kodim23"
LIMITS = {"image": 1.0025, "mean": 1.0010}


@pytest.fixture(scope="module")
def rates(shared) -> dict[str, dict[str, float]]:
    """Image name -> column -> bits per sub-pixel."""
    with (shared / "reference/kodak_authors_bpsp.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["image"].startswith("kodim")]
    assert len(rows) == 24
    return {row["image"]: {name: float(text) for name, text in row.items() if name != "image"} for row in rows}


@pytest.fixture(scope="module")
def published(shared):
    """(float network, frozen network), calibrated on the photographs that every machine has."""
    path = shared / CHECKPOINT
    net = network_of(read_checkpoint(path), path)
    return net, freeze(net, calibration_photographs(3))


def kodak(shared, name: str) -> np.ndarray:
    with Image.open(shared / f"data/test/kodak/{name}.png") as image:
        return np.asarray(image.convert("RGB"))


def test_float_rates_of_one_image(shared, rates, published):
    image = kodak(shared, ONE_IMAGE)
    bits = image_bits(published[0], image)
    for kind, column in (("published", "train_loss_bpsp"), ("folded", "folded_bpsp"), ("coded", "coded16_bpsp")):
        assert bits[kind].sum() / image.size == pytest.approx(rates[ONE_IMAGE][column], abs=5e-4)


def test_frozen_rate_and_real_bytes_of_one_image(shared, rates, published):
    image, model, backend = kodak(shared, ONE_IMAGE), published[1], backend_for("cpu")
    for scan, column in ((WAVEFRONT, "coded16_bpsp"), (DIAGONAL, "coded16_diagonal_bpsp")):
        ideal = backend.measure(image, model, scan).sum()
        assert ideal / image.size <= rates[ONE_IMAGE][column] * LIMITS["image"]
        assert len(encode_image(image, model, scan, backend)) <= ideal / 8 * 1.001 + 64


def test_the_published_image_round_trips_where_the_published_code_did_not(shared, published):
    """The authors' own 64x64 image, in the three orders."""
    image = np.load(shared / "reference/authors/encoded_img_array.npy").reshape(3, 64, 64)
    image = np.ascontiguousarray(image.transpose(1, 2, 0).round().astype(np.uint8))[:12, :16]
    backend = backend_for("cpu")
    for scan in SCANS.values():
        stream = backend.encode(image, published[1], scan)
        np.testing.assert_array_equal(decode_stream(stream, 12, 16, published[1], scan), image)
    assert backend.measure(image, published[1], SEQUENTIAL) == pytest.approx(
        backend.measure(image, published[1], WAVEFRONT)
    )


@pytest.mark.slow
@pytest.mark.parametrize("decoder_method", [1, 2])
def test_measure_on_all_of_kodak(shared, rates, tmp_path, capsys, decoder_method):
    """By the command line, as a person does it."""
    path = shutil.copy(shared / CHECKPOINT, tmp_path / "model_best.pth.tar")
    arguments = [f"test_data={shared / 'data/test/kodak'}", f"checkpoint_file={path}"]
    assert command_line.main([str(ROOT / "configs/measure.json"), f"decoder_method={decoder_method}", *arguments]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("kodim")]
    measured = {line[0].removesuffix(".png"): [float(text) for text in line[-4:]] for line in lines}
    assert set(measured) == set(rates)
    excess = []
    for name, (_, folded, coded, frozen) in measured.items():
        column = "coded16_bpsp" if decoder_method == 1 else "coded16_diagonal_bpsp"
        if decoder_method == 1:
            assert folded == pytest.approx(rates[name]["folded_bpsp"], abs=5e-4)
        assert coded == pytest.approx(rates[name][column], abs=5e-4)
        excess.append(frozen / rates[name][column])
    assert max(excess) <= LIMITS["image"]
    assert np.mean(excess) <= LIMITS["mean"]
