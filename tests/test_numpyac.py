"""The arithmetic coder against exact intervals, against NumpyAc's own streams, and as a round trip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coders.numpyac import TOTAL, Decoder, Encoder, arithmeticCoding, arithmeticDeCoding, integer_cdf

VECTORS = "reference/numpyac_vectors.npz"

#: A symbol as its points c_low < c_high, near the ends and in the middle, narrow and wide.
points = st.one_of(
    st.sets(st.integers(0, TOTAL), min_size=2, max_size=2).map(lambda pair: tuple(sorted(pair))),
    st.sampled_from([(0, 1), (0, TOTAL), (TOTAL - 1, TOTAL), (1, TOTAL), (0, TOTAL - 1), (32767, 32769)]),
    st.integers(0, TOTAL - 1).map(lambda point: (point, point + 1)),
)
#: Runs of one symbol make long runs of pending bits.
sequences = st.lists(st.tuples(points, st.integers(1, 40)), max_size=12).map(
    lambda runs: [pair for pair, count in runs for _ in range(count)]
)


def encoded(pairs) -> bytes:
    encoder = Encoder()
    for pair in pairs:
        encoder.encode(*pair)
    return encoder.finish()


def oracle(pairs) -> bytes:
    """The coder on the unit interval itself: exact, no pending bits, nothing is ever shifted out.

    The coder's registers show a window of the unit interval, SIZE units wide. It narrows to its left, right or middle
    half while [low, end) lies in that half; the unit is halved then. The stream names the quarter of the last window
    that starts at 1/4 or 1/2 of it. Positions are whole numbers of units, as long as they must be.
    """
    size = 1 << 32
    base, low, end, halvings = 0, 0, size, 0
    for c_low, c_high in pairs:
        span = end - low
        low, end = low + (span * c_low >> 16), low + (span * c_high >> 16)
        while True:
            starts = (base, base + size // 2, base + size // 4)
            half = next((start for start in starts if start <= low and end <= start + size // 2), None)
            if half is None:
                break
            base, low, end, halvings = 2 * half, 2 * low, 2 * end, halvings + 1
    code = base + (size // 4 if low < base + size // 4 else size // 2)
    assert low <= code < code + size // 4 <= end, "every continuation of the stream decodes to these symbols"
    value, bits = code >> 30, halvings + 2  # the unit is 2**-(32 + halvings)
    return (value << -bits % 8).to_bytes((bits + 7) // 8, "big")


@settings(max_examples=120, deadline=None)
@given(sequences)
def test_encoder_equals_exact_intervals(pairs):
    assert encoded(pairs) == oracle(pairs)


@settings(max_examples=120, deadline=None)
@given(sequences, st.binary(max_size=8))
def test_decoder_takes_the_symbols_off_the_stream(pairs, rest):
    """Whatever follows the stream, and where nothing does, zeros."""
    for stream in (encoded(pairs), encoded(pairs) + rest):
        decoder = Decoder(stream)
        for c_low, c_high in pairs:
            assert c_low <= decoder.target() < c_high
            decoder.advance(c_low, c_high)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_binary_search_finds_the_symbol(data):
    alphabet = data.draw(st.integers(2, 300))
    cdf = [
        0,
        *sorted(data.draw(st.sets(st.integers(1, TOTAL - 1), min_size=alphabet - 1, max_size=alphabet - 1))),
        TOTAL,
    ]
    symbols = data.draw(st.lists(st.integers(0, alphabet - 1), max_size=60))
    asked: list[int] = []

    def point(value: int) -> int:
        asked.append(value)
        return cdf[value]

    decoder = Decoder(encoded([(cdf[symbol], cdf[symbol + 1]) for symbol in symbols]))
    for symbol in symbols:
        asked.clear()
        assert decoder.decode(point, alphabet) == symbol
        assert len(asked) <= (alphabet - 1).bit_length(), "a binary search, not a whole row of points"


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_decode_to_some_symbols(stream):
    decoder = Decoder(stream)
    for _ in range(60):
        assert 0 <= decoder.decode(lambda value: value * 256, 256) < 256


def test_an_empty_stream():
    assert encoded([]) == oracle([]) == b"\x40"


def test_a_symbol_of_all_the_interval_costs_nothing():
    assert encoded([(0, TOTAL)] * 1000) == encoded([])


def test_long_runs_of_pending_bits():
    pairs = [(32767, 32769)] * 3000 + [(0, 1)]
    assert encoded(pairs) == oracle(pairs)


def test_integer_cdf_keeps_a_share_for_every_symbol():
    generator = np.random.default_rng(0)
    for alphabet in (2, 3, 128, 256):
        pdf = generator.dirichlet(np.full(alphabet, 0.02), 50)
        cdf = integer_cdf(pdf)
        assert cdf.shape == (50, alphabet + 1)
        assert (cdf[:, 0] == 0).all()
        assert (cdf[:, -1] == TOTAL).all()
        assert (np.diff(cdf) >= 1).all()
    assert integer_cdf(np.array([0.25, 0.5, 0.25])).tolist() == [0, 16384, 49152, 65536]


@pytest.mark.parametrize("row", [[0.5] * 4, [0.5, 0.7, -0.2], [np.nan, 1], [np.inf, 0], [1e300, 1e300]])
def test_rows_that_are_no_probabilities_are_refused(row):
    """They would code symbols that decode to others."""
    with pytest.raises(ValueError, match="sum to 1"):
        arithmeticCoding().encode(np.array([row]), np.array([0]))
    with pytest.raises(ValueError, match="sum to 1"):
        arithmeticDeCoding(b"stream", 1, len(row)).decode(np.array(row))


# NumpyAc's own streams.


@pytest.fixture(scope="module")
def vectors(shared):
    with np.load(shared / VECTORS) as file:
        contents = dict(file)
    names = {name.split(".")[0] for name in contents}
    assert names
    return {name: [contents[f"{name}.{part}"] for part in ("pdf", "symbols", "cdf", "bytes")] for name in names}


def test_numpyac_cdf_points(vectors):
    for name, (pdf, _, cdf, _) in vectors.items():
        expected = cdf.astype(np.int64)
        expected[:, -1] = TOTAL
        np.testing.assert_array_equal(integer_cdf(pdf), expected, name)


def test_numpyac_streams_encode_bit_for_bit(vectors, tmp_path):
    for name, (pdf, symbols, cdf, stream) in vectors.items():
        file = tmp_path / "stream.bin"
        result, bits = arithmeticCoding().encode(pdf, symbols, str(file))
        assert result == stream.tobytes() == file.read_bytes(), name
        assert bits == 8 * len(result)
        assert arithmeticCoding().encode(pdf, symbols) == (result, bits)
        chosen = cdf.astype(int)
        chosen[:, -1] = TOTAL
        pairs = [(row[symbol], row[symbol + 1]) for row, symbol in zip(chosen.tolist(), symbols.tolist(), strict=True)]
        assert encoded(pairs) == result, name
        assert oracle(pairs) == result, name


def test_numpyac_streams_decode(vectors, tmp_path):
    for name, (pdf, symbols, _, stream) in vectors.items():
        decoder = arithmeticDeCoding(stream.tobytes(), len(symbols), pdf.shape[1])
        rows = [row[None] if index % 2 else row for index, row in enumerate(pdf)]
        assert [decoder.decode(row) for row in rows] == symbols.tolist(), name
        with pytest.raises(EOFError):
            decoder.decode(pdf[0])
    file = tmp_path / "stream.bin"
    file.write_bytes(stream.tobytes())
    decoder = arithmeticDeCoding(None, len(symbols), pdf.shape[1], str(file))
    assert [decoder.decode(row) for row in pdf] == symbols.tolist()


@pytest.mark.parametrize("symbol", [-1, 4, 300])
def test_symbols_outside_the_alphabet_are_refused(symbol):
    with pytest.raises(ValueError, match=r"not all in 0\.\.3"):
        arithmeticCoding().encode(np.full((2, 4), 0.25), np.array([0, symbol]))


def test_rows_and_symbols_must_be_as_many():
    with pytest.raises(ValueError, match="one row of probabilities for each symbol"):
        arithmeticCoding().encode(np.full((2, 4), 0.25), np.array([0, 1, 2]))
