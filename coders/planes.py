"""Plane groups to bytes and back: for each the method that takes the fewest bytes.

A coded group:  1  form      high nibble: how the group became rows of bytes; low nibble: how these are coded
                   ...       what the form needs, below
                   ...       the rows, coded

    form   rows                                                                       needs
       0   the group itself                                                           nothing
       1   its first channel; all channels are equal                                  nothing
       2   indices into a table of its colours, packed in 0, 1, 2, 4 or 8 bits each   1 byte count - 1, colours
       3   its values, packed in 1 bit each (4: in 2 bits, 5: in 4 bits)              nothing
       6   the palette's colours R G B of its indices (mode P)                        nothing
       7   none: the group equals an earlier one of the file (coding 0)               1 byte number of that group

    coding 0..5   plain, see coders.plain
           8..14  network, see coders.network_rows

Packed rows start with the highest bits, as in PNG, and each fills whole bytes. Colours of a table have the bytes of a
pixel. The index of a palette's colour is the lowest one that has it. Letters: H, W image size; C channels of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from coders import plain
from coders.backends import Backend
from coders.colours import indices_in, pack, table_of, unpack
from coders.fields import Reader
from coders.network_rows import (
    NetworkCoding,
    NetworkRows,
    decode_rows,
    encode_rows,
    encode_rows_adapted,
    parsed_rows,
)
from models.frozen import FrozenModel
from utils.errors import FormatError

ITSELF, ONE_CHANNEL, TABLE, PACKED, EXPANDED, COPY = 0, 1, 2, 3, 6, 7
PACKED_BITS = (1, 2, 4)
#: Where PNG rows in a quick search take this many times the network's bytes, no plain method is tried further.
HOPELESS = 1.4
#: LZMA is tried where the rows are few, or deflated rows take less than this part of the raw bytes and not much more
#: than the best yet.
FEW_BYTES, COMPRESSIBLE, LZMA_GAIN = 1 << 16, 0.9, 1.2
#: Where a quick search takes less than this part of the raw bytes, the image was drawn: the network is tried last, and
#: not at all where it cannot win.
DRAWN = 0.05
PLAINLY, BY_NETWORK = "plainly", "by the network"


@dataclass(frozen=True, eq=False)
class Form:
    """One way to turn a group into `rows` (H, W', C') uint8; `needs` are the bytes that undo it."""

    number: int
    needs: bytes
    rows: np.ndarray

    @property
    def for_network(self) -> bool:
        return self.number in (ITSELF, ONE_CHANNEL, EXPANDED) and self.rows.shape[2] in (1, 3)

    def coded(self, coding: int, data: bytes) -> bytes:
        return b"".join((bytes((self.number << 4 | coding,)), self.needs, data))


def encode_group(
    group: np.ndarray, earlier: list[np.ndarray], palette: bytes, network: NetworkCoding | None, bilevel: bool = False
) -> bytes:
    """Code a group (H, W, C) uint8 by the best of all methods.

    `earlier` are the groups of the file before it; `palette` is empty but for mode P; `bilevel` groups hold 0 and 1.
    """
    for number, other in enumerate(earlier):
        if other.shape == group.shape and np.array_equal(other, group):
            return bytes((COPY << 4, number))
    forms = list(_forms(group, palette))
    quick = {form.number: _quick(form) for form in forms if form.number != EXPANDED}
    best = min(quick.values(), key=len)
    drawn = len(best) < DRAWN * group.size
    models: dict[int, FrozenModel] = {}  # that code the forms, by their numbers
    for kind in (PLAINLY, BY_NETWORK) if drawn else (BY_NETWORK, PLAINLY):
        for form in forms:
            if kind == BY_NETWORK and network and form.for_network and not bilevel:
                if found := encode_rows(form.rows, network, len(best)):
                    *coded, models[form.number] = found
                    best = min(best, form.coded(*coded), key=len)
            elif kind == PLAINLY and form.number in quick and len(quick[form.number]) < HOPELESS * len(best):
                best = min([best, *_thorough(form, len(best))], key=len)
    parsed = network_rows_of(best)
    if network and parsed is not None:
        form = next(form for form in forms if form.number == best[0] >> 4)
        if found := encode_rows_adapted(form.rows, network, models[form.number], parsed.coding.placement, len(best)):
            best = min(best, form.coded(*found), key=len)
    return best


def _forms(group: np.ndarray, palette: bytes) -> Iterator[Form]:
    channels = group.shape[2]
    single = all(np.array_equal(group[:, :, 0], group[:, :, channel]) for channel in range(1, channels))
    rows = np.ascontiguousarray(group[:, :, :1]) if single else group
    most = int(rows.max()) if single else 255
    bits = next((bits for bits in PACKED_BITS if most < 1 << bits), 8)
    if channels == 1 and bits < 8:
        yield Form(PACKED + PACKED_BITS.index(bits), b"", pack(group, bits))
    yield Form(ONE_CHANNEL if single and channels > 1 else ITSELF, b"", rows)
    table = table_of(group)
    if table is not None and (bits_of(len(table)) < bits or not single):
        packed = pack(indices_in(table, group), bits_of(len(table)))
        yield Form(TABLE, bytes((len(table) - 1,)) + table.tobytes(), packed)
    if palette:
        colours = _colours(palette)
        if int(group.max()) < len(colours):
            expanded = colours[group[:, :, 0]]
            if np.array_equal(indices_in(colours, expanded), group):
                yield Form(EXPANDED, b"", expanded)


def _quick(form: Form) -> bytes:
    rows = plain.encode_rows_fast(form.rows) if form.rows.size else b""
    if len(rows) < form.rows.size:
        return form.coded(plain.ROWS, rows)
    return form.coded(plain.RAW, form.rows.tobytes())


def _thorough(form: Form, best: int) -> Iterator[bytes]:
    size = form.rows.size
    if not size:
        return
    rows = plain.encode_rows(form.rows)
    yield form.coded(plain.ROWS, rows)
    if size <= FEW_BYTES or (size <= plain.LZMA_LIMIT and len(rows) < min(COMPRESSIBLE * size, LZMA_GAIN * best)):
        yield form.coded(*plain.encode_differences(form.rows))


def network_rows_of(data: bytes) -> NetworkRows | None:
    """The parts of a coded group; None where it is coded plainly.

    Raises FormatError where they end early, or form or coding is unknown.
    """
    number, coding = divmod(Reader(data).byte(), 16)
    rows = parsed_rows(coding, data[1:])
    if number > COPY or (rows is None and coding not in plain.METHODS):
        raise FormatError(f"planes of unknown form or coding {number}.{coding}; use a newer release")
    return rows


def decode_group(
    data: bytes,
    shape: tuple[int, int, int],
    earlier: list[np.ndarray],
    palette: bytes,
    find_model: Callable[[bytes], FrozenModel],
    backend: Backend,
) -> np.ndarray:
    """The group (H, W, C) uint8 of `shape` that `encode_group` coded. `find_model` takes a file's fingerprint.

    Raises FormatError where the bytes are not a group of that shape, and what `find_model` raises.
    """
    height, width, channels = shape
    reader = Reader(data)
    number, coding = divmod(reader.byte(), 16)
    if number == COPY and coding == plain.RAW:
        other = reader.byte()
        if reader.left or other >= len(earlier) or earlier[other].shape != shape:
            raise FormatError(f"planes copy group {other}, which does not fit; get the file again")
        return earlier[other]
    table, bits = None, 8
    if number == TABLE:
        count = reader.byte() + 1
        table, bits = np.frombuffer(reader.take(count * channels), np.uint8).reshape(count, channels), bits_of(count)
    elif PACKED <= number < PACKED + len(PACKED_BITS) and channels == 1:
        bits = PACKED_BITS[number - PACKED]
    elif not (number == ITSELF or (number == ONE_CHANNEL and channels > 1) or (number == EXPANDED and palette)):
        raise FormatError(f"planes of unknown form {number}; use a newer release")
    channels = {ITSELF: channels, EXPANDED: 3}.get(number, 1)
    packed = (height, -(-width * bits // 8), channels)
    rows = _decoded(coding, reader.rest(), packed, number, find_model, backend)
    if number == ONE_CHANNEL:
        return np.repeat(rows, shape[2], 2)
    if number == EXPANDED:
        colours = _colours(palette)
        indices = indices_in(colours, rows)
        if not np.array_equal(colours[indices[:, :, 0]], rows):
            raise FormatError("planes hold colours that the palette does not have; get the file again")
        return indices
    values = unpack(rows, bits, width)
    if table is None:
        return values
    if len(table) < 256 and values.size and int(values.max()) >= len(table):
        raise FormatError("planes name colours past the end of their table; get the file again")
    return table[values[:, :, 0]]


def _decoded(coding, data, shape, number, find_model, backend) -> np.ndarray:
    if coding in plain.METHODS:
        return plain.decode_plain(coding, data, shape)
    if number not in (ITSELF, ONE_CHANNEL, EXPANDED) or shape[2] not in (1, 3):
        raise FormatError(f"planes of unknown coding {number}.{coding}; use a newer release")
    return decode_rows(coding, data, shape, find_model, backend)


def bits_of(count: int) -> int:
    """Bits of an index below `count` in a file: 0, 1, 2, 4 or 8."""
    return 0 if count == 1 else next((bits for bits in PACKED_BITS if count <= 1 << bits), 8)


def _colours(palette: bytes) -> np.ndarray:
    return np.frombuffer(palette, np.uint8).reshape(-1, 3)
