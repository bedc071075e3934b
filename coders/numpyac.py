"""The arithmetic coder: NumpyAc's stream format, from integers only.

The state is the interval [low, high] of 32-bit integers that all streams starting with the bits written so far lie in.
A symbol is two points c_low < c_high of a 16-bit cumulative distribution, and takes its share of the interval:

    low                                                              high
     |---------------|==========================|---------------------|      span = high - low + 1
                  low + (span c_low >> 16)   low - 1 + (span c_high >> 16)

Then leading bits in which low and high agree are written and shifted out. While low = 01... and high = 10..., the bit
is not decided yet but the interval is less than half; the second bit is dropped and counted as pending, to follow the
next written bit as its opposite. The last symbol is followed by one pending bit and one bit that names the quarter.

`Encoder` and `Decoder` take CDF points. `arithmeticCoding` and `arithmeticDeCoding` are NumpyAc's own interface, which
takes rows of probabilities. The format is that of github.com/zb12138/NumpyAc.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

TOTAL_BITS = 16
TOTAL = 1 << TOTAL_BITS
STATE_BITS = 32
MASK = (1 << STATE_BITS) - 1
HALF, QUARTER, THREE_QUARTERS = 1 << 31, 1 << 30, 3 << 30


def bits_of_shares(shares: np.ndarray) -> np.ndarray:
    """Symbols' shares c_high - c_low of 65536 -> ideal bits of each, float64."""
    return TOTAL_BITS - np.log2(shares.astype(np.float64))


class Encoder:
    """Writes symbols, given as pairs of CDF points, to a stream."""

    def __init__(self) -> None:
        self._low, self._high, self._pending = 0, MASK, 0
        self._bytes, self._bits, self._bit_count = bytearray(), 0, 0

    def encode(self, c_low: int, c_high: int) -> None:
        """Append a symbol that owns [c_low, c_high) of 0..65536; c_low < c_high."""
        span = self._high - self._low + 1
        high = self._low - 1 + (span * c_high >> TOTAL_BITS)
        low = self._low + (span * c_low >> TOTAL_BITS)
        while True:
            if high < HALF or low >= HALF:
                self._write(high >> 31)
                low, high = low << 1 & MASK, high << 1 & MASK | 1
            elif low >= QUARTER and high < THREE_QUARTERS:
                self._pending += 1
                low, high = (low - QUARTER) << 1, (high - QUARTER) << 1 | 1
            else:
                break
        self._low, self._high = low, high

    def finish(self) -> bytes:
        """The whole stream, padded with zero bits to a byte. The encoder is done."""
        self._pending += 1
        self._write(0 if self._low < QUARTER else 1)
        padding = -self._bit_count % 8
        self._bits, self._bit_count = self._bits << padding, self._bit_count + padding
        self._flush()
        return bytes(self._bytes)

    def _write(self, bit: int) -> None:
        """One bit, then the pending ones as its opposite."""
        run = (1 << self._pending) - 1 + bit  # 0111 or 1000
        self._bits = self._bits << (self._pending + 1) | run
        self._bit_count += self._pending + 1
        self._pending = 0
        if self._bit_count >= 512:
            self._flush()

    def _flush(self) -> None:
        whole, rest = divmod(self._bit_count, 8)
        self._bytes += (self._bits >> rest).to_bytes(whole, "big")
        self._bits &= (1 << rest) - 1
        self._bit_count = rest


class Decoder:
    """Reads a stream that Encoder wrote. Past its end it reads zeros, as NumpyAc does."""

    def __init__(self, stream: bytes) -> None:
        self._stream, self._position = stream, STATE_BITS
        self._low, self._high = 0, MASK
        self._value = int.from_bytes(stream[:4].ljust(4, b"\0"), "big")

    def target(self) -> int:
        """The 16-bit count that lies in the next symbol's [c_low, c_high)."""
        span = self._high - self._low + 1
        return ((self._value - self._low + 1) * TOTAL - 1) // span

    def advance(self, c_low: int, c_high: int) -> None:
        """Take the symbol that owns [c_low, c_high) off the stream."""
        span = self._high - self._low + 1
        high = self._low - 1 + (span * c_high >> TOTAL_BITS)
        low, value = self._low + (span * c_low >> TOTAL_BITS), self._value
        while True:
            if high < HALF or low >= HALF:
                low, high, value = low << 1 & MASK, high << 1 & MASK | 1, value << 1 & MASK
            elif low >= QUARTER and high < THREE_QUARTERS:
                low, high, value = (low - QUARTER) << 1, (high - QUARTER) << 1 | 1, (value - QUARTER) << 1
            else:
                break
            value |= self._next_bit()
        self._low, self._high, self._value = low, high, value

    def decode(self, point: Callable[[int], int], symbols: int) -> int:
        """Read one of `symbols` symbols, whose increasing CDF points `point(0..symbols)` gives; binary search."""
        target, below, above = self.target(), 0, symbols
        c_low, c_high = 0, TOTAL
        while above - below > 1:
            middle = (below + above) // 2
            c_middle = point(middle)
            if c_middle <= target:
                below, c_low = middle, c_middle
            else:
                above, c_high = middle, c_middle
        self.advance(c_low, c_high)
        return below

    def _next_bit(self) -> int:
        byte, bit = divmod(self._position, 8)
        self._position += 1
        return self._stream[byte] >> (7 - bit) & 1 if byte < len(self._stream) else 0


def integer_cdf(pdf: np.ndarray) -> np.ndarray:
    """Probabilities (..., L) -> CDF points (..., L + 1) int64: round(cdf * (65536 - L)) + index, the last one 65536.

    Rows sum to 1. Raises ValueError where they hold what is no probability, or sum to so much more that a symbol would
    have no share.
    """
    pdf = np.asarray(pdf, np.float64)
    if not (np.abs(pdf) < 2).all():  # nor NaN
        raise ValueError("pdf holds what is no probability; rows of probabilities sum to 1")
    symbols = pdf.shape[-1]
    cdf = np.concatenate([np.zeros((*pdf.shape[:-1], 1)), np.cumsum(pdf, -1)], -1)
    points = np.round(cdf * (TOTAL - symbols)).astype(np.int64) + np.arange(symbols + 1)
    points[..., -1] = TOTAL
    if not (np.diff(points) > 0).all():
        raise ValueError("pdf holds rows that are no probabilities; they are at least 0 and sum to 1")
    return points


class arithmeticCoding:  # noqa: N801 - NumpyAc's name
    """NumpyAc's encoder."""

    def encode(self, pdf: np.ndarray, symbols: np.ndarray, binfile: str | None = None) -> tuple[bytes, int]:
        """Code `symbols` (N,), each under its row of `pdf` (N, L). Returns the stream and its length in bits.

        With `binfile` the stream is also written to that file. Raises ValueError where a symbol is not in 0..L-1, or a
        row's probabilities do not sum to 1.
        """
        pdf, symbols = np.asarray(pdf), np.asarray(symbols, np.int64).reshape(-1)
        if pdf.ndim != 2 or len(pdf) != len(symbols):
            raise ValueError(f"pdf {pdf.shape} and symbols {symbols.shape}: one row of probabilities for each symbol")
        if len(symbols) and not (symbols.min() >= 0 and symbols.max() < pdf.shape[1]):
            raise ValueError(f"symbols {symbols.min()}..{symbols.max()} are not all in 0..{pdf.shape[1] - 1}")
        points = integer_cdf(pdf)
        encoder, index = Encoder(), np.arange(len(symbols))
        for pair in zip(points[index, symbols].tolist(), points[index, symbols + 1].tolist(), strict=True):
            encoder.encode(*pair)
        stream = encoder.finish()
        if binfile is not None:
            Path(binfile).write_bytes(stream)
        return stream, 8 * len(stream)


class arithmeticDeCoding:  # noqa: N801 - NumpyAc's name
    """NumpyAc's decoder: one symbol at a time, `sysNum` of them in all, `symDim` possible values each."""

    def __init__(self, byte_stream: bytes | None, sysNum: int, symDim: int, binfile: str | None = None) -> None:  # noqa: N803
        self._decoder = Decoder(Path(binfile).read_bytes() if binfile is not None else byte_stream)
        self._left, self._symbols = sysNum, symDim

    def decode(self, pdf: np.ndarray) -> int:
        """The next symbol, given its probabilities (L,) or (1, L). Raises EOFError after `sysNum` symbols."""
        if self._left == 0:
            raise EOFError("all symbols of this stream have been decoded")
        self._left -= 1
        points = integer_cdf(np.asarray(pdf).reshape(-1)[: self._symbols]).tolist()
        return self._decoder.decode(points.__getitem__, self._symbols)
