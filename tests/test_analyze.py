"""Where an image's bits go: what is recorded agrees with what coding costs, and the pictures appear."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import main as command_line
from coders.codec import measure_stream
from coders.recorder import record
from coders.scan import SCANS, WAVEFRONT
from models.fixed_mixture import cdf_points
from tests.helpers import ROOT, TINY, interrupt_reading, random_frozen, random_image
from utils.analysis import regions_of, residual_image
from utils.tasks import analyze

CONFIG = str(ROOT / "configs" / "analyze.json")


@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
@pytest.mark.parametrize("name", TINY)
def test_recorded_bits_are_those_measured(scan, name):
    model = random_frozen(TINY[name])
    image = random_image(7, 11, TINY[name].channels)
    recorded = record(image, model, scan)
    np.testing.assert_allclose(recorded.bits.sum((0, 1)), measure_stream(image, model, scan), rtol=1e-12)


def test_bits_and_predictions_stand_at_their_pixels():
    """Every order that knows all taps sees the same contexts, so its maps are the same, pixel by pixel."""
    model, image = random_frozen(TINY["west"]), random_image(9, 6)
    one, other = (record(image, model, SCANS[name]) for name in ("sequential", "wavefront"))
    np.testing.assert_array_equal(one.bits, other.bits)
    np.testing.assert_array_equal(one.prediction, other.prediction)
    changed = image.copy()
    changed[5, 3, 2] ^= 64  # a sub-pixel changes its own cost, and nothing that comes before it
    third = record(changed, model, WAVEFRONT)
    np.testing.assert_array_equal(third.bits[:5], one.bits[:5])
    np.testing.assert_array_equal(third.prediction[5, :3], one.prediction[5, :3])
    np.testing.assert_array_equal(third.prediction[5, 3], one.prediction[5, 3])
    assert third.bits[5, 3, 2] != one.bits[5, 3, 2]


def test_prediction_is_the_mean_of_the_distribution(monkeypatch):
    """Against the mean of the coded probabilities themselves, where next to nothing of the mixture leaves 0..255."""
    model, image = random_frozen(TINY["gray"]), random_image(6, 8, 1)
    means, at_ends = [], []

    def spy(mean, scale, weight, values):
        every = cdf_points(mean, scale, weight, torch.arange(257).expand(len(mean), 257)).to(torch.float64)
        shares = every.diff(dim=1) / 65536
        means.extend((shares * torch.arange(256)).sum(1).tolist())
        at_ends.extend((shares[:, 0] + shares[:, -1]).tolist())
        return cdf_points(mean, scale, weight, values)

    monkeypatch.setattr("coders.codec.cdf_points", spy)
    predicted = record(image, model, SCANS["sequential"]).prediction.ravel()
    inside = np.array(at_ends) < 1e-4
    assert inside.sum() > 10
    # each of the 256 symbols keeps 1/65536, which draws the mean towards the middle by up to 1/2
    np.testing.assert_allclose(predicted[inside], np.array(means)[inside], atol=1.0)


def test_regions_cover_the_image_once_dearest_first():
    bits = np.random.default_rng(0).random((21, 34, 3))
    regions = regions_of(bits, 8)
    assert len(regions) == 3 * 5
    assert sum(region.height * region.width for region in regions) == 21 * 34
    assert sum(sum(region.channel_bits) for region in regions) == pytest.approx(bits.sum())
    costs = [region.bits_per_pixel for region in regions]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_analyze_writes_pictures_and_regions(tmp_path, capsys, channels):
    image = random_image(40, 50, channels)
    source = tmp_path / "in" / "waves.png"
    source.parent.mkdir()
    Image.fromarray(image.squeeze(2) if channels == 1 else image).save(source)
    arguments = [f"test_data={source}", f"output_path={tmp_path / 'out'}", "device=cpu", "block_size=16"]
    assert command_line.main([CONFIG, *arguments]) == 0
    folder = tmp_path / "out" / "waves"
    for name in ("bits", "prediction_and_residual"):
        with Image.open(folder / f"{name}.png") as figure:
            assert figure.width > 500
    prediction, residual = (np.asarray(Image.open(folder / f"{name}.png")) for name in ("prediction", "residual"))
    assert prediction.shape == residual.shape == image.squeeze().shape
    lines = (folder / "regions.tsv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 3 * 4
    printed = capsys.readouterr().out
    assert "bits per sub-pixel" in printed
    assert "% of all bits" in printed


def test_residual_is_centred_on_128():
    model, image = random_frozen(TINY["west"]), random_image(5, 5)
    recorded = record(image, model, WAVEFRONT)
    expected = np.clip(np.rint(image - recorded.prediction) + 128, 0, 255)
    np.testing.assert_array_equal(residual_image(image, recorded), expected)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names that other systems do not allow")
def test_images_of_any_name_are_analyzed(tmp_path, capsys):
    names = (b"a$^$.png", b"b\xff.png", b"c$.png")
    for name in names:
        Image.fromarray(random_image(4, 4)).save(os.fsencode(tmp_path / "in") + name)
    sources = json.dumps([os.fsdecode(os.fsencode(tmp_path / "in") + name) for name in names])
    assert command_line.main([CONFIG, f"test_data={sources}", f"output_path={tmp_path / 'out'}"]) == 0
    assert len(list((tmp_path / "out").glob("*/bits.png"))) == 3


def test_an_interrupt_names_the_failures_until_then(tmp_path, capsys, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.png").write_bytes(b"no image")
    for number in (1, 2):
        Image.fromarray(random_image(4, 4)).save(tmp_path / "in" / f"{number}.png")

    interrupt_reading(monkeypatch, analyze, "2.png")
    arguments = [f"test_data={tmp_path / 'in'}", f"output_path={tmp_path / 'out'}"]
    assert command_line.main([CONFIG, *arguments]) == command_line.INTERRUPTED
    printed = capsys.readouterr()
    assert printed.err.count("failed: ") == 1
    assert "0.png" in printed.err
    assert "1.png: " in printed.out


def test_analyze_names_what_it_cannot_look_at(tmp_path, capsys):
    Image.fromarray(random_image(4, 4)).convert("RGBA").save(tmp_path / "alpha.png")
    assert command_line.main([CONFIG, f"test_data={tmp_path}", f"output_path={tmp_path / 'out'}"]) == 1
    assert "alpha.png" in capsys.readouterr().err
