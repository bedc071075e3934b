"""Task: the tables of a Markdown file, the README, from the committed results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from utils.errors import InputError
from utils.evaluation.readme import fill_tables
from utils.evaluation.rows import read_rows
from utils.evaluation.tables import tables_of
from utils.files import write_whole
from utils.tasks.report import say


@dataclass(frozen=True)
class TablesTask:
    """Fill the marked tables of `document` from `results`, a TSV file or a directory of them."""

    results: Path
    document: Path


def run(task: TablesTask) -> int:
    """Returns the exit status."""
    write_whole(task.document, filled(task).encode())
    say(f"tables in {task.document} are those of {task.results}")
    return 0


def filled(task: TablesTask) -> str:
    """The document with its tables made anew. Raises InputError where it or the results cannot be read."""
    try:
        text = task.document.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{str(task.document)!r} cannot be read ({error.strerror}); give a Markdown file") from error
    files = sorted(task.results.glob("*.tsv")) if task.results.is_dir() else [task.results]
    return fill_tables(text, tables_of(read_rows(files)))
