"""A decoder of .p59 files, written from docs/file_format.md alone ("section n" below is a section of that page).

Slow but plain: whole numbers only, one function for each thing that the page defines, in the order of the page. It
imports nothing of this project, and whoever wrote it had not seen any of it: what both decode to the same is what the
page says. It stays in one file, to be read beside the page.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import struct
import zlib
from bisect import bisect_right
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal, localcontext
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray

MAGIC = b"\x89P59"
PLANES, PALETTE, TRANSPARENCY, METADATA = 1, 2, 3, 128
BILEVEL, INDEXED = 0, 5
SEQUENTIAL, WAVEFRONT, DIAGONAL = 8, 9, 10
GROUPS_OF_MODE = {0: (1,), 1: (1,), 2: (1, 1), 3: (3,), 4: (3, 1), 5: (1,)}  # the channels of each plane group
GROUPS_OF_MODE |= {mode + 16: 2 * GROUPS_OF_MODE[mode] for mode in (1, 2, 3, 4)}  # 16 bits: high bytes, low bytes
MOST_SAMPLES = 2**28  # what this reader has memory for


class FileError(ValueError):
    """The file contradicts the specification."""


def require(condition: object, complaint: str) -> None:
    """Refuse the file unless the condition holds."""
    if not condition:
        raise FileError(complaint)


class Reader:
    """Bytes that are taken one after another."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        require(count <= len(self.data) - self.position, "data end too early")
        self.position += count
        return self.data[self.position - count : self.position]

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def nibbles(self) -> tuple[int, int]:
        """The high and the low half of the next byte."""
        return divmod(self.byte(), 16)

    def number(self) -> int:
        """Section 1: a number in LEB128, of at most 63 bits and without a needless byte."""
        value = 0
        for shift in range(0, 63, 7):
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                require(byte or not shift, "a number has a needless byte")
                return value
        raise FileError("a number has more than 63 bits")

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self.data) - self.position)


# --- Section 1: Container ---------------------------------------------------------------------------------------------
class Decoded(NamedTuple):
    """What a file holds."""

    mode: int
    samples: Array  # (H, W, C), uint8 or uint16
    palette: bytes  # R G B of each colour; empty unless the mode is P
    transparency: bytes | None
    metadata: tuple[tuple[bytes, bytes], ...]  # (type, data) of PNG chunks


class Picture(NamedTuple):
    """What plane groups have to know of their file."""

    mode: int
    height: int
    width: int
    palette: bytes


def decode(data: bytes, models: dict[bytes, Model]) -> Decoded:
    """Section 1: the contents of a file; `models` are found by the first 16 bytes of their fingerprints."""
    require(data[:4] == MAGIC, "not a P59 file")
    require(data[4:5] == b"\x01", "unknown version")
    require(zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little"), "wrong CRC")
    reader = Reader(data[5:-4])
    mode = reader.byte()
    require(mode in GROUPS_OF_MODE, "unknown mode")
    height, width = reader.number(), reader.number()
    require(height and width, "no pixels")
    head = reader.data[: reader.position]
    checksum = reader.take(8 if height * width >= 65536 else 4)
    require(height * width * sum(GROUPS_OF_MODE[mode]) <= MOST_SAMPLES, "no memory for so many samples")

    planes, palettes, transparencies, metadata = [], [], [], []
    count = 0
    while reader.position < len(reader.data):
        count += 1
        require(count <= 65536, "too many chunks")
        kind = reader.byte()
        chunk = reader.take(reader.number())
        require(not planes or kind not in (PALETTE, TRANSPARENCY, METADATA), "a chunk follows a plane group")
        if kind == PLANES:
            planes.append(chunk)
        elif kind == PALETTE:
            require(len(chunk) % 3 == 0 and 3 <= len(chunk) <= 768, "a palette of wrong length")
            palettes.append(chunk)
        elif kind == TRANSPARENCY:
            transparencies.append(chunk)
        elif kind == METADATA:
            require(len(chunk) >= 4, "metadata without a type")
            metadata.append((chunk[:4], chunk[4:]))
        else:
            require(kind >= 128, "unknown type of chunk")
    require(len(planes) == len(GROUPS_OF_MODE[mode]), "wrong number of plane groups")
    require(len(palettes) == (mode == INDEXED), "wrong number of palettes")
    require(len(transparencies) <= 1, "more than one transparency")

    palette = b"".join(palettes)
    picture = Picture(mode, height, width, palette)
    groups: list[Array] = []
    for channels, chunk in zip(GROUPS_OF_MODE[mode], planes, strict=True):
        groups.append(decode_group(chunk, picture, channels, groups, models))
    samples = np.concatenate(groups, axis=2)
    if mode >= 16:
        high, low = np.split(samples.astype(np.uint16), 2, axis=2)
        samples = high * 256 + low
    parts = head, palette, b"".join(transparencies), samples.astype(">u2" if mode >= 16 else "u1").tobytes()
    require(hashlib.blake2b(b"".join(parts), digest_size=len(checksum)).digest() == checksum, "wrong pixels")
    return Decoded(mode, samples, palette, transparencies[0] if transparencies else None, tuple(metadata))


# --- Section 2: Plane groups ------------------------------------------------------------------------------------------
def decode_group(
    data: bytes, picture: Picture, channels: int, earlier: list[Array], models: dict[bytes, Model]
) -> Array:
    """Section 2: a plane group, (H, W, C), from the data of its PLANES chunk."""
    reader = Reader(data)
    height, width = picture.height, picture.width
    form, coding = reader.nibbles()
    if form == 7:
        index = reader.byte()
        require(coding == 0 and not reader.rest(), "a copy with rows")
        require(index < len(earlier) and earlier[index].shape[2] == channels, "a copy of a wrong group")
        return earlier[index]

    if form == 0:
        group = decode_rows(reader, coding, (height, width, channels), models)
    elif form == 1:
        require(channels == 3, "form 1 is for three channels")
        group = decode_rows(reader, coding, (height, width, 1), models).repeat(3, axis=2)
    elif form == 2:
        count = reader.byte() + 1
        table = np.frombuffer(reader.take(count * channels), np.uint8).reshape(count, channels)
        bits = 0 if count == 1 else 1 if count == 2 else 2 if count <= 4 else 4 if count <= 16 else 8
        indices = decode_packed(reader, coding, bits, picture)
        require(indices.max() < count, "an index outside the table")
        group = table[indices]
    elif form in (3, 4, 5):
        require(channels == 1, "forms 3 to 5 are for one channel")
        group = decode_packed(reader, coding, {3: 1, 4: 2, 5: 4}[form], picture)[:, :, None]
    elif form == 6:
        require(picture.mode == INDEXED, "form 6 is for mode P")
        colours = decode_rows(reader, coding, (height, width, 3), models)
        palette = np.frombuffer(picture.palette, np.uint8).reshape(-1, 3)
        group = np.full((height, width, 1), 255, np.uint8)
        found = np.zeros((height, width), bool)
        for index in range(len(palette) - 1, -1, -1):  # downwards, so that the lowest index stays
            has = (colours == palette[index]).all(axis=2)
            group[has], found = index, found | has
        require(found.all(), "a colour that the palette lacks")
    else:
        raise FileError("unknown form")
    require(picture.mode != BILEVEL or group.max() <= 1, "a bilevel value above 1")
    return group


def decode_packed(reader: Reader, coding: int, bits: int, picture: Picture) -> Array:
    """Section 2: values, (H, W), that are packed in bits, the first one in a byte's highest."""
    require(coding <= 5, "networks do not code packed values")
    packed = decode_rows(reader, coding, (picture.height, (picture.width * bits + 7) // 8, 1), {})
    if bits == 0:
        return np.zeros((picture.height, picture.width), np.uint8)
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    return ((packed >> shifts) & (2**bits - 1)).reshape(picture.height, -1)[:, : picture.width]


def decode_rows(reader: Reader, coding: int, shape: tuple[int, int, int], models: dict[bytes, Model]) -> Array:
    """Section 2: the rows, of shape (H, W', C'), from the rest of the data."""
    size = shape[0] * shape[1] * shape[2]
    if coding == 0:
        data = reader.rest()
        require(len(data) == size, "wrong number of values")
        return np.frombuffer(data, np.uint8).reshape(shape)
    if coding == 1:
        require(shape[1], "filtered rows of no bytes")
        return unfilter(decompress(zlib.decompressobj(), reader.rest(), size + shape[0]), shape)
    if coding in (2, 3, 4, 5):
        dictionary = min(max(1 << (size - 1).bit_length(), 4096), 2**25)
        filters = [{"id": lzma.FILTER_LZMA2, "dict_size": dictionary}]
        data = decompress(lzma.LZMADecompressor(lzma.FORMAT_RAW, None, filters), reader.rest(), size)
        rows = np.frombuffer(data, np.uint8).reshape(shape)
        if coding in (3, 5):
            rows = np.add.accumulate(rows, axis=1, dtype=np.uint8)
        if coding in (4, 5):
            rows = np.add.accumulate(rows, axis=0, dtype=np.uint8)
        return rows
    return decode_turned(reader, coding, shape, models)


def decompress(decompressor: Any, data: bytes, size: int) -> bytes:
    """All of a zlib or LZMA2 stream that must hold `size` bytes, and end where the data end."""
    try:
        result = decompressor.decompress(data, size + 1)
    except (zlib.error, lzma.LZMAError) as error:
        raise FileError(f"a damaged stream: {error}") from error
    require(decompressor.eof and not decompressor.unused_data and len(result) == size, "a stream of wrong length")
    return result


def unfilter(data: bytes, shape: tuple[int, int, int]) -> Array:
    """Section 2: PNG's filters undone (PNG specification, section 9)."""
    height, width, pixel = shape
    length = width * pixel
    above, rows = bytes(length), bytearray()
    for start in range(0, height * (length + 1), length + 1):
        kind, row = data[start], bytearray(data[start + 1 : start + 1 + length])
        require(kind <= 4, "unknown filter")
        for i in range(length):
            a, b, c = (row[i - pixel], above[i], above[i - pixel]) if i >= pixel else (0, above[i], 0)
            if kind == 4:
                p = a + b - c
                prediction = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            else:
                prediction = (0, a, b, (a + b) // 2)[kind]
            row[i] = (row[i] + prediction) % 256
        rows += row
        above = bytes(row)
    return np.frombuffer(bytes(rows), np.uint8).reshape(shape)


# --- Section 3: Rows coded by a network -------------------------------------------------------------------------------
def decode_turned(reader: Reader, coding: int, shape: tuple[int, int, int], models: dict[bytes, Model]) -> Array:
    """Section 3: rows of shape (H, W, C') that a network codes."""
    orientation = phase = 0
    if coding == 14:
        coding, low = reader.nibbles()
        orientation = low & 7
        if low & 8:
            phase = reader.byte()
            require(1 <= phase <= 3, "unknown phase")
        require(orientation or phase, "coding 14 without need")
    require(8 <= coding <= 13, "unknown coding")
    height, width, channels = shape
    require(max(height, width) <= 2**24 and height * width <= 2**36, "too large for a network")

    model = models.get(reader.take(16))
    if model is None:
        raise FileError("the model is missing")
    require(model.channels == channels, "the model is for another number of channels")
    layers = model.layers
    if phase:
        require(model.parities, "a phase, but the model has no parities")
        weight = layers[0].weight.copy()
        weight[:, -1] *= -1 if phase & 1 else 1
        weight[:, -2] *= -1 if phase & 2 else 1
        layers = [layers[0]._replace(weight=weight), *layers[1:]]
    if coding >= 11:
        layers = adapt(model, layers, reader.take(reader.number()))
        coding -= 3

    if orientation & 4:
        height, width = width, height
    image = decode_image(model, layers, coding, height, width, reader.rest())
    if orientation & 4:
        image = image.swapaxes(0, 1)
    if orientation & 2:
        image = image[::-1]
    if orientation & 1:
        image = image[:, ::-1]
    return image


def decode_image(model: Model, layers: list[Layer], order: int, height: int, width: int, stream: bytes) -> Array:
    """Section 3, scan order: the image, (H, W, C), as the stream holds it."""
    delay = {SEQUENTIAL: width, WAVEFRONT: 3, DIAGONAL: 1}[order]
    decoder = ArithmeticDecoder(stream)
    decoder.expect(height * width * model.channels)
    surroundings = Surroundings(model, order, delay, height, width)
    for step in range(delay * (height - 1) + width):
        rows = np.arange(max(0, -((width - 1 - step) // delay)), min(height - 1, step // delay) + 1)
        if not len(rows):
            continue
        columns = step - delay * rows
        inputs, references = surroundings.look(rows, columns)
        mixture = Mixture(model, run_layers(model, layers, inputs), references)
        values = np.zeros((len(rows), model.channels), np.int64)
        for channel in range(model.channels):
            points = mixture.points(channel, values - references)
            values[:, channel] = [decoder.symbol(of_pixel) for of_pixel in points.tolist()]
            surroundings.pixels[rows * width + columns, channel] = values[:, channel]
    return surroundings.pixels[: height * width].reshape(height, width, -1).astype(np.uint8)


# --- Section 4: Model files -------------------------------------------------------------------------------------------
class Layer(NamedTuple):
    """The integers of one layer, as int64."""

    weight: Array  # (outputs, inputs)
    bias: Array  # (outputs,)
    shift: Array  # (outputs,)


class Model(NamedTuple):
    """A model file."""

    fingerprint: bytes
    limit: int
    channels: int
    mixtures: int
    residual: bool
    reference: str
    scales: str
    padding: str
    parities: bool
    taps: list[tuple[int, int]]
    layers: list[Layer]

    @property
    def row_groups(self) -> list[int]:
        """Sections 6 and 8: how many outputs are means, scales, logits and cross terms."""
        size = self.channels * self.mixtures
        return [size] * 3 + ([3 * self.mixtures] if self.channels == 3 else [])


def read_model(data: bytes) -> Model:
    """Section 4: a model from its file."""
    try:
        return parse_model(data)
    except (struct.error, LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise FileError(f"not a model file: {error!r}") from error


def parse_model(data: bytes) -> Model:
    """Section 4: likewise, but other exceptions may leave it."""
    (length,) = struct.unpack_from("<Q", data)
    head, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    texts = head["__metadata__"]
    description, limit = json.loads(texts["description"]), int(texts["limit"])
    require(texts["format"] == "p59 frozen 1", "unknown format of model")

    def tensor(name: str, dtype: str, code: str, shape: tuple[int, ...]) -> tuple[bytes, Array]:
        entry = head[name]
        require((entry["dtype"], tuple(entry["shape"])) == (dtype, shape), f"{name} is of a wrong kind")
        raw = body[slice(*entry["data_offsets"])]
        return raw, np.frombuffer(raw, code).reshape(shape).astype(np.int64)

    if not description.get("parities", False):
        description.pop("parities", None)
    canonical = json.dumps(description, sort_keys=True, separators=(",", ":"))
    fingerprint = hashlib.sha256(f"p59 frozen 1\n{canonical}\n{limit}\n".encode())
    keys = ("channels", "mixtures", "residual", "reference", "scales", "padding")
    taps = [(int(row), int(column)) for row, column in description["taps"]]
    parities = description.get("parities", False)
    model = Model(b"", limit, *(description[key] for key in keys), parities=parities, taps=taps, layers=[])
    require(1 <= limit <= 32767 and model.channels in (1, 3) and 1 <= model.mixtures <= 10, "unknown model")
    require(model.reference in ("none", "west") and model.scales in ("clamped", "exponential"), "unknown model")
    require(model.padding == "zero" or max(model.taps)[0] <= (model.padding == "diagonal"), "unknown padding")
    require(not model.residual or len(description["widths"]) % 2, "residual blocks come in pairs of layers")

    widths = [len(model.taps) * model.channels + 2 * model.parities, *description["widths"], sum(model.row_groups)]
    for number, (inputs, outputs) in enumerate(pairwise(widths)):
        raw_weight, weight = tensor(f"layer.{number}.weight", "I16", "<i2", (outputs, inputs))
        raw_bias, bias = tensor(f"layer.{number}.bias", "I32", "<i4", (outputs,))
        raw_shift, shift = tensor(f"layer.{number}.shift", "U8", "u1", (outputs,))
        require(shift.max() <= 31, "a shift of more than 31 bits")
        require(weight.min() > -32768, "a weight of -32768")
        reach = abs(weight).sum(axis=1) * (limit if number else 255) + abs(bias)
        require(reach.max() <= 2**31 - 1, "sums of more than 32 bits")
        fingerprint.update(raw_weight + raw_bias + raw_shift)
        model.layers.append(Layer(weight, bias, shift))
    return model._replace(fingerprint=fingerprint.digest())


# --- Section 5: Inputs of the network ---------------------------------------------------------------------------------
class Surroundings:
    """Section 5: the image while it is decoded, and what the network sees of it."""

    def __init__(self, model: Model, order: int, delay: int, height: int, width: int) -> None:
        self.model, self.height, self.width = model, height, width
        # Row by row the pixels, then two that stand for what is outside: one of values 128, one of zeros.
        self.pixels = np.zeros((height * width + 2, model.channels), np.int64)
        self.pixels[-2] = 128
        known = [
            row < 0 or (row == 0 and column < 0) if order == SEQUENTIAL else delay * row + column < 0
            for row, column in model.taps
        ]
        self.tap_rows, self.tap_columns = np.array(
            [tap if is_known else (-2, 1) for tap, is_known in zip(model.taps, known, strict=True)]
        ).T
        self.is_west = np.array([tap == (0, -1) for tap in model.taps])

    def place(self, rows: Array, columns: Array) -> Array:
        """Where in `pixels` that stands which is read at places inside or outside the image."""
        height, width, padding = self.height, self.width, self.model.padding
        if padding == "zero":
            outside = (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)
            return np.where(outside, height * width + 1, rows * width + columns)
        above, left, right = rows < 0, columns < 0, columns >= width
        below = (rows >= height) & ~left  # only with diagonal padding
        row = np.where(below, height - 1, np.where(left, rows + (columns if padding == "diagonal" else -1), rows))
        column = np.where(below, columns + 1, np.where(left, 0, np.where(right, width - 1, columns)))
        is_128 = above | (row < 0) | (column >= width)
        return np.where(is_128, height * width, row * width + column)

    def look(self, rows: Array, columns: Array) -> tuple[Array, Array]:
        """The inputs (pixels, inputs) and the references (pixels, C) of pixels."""
        inputs = self.pixels[self.place(rows[:, None] + self.tap_rows, columns[:, None] + self.tap_columns)]
        references = np.zeros((len(rows), self.model.channels), np.int64)
        if self.model.reference == "west":
            references = self.pixels[self.place(rows, columns - 1)]
            west = references[:, None, :]
            inputs = np.where(self.is_west[:, None], 2 * inputs - 255, inputs - west)
        inputs = inputs.reshape(len(rows), -1)
        if self.model.parities:
            parities = np.stack([rows % 2, columns % 2], axis=1) * 510 - 255
            inputs = np.concatenate([inputs, parities], axis=1)
        return inputs, references


# --- Section 6: The network, and the mixture --------------------------------------------------------------------------
def run_layers(model: Model, layers: list[Layer], inputs: Array) -> Array:
    """Section 6, layers: the outputs (pixels, outputs) of the network."""
    a, entered = inputs, inputs
    for number, (weight, bias, shift) in enumerate(layers):
        s = (a @ weight.T + bias) >> shift
        if number == len(layers) - 1:
            break
        leaky = number % 2 == 1 or not model.residual
        y = np.maximum(saturate(s), (saturate((s + 32) >> 6) * 20992 + 16384) >> 15) if leaky else s
        y = np.clip(y, -model.limit, model.limit)
        if model.residual and leaky:
            entered = a
        elif model.residual and number:
            y = np.clip(y + entered, -model.limit, model.limit)
        a = y
    return s


def saturate(n: Array) -> Array:
    """Section 6: sat."""
    return np.clip(n, -32768, 32767)


class Mixture:
    """Section 6: the mixtures of the pixels of a step; all arrays are (pixels, C or 3, M)."""

    def __init__(self, model: Model, outputs: Array, references: Array) -> None:
        ends = list(accumulate(model.row_groups))
        parts = [part.reshape(len(outputs), -1, model.mixtures) for part in np.split(outputs, ends[:-1], axis=1)]
        self.means = np.clip(parts[0], -(2**20), 2**20) + 64 * references[:, :, None]
        if model.scales == "exponential":
            self.scales = np.clip(parts[1], 0, 191)
        else:
            self.scales = np.searchsorted(THRESHOLDS, parts[1], side="right")
        logits = np.clip(parts[2], -(2**20), 2**20)
        d = logits.max(axis=2, keepdims=True) - logits
        p = EXP2[d & 255] >> np.minimum(d >> 8, 31)
        self.weights = (p * (2**31 // p.sum(axis=2, keepdims=True))) >> 19
        first_largest = np.arange(model.mixtures) == logits.argmax(axis=2)[:, :, None]
        self.weights += first_largest * (4096 - self.weights.sum(axis=2, keepdims=True))
        if model.channels == 3:
            self.cross = np.clip(parts[3], -32767, 32767)

    def points(self, channel: int, deviations: Array) -> Array:
        """Section 6, cross terms and CDF points: the points (pixels, 257) of a channel.

        `deviations`, (pixels, C), are the values less the references, of the channels before this one.
        """
        mean, scale, weight = self.means[:, channel], self.scales[:, channel], self.weights[:, channel]
        if channel == 1:
            mean = mean + ((self.cross[:, 0] * deviations[:, :1] + 32) >> 6)
        if channel == 2:
            b, c = self.cross[:, 1], self.cross[:, 2]
            mean = mean + ((b * deviations[:, :1] + c * deviations[:, 1:2] + 32) >> 6)
        mean = np.clip(mean, -32768, 49152)[:, None, :]
        scale, weight = scale[:, None, :], weight[:, None, :]
        v = np.arange(1, 256)
        z = ((64 * v[:, None] - 32 - mean) * MANTISSA[scale % 16]) >> (5 + scale // 16)
        z = np.clip(z, -20480, 20480) + 20480
        k = z >> 6
        phi = NORMAL[k] + (((NORMAL[k + 1] - NORMAL[k]) * (z & 63) + 32) >> 6)
        points = v + (((weight * phi).sum(axis=2) + 8192) >> 14)
        return np.pad(points, ((0, 0), (1, 1)), constant_values=(0, 65536))


def make_tables() -> tuple[Array, Array, Array, Array]:
    """Section 6, tables: EXP2, MANTISSA, THRESHOLDS and NORMAL."""
    with localcontext() as context:
        context.prec = 50
        two, finest = Decimal(2), Decimal("0.11")
        exp2 = [2**15 * two ** (Decimal(-i) / 256) for i in range(256)]
        mantissa = [131072 / (64 * finest) * two ** (Decimal(-i) / 16) for i in range(16)]
        thresholds = [4096 * finest * two ** ((i + Decimal("0.5")) / 16) for i in range(191)]
        normal = [261120 * normal_cdf(Decimal(min(i, 640)) / 64 - 5) for i in range(642)]
        tables = [[int(n.to_integral_value(ROUND_HALF_EVEN)) for n in table] for table in (exp2, mantissa, normal)]
        tables.insert(2, [int(n.to_integral_value(ROUND_CEILING)) for n in thresholds])
    for table, digest in zip(tables, TABLE_DIGESTS, strict=True):
        assert hashlib.sha256(",".join(map(str, table)).encode()).hexdigest() == digest
    exp2, mantissa, thresholds, normal = map(np.array, tables)
    return exp2, mantissa, thresholds, normal


def normal_cdf(x: Decimal) -> Decimal:
    """Phi(x) = 1/2 + (x + x^3 / 3 + x^5 / (3 * 5) + ...) * exp(-x^2 / 2) / sqrt(2 pi)."""
    pi = Decimal("3.14159265358979323846264338327950288419716939937510582")
    term = total = x
    for n in range(3, 400, 2):
        term = term * x * x / n
        total += term
    return Decimal("0.5") + total * (-x * x / 2).exp() / (2 * pi).sqrt()


TABLE_DIGESTS = (
    "aa8c52d17a053daf00932253feb32e8f8fec9a559acb91d50e8c9b5b038375ca",
    "d3839276839bcc9a2ccaaa87e7e86376e2bd7e6f88eb4e09d34ac722b1450d76",
    "d6b768633fb762a4da6e643709674d5bf0d8e48715ce3ccbbb5683776a27af67",
    "85caf3c3d5af9c85db5901c25830e9012876c004f1a139736f1391cb17a76e4c",
)
EXP2, MANTISSA, THRESHOLDS, NORMAL = make_tables()


# --- Section 7: Arithmetic decoding -----------------------------------------------------------------------------------
class ArithmeticDecoder:
    """Section 7: symbols out of a stream."""

    def __init__(self, stream: bytes) -> None:
        self.stream, self.position = stream, 32
        self.low, self.high = 0, 2**32 - 1
        self.value = int.from_bytes(stream[:4].ljust(4, b"\0"), "big")

    def expect(self, symbols: int) -> None:
        """Section 9: refuse the file where the stream is too short for so many symbols."""
        bits = symbols * (Decimal(65536) / 65281).ln() / Decimal(2).ln()
        require(bits <= 8 * len(self.stream) + 64, "a stream too short for so many symbols")

    def next_bit(self) -> int:
        """The next bit, 0 past the end."""
        byte, bit = divmod(self.position, 8)
        self.position += 1
        return self.stream[byte] >> (7 - bit) & 1 if byte < len(self.stream) else 0

    def symbol(self, points: list[int]) -> int:
        """The next symbol, from its 257 CDF points."""
        span = self.high - self.low + 1
        target = ((self.value - self.low + 1) * 65536 - 1) // span
        v = bisect_right(points, target) - 1
        self.high = self.low - 1 + (span * points[v + 1] >> 16)
        self.low = self.low + (span * points[v] >> 16)
        while True:
            if self.high < 2**31 or self.low >= 2**31:
                subtracted = 0
            elif self.low >= 2**30 and self.high < 3 * 2**30:
                subtracted = 2**30
            else:
                return v
            self.high = (2 * (self.high - subtracted) + 1) % 2**32
            self.low = 2 * (self.low - subtracted) % 2**32
            self.value = (2 * (self.value - subtracted) + self.next_bit()) % 2**32


# --- Section 8: Adaptations -------------------------------------------------------------------------------------------

FALL = (None, 46341, 32768, 23170, 16384, 11585, 8192, 5793, 4096, 2896, 2048, 1448, 1024, 724, 512, 362)


@lru_cache
def points_of_spread(spread: int) -> list[int]:
    """Section 8: the 257 CDF points of numbers from -128 to 127."""
    w = [2**30]
    for _ in range(128):
        w.append(w[-1] * (65536 - FALL[spread]) >> 16)
    total = sum(w[abs(n)] for n in range(-128, 128))
    frequencies = [1 + 65280 * w[abs(n)] // total for n in range(-128, 128)]
    frequencies[128] += 65536 - sum(frequencies)
    return list(accumulate(frequencies, initial=0))


def adapt(model: Model, layers: list[Layer], adaptation: bytes) -> list[Layer]:
    """Section 8: the layers that an adaptation makes of the model's."""
    reader = Reader(adaptation)
    heads = []
    for layer in layers:
        gain_exponent, product_exponent = reader.nibbles()
        products = reader.byte()
        require(products <= 15, "too many products")
        groups = []
        for size in [len(layer.weight)] if layer is not layers[-1] else model.row_groups:
            offset_exponent, offset_spread = reader.nibbles()
            gain_spread = reader.byte()
            require(gain_spread <= 15, "unknown spread")
            groups.append((size, offset_exponent, offset_spread, gain_spread))
        heads.append((gain_exponent, product_exponent, groups, [reader.nibbles() for _ in range(products)]))

    decoder = ArithmeticDecoder(reader.rest())

    def numbers(count: int, spread: int) -> Array:
        if spread == 0:
            return np.zeros(count, np.int64)
        return np.array([decoder.symbol(points_of_spread(spread)) - 128 for _ in range(count)])

    result = []
    for layer, (gain_exponent, product_exponent, groups, products) in zip(layers, heads, strict=True):
        offsets, gains = [], []
        for size, offset_exponent, offset_spread, gain_spread in groups:
            offsets.append(numbers(size, offset_spread) << offset_exponent)
            gains.append(numbers(size, gain_spread))
        change = np.zeros_like(layer.weight)
        for left_spread, right_spread in products:
            left = numbers(layer.weight.shape[0], left_spread)
            change += np.outer(left, numbers(layer.weight.shape[1], right_spread))
        magnitude = abs(layer.weight).max(axis=1)
        exact = layer.weight * ((1 << gain_exponent) + np.concatenate(gains))[:, None] << product_exponent
        exact += (magnitude[:, None] * change) << gain_exponent
        bias = layer.bias - half(layer.shift) + (np.concatenate(offsets) << layer.shift)
        largest_input = model.limit if result else 255
        result.append(fit(exact, gain_exponent + product_exponent, bias, layer.shift, largest_input))
    return result


def half(n: Any) -> Any:
    """Section 8: half, of a number or of each in an array."""
    return (1 << n) // 2


def fit(exact: Array, exponent: int, b: Array, shifts: Array, largest_input: int) -> Layer:
    """Section 8, applying it: each row with as little of its shift taken away as makes it fit."""
    rows = []
    for row, bias, shift in zip(exact, b.tolist(), shifts.tolist(), strict=True):
        for h in range(shift + 1):
            weights = (row + half(exponent + h)) >> (exponent + h)
            new_bias = ((bias + half(h)) >> h) + half(shift - h)
            magnitudes = abs(weights)
            reach = int(magnitudes.sum()) * largest_input + abs(new_bias)
            if magnitudes.max() <= 32767 and reach <= 2**31 - 1:
                rows.append((weights, new_bias, shift - h))
                break
        else:
            raise FileError("an adaptation that does not fit")
    return Layer(*map(np.array, zip(*rows, strict=True)))
