"""An adaptation as bytes, arithmetic-coded with the coder that pixels are coded with.

For each layer of the model:

    1  high nibble: gain exponent, low nibble: product exponent
    1  number of products R, 0..15
    for each row group      1  high nibble: offset exponent, low nibble: spread of its offsets
                            1  spread of its gains
    for each product        1  high nibble: spread of its column of `left`, low nibble: of `right`

then one arithmetic-coded stream: in the same order the numbers, -128..127, of all that have a spread; spread 0 means
that all are 0. Under spread s a number k has the frequency

    1 + 65280 * w(|k|) // sum of all w,     w(0) = 2**30,  w(k) = w(k-1) * (65536 - FALLS[s]) >> 16

of 65536; k = 0 has what is left over besides. See models.adaptation for the meaning.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import cache
from itertools import accumulate, pairwise

import numpy as np

from coders.fields import Reader
from coders.numpyac import TOTAL, Decoder, Encoder
from models.adaptation import HIGHEST, LOWEST, MOST_PRODUCTS, Adaptation, LayerAdaptation, row_groups
from models.description import ModelDescription
from utils.errors import FormatError

#: For spreads s from 1 on 65536 * 2**(-s / 2), by how much frequencies fall from one number to the next. Spread 0 says
#: that all numbers are 0.
FALLS = (0, 46341, 32768, 23170, 16384, 11585, 8192, 5793, 4096, 2896, 2048, 1448, 1024, 724, 512, 362)
SYMBOLS = HIGHEST - LOWEST + 1
NONE = 0


@cache
def points_of(spread: int) -> tuple[int, ...]:
    """The CDF points (SYMBOLS + 1) of the numbers LOWEST..HIGHEST."""
    weights = list(
        accumulate(range(-LOWEST), lambda weight, _: weight * (TOTAL - FALLS[spread]) >> 16, initial=1 << 30)
    )
    each = [weights[abs(number)] for number in range(LOWEST, HIGHEST + 1)]
    frequencies = [1 + (TOTAL - SYMBOLS) * weight // sum(each) for weight in each]
    frequencies[-LOWEST] += TOTAL - sum(frequencies)
    return tuple(accumulate(frequencies, initial=0))


@cache
def _costs(spread: int) -> np.ndarray:
    """Bits of the numbers LOWEST..HIGHEST."""
    return np.array([16 - math.log2(above - below) for below, above in pairwise(points_of(spread))])


def best_spread(numbers: np.ndarray) -> int:
    """The spread under which the numbers take the fewest bits; 0 where all are 0."""
    if not numbers.any():
        return NONE
    counts = np.bincount(numbers.astype(np.int64).ravel() - LOWEST, minlength=SYMBOLS)
    return min(range(1, len(FALLS)), key=lambda spread: float(counts @ _costs(spread)))


def adaptation_to_bytes(adaptation: Adaptation, description: ModelDescription) -> bytes:
    """The bytes that `adaptation_of_bytes` reads."""
    header, encoder, coded = bytearray(), Encoder(), False
    for layer, groups in zip(adaptation, row_groups(description), strict=True):
        header += bytes((layer.gain_exponent << 4 | layer.product_exponent, layer.left.shape[1]))
        parts = [part for rows in groups for part in (layer.offsets[rows], layer.gains[rows])]
        parts += [part for pair in zip(layer.left.T, layer.right.T, strict=True) for part in pair]
        spreads = [best_spread(numbers) for numbers in parts]
        pairs = list(zip(spreads[::2], spreads[1::2], strict=True))
        for exponent, (offsets, gains) in zip(layer.offset_exponents, pairs, strict=False):
            header += bytes((exponent << 4 | offsets, gains))
        header += bytes(left << 4 | right for left, right in pairs[len(groups) :])
        for numbers, spread in zip(parts, spreads, strict=True):
            if spread != NONE:
                coded, points = True, points_of(spread)
                for symbol in (numbers.astype(np.int64) - LOWEST).tolist():
                    encoder.encode(points[symbol], points[symbol + 1])
    return bytes(header) + (encoder.finish() if coded else b"")


def adaptation_of_bytes(data: bytes, description: ModelDescription) -> Adaptation:
    """The adaptation of a model of this description. Raises FormatError where the bytes are none."""
    reader, headers = Reader(data), []
    for groups in row_groups(description):
        gain_exponent, product_exponent = divmod(reader.byte(), 16)
        products = reader.byte()
        of_groups = [(*divmod(reader.byte(), 16), reader.byte()) for _ in groups]
        if products > MOST_PRODUCTS or any(spread >= len(FALLS) for _, _, spread in of_groups):
            raise FormatError("an adaptation of unknown form; use a newer release")
        headers.append(
            (gain_exponent, product_exponent, of_groups, [divmod(reader.byte(), 16) for _ in range(products)])
        )
    numbers = _Numbers(reader.rest())
    layers = []
    for (rows, columns), groups, header in zip(description.layer_shapes, row_groups(description), headers, strict=True):
        gain_exponent, product_exponent, of_groups, of_products = header
        offsets, gains = np.zeros(rows, np.int8), np.zeros(rows, np.int8)
        for group, (_, offset_spread, gain_spread) in zip(groups, of_groups, strict=True):
            offsets[group] = numbers.take(group.stop - group.start, offset_spread)
            gains[group] = numbers.take(group.stop - group.start, gain_spread)
        pairs = [(numbers.take(rows, left), numbers.take(columns, right)) for left, right in of_products]
        left, right = np.zeros((rows, len(pairs)), np.int8), np.zeros((columns, len(pairs)), np.int8)
        for index, pair in enumerate(pairs):
            left[:, index], right[:, index] = pair
        exponents = tuple(exponent for exponent, _, _ in of_groups)
        layers.append(LayerAdaptation(offsets, gains, left, right, exponents, gain_exponent, product_exponent))
    return tuple(layers)


class _Numbers:
    """Takes numbers off an arithmetic-coded stream; past its end whatever zeros decode to."""

    def __init__(self, stream: bytes) -> None:
        self._decoder = Decoder(stream)

    def take(self, count: int, spread: int) -> list[int]:
        """The next `count` numbers."""
        if spread == NONE:
            return [0] * count
        points, numbers = points_of(spread), []
        for _ in range(count):
            symbol = bisect_right(points, self._decoder.target()) - 1
            self._decoder.advance(points[symbol], points[symbol + 1])
            numbers.append(symbol + LOWEST)
        return numbers
