"""The tables of the integer mixture, from exact decimal arithmetic and never from a platform's erf, exp or log.

Each function returns the same tuple of Python integers on every machine (tests pin their hash).
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal, localcontext
from functools import cache

DIGITS = 60
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640629")


def _rounded(value: Decimal, rounding: str = ROUND_HALF_EVEN) -> int:
    return int(value.to_integral_value(rounding))


@cache
def exp2_table() -> tuple[int, ...]:
    """256 entries: 2**15 * 2**(-i/256)."""
    with localcontext(prec=DIGITS):
        return tuple(_rounded(Decimal(2) ** (15 - Decimal(i) / 256)) for i in range(256))


@cache
def scale_mantissas() -> tuple[int, ...]:
    """16 entries: z in 1/4096 sigma of one 1/64 pixel value, times 2**5, for sigma = 0.11 * 2**(i/16)."""
    with localcontext(prec=DIGITS):
        first = Decimal(4096) * 32 / (64 * Decimal("0.11"))
        return tuple(_rounded(first * Decimal(2) ** (-Decimal(i) / 16)) for i in range(16))


@cache
def scale_thresholds() -> tuple[int, ...]:
    """191 entries: the first sigma in 1/4096 pixel value that belongs to index i + 1, geometrically half way."""
    with localcontext(prec=DIGITS):
        lowest = Decimal(4096) * Decimal("0.11")
        return tuple(_rounded(lowest * Decimal(2) ** ((i + Decimal("0.5")) / 16), ROUND_CEILING) for i in range(191))


@cache
def normal_cdf_table() -> tuple[int, ...]:
    """642 entries: 4 * 65280 * Phi(-5 + i/64) for i = 0..640, the last one twice (interpolation reads one ahead)."""
    with localcontext(prec=DIGITS):
        half = [_rounded(4 * 65280 * _normal_cdf(Decimal(i) / 64)) for i in range(321)]
    table = [4 * 65280 - value for value in reversed(half[1:])] + half
    return (*table, table[-1])


def _normal_cdf(z: Decimal) -> Decimal:
    """Phi(z) = 1/2 + phi(z) * sum of z**(2k+1) / (1 * 3 * ... * (2k+1)), a series of positive terms."""
    term = total = z
    k = 0
    while term > Decimal(10) ** (5 - DIGITS):
        k += 1
        term *= z * z / (2 * k + 1)
        total += term
    density = (-z * z / 2).exp() / (2 * PI).sqrt()
    return Decimal("0.5") + density * total
