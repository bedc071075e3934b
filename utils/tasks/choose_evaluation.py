"""From a checked configuration to the tasks evaluate, analyze and tables.

The tasks are imported when they are chosen: matplotlib and the other codecs take seconds that encoding need not spend.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from easydict import EasyDict

from coders.backends import Backend, device_of
from coders.scan import SCANS, Scan
from utils.config import Notes, listed, required
from utils.errors import RequestError
from utils.tasks.models import NO_CHECKPOINT, SHIPPED_ARE_FROZEN, ModelChoice

#: The name in `models` that stands for the shipped weights.
SHIPPED_NAME = "shipped"
RESULTS, REPORT = "results/evaluation.tsv", "out/evaluation"
TIMING_SIZES = ["256x256", "512x768", "1024x1536"]
#: Keys of other tasks that an evaluation does not follow, and why.
NOT_FOLLOWED = {
    "run_type": "orders says which scan orders are evaluated",
    "decoder_method": "orders says which scan orders are evaluated",
    "num_color_channels": "each image is coded by models of as many channels as it has",
    "images_at_once": "num_workers says how many images are evaluated at a time",
    "verify": "every file is decoded and compared",
}


def evaluate_task(config: EasyDict, notes: Notes) -> Callable[[], int]:
    """Raises RequestError where a key is missing or names what there is not."""
    from utils.evaluation.codecs import CODECS, OURS
    from utils.tasks import evaluate

    _say_what_is_ignored(config, notes)
    task = evaluate.EvaluateTask(
        sources=required(config, "test_data", "give the images to evaluate: folders, each of them a data set"),
        results=Path(config.results_path or RESULTS),
        target=Path(config.output_path or REPORT),
        codecs=names_of(config, "codecs", [*CODECS, OURS]),
        orders=names_of(config, "orders", SCANS),
        models=_model_choices(config),
        experiment=config.exp_name,
        calibration=config.calibration_data,
        devices=_devices(config.device),
        workers=config.num_workers,
        threads=config.num_threads,
        sizes=tuple(size_of(text) for text in listed(config.timing_sizes or TIMING_SIZES) if text != "none"),
        pixel_limit=config.pixel_limit,
        adapt_steps=config.adapt_steps,
        turn=config.turn,
    )
    return partial(evaluate.run, task)


def _say_what_is_ignored(config: EasyDict, notes: Notes) -> None:
    ignored = {key: why for key, why in NOT_FOLLOWED.items() if key in config.given and config[key] is not None}
    if config.models is not None and config.checkpoint_file is not None:
        ignored["checkpoint_file"] = "models says which are evaluated"
    if config.calibration_data is not None and not any(_model_choices(config)):
        ignored["calibration_data"] = SHIPPED_ARE_FROZEN
    if "exp_name" in config.given and not any(_model_choices(config)):
        ignored["exp_name"] = NO_CHECKPOINT
    notes += [f"key {key!r} is ignored: {why}" for key, why in ignored.items()]


def _model_choices(config: EasyDict) -> tuple[tuple[str, ...], ...]:
    """Names of the files of each choice: each entry of `models` alone, else those of `checkpoint_file` together; none
    for the shipped ones."""
    choices = [(name,) for name in listed(config.models)] or [listed(config.checkpoint_file)]
    return tuple(() if choice == (SHIPPED_NAME,) else choice for choice in choices)


def analyze_task(config: EasyDict, scan: Scan, models: ModelChoice, backend: Backend) -> Callable[[], int]:
    """Raises RequestError where a key is missing."""
    from utils.tasks import analyze

    task = analyze.AnalyzeTask(
        sources=required(config, "test_data", "give the images to analyze: a file, a directory or a list"),
        target=Path(required(config, "output_path", "give a directory for the pictures and tables")),
        scan=scan,
        models=models,
        backend=backend,
        device=device_of(config.device),
        block=config.block_size,
        pixel_limit=config.pixel_limit,
    )
    return partial(analyze.run, task)


def tables_task(config: EasyDict, notes: Notes) -> Callable[[], int]:
    from utils.tasks import tables

    task = tables.TablesTask(
        results=Path(config.results_path or "results"),
        document=Path(config.output_path or "README.md"),
        models=_model_choices(config) if config.models is not None else None,
        experiment=config.exp_name,
    )
    return partial(tables.run, task)


def names_of(config: EasyDict, key: str, known: Iterable[str]) -> tuple[str, ...]:
    """The names a key lists, once each; all known ones where it is absent. Raises RequestError for another name."""
    known = list(known)
    names = known if config[key] is None else list(dict.fromkeys(listed(config[key])))
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.4)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise RequestError(f"{key} names {name!r}; {hint}allowed are {', '.join(known)}")
    return tuple(names)


def size_of(text: str) -> tuple[int, int]:
    """ "HxW" -> (H, W). Raises RequestError for another form."""
    found = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if not found:
        raise RequestError(f"timing_sizes holds {text!r}; write height x width, for example 512x768, or none")
    return int(found[1]), int(found[2])


def _devices(requested: str) -> tuple[str, ...]:
    """ "auto" is the CPU and, for times, CUDA besides it where there is one."""
    if requested == "auto":
        return tuple(dict.fromkeys(("cpu", device_of("auto"))))
    return (device_of(requested),)
