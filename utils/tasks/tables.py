"""Task: the tables of a Markdown file, the README, from the committed results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.store import SHIPPED, SHIPPED_FILES
from utils.errors import InputError, reason_of
from utils.evaluation.jobs import names_of_models
from utils.evaluation.plan import names_of
from utils.evaluation.readme import MARKED, fill_tables
from utils.evaluation.rows import read_rows
from utils.evaluation.tables import tables_of
from utils.files import check_output, write_whole
from utils.tasks.models import chosen_models
from utils.tasks.report import say


@dataclass(frozen=True)
class TablesTask:
    """Fill the marked tables of `document` from `results`, a TSV file or a directory of them.

    models    choices of ours to show, as evaluate has them: names of model files, () for the shipped ones; None: of
              each order and number of channels the last measured
    """

    results: Path
    document: Path
    models: tuple[tuple[str, ...], ...] | None = None
    experiment: str = "default"


def run(task: TablesTask) -> int:
    """Returns the exit status."""
    write_whole(task.document, filled(task).encode())
    say(f"tables in {task.document} are those of {task.results}")
    return 0


def filled(task: TablesTask) -> str:
    """The document with its tables made anew.

    Raises InputError where it or the results cannot be read, it has no marked table, or there are no results, and
    UnwritableError where it is no file.
    """
    check_output(task.document)
    try:
        text = task.document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or reason_of(error)
        raise InputError(f"{str(task.document)!r} cannot be read ({reason}); give a Markdown file") from error
    if not MARKED.search(text):
        raise InputError(
            f"{str(task.document)!r} has no marked table; mark places with <!-- table:rate -->, <!-- end -->, or give "
            "another output_path"
        )
    files = sorted(task.results.glob("*.tsv")) if task.results.is_dir() else [task.results]
    if not files:
        raise InputError(f"results_path {str(task.results)!r} holds no .tsv file; give a table or a directory of them")
    rows = read_rows(files)
    return fill_tables(text, tables_of(rows, _names(task, {row.model for row in rows})))


def _names(task: TablesTask, measured: set[str]) -> set[str] | None:
    """The names that rows have for the models to show; says which of these were not measured."""
    if task.models is None:
        return None
    names = set()
    for files in task.models:
        if files:
            chosen = chosen_models(files, task.experiment, None, keep=False)
            found = {names_of_models(one.model for one in chosen)}
        else:
            found = {names_of(tuple(SHIPPED / name for name in shipped)) for shipped in SHIPPED_FILES.values()}
        if not found & measured:
            say(f"models names {', '.join(files) or 'shipped'}, of which the results hold nothing; evaluate it first")
        names |= found
    return names
