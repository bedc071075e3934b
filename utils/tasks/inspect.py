"""Task: what .p59 files hold, and whether they can be decoded here. No sample is decoded, nothing is written."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from coders.container import Container
from coders.image_codec import models_named, network_rows
from utils.errors import P59Error
from utils.stopping import terminable
from utils.tasks.decode import find_streams, read_stream
from utils.tasks.encode import coding_of
from utils.tasks.files import MOST_ROWS
from utils.tasks.models import ModelChoice
from utils.tasks.report import complain, say, table

HEADERS = ["file", "mode", "width x height", "bytes", "bpsp", "samples", "adaptation", "metadata", "order", "model"]
FORMATS = ["", "", "", "", ".4f", "", "", "", "", ""]


@dataclass(frozen=True)
class InspectTask:
    """Show `source`, one .p59 file or a directory of them: their images, and what their bytes are for.

    A file fails that is damaged, as far as its checksum tells, or was coded with a model that is not at hand.
    """

    source: Path
    models: ModelChoice


def run(task: InspectTask) -> int:
    """Inspect all files; failures are told as they occur. Returns the exit status.

    An interrupt or SIGTERM shows what was found until then.
    """
    files = find_streams(task.source)
    task.models.given()
    rows, coded_with, failed = [], Counter(), 0
    try:
        with terminable():
            for path in tqdm(files, unit="file", disable=None):
                try:
                    row, models = _inspected(path, task.models)
                except P59Error as error:
                    failed += 1
                    with tqdm.external_write_mode(sys.stderr):
                        complain(f"failed: {path}: {error}")
                    continue
                rows.append(row)
                coded_with.update(models)
    finally:
        _show(rows, coded_with, len(files))
    return 1 if failed else 0


def _show(rows: list[list], coded_with: Counter, files: int) -> None:
    if 0 < len(rows) <= MOST_ROWS:
        say(table(rows, HEADERS, FORMATS))
    for name, count in coded_with.most_common():
        say(f"{count:,} coded with {name}")
    total = sum(row[HEADERS.index("bytes")] for row in rows)
    say(f"{len(rows):,} of {files:,} files are whole and their models at hand, {total:,} bytes")


def _inspected(path: Path, models: ModelChoice) -> tuple[list, list[str]]:
    """The row of a file, and the names of the models it was coded with."""
    data = read_stream(path)
    container = Container.from_bytes(data, sys.maxsize)
    names = [models.chosen(fingerprint).source.stem for fingerprint in models_named(container)]
    adaptation = sum(len(rows.adaptation) for rows in network_rows(container))
    samples = container.height * container.width * container.mode.channels
    row = [
        str(path),
        container.mode.name,
        f"{container.width} x {container.height}",
        len(data),
        8 * len(data) / samples,
        sum(map(len, container.planes)) - adaptation,
        adaptation,
        sum(len(kind) + len(content) for kind, content in container.metadata),
        coding_of(container)[0],
        ", ".join(names),
    ]
    return row, names
