"""The paper's three tables, from rows of results: rate, time, complexity. Cells are text; Markdown is one way out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from tabulate import tabulate

from coders.scan import SCANS
from utils.evaluation.codecs import CODECS, OURS
from utils.evaluation.published import PUBLISHED
from utils.evaluation.rows import ADAPTED, SEVERAL, UNTURNED, Row, current

#: The order codecs are shown in: the others as in their table, then ours by scan order.
_PLACES = {name: place for place, name in enumerate([*CODECS, OURS])}
_ORDERS = {name: place for place, name in enumerate(["", *SCANS])}
NOTHING = "-"


@dataclass(frozen=True)
class Table:
    """`texts`: the columns that hold words; the others hold figures. `note` explains the figures."""

    name: str
    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: set[int]
    note: str

    @property
    def alignments(self) -> tuple[str, ...]:
        return tuple("left" if column in self.texts else "right" for column in range(len(self.headers)))

    def markdown(self) -> str:
        if not self.rows:
            return "No results yet."
        grid = tabulate(self.rows, self.headers, "pipe", colalign=self.alignments, disable_numparse=True)
        return f"{grid}\n\n{self.note}"


def tables_of(rows: list[Row], models: Iterable[str] | None = None) -> list[Table]:
    """The three tables. `models`: fingerprints of ours to show; None: of each order and channels the last measured."""
    shown = shown_rows(rows, models)
    return [rate_table(shown), time_table(shown), complexity_table(shown)]


def shown_rows(rows: list[Row], models: Iterable[str] | None) -> list[Row]:
    rows = current(rows)
    ours = [row for row in rows if row.codec == OURS and row.model]
    last = {(row.scan, row.channels): row.model for row in ours}
    wanted = set(last.values()) if models is None else set(models)
    return [row for row in rows if row.codec != OURS or row.model in wanted or (row.error and not row.model)]


def label(row: Row, rows: list[Row]) -> str:
    """The codec, ours with its order, and with its model where several of that order are shown."""
    if row.codec != OURS:
        return row.codec
    models = {other.model for other in rows if other.order == row.order and other.channels == row.channels}
    several = len(models - {""}) > 1
    return f"{OURS} {row.order}" + (f" ({name_in_tables(row.model)})" if several else "")


def name_in_tables(model: str) -> str:
    """The start of a model's fingerprint, or of a choice's hash with the number of its models."""
    fingerprint, several, count = model.partition(SEVERAL)
    return f"{fingerprint[:8]}{several}{count}"


def grouped(rows: list[Row]) -> dict[str, list[Row]]:
    """Rows by label, in the order in which they are shown."""
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (_PLACES.get(row.codec, -1), *_place_of_order(row))):
        groups.setdefault(label(row, rows), []).append(row)
    return groups


def _place_of_order(row: Row) -> tuple[bool, bool, int]:
    """Adapted ones after the others, and before them those that are not turned, in the sequence of their orders."""
    return ADAPTED in row.order, UNTURNED in row.order, _ORDERS.get(row.scan, 99)


def data_sets(rows: list[Row]) -> list[str]:
    """Data sets of the rate table, as first seen."""
    return list(dict.fromkeys(row.data_set for row in rows if not row.is_timing))


def once_each(rows: list[Row]) -> list[Row]:
    """One row of each image that counts (an image may have been measured on several devices)."""
    return list({row.image: row for row in rows if row.ok}.values())


def rate_table(rows: list[Row]) -> Table:
    """Mean bpsp of each data set, and for ours what each channel takes of it."""
    rows = [row for row in rows if not row.is_timing]
    sets = data_sets(rows)
    counts = {name: len({row.image for row in rows if row.data_set == name}) for name in sets}
    ours = any(row.channel_bits for row in rows)
    headers = ["codec"]
    for name in sets:
        headers += [f"{name} ({counts[name]})"] + ([f"{name}, by channel"] if ours else [])
    lines = []
    groups = grouped(rows)
    for codec, group in groups.items():
        line = [codec]
        for name in sets:
            counted = once_each([row for row in group if row.data_set == name])
            line += [_mean_rate(counted, counts[name])] + ([_channel_rates(counted)] if ours else [])
        lines.append(tuple(line))
    plain = _coded_plainly(groups, sets)
    settings = "; ".join(f"{codec.name}: {codec.settings}" for codec in CODECS.values() if codec.name in groups)
    note = (
        "Mean bits per sub-pixel over the images of each set (their number in brackets); real files, each decoded and "
        "compared."
    )
    if ours:
        note += " By channel: ideal bits per sample of red / green / blue."
    if plain:
        note += f" Coded plainly, not by a network, and not counted by channel: {', '.join(plain)}."
    return Table("rate", "Rate", tuple(headers), tuple(lines), {0}, f"{note} {settings}." if settings else note)


def _coded_plainly(groups: dict[str, list[Row]], sets: list[str]) -> list[str]:
    """For each codec and data set how many images ours coded plainly, where there are some."""
    counts = []
    for codec, group in groups.items():
        for name in sets:
            counted = once_each([row for row in group if row.data_set == name])
            plain = sum(row.is_plain for row in counted)
            counts += [f"{codec} {plain} of {len(counted)} images of {name}"] if plain else []
    return counts


def _mean_rate(rows: list[Row], images: int) -> str:
    if not rows:
        return NOTHING
    incomplete = "" if len(rows) == images else f" ({len(rows)} of {images})"
    return f"{fmean(row.bpsp for row in rows):.3f}{incomplete}"


def _channel_rates(rows: list[Row]) -> str:
    shares = [
        [float(bits) / (row.height * row.width) for bits in row.channel_bits.split(",")]
        for row in rows
        if row.channel_bits
    ]
    if not shares or len({len(share) for share in shares}) > 1:
        return NOTHING
    return " / ".join(f"{fmean(channel):.2f}" for channel in zip(*shares, strict=True))


def time_table(rows: list[Row]) -> Table:
    """Seconds of encoding and decoding one image of each size, and the largest size's speed."""
    rows = [row for row in rows if row.is_timing and row.ok]
    sizes = sorted({(row.height, row.width) for row in rows}, key=lambda size: size[0] * size[1])
    names, lines = _names_of_machines(rows), []
    for codec, group in grouped(rows).items():
        for where, threads in sorted({(names[row.device, row.machine], row.threads) for row in group}):
            line, speed = [codec, where, str(threads)], NOTHING
            own = [row for row in group if (names[row.device, row.machine], row.threads) == (where, threads)]
            for size in sizes:
                found = [row for row in own if (row.height, row.width) == size]
                line.append(_pair(found[-1].encode_seconds, found[-1].decode_seconds) if found else NOTHING)
                if found:
                    speed = _speed(found[-1])
            lines.append((*line, speed))
    headers = ("codec", "device", "threads", *(f"{height}x{width}, s" for height, width in sizes), "MP/s")
    machines = ", ".join(f"{name}: {machine}" for (_, machine), name in names.items())
    note = (
        "Seconds of encoding / decoding one image in memory, least of three runs (fewer, where they take seconds), one "
        "codec at a time; "
        f"MP/s: megapixels per second, encoding / decoding, of the largest size timed. {machines}."
    )
    return Table("time", "Time", headers, tuple(lines), {0, 1}, note)


def _names_of_machines(rows: list[Row]) -> dict[tuple[str, str], str]:
    """What each (device, machine) is called: by the device, with a number where several machines have such."""
    places = list(dict.fromkeys((row.device, row.machine) for row in rows))
    names = {}
    for device, machine in places:
        alike = [place for place in places if place[0] == device]
        number = f" ({alike.index((device, machine)) + 1})" if len(alike) > 1 else ""
        names[device, machine] = device + number
    return names


def _speed(row: Row) -> str:
    return _pair(*(row.megapixels / max(seconds, 1e-9) for seconds in (row.encode_seconds, row.decode_seconds)))


def _pair(*values: float) -> str:
    """Encoding / decoding, each with the digits that its size calls for and never with an exponent."""
    return " / ".join(f"{value:.{max(0, min(4, 2 - math.floor(math.log10(max(value, 1e-9)))))}f}" for value in values)


def complexity_table(rows: list[Row]) -> Table:
    """Parameters and multiply-accumulates of a pixel: ours computed from the model, others as published."""
    kodak = [row for row in rows if row.data_set.lower() == "kodak"]
    images = len({row.image for row in kodak})
    rates = [row for row in rows if not row.is_timing and row.codec == OURS and row.parameters]
    lines, several = [], False
    for codec, group in grouped(rates).items():
        for gray, parameters, macs in sorted({(row.channels == 1, row.parameters, row.macs) for row in group}):
            own = [row for row in group if (row.channels == 1, row.parameters, row.macs) == (gray, parameters, macs)]
            rate = _mean_rate(once_each([row for row in own if row in kodak]), images)
            figures = "computed from the model; rate measured" + ("; adapts to each image" if ADAPTED in codec else "")
            count = max(int(row.model.partition(SEVERAL)[2] or 1) for row in own)
            several |= count > 1
            each = f"{count} x {parameters:,}" if count > 1 else f"{parameters:,}"
            lines.append((codec + (", gray" if gray else ""), each, f"{macs:,}", rate, figures))
    for other in PUBLISHED:
        macs = NOTHING if other.macs is None else f"{other.macs:,.0f}"
        rate = NOTHING if other.kodak is None else f"{other.kodak:.3f}".rstrip("0")
        lines.append((other.name, f"{other.parameters:,.0f}", macs, rate, other.note))
    headers = ("codec", "parameters", "MACs per pixel", "Kodak bpsp", "figures")
    note = "n x: n networks of at most so many parameters, one of which codes an image. " if several else ""
    note += "MAC: multiply-accumulate of a network. Published figures are their authors'; a dash: not stated."
    return Table("complexity", "Complexity", headers, tuple(lines), {0, 4}, note)
