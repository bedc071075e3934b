"""Files of this release, kept: every later release must decode them, and encode the same bytes.

`pytest tests/test_golden.py --regenerate-golden` writes them anew, which is right only with a new container version.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from coders.backends import backend_for
from coders.codec import decode_stream, encode_stream
from coders.container import MODE_NAMED, MODES, Container
from coders.image_codec import decode_picture, encode_image, encode_picture, models_named
from coders.picture import Picture, same_picture
from coders.scan import SCANS
from models.model_file import model_to_bytes, read_model
from models.store import OLDER, model_for_file
from tests.helpers import GOLDEN, TINY, decode_image, image_of, random_frozen

#: Model and size (H, W) of each image.
IMAGES = {"west": (13, 17), "gray": (31, 9), "published": (8, 15), "diagonal": (14, 19)}


def paths(name: str, order: str):
    """The model, the image and its file."""
    return GOLDEN / f"{name}.safetensors", GOLDEN / f"{name}_{order}.png", GOLDEN / f"{name}_{order}.p59"


@pytest.mark.parametrize("order", SCANS)
@pytest.mark.parametrize("name", IMAGES)
def test_golden_files(name, order, regenerate):
    model_path, image_path, file_path = paths(name, order)
    backend, scan = backend_for("cpu", 1), SCANS[order]
    if regenerate:
        model = random_frozen(TINY[name], seed=11)
        image = image_of(model, *IMAGES[name], scan)
        if not model_path.is_file() or read_model(model_path).fingerprint != model.fingerprint:
            model_path.write_bytes(model_to_bytes(model))
        Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(image_path)
        file_path.write_bytes(encode_image(image, model, scan, backend, turn=False))
    for path in (model_path, image_path, file_path):
        assert path.is_file(), f"{path.name} is missing; see --regenerate-golden"
    model = read_model(model_path)
    with Image.open(image_path) as opened:
        image = np.asarray(opened).reshape(opened.height, opened.width, -1)
    data = file_path.read_bytes()
    container = Container.from_bytes(data)
    assert models_named(container) == (model.fingerprint[:16],), "coded by the network, not plainly"
    np.testing.assert_array_equal(decode_image(container, model, backend), image)
    assert encode_image(image, model, scan, backend, turn=False) == data
    stream = container.planes[0][17:]
    np.testing.assert_array_equal(decode_stream(stream, *image.shape[:2], model, scan), image)
    assert encode_stream(image, model, scan) == stream


@pytest.mark.parametrize("name", [mode.name for mode in MODES])
def test_golden_files_of_each_mode(name, regenerate):
    """Coded plainly: what counts is that they are read, and what their checksums are of. zlib's bytes may change."""
    path, mode = GOLDEN / f"mode_{name.replace(';', '_')}.p59", MODE_NAMED[name]
    rows, columns, channels = np.indices((5, 7, mode.channels))
    values = rows * 31 + columns * 7 + channels * 101
    different = {"1": 2, "P": 3}.get(name, 256)
    samples = (values * 251 % 65536).astype(np.uint16) if mode.wide else (values % different).astype(np.uint8)
    palette = bytes(range(9)) if name == "P" else b""
    transparency = {"P": b"\x01\xff", "L": b"\x00\x07", "RGB": b"\0\1\0\2\0\3", "I;16": b"\1\2"}.get(name)
    picture = Picture(mode, samples, palette, transparency, ((b"gAMA", bytes(4)),))
    if regenerate:
        path.write_bytes(encode_picture(picture, lambda _: None, SCANS["wavefront"], backend_for("cpu", 1)))
    container = Container.from_bytes(path.read_bytes())
    found = decode_picture(container, None, backend_for("cpu", 1))
    assert same_picture(found, picture)
    assert container.pixels == picture.checksum


@pytest.mark.parametrize("path", sorted(OLDER.glob("*.safetensors")), ids=lambda path: path.stem)
def test_models_that_were_shipped_before_are_found_by_their_files(path):
    model, scan = read_model(path), SCANS["wavefront" if (-1, 2) in read_model(path).description.taps else "diagonal"]
    assert model.name == path.stem
    image = image_of(model, 24, 32, scan)
    container = Container.from_bytes(encode_image(image, model, scan, backend_for("cpu", 1), turn=False))
    (fingerprint,) = models_named(container)
    found = model_for_file(fingerprint, []).model
    assert found.fingerprint == model.fingerprint
    np.testing.assert_array_equal(decode_image(container, found, backend_for("cpu", 1)), image)


def test_older_models_are_there():
    assert len(list(OLDER.glob("*.safetensors"))) >= 4
