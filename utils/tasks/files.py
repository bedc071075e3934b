"""One file after the other, or many at a time where the device wants that: rows, failures, and the table at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from coders.backends import Backend
from utils.errors import P59Error
from utils.tasks.report import TIMING_FORMATS, TIMING_HEADERS, complain, say, table, timing_row


@dataclass
class Results:
    """Rows of the table and lines of failures in the order of the files; seconds from the first file to the last."""

    rows: list[list] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    skipped: int = 0
    seconds: float = 0.0


def run_files(
    work: Callable[[Path, Path], tuple], files: list[Path], outputs: list[Path], skip_existing: bool, backend: Backend
) -> Results:
    """work(file, output) -> (pixels, subpixels, bytes, ...) for each file, as many at a time as the backend wants.

    An interrupt shows what was done until then, and goes on.
    """
    started, results = time.perf_counter(), Results()

    def one(paths: tuple[Path, Path]) -> list | str | None:
        path, output = paths
        if skip_existing and output.exists():
            return None
        began = time.perf_counter()
        try:
            pixels, subpixels, size, *rest = work(path, output)
        except (P59Error, MemoryError) as error:
            return f"{path}: {str(error) or 'out of memory'}"
        return timing_row(str(output), pixels, subpixels, size, time.perf_counter() - began, *rest)

    pairs = list(zip(files, outputs, strict=True))
    with closing(together(one, pairs, backend)) as done:  # an interrupt here ends the threads now, not some time later
        try:
            for result in tqdm(done, total=len(pairs), unit="image", disable=None):
                if result is None:
                    results.skipped += 1
                elif isinstance(result, str):
                    results.failures.append(result)
                else:
                    results.rows.append(result)
        except KeyboardInterrupt:
            results.seconds = time.perf_counter() - started
            if results.rows or results.failures or results.skipped:
                conclude(results)
            say("skip_existing=true goes on after the files that are there")
            raise
    results.seconds = time.perf_counter() - started
    return results


def together(work: Callable[[Any], Any], items: Iterable, backend: Backend) -> Generator:
    """work(item) of each item, in their order; where the backend takes several images at once, in so many threads.

    An exception, an interrupt too, ends the work on all items.
    """
    if backend.at_once == 1:
        yield from map(work, items)
        return
    executor = ThreadPoolExecutor(backend.at_once)
    try:
        for future in [executor.submit(work, item) for item in items]:
            yield future.result()
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)  # before: whose image is stopped begins no other
        backend.stop()
        raise
    finally:
        executor.shutdown()


def conclude(results: Results) -> int:
    """Print the table, how many files were skipped, and the failures; 1 where some file failed, else 0."""
    rows = results.rows
    if rows:
        pixels, size = (sum(row[column] for row in rows) for column in (1, 2))
        mean, seconds = sum(row[3] for row in rows) / len(rows), results.seconds
        total = [f"{len(rows)} files (mean bpsp)", pixels, size, mean, seconds, pixels / 1e6 / max(seconds, 1e-9)]
        say(table([*rows, [*total, "", ""]], TIMING_HEADERS, TIMING_FORMATS))
    elif not results.failures and not results.skipped:
        say("nothing to do")
    if results.skipped:
        say(f"{results.skipped} outputs exist and were left as they are (skip_existing)")
    for failure in results.failures:
        complain(f"failed: {failure}")
    return 1 if results.failures else 0
