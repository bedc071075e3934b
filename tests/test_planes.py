"""Groups of channels: what else they may be taken for, and which way takes the fewest bytes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import p59
from coders.container import MODE_NAMED, ChunkType, Container
from coders.picture import Picture
from coders.plain import RAW
from coders.planes import EXPANDED
from tests.helpers import noise, random_image


@pytest.mark.parametrize("twice", [False, True], ids=["each colour once", "one colour twice"])
def test_palettes_whose_colours_the_network_codes(twice):
    """Colours stand for indices only where none is there twice."""
    from skimage import data

    levels = np.asarray(Image.fromarray(data.astronaut()[:160, 100:260]).convert("L")) // 2
    order = np.random.default_rng(0).permutation(128)
    palette = np.zeros((128, 3), np.uint8)
    palette[order] = np.arange(128)[:, None] * 2
    if twice:
        palette[order[60]] = palette[order[61]]
        assert {60, 61} <= set(levels.ravel().tolist())
    image = Image.fromarray(order[levels].astype(np.uint8), "P")
    image.putpalette(palette.tobytes())
    data = p59.encode(image, verify=True)
    (group,) = Container.from_bytes(data).planes
    assert (group[0] >> 4 == EXPANDED) != twice
    restored = p59.decode(data)
    assert restored.tobytes() == image.tobytes()
    assert restored.getpalette() == image.getpalette()


def forged(mode: str, samples: np.ndarray, group: bytes, palette: bytes = b"") -> bytes:
    """The file whose only group is coded so, with the checksum of these samples."""
    picture = Picture(MODE_NAMED[mode], samples, palette)
    chunks = ((ChunkType.PALETTE, palette),) if palette else ()
    chunks = (*chunks, (ChunkType.PLANES, group))
    return Container(picture.mode, *samples.shape[:2], picture.checksum, chunks).to_bytes()


def test_colours_that_the_palette_does_not_have_are_refused():
    """Whichever index they might be given."""
    palette, colours = bytes([9, 9, 9, 7, 7, 7]), np.full((2, 2, 3), 7, np.uint8)
    samples = np.ones((2, 2, 1), np.uint8)
    whole = forged("P", samples, bytes([EXPANDED << 4 | RAW]) + colours.tobytes(), palette)
    assert np.array_equal(p59.decode_array(whole), samples[:, :, 0])
    for value in (8, 6, 10):
        colours[1, 1] = 7, 7, value
        with pytest.raises(p59.FormatError, match="colours that the palette does not have"):
            p59.decode(forged("P", samples, bytes([EXPANDED << 4 | RAW]) + colours.tobytes(), palette))


def test_bilevel_samples_are_0_or_1():
    samples = np.array([[0, 1], [1, 0]], np.uint8)[:, :, None]
    assert np.array_equal(p59.decode_array(forged("1", samples, bytes(1) + samples.tobytes())), samples[:, :, 0])
    samples[1, 1] = 2
    with pytest.raises(p59.FormatError, match="neither 0 nor 1"):
        p59.decode(forged("1", samples, bytes(1) + samples.tobytes()))


def test_groups_that_begin_alike_are_no_copies():
    samples = noise(9, 8, 2)
    samples[0, :, 1] = samples[0, :, 0]
    assert np.array_equal(p59.decode_array(p59.encode(samples)), samples)


def test_images_too_long_for_networks_are_coded_plainly(monkeypatch):
    image = random_image(24, 31, kind="smooth")
    by_network = p59.encode(image)
    monkeypatch.setattr("coders.scan.LARGEST_SIDE", 30)
    plainly = p59.encode(image, verify=True)
    assert len(plainly) > len(by_network)
    with pytest.raises(p59.FormatError, match="24x31 pixels"):
        p59.decode(by_network)
