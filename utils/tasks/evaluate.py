"""Task: the paper's tables for folders of images. Real round trips of this codec and of others, then a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from coders.container import PIXEL_LIMIT
from coders.scan import SCANS
from models.model_file import model_to_bytes
from models.store import SHIPPED, SHIPPED_FILES
from utils.evaluation.codecs import CODECS, OURS
from utils.evaluation.machine import cores
from utils.evaluation.plan import ModelFiles, Plan, names_of, rate_jobs, timing_jobs, unmeasured
from utils.evaluation.plots import plots_of
from utils.evaluation.pool import run_jobs
from utils.evaluation.report import report_html
from utils.evaluation.rows import Row, RowFile, read_rows
from utils.evaluation.tables import shown_rows, tables_of
from utils.files import write_whole
from utils.tasks.models import chosen_models
from utils.tasks.report import complain, say


@dataclass(frozen=True)
class EvaluateTask:
    """Measure `codecs` on `sources`, each a data set named by its folder; add rows to `results`, report to `target`.

    orders     scan orders of ours
    models     choices of ours: model files or checkpoints, of which each image takes the best; () for the shipped ones
    devices    of ours: the first for rates, all of them for times
    workers    images at a time (None: one for each core); 0: in this process, one after another
    threads    of each codec while rates are measured (None: one), and of the timings besides one (None: all cores)
    sizes      (H, W) that are timed, one by one with nothing else running
    adapt_steps    of ours: steps of fitting the network to each image, 0 for none
    turn       of ours: code each image in the orientation that suits it
    """

    sources: str | list[str]
    results: Path
    target: Path
    codecs: tuple[str, ...] = (*CODECS, OURS)
    orders: tuple[str, ...] = tuple(SCANS)
    models: tuple[tuple[str, ...], ...] = ((),)
    experiment: str = "default"
    calibration: str | list[str] | None = None
    devices: tuple[str, ...] = ("cpu",)
    workers: int | None = None
    threads: int | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    pixel_limit: int = PIXEL_LIMIT
    adapt_steps: int = 0
    turn: bool = True


def run(task: EvaluateTask) -> int:
    """Measure what is not yet in the results, then write the report from all of them. Returns the exit status."""
    plan = _plan(task)
    known = read_rows([task.results]) if task.results.is_file() else []
    done, failed = 0, []
    with RowFile(task.results) as file:
        for jobs, workers in ((rate_jobs(plan), plan.workers), (timing_jobs(plan), min(1, plan.workers))):
            wanted = list(jobs)
            waiting = unmeasured(wanted, known)
            done += len(wanted) - len(waiting)
            for row in tqdm(run_jobs(waiting, workers), total=len(waiting), unit="measurement", disable=None):
                file.append(row)
                failed += [row] if row.error else []
    if done:
        say(f"{done} measurements were in {task.results} already; remove it to measure anew")
    models = {names_of(paths) for files in plan.models for order in files.values() for paths in order.values()}
    write_report(read_rows([task.results]), task.target, models)
    for line in _failures(failed):
        complain(f"failed: {line}")
    return 1 if failed else 0


def _failures(rows: list[Row]) -> list[str]:
    """For people: a line for each image and reason, with the codecs, which are many where the image is the reason."""
    codecs: dict[tuple[str, str, str], dict[str, None]] = {}
    for row in rows:
        codecs.setdefault((row.data_set, row.image, row.error), {})[f"{row.codec} {row.order}".strip()] = None
    return [f"{data_set}, {image}, {', '.join(names)}: {error}" for (data_set, image, error), names in codecs.items()]


def _plan(task: EvaluateTask) -> Plan:
    return Plan(
        sources=task.sources,
        codecs=_usable(task.codecs),
        orders=task.orders,
        models=tuple(_model_files(names, task) for names in task.models),
        devices=task.devices,
        workers=cores() if task.workers is None else task.workers,
        threads=task.threads or 1,
        all_threads=task.threads or cores(),
        sizes=task.sizes,
        pixel_limit=task.pixel_limit,
        adapt_steps=task.adapt_steps,
        turn=task.turn,
    )


def write_report(rows: list[Row], target: Path, models: set[str] | None) -> None:
    """tables.md, report.html and the plots, light and dark, in the directory `target`."""
    shown = shown_rows(rows, models)
    tables, plots = tables_of(rows, models), plots_of(shown)
    markdown = "\n".join(f"## {table.title}\n\n{table.markdown()}\n" for table in tables)
    write_whole(target / "tables.md", markdown.encode())
    for plot in plots:
        for scheme, png in plot.images.items():
            write_whole(target / f"{plot.name}_{scheme}.png", png)
    write_whole(target / "report.html", report_html(shown, tables, plots).encode())
    say(markdown)
    say(f"the report is {target / 'report.html'}")


def _usable(names: tuple[str, ...]) -> tuple[str, ...]:
    """The codecs that can be used here; says which cannot."""
    usable = []
    for name in names:
        reason = None if name == OURS else CODECS[name].missing()
        if reason:
            say(f"{name} is left out: {reason}")
        else:
            usable.append(name)
    return tuple(usable)


def _model_files(names: tuple[str, ...], task: EvaluateTask) -> ModelFiles:
    """Frozen model files of each order and number of channels; in the report's folder those kept nowhere else."""
    files: ModelFiles = {order: {} for order in SCANS}
    if not names:
        for (order, channels), shipped in SHIPPED_FILES.items():
            files[order][channels] = tuple(SHIPPED / file for file in shipped)
        return files
    for chosen in chosen_models(names, task.experiment, task.calibration, keep=False):
        say(str(chosen))
        source = chosen.source
        if chosen.frozen:
            source = task.target / f"{chosen.model.name}.safetensors"
            write_whole(source, model_to_bytes(chosen.model))
        for paths in files.values():
            channels = chosen.model.description.channels
            paths[channels] = (*paths.get(channels, ()), source)
    return files
