"""One file after the other, or many at a time where the device wants that: rows, failures, and the table at the end."""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from coders.backends import Backend
from utils.errors import InputError, P59Error, reason_of
from utils.files import DENIED, NO_SPACE, UnwritableError
from utils.printable import in_one_line
from utils.stopping import terminable
from utils.tasks.report import TIMING_FORMATS, TIMING_HEADERS, complain, say, table, timing_row

#: Tables of more rows show their totals only: nobody reads them, and laying them out takes seconds.
MOST_ROWS = 1000
#: Up to so many failures are listed again below the table.
FEW_FAILURES = 10
#: Work on so many files may be done or waiting behind one that takes long; on a million it would take gigabytes.
MOST_AHEAD = 1 << 10


@dataclass
class Results:
    """Rows of the table and lines of failures in the order of the files; seconds from the first file to the last."""

    rows: list[list] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    skipped: int = 0
    seconds: float = 0.0

    @property
    def count(self) -> int:
        """Files of which something became."""
        return len(self.rows) + len(self.failures) + self.skipped

    def take(self, result: list | str | None) -> None:
        """What became of a file: a row, the line of a failure, told at once, or None: it was left as it is."""
        if result is None:
            self.skipped += 1
        elif isinstance(result, str):
            self.failures.append(in_one_line(result))
            with tqdm.external_write_mode(sys.stderr):
                complain(f"failed: {result}")
        else:
            self.rows.append(result)


class NoOutputError(P59Error):
    """A file could not be written, and no other could, so that none need be tried."""


def run_files(
    work: Callable[[Path, Path], tuple | None],
    files: list[Path],
    outputs: list[Path],
    backend: Backend,
    how_to_go_on: str | None = "skip_existing=true goes on after the files that are there",
) -> Results:
    """work(file, output) -> (pixels, subpixels, bytes, ...) for each file, as many at a time as the backend wants.

    None is an output that was left as it is. Whatever work raises is a failure of its file, told at once; the run
    ends where the disk is full or read-only, or where all outputs are to be and nothing may be. An interrupt,
    SIGTERM or SIGHUP, shows what was done until then, also behind files that were not, and `how_to_go_on`.
    """
    started, results = time.perf_counter(), Results()
    folders = {output.parent for output in outputs}

    def one(path: Path, output: Path) -> list | str | None:
        began = time.perf_counter()
        try:
            if path.is_dir():
                raise InputError("is a directory that cannot be listed; what it holds is left out")
            found = work(path, output)
        except Exception as error:
            if _hits_all(error, folders):
                raise NoOutputError(f"{path}: {error}") from error
            return f"{path}: {_reason(error)}"
        if found is None:
            return None
        pixels, subpixels, size, *rest = found
        return timing_row(str(output), pixels, subpixels, size, time.perf_counter() - began, *rest)

    pairs = list(zip(files, outputs, strict=True))
    waiting: dict[int, list | str | None] = {}  # results behind those of files that are still under way

    def work_on(number: int) -> list | str | None:
        result = one(*pairs[number])
        if not (isinstance(result, str) and backend.stopped()):  # which would be the failure of a file that was stopped
            waiting[number] = result
        return result

    def take_waiting() -> None:
        done.close()
        for number in sorted(waiting):
            results.take(waiting.pop(number))

    done = together(work_on, range(len(pairs)), backend)
    with terminable(), closing(done):  # an interrupt here ends the threads at once
        try:
            for number, result in enumerate(tqdm(done, total=len(pairs), unit="image", disable=None)):
                waiting.pop(number, None)
                results.take(result)
        except NoOutputError as error:
            take_waiting()
            left = len(pairs) - results.count - 1
            results.take(
                f"{error}; the run ends here, {left} files were not tried, skip_existing=true goes on with them"
            )
        except KeyboardInterrupt:
            take_waiting()
            results.seconds = time.perf_counter() - started
            if results.count:
                conclude(results)
            if how_to_go_on:
                say(how_to_go_on)
            raise
    results.seconds = time.perf_counter() - started
    return results


def together(work: Callable[[Any], Any], items: Sequence, backend: Backend) -> Generator:
    """work(item) of each item, in their order; where the backend takes several images at once, in so many threads.

    An exception, an interrupt too, ends the work on all items.
    """
    if backend.at_once == 1 or len(items) == 1:
        yield from map(work, items)
        return
    executor, submitted = ThreadPoolExecutor(backend.at_once), deque()
    try:
        for item in items:
            submitted.append(executor.submit(work, item))
            if len(submitted) > MOST_AHEAD + backend.at_once:
                yield submitted.popleft().result()
        while submitted:
            yield submitted.popleft().result()
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)  # before: whose image is stopped begins no other
        backend.stop()
        raise
    finally:
        executor.shutdown()


def _hits_all(error: Exception, folders: set[Path]) -> bool:
    """Whether an error that kept one output from being written would keep all, which are to be in `folders`."""
    causes = [each for each in (error, error.__cause__) if isinstance(each, OSError)]
    if any(each.errno in (*NO_SPACE, errno.EROFS) for each in causes):
        return True
    refused = [each for each in causes if each.errno in DENIED and each.filename and not each.filename2]  # no renaming
    if not (isinstance(error, UnwritableError) and refused):
        return False
    place = Path(os.path.abspath(refused[0].filename)).parent
    return all(
        next(filter(os.path.exists, (each, *each.parents))) == place
        for each in map(Path, map(os.path.abspath, folders))
    )


def _reason(error: Exception) -> str:
    """For people: why a file failed."""
    if isinstance(error, P59Error):
        return str(error)
    if isinstance(error, MemoryError):
        return str(error) or "out of memory"
    if isinstance(error, OSError):
        where = f" ({str(error.filename)!r})" if error.filename else ""
        return f"{error.strerror or error}{where}; check the paths of the file and of its output"
    place = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{type(error).__name__}: {reason_of(error)}"
    return f"internal error ({what}, in line {place.lineno} of {Path(place.filename).name}); report this as a bug"


def conclude(results: Results) -> int:
    """Print the table, how many files were skipped, and how many failed; 1 where some file failed, else 0."""
    rows = results.rows
    if rows:
        pixels, size = (sum(row[column] for row in rows) for column in (1, 2))
        mean, seconds = sum(row[3] for row in rows) / len(rows), results.seconds
        total = [f"{len(rows)} files (mean bpsp)", pixels, size, mean, seconds, pixels / 1e6 / max(seconds, 1e-9)]
        shown = rows if len(rows) <= MOST_ROWS else []
        say(table([*shown, [*total, "", ""]], TIMING_HEADERS, TIMING_FORMATS))
        if not shown:
            say(f"{len(rows)} rows are not shown; the names and sizes are those of the files")
    elif not results.failures and not results.skipped:
        say("nothing to do")
    if results.skipped:
        say(f"{results.skipped} outputs exist and were left as they are (skip_existing); run_mode compare checks files")
    if results.failures and (rows or results.skipped):  # else their lines are the last ones anyway
        few = results.failures if len(results.failures) <= FEW_FAILURES else []
        say("\n  ".join([f"{len(results.failures)} failed, see above" if not few else f"{len(few)} failed:", *few]))
    return 1 if results.failures else 0
