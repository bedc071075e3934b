"""Where an image's bits go: regions compared, and pictures of bits, prediction and residual with their scales."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from coders.recorder import Record

CHANNEL_NAMES = {1: ("gray",), 3: ("red", "green", "blue")}
#: Colour scales end at this percentile, so that a few extreme pixels do not flatten the rest.
TOP_PERCENTILE = 99.5
_DPI, _PANEL_WIDTH = 130, 5.0


@dataclass(frozen=True)
class Region:
    """A block of pixels: its first row and column, its size, and the ideal bits of each channel in it."""

    row: int
    column: int
    height: int
    width: int
    channel_bits: tuple[float, ...]

    @property
    def bits_per_pixel(self) -> float:
        return sum(self.channel_bits) / (self.height * self.width)


def regions_of(bits: np.ndarray, side: int) -> list[Region]:
    """The blocks of side x side pixels (smaller at the right and lower edge) of `bits` (H, W, C), dearest first."""
    height, width, _ = bits.shape
    regions = []
    for row in range(0, height, side):
        for column in range(0, width, side):
            block = bits[row : row + side, column : column + side]
            regions.append(Region(row, column, *block.shape[:2], tuple(block.sum((0, 1)).tolist())))
    return sorted(regions, key=lambda region: (-region.bits_per_pixel, region.row, region.column))


def bits_figure(bits: np.ndarray, marked: list[Region], name: str) -> bytes:
    """PNG: heat maps of the bits (H, W, C) of each pixel and channel, `marked` regions outlined and numbered."""
    channels = bits.shape[2]
    total = bits.sum(2)
    figure, panels = _panels(bits.shape, 1 if channels == 1 else 4, 1 if channels == 1 else 2)
    figure.suptitle(f"{name}: {total.mean() / channels:.3f} bits per sub-pixel (ideal)", parse_math=False)
    highest = np.percentile(total, TOP_PERCENTILE)
    _heat(panels[0], total, f"all channels, mean {total.mean():.2f}", "bits per pixel", highest)
    for number, region in enumerate(marked, 1):
        box = (region.column - 0.5, region.row - 0.5)
        panels[0].add_patch(Rectangle(box, region.width, region.height, fill=False, edgecolor="#22d3ee", linewidth=1.2))
        centre = (region.column + region.width / 2, region.row + region.height / 2)
        text = panels[0].annotate(str(number), centre, color="white", fontsize=9, ha="center", va="center")
        text.set_path_effects([withStroke(linewidth=2.5, foreground="black")])
    if channels > 1:
        top = np.percentile(bits, TOP_PERCENTILE)
        for channel, (panel, colour) in enumerate(zip(panels[1:], CHANNEL_NAMES[channels], strict=True)):
            values = bits[:, :, channel]
            _heat(panel, values, f"{colour}, mean {values.mean():.2f}", "bits per sub-pixel", top)
    return _png(figure)


def prediction_figure(image: np.ndarray, record: Record, name: str) -> bytes:
    """PNG: the image, what was predicted for it, and the difference of each channel with its scale."""
    channels = image.shape[2]
    figure, panels = _panels(image.shape, 2 + channels + (channels == 3), 3)
    residual = image - record.prediction
    figure.suptitle(f"{name}: prediction and residual", parse_math=False)
    pictures = ((image, "image"), (prediction_image(record), "prediction (mean)"))
    for panel, (shown, title) in zip(panels, pictures, strict=False):
        panel.imshow(shown.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        panel.set_title(title, fontsize=10)
    rest = list(panels[2:])
    if channels == 3:
        size = np.abs(residual).mean(2)
        top = np.percentile(size, TOP_PERCENTILE)
        _heat(rest.pop(0), size, f"mean size of residual, {size.mean():.2f}", "pixel values", top)
    top = max(1.0, np.percentile(np.abs(residual), TOP_PERCENTILE))
    for channel, (panel, colour) in enumerate(zip(rest, CHANNEL_NAMES[channels], strict=True)):
        shown = residual[:, :, channel]
        title = f"residual {colour}, deviation {shown.std():.2f}"
        _heat(panel, shown, title, "pixel values", top, lowest=-top, colours="RdBu_r")
    return _png(figure)


def prediction_image(record: Record) -> np.ndarray:
    """The prediction (H, W, C) as uint8."""
    return np.clip(np.rint(record.prediction), 0, 255).astype(np.uint8)


def residual_image(image: np.ndarray, record: Record) -> np.ndarray:
    """Image minus prediction, plus 128, clipped to uint8."""
    return np.clip(np.rint(image - record.prediction) + 128, 0, 255).astype(np.uint8)


def _panels(shape: tuple[int, ...], count: int, columns: int) -> tuple[Figure, list[Axes]]:
    rows = -(-count // columns)
    height = min(3.0, max(0.4, shape[0] / shape[1])) * _PANEL_WIDTH * 0.85 + 0.5
    figure = Figure((_PANEL_WIDTH * columns, height * rows + 0.4), dpi=_DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for panel in panels:
        panel.set_xticks([])
        panel.set_yticks([])
    return figure, panels


def _heat(axes: Axes, values: np.ndarray, title: str, unit: str, highest: float, lowest=0.0, colours="inferno") -> None:
    ends = {"vmin": lowest, "vmax": max(highest, lowest + 1e-6)}
    shown = axes.imshow(values, cmap=colours, interpolation="nearest", **ends)
    axes.set_title(title, fontsize=10)
    bar = axes.figure.colorbar(shown, ax=axes, shrink=0.85, extend="max" if lowest == 0 else "both")
    bar.set_label(unit)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
