"""Of several models the one that suits an image: the pieces that tell, the choice, and files made with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

import p59
from coders.backends import backend_for
from coders.container import Container
from coders.image_codec import models_named
from coders.model_choice import PIECE, PIECES, ROUNDS, best_model, pieces_of
from coders.scan import SCANS, WAVEFRONT, Scan
from coders.torch_backends import batched_backend
from main import main
from models.frozen import FrozenModel
from models.model_file import model_to_bytes
from models.store import SHIPPED, shipped_models
from tests.helpers import ROOT, TINY, random_frozen, random_image
from utils.tasks.models import ModelChoice

BACKEND = backend_for("cpu", 1)
STRANGERS = [random_frozen(TINY["west"], seed) for seed in range(5)]


def image_of(model: FrozenModel, height: int, width: int, scan: Scan) -> np.ndarray:
    """An image (H, W, C) that the model codes as well as any can be: what random bytes decode to."""
    stream = np.random.default_rng(0).bytes(2 * height * width * model.description.channels)
    return BACKEND.decode(stream, height, width, model, scan)


@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
@pytest.mark.parametrize("size", [(20, 30), (300, 200)], ids=["one piece", "pieces"])
def test_an_image_of_a_model_is_given_to_it(scan, size):
    for own in STRANGERS:
        image = image_of(own, *size, scan)
        assert best_model(STRANGERS, image, scan, BACKEND) is own
        assert best_model(STRANGERS[::-1], image, scan, BACKEND) is own


def test_every_backend_sees_the_same_bits():
    image, model = random_image(40, 33), STRANGERS[0]
    bits = BACKEND.measure(image, model, WAVEFRONT)
    for backend in (BACKEND, batched_backend("cpu", 1, 2)):
        np.testing.assert_allclose(backend.measure(image, model, WAVEFRONT), bits, rtol=1e-9)
        every = backend.measure_pieces(np.stack([image, image[::-1]]), model, WAVEFRONT, 0)
        assert every.shape == (2, *image.shape[:2])
        inner = backend.measure_pieces(np.stack([image, image[::-1]]), model, WAVEFRONT, 3)
        np.testing.assert_allclose(inner, every[:, 3:-3, 3:-3], rtol=1e-12)
        np.testing.assert_allclose(every[0].sum(), bits.sum(), rtol=1e-9)
        np.testing.assert_allclose(every[1].sum(), backend.measure(image[::-1], model, WAVEFRONT).sum(), rtol=1e-9)


def test_one_none_and_equal_models():
    image, model = random_image(20, 20), STRANGERS[0]
    assert best_model([], image, WAVEFRONT, BACKEND) is None
    assert best_model([model], image, WAVEFRONT, None) is model, "nothing is measured"
    twin = replace(model)
    assert best_model([model, twin], image, WAVEFRONT, BACKEND) is model
    assert best_model([twin, model], image, WAVEFRONT, BACKEND) is twin


@pytest.mark.parametrize(
    "size", [(1, 1), (31, 20), (128, 192), (1, 40000), (40000, 1), (5, 30000), (33, 3000), (512, 768), (2000, 100)]
)
def test_pieces_are_few_and_spread_over_the_image(size):
    height, width = size
    image = np.arange(height * width, dtype=np.int64).reshape(height, width, 1)
    pieces = pieces_of(image)
    assert 1 <= len(pieces) <= PIECES
    assert all(max(piece.shape) <= PIECE for piece in pieces)
    places = np.concatenate([piece.ravel() for piece in pieces])
    assert len(places) == len(set(places)), "no pixel counts twice"
    assert len(places) >= min(height * width / 4, PIECES * PIECE * min(height, width, PIECE) * 3 / 4)
    rows, columns = np.divmod(places, width)
    for found, length in ((rows, height), (columns, width)):
        assert found.min() == 0 or len(set(found)) <= PIECE, "a single row or column of pieces"
        assert abs(found.min() - (length - 1 - found.max())) <= 1


def test_every_piece_is_looked_at_once():
    for count in range(1, PIECES + 1):
        assert sorted(piece for part in ROUNDS for piece in range(count)[part]) == list(range(count))


def test_encoding_takes_the_best_of_a_list_and_decoding_finds_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(data.astronaut()[:90, 150:260]).save("photo.png")
    own = image_of(STRANGERS[1], 60, 50, WAVEFRONT)
    Image.fromarray(own).save("own.png")
    names = [f"{number}.safetensors" for number in range(len(STRANGERS))]
    for name, model in zip(names, STRANGERS, strict=True):
        Path(name).write_bytes(model_to_bytes(model, {}))
    models = json.dumps([*names, str(SHIPPED / "rgb.safetensors")])
    encode, decode = (str(ROOT / "configs" / name) for name in ("encode_wavefront.json", "decode.json"))
    for image in ("photo", "own"):
        assert main([encode, f"test_data={image}.png", "bitstream_path=out/", f"checkpoint_file={models}"]) == 0
    named = {image: models_named(Container.from_bytes(Path(f"out/{image}.p59").read_bytes())) for image in
             ("photo", "own")}  # fmt: skip
    shipped = next(one.model for one in shipped_models("wavefront", 3) if one.source.name == "rgb.safetensors")
    assert named["photo"] == (shipped.file_id,)
    assert named["own"] == (STRANGERS[1].file_id,)
    assert main([decode, "bitstream_path=out/", "output_path=back/", f"checkpoint_file={models}"]) == 0
    for image in ("photo", "own"):
        assert np.array_equal(np.asarray(Image.open(f"back/{image}.png")), np.asarray(Image.open(f"{image}.png")))
    capsys.readouterr()
    assert main([decode, "bitstream_path=out/", "output_path=other/", "checkpoint_file=0.safetensors"]) == 1
    assert "own.p59" in capsys.readouterr().err, "the shipped one is found without being named"


def test_python_takes_a_list():
    image = image_of(STRANGERS[2], 40, 30, WAVEFRONT)
    encoded = p59.encode(image, model=STRANGERS)
    assert encoded == p59.encode(image, model=STRANGERS[2])
    assert np.array_equal(p59.decode_array(encoded, model=STRANGERS), image)
    gray = data.camera()[:60, :70]
    assert p59.encode(gray, model=STRANGERS) == p59.encode(gray), "none of them codes one channel"


def test_where_one_model_is_needed_a_list_is_refused(capsys):
    for config in ("freeze.json", "validate.json"):
        arguments = ['checkpoint_file=["a.safetensors", "b.safetensors"]', 'valid_data="x"']
        assert main([str(ROOT / "configs" / config), *arguments]) == 2
        assert "checkpoint_file names 2 files" in capsys.readouterr().err


def test_models_made_for_another_order_are_told(tmp_path, capsys):
    """Once, however many images there are; nothing is said where all their pixels are known."""
    photographs = tmp_path / "in"
    photographs.mkdir()
    for number in range(3):
        Image.fromarray(data.astronaut()[64 * number :][:64, 200:264]).save(photographs / f"{number}.png")
    for name, order, said in (
        ("rgb", "wavefront", ""),
        (
            "rgb",
            "diagonal",
            "3 of the 12 pixels it sees are not known in the diagonal order, another is taken for them",
        ),
        ("rgb_diagonal", "diagonal", ""),
        ("rgb_diagonal", "wavefront", "2 of the 19 pixels it sees are not known in the wavefront order"),
    ):
        model = SHIPPED / f"{name}.safetensors"
        outputs = tmp_path / f"{name}_{order}"
        arguments = [f"test_data={photographs}", f"bitstream_path={outputs}/", f"checkpoint_file={model}"]
        assert main([str(ROOT / f"configs/encode_{order}.json"), *arguments]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if "not known" in line]
        assert len(lines) == bool(said)
        assert not said or lines[0].startswith(f"{model}: {said}")


def test_each_order_that_a_model_was_not_made_for_is_told(capsys):
    choice = ModelChoice((str(SHIPPED / "rgb_diagonal.safetensors"),), "default", None)
    for order in ("diagonal", "sequential", "wavefront", "sequential"):
        choice.network(SCANS[order], BACKEND, random_image(8, 8))
    lines = [line for line in capsys.readouterr().out.splitlines() if "not known" in line]
    assert [line.split(" order, ")[0].split()[-1] for line in lines] == ["sequential", "wavefront"]
