"""Jobs in parallel processes, with progress; stops at once, and cleanly, when interrupted."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

from utils.errors import P59Error
from utils.evaluation.jobs import Job, run_job
from utils.evaluation.rows import Row


def run_jobs(jobs: Iterable[Job], workers: int) -> Iterator[Row]:
    """The jobs' rows, as they are done. `workers` 0 runs them in this process.

    At most two jobs for each worker are under way, and a worker holds one image: that bounds the memory.
    Raises P59Error where a worker dies.
    """
    if workers == 0:
        yield from map(run_job, jobs)
        return
    waiting = iter(jobs)
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
    try:
        pending = {pool.submit(run_job, job) for job in islice(waiting, 2 * workers)}
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                pending |= {pool.submit(run_job, job) for job in islice(waiting, 1)}
                yield _result(future)
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """An interrupt reaches the whole group; only the parent answers it. A worker ends when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_with(parent) -> None:
    parent.join()
    os._exit(1)


def _result(future: Future) -> Row:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise P59Error(
            "a worker process was killed (out of memory?); start again with fewer num_workers to continue"
        ) from error
