"""Plots of results as PNG: rate against decoding time, and time against size, for light and for dark pages."""

from __future__ import annotations

import io
from dataclasses import dataclass
from statistics import fmean

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter
from matplotlib.transforms import Bbox

from utils.evaluation.codecs import OURS
from utils.evaluation.rows import ADAPTED, Row
from utils.evaluation.tables import data_sets, grouped, once_each

#: Colours of a page: background, text, grid; then ours, then the others'.
SCHEMES = {
    "light": ("#ffffff", "#1b1f24", "#d8dce1", "#c2410c", "#5b6470"),
    "dark": ("#16191d", "#e6e8eb", "#353b43", "#fb923c", "#9aa4b1"),
}
#: Lines are told apart by colour, dash and marker together.
_HUES = {
    "light": ("#0b6fb8", "#11805b", "#8a3ffc", "#a15c00", "#c0266b", "#4b5563", "#0f7f8a", "#7a6a00", "#5850d6"),
    "dark": ("#5db4f0", "#4fcf9d", "#b794ff", "#e0a94a", "#f472b6", "#a7b0bb", "#4fd1dc", "#d2c24a", "#9d97ff"),
}
_OURS_HUES = {
    "light": {"sequential": "#7c2d12", "wavefront": "#e8590c", "diagonal": "#c01048"},
    "dark": {"sequential": "#f4c7a5", "wavefront": "#fb923c", "diagonal": "#ff6b8b"},
}
_MARKERS = "osD^vPX*<>hp"
_WIDTH, _DPI = 5.2, 180


@dataclass(frozen=True)
class Plot:
    """PNG bytes of each scheme, and what it shows in words."""

    name: str
    title: str
    images: dict[str, bytes]
    words: str


def plots_of(rows: list[Row]) -> list[Plot]:
    """The plots there are results for. `rows` as `shown_rows` gives them."""
    plots = []
    sets = data_sets([row for row in rows if row.ok])
    if sets:
        points = rate_points(rows, sets[0])
        draw = {scheme: _draw(_rate_time, scheme, (_WIDTH, 4.4), points, sets[0]) for scheme in SCHEMES}
        words = f"Mean rate on {sets[0]} against decoding time, one thread on the CPU; down and left is better."
        plots.append(Plot("rate_time", "Rate against decoding time", draw, words))
    timed = [row for row in rows if row.is_timing and row.ok]
    if timed:
        draw = {scheme: _draw(_size_time, scheme, (_WIDTH, 8.2), timed) for scheme in SCHEMES}
        words = "Time of one image against its size, one thread unless the label says otherwise; lower is better."
        plots.append(Plot("size_time", "Size against time", draw, words))
    return plots


def rate_points(rows: list[Row], data_set: str) -> dict[str, tuple[float, float]]:
    """(decoding seconds per megapixel, mean bpsp) of each codec.

    The time is that of the largest image timed, or where there is none the mean of the images whose rate was measured.
    A codec that lacks images of the set is left out: its mean would be of others.
    """
    points = {}
    images = {row.image for row in rows if row.data_set == data_set and row.ok}
    for codec, group in grouped(rows).items():
        counted = once_each([row for row in group if row.data_set == data_set])
        alone = [row for row in group if row.is_timing and row.ok and row.device == "cpu" and row.threads == 1]
        timed = [row for row in alone if row.megapixels == max(row.megapixels for row in alone)] or counted
        if len(counted) == len(images):
            seconds = fmean(row.decode_seconds / row.megapixels for row in timed)
            points[codec] = (seconds, fmean(row.bpsp for row in counted))
    return points


def _draw(draw, scheme: str, size: tuple[float, float], *arguments) -> bytes:
    paper, ink, grid, _, _ = SCHEMES[scheme]
    style = {
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor"), paper),
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), ink),
        **dict.fromkeys(("axes.edgecolor", "grid.color", "legend.edgecolor"), grid),
        "font.size": 10,
        "axes.grid": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with rc_context(style):
        figure = Figure(size, dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure, scheme, *arguments)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _rate_time(figure: Figure, scheme: str, points: dict[str, tuple[float, float]], data_set: str) -> None:
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_xlabel("decoding time, seconds per megapixel")
    axes.set_ylabel(f"rate on {data_set}, bits per sub-pixel", parse_math=False)
    _plain_logs(axes.xaxis)
    axes.margins(0.2, 0.1)
    _, _, _, ours, others = SCHEMES[scheme]
    for codec, (seconds, bpsp) in points.items():
        mine = codec.startswith(OURS)
        axes.plot(seconds, bpsp, "D" if mine else "o", color=ours if mine else others, markersize=7 if mine else 6)
    colours = {codec: ours if codec.startswith(OURS) else others for codec in points}
    _place_labels(figure, axes, points, colours)


def _place_labels(figure: Figure, axes: Axes, points: dict, colours: dict) -> None:
    """Name each point where its name is clear of the other points, names and the edge; a line leads to a far one."""
    figure.draw_without_rendering()
    renderer, frame = figure.canvas.get_renderer(), axes.get_window_extent()
    dots = {codec: axes.transData.transform(point) for codec, point in points.items()}
    taken: list[Bbox] = []
    for codec, point in sorted(points.items(), key=lambda item: item[1][1]):
        look = {"color": colours[codec], "fontsize": 9, "va": "center"}
        text = axes.annotate(codec, point, (0, 0), textcoords="offset points", **look)
        others = [dot for other, dot in dots.items() if other != codec]
        for place in _PLACES:
            text.set_position(place)
            text.set_ha("left" if place[0] > 0 else "right" if place[0] < 0 else "center")
            box = text.get_window_extent(renderer)
            room = box.padded(2)
            inside = frame.x0 <= room.x0 and room.x1 <= frame.x1 and frame.y0 <= room.y0 and room.y1 <= frame.y1
            if inside and not room.count_overlaps(taken) and not any(box.padded(14).contains(*dot) for dot in others):
                break
        taken.append(room)
        if place in _FAR:
            line = {"arrowstyle": "-", "linewidth": 0.7, "color": colours[codec]}
            axes.annotate("", point, place, textcoords="offset points", arrowprops=line)


_AROUND = ((9, 0), (-9, 0), (0, 13), (0, -13), (8, 11), (-8, 11), (8, -11), (-8, -11))
_FAR = [(x * reach, y * reach) for reach in (2, 3, 4) for x, y in _AROUND]
#: Where a name is tried, in points from its point: around it, then farther.
_PLACES = [*_AROUND, *_FAR]


def _size_time(figure: Figure, scheme: str, rows: list[Row]) -> None:
    axes_of = dict(zip(("encode", "decode"), figure.subplots(2, 1, sharex=True), strict=True))
    lines = _lines(rows)
    hues, markers = iter(_HUES[scheme] * 9), iter(_MARKERS * 9)
    for name, points in lines.items():
        order = points[0].scan
        look = {"marker": next(markers), "markersize": 5, "linewidth": 1.2, "linestyle": "--"}
        if order:  # ours: a colour for each order, solid with one thread on the CPU
            alone = points[0].threads == 1 and points[0].device == "cpu"
            dash = "-." if ADAPTED in points[0].order else "-" if alone else ":"
            look |= {"linewidth": 2.2, "linestyle": dash, "color": _OURS_HUES[scheme][order]}
        else:
            look["color"] = next(hues)
        for direction, axes in axes_of.items():
            xs = [row.megapixels for row in points]
            axes.plot(xs, [getattr(row, f"{direction}_seconds") for row in points], label=name, **look)
    for direction, axes in axes_of.items():
        axes.set(xscale="log", yscale="log", ylabel=f"time to {direction} one image, seconds")
        _plain_logs(axes.yaxis)
    sizes = sorted({row.megapixels for row in rows})
    axes.set_xticks(sizes, [f"{size:.3g}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("image size, megapixels")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)


def _lines(rows: list[Row]) -> dict[str, list[Row]]:
    """Rows by line: codecs on the CPU with one thread and ours with all of them; on another device, named."""
    lines: dict[str, list[Row]] = {}
    for codec, group in grouped(rows).items():
        for row in sorted(group, key=lambda row: (row.device, row.threads, row.megapixels)):
            if row.threads == 1 or row.codec == OURS:
                threads = "" if row.threads == 1 else f", {row.threads} threads"
                device = "" if row.device == "cpu" else f", {row.device}"
                lines.setdefault(f"{codec}{device}{threads if not device else ''}", []).append(row)
    return lines


def _plain_logs(axis) -> None:
    axis.set_major_locator(LogLocator(10, numticks=12))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
