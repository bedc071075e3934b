"""Images that no camera took: text, gradients, flat, noise, patterns, one pixel high. Name -> Pillow image or array."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw


def drawn_images() -> dict[str, Image.Image | np.ndarray]:
    """Small synthetic images of all modes; which ones they are is decided by seeds."""
    generator = np.random.default_rng(7)
    row, column = np.mgrid[:120, :160]
    noise = generator.integers(0, 256, (1, 1000, 4), np.uint8)
    smooth = np.stack([column, row, (row + column) // 2], 2).astype(np.uint8)
    dots = (generator.random((90, 130)) < 0.5).astype(np.uint8) * 255
    screen = screenshot(240, 180)
    return {
        "flat": np.full((100, 150, 3), (10, 200, 30), np.uint8),
        "flat gray": np.full((100, 150), 77, np.uint8),
        "gradient": smooth,
        "gradient gray": smooth[:, :, 0],
        "gradient steep": (row * column).astype(np.uint8),
        "gradient 16 bit": (row * 300 + column * 7).astype(np.uint16),
        "gradient 16 bit colour": (np.stack([row * 300, column * 400, row * column], 2)).astype(np.uint16),
        "8 bit as 16": smooth.astype(np.uint16) * 257,
        "noise": generator.integers(0, 256, (60, 70, 3), np.uint8),
        "noise gray": generator.integers(0, 256, (100, 100), np.uint8),
        "noise 16 bit": generator.integers(0, 65536, (50, 60), np.uint16),
        "noise of two colours": dots,
        "noise of four values": generator.integers(0, 4, (90, 110), np.uint8) * 85,
        "noisy low byte": (row * 300 + generator.integers(0, 256, row.shape)).astype(np.uint16),
        "one pixel high": noise[:, :, :3],
        "one pixel high with alpha": noise,
        "one pixel high 16 bit": (noise.astype(np.uint16) << 8 | noise[:, ::-1])[:, :, :3],
        "one pixel high gradient": smooth[:1],
        "one pixel wide": noise[0, :, :3][:, None],
        "checks": ((row // 8 + column // 8) % 2 * 255).astype(np.uint8),
        "stripes": np.repeat((column % 7 * 30).astype(np.uint8)[:, :, None], 3, 2),
        "tiles of noise": np.tile(generator.integers(0, 256, (16, 16, 3), np.uint8), (8, 8, 1)),
        "circles": ((row - 60) ** 2 + (column - 80) ** 2).astype(np.uint8),
        "screen": screen,
        "screen with alpha": Image.merge("RGBA", (*screen.split(), screen.getchannel("G"))),
        "screen of a palette": screen.quantize(32),
        "screen gray": screen.convert("L"),
        "screen bilevel": screen.convert("1"),
        "shades of a palette": Image.fromarray(smooth).quantize(200),
        "text": text(300, 100),
        "text bilevel": text(300, 100).convert("1"),
        "text smooth": text(600, 200).resize((300, 100), Image.Resampling.LANCZOS),
    }


def screenshot(width: int, height: int) -> Image.Image:
    """Windows, buttons, lines and text."""
    image = Image.new("RGB", (width, height), (240, 240, 245))
    draw = ImageDraw.Draw(image)
    for number in range(3):
        left, top = 10 + 60 * number, 8 + 40 * number
        draw.rectangle((left, top, left + 110, top + 80), (255, 255, 255), (90, 90, 90))
        draw.rectangle((left, top, left + 110, top + 14), (40 + 60 * number, 90, 180))
        draw.text((left + 4, top + 2), f"Window {number}", (255, 255, 255))
        for line in range(4):
            draw.text((left + 6, top + 20 + 13 * line), f"{line}: some words {line * number}", (20, 20, 20))
    draw.ellipse((width - 60, height - 60, width - 10, height - 10), (200, 60, 60), (0, 0, 0))
    return image


def text(width: int, height: int) -> Image.Image:
    """Lines of black text on white."""
    image = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(image)
    for line in range(height // 12):
        draw.text((3, 12 * line), "The quick brown fox jumps over the lazy dog " * 3, line % 3 * 40)
    return image
