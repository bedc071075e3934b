"""Results of an evaluation: one row for each image and codec, in a TSV file that grows row by row.

Only whole lines count, and of two rows of the same measurement the later one; so an evaluation that was interrupted, or
in which something failed, continues by being started again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from utils.errors import InputError, P59Error
from utils.files import check_output

#: Data sets of timing rows are named so, with their size: "timing 512x768".
TIMING = "timing"
#: Between order and steps where the network was fitted to each image: "wavefront, adapted 1000".
ADAPTED = ", adapted "
#: After the order where images were coded as they lie, in no other orientation.
UNTURNED = ", not turned"
#: In place of the backend among the versions where the image was coded plainly, by no network.
PLAIN = "coded plainly"
#: Between a hash of the fingerprints of a choice's models and their number.
SEVERAL = "x"


@dataclass(frozen=True)
class Row:
    """One image coded, decoded and compared by one codec. Units: bytes, seconds, bits per sub-pixel.

    codec           the codec; for ours with `order`, `model`; `parameters` and `macs` of a pixel of its largest model
    model           the fingerprint; of several, of which each image takes one, a hash of theirs, SEVERAL, and how many
    order           for ours, the scan order, after it UNTURNED where that holds, then ADAPTED and the steps of fitting
                    where there were any
    channel_bits    for ours, ideal bits of each channel, joined by commas; of models that are not adapted, and nothing
                    where the image was coded plainly
    pixels          checksum of the samples, so that results of another image of the same name are told apart; nothing
                    where it could not be read
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
        """What is measured: rows of equal key replace each other. Times are those of a machine."""
        machine = self.machine if self.is_timing else ""
        return (self.data_set, self.image, self.codec, self.order, self.model, self.device, self.threads, machine)

    @property
    def ok(self) -> bool:
        return not self.error

    @property
    def scan(self) -> str:
        """For ours, the name of the scan order."""
        return self.order.partition(", ")[0]

    @property
    def is_plain(self) -> bool:
        """Whether ours coded the image plainly, by no network."""
        return self.versions.startswith(PLAIN)

    @property
    def megapixels(self) -> float:
        return self.height * self.width / 1e6

    @property
    def is_timing(self) -> bool:
        return is_timing(self.data_set)


def is_timing(data_set: str) -> bool:
    """Whether rows of a data set are about times."""
    return data_set.startswith(f"{TIMING} ")


COLUMNS = tuple(field.name for field in fields(Row))
_KINDS = {"int": int, "float": float, "str": str}
_PARSERS = tuple(_KINDS[field.type] for field in fields(Row))


#: What would end a cell or a line, and what is written for it.
_ESCAPES = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}
_ESCAPED = {text: character for character, text in _ESCAPES.items()}


def to_line(row: Row) -> str:
    cells = (f"{value:.6g}" if isinstance(value, float) else utf8(str(value)) for value in astuple(row))
    return "\t".join(re.sub(r"[\\\t\n\r]", lambda found: _ESCAPES[found[0]], cell) for cell in cells) + "\n"


def _cells(line: str) -> list[str]:
    return [re.sub(r"\\[\\tnr]", lambda found: _ESCAPED[found[0]], cell) for cell in line.split("\t")]


def utf8(text: str) -> str:
    """The text with what is not UTF-8 in a file's name written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def current(rows: list[Row]) -> list[Row]:
    """The rows without those that later ones outdate.

    These are rows of an image whose name now means another one, by its latest row, and failures before a model was
    known that do not happen any more.
    """
    latest = {(row.data_set, row.image): row.pixels for row in rows if row.pixels}
    good = {_case(row): place for place, row in enumerate(rows) if row.ok}
    return [
        row
        for place, row in enumerate(rows)
        if row.pixels in ("", latest.get((row.data_set, row.image)))
        and (row.ok or row.model or good.get(_case(row), -1) < place)
    ]


def _case(row: Row) -> tuple:
    """What is measured, with whatever model."""
    machine = row.machine if row.is_timing else ""
    return (row.data_set, row.image, row.codec, row.order, row.device, row.threads, machine)


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
                row = Row(*(parse(cell) for parse, cell in zip(_PARSERS, _cells(line), strict=True)))
            except ValueError as error:
                raise InputError(f"{str(path)!r} line {number} is damaged ({error}); remove that line") from error
            rows.pop(row.key, None)
            rows[row.key] = row
    return list(rows.values())


class RowFile:
    """Appends rows to a TSV file, each written through at once. Use in a `with` block.

    Raises P59Error where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        check_output(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)
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
        data = line.encode()
        try:
            while data:
                data = data[self._file.write(data) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise P59Error(
                f"cannot write {str(self._path)!r} ({error.strerror}); the measurements in it are kept, "
                "free space and start again to continue"
            ) from error

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *exception) -> None:
        self._file.close()
