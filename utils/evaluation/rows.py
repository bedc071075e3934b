"""Results of an evaluation: one row for each image and codec, in a TSV file that grows row by row.

Only whole lines count, and of two rows of the same measurement the later one; so an evaluation that was interrupted, or
in which something failed, continues by being started again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from utils.errors import InputError, P59Error

#: Data sets of timing rows are named so, with their size: "timing 512x768".
TIMING = "timing"
#: Between order and steps where the network was fitted to each image: "wavefront, adapted 1000".
ADAPTED = ", adapted "
#: Between a hash of the fingerprints of a choice's models and their number.
SEVERAL = "x"


@dataclass(frozen=True)
class Row:
    """One image coded, decoded and compared by one codec. Units: bytes, seconds, bits per sub-pixel.

    codec           the codec; for ours with `order`, `model`; `parameters` and `macs` of a pixel of its largest model
    model           the fingerprint; of several, of which each image takes one, a hash of theirs, SEVERAL, and how many
    order           for ours, the scan order, after it ADAPTED and the steps of fitting where there were any
    channel_bits    for ours, ideal bits of each channel, joined by commas; of models that are not adapted
    pixels          checksum of the samples, so that results of another image of the same name are told apart
    workers         images coded at the same time on this machine while this one was timed
    threads         threads given to this codec; one where it has no use for more
    error           why it does not count, or nothing
    """

    data_set: str
    image: str
    height: int
    width: int
    channels: int
    codec: str
    order: str
    model: str
    bytes: int
    bpsp: float
    channel_bits: str
    encode_seconds: float
    decode_seconds: float
    device: str
    threads: int
    workers: int
    parameters: int
    macs: int
    pixels: str
    commit: str
    machine: str
    versions: str
    error: str = ""

    @property
    def key(self) -> tuple:
        """What is measured: rows of equal key replace each other."""
        return (self.data_set, self.image, self.codec, self.order, self.model, self.device, self.threads)

    @property
    def ok(self) -> bool:
        return not self.error

    @property
    def megapixels(self) -> float:
        return self.height * self.width / 1e6

    @property
    def is_timing(self) -> bool:
        return self.data_set.startswith(f"{TIMING} ")


COLUMNS = tuple(field.name for field in fields(Row))
_KINDS = {"int": int, "float": float, "str": str}
_PARSERS = tuple(_KINDS[field.type] for field in fields(Row))


def to_line(row: Row) -> str:
    cells = (f"{value:.6g}" if isinstance(value, float) else str(value) for value in astuple(row))
    return "\t".join(" ".join(cell.split()) for cell in cells) + "\n"


def read_rows(paths: Iterable[Path]) -> list[Row]:
    """Rows of TSV files, in their order, of equal keys only the last. Raises InputError where a file is no such table.

    A last line without its end (the evaluation was stopped while writing it) is left out.
    """
    rows: dict[tuple, Row] = {}
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"results {str(path)!r} cannot be read ({error}); check results_path") from error
        if not lines:
            continue
        if tuple(lines[0].split("\t")) != COLUMNS:
            raise InputError(f"{str(path)!r} is not a table of results of this release; give another results_path")
        for number, line in enumerate(lines[1:], 2):
            try:
                row = Row(*(parse(cell) for parse, cell in zip(_PARSERS, line.split("\t"), strict=True)))
            except ValueError as error:
                raise InputError(f"{str(path)!r} line {number} is damaged ({error}); remove that line") from error
            rows.pop(row.key, None)
            rows[row.key] = row
    return list(rows.values())


class RowFile:
    """Appends rows to a TSV file, each written through at once. Use in a `with` block."""

    def __init__(self, path: Path) -> None:
        """Raises P59Error where it cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
            self._file.seek(0)
            whole = self._file.read().rfind(b"\n") + 1
            self._file.truncate(whole)
        except OSError as error:
            raise P59Error(f"cannot write {str(path)!r} ({error.strerror}); choose another results_path") from error
        if not whole:
            self._write("\t".join(COLUMNS) + "\n")

    def append(self, row: Row) -> None:
        self._write(to_line(row))

    def _write(self, line: str) -> None:
        self._file.write(line.encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *exception) -> None:
        self._file.close()
