"""From a checked configuration to a task that can run.

What needs PyTorch is imported when it is chosen: it takes a second, and encoding and decoding need it only on a GPU,
without the native core, and to freeze checkpoints.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from easydict import EasyDict

from coders.backends import Backend, backend_for, device_of
from coders.fitting import Fitting
from coders.scan import DIAGONAL, SEQUENTIAL, WAVEFRONT, Scan
from datasets.augmentation import CHANCES
from utils.config import Notes, listed, required, single, unused
from utils.errors import RequestError
from utils.tasks import compare, decode, demo, encode, inspect, measure
from utils.tasks.choose_evaluation import analyze_task, evaluate_task, tables_task
from utils.tasks.choose_training import train_task, validate_task
from utils.tasks.models import NO_CHECKPOINT, ModelChoice, checkpoint_named

#: (run_type, decoder_method) of the configuration -> scan order.
ORDERS = {("S", 1): SEQUENTIAL, ("S", 2): SEQUENTIAL, ("P", 1): WAVEFRONT, ("P", 2): DIAGONAL}
#: Run modes that need PyTorch only for some models and devices, and then tell it how many threads it may have.
WITHOUT_PYTORCH = ("encode", "decode", "compare", "inspect", "measure", "tables", "demo")


def task_of(config: EasyDict, notes: Notes) -> Callable[[], int]:
    """What the configuration asks for, as a function that does it and returns the exit status.

    Raises RequestError where a key is missing or does not fit the task.
    """
    if not (config.mode == "test" and config.run_mode in WITHOUT_PYTORCH):
        set_torch_threads(config)
    if config.mode is None:
        raise RequestError("mode is missing; set it to train, debug, validate, test or freeze")
    if config.mode == "test" and config.run_mode is None:
        raise RequestError(f"run_mode is missing; set it to one of {', '.join(RUN_MODES)}")
    ignored = unused(config, config.run_mode if config.mode == "test" else config.mode)
    if ignored:
        task = f"run_mode {config.run_mode}" if config.mode == "test" else f"mode {config.mode}"
        notes.append(f"{task} ignores {', '.join(ignored)}: it has no use for {'it' if len(ignored) == 1 else 'them'}")
    if config.mode != "test":
        return MODES[config.mode](config, notes)
    if config.adapt_steps and config.run_mode not in ("encode", "evaluate"):
        notes.append("key 'adapt_steps' is ignored: only run_mode encode and evaluate fit the network to images")
    return RUN_MODES[config.run_mode](config, notes)


def set_torch_threads(config: EasyDict) -> None:
    """As many threads for PyTorch as `num_threads` says."""
    if config.num_threads:
        import torch

        torch.set_num_threads(config.num_threads)


def is_directory(text: str) -> bool:
    """Whether a path is written as a directory, with a slash at its end."""
    return text.endswith(("/", os.sep))


def scan_of(config: EasyDict) -> Scan:
    return ORDERS[config.run_type, config.decoder_method]


def models_of(config: EasyDict, notes: Notes, keep: bool = True) -> ModelChoice:
    """`keep`: what is frozen from a checkpoint is kept, because files are coded with it."""
    if "exp_name" in config.given and config.checkpoint_file is None:
        notes.append(f"key 'exp_name' is ignored: {NO_CHECKPOINT}")
    names, calibration = listed(config.checkpoint_file), config.calibration_data
    return ModelChoice(names, config.exp_name, calibration, config.num_color_channels, keep, config.num_threads)


def backend_of(config: EasyDict, notes: Notes, one_by_one: str | None = None) -> Backend:
    """The backend of a task; `one_by_one` names it where it takes one image after the other on any device."""
    wanted = config.images_at_once
    device = device_of(config.device)
    if device != "cpu":
        set_torch_threads(config)
    backend = backend_for(device, config.num_threads, wanted)
    if wanted is not None and (one_by_one or backend.at_once != wanted):
        who = f"run_mode {one_by_one}" if one_by_one else "a CPU without the native core"
        notes.append(f"key 'images_at_once' is ignored: {who} takes one image after the other")
    return backend


def fitting_of(config: EasyDict, backend: Backend) -> Fitting | None:
    """How the network is adapted to each image, or None."""
    if not config.adapt_steps:
        return None
    device = device_of(config.device)
    return Fitting(config.adapt_steps, device, config.num_threads, backend.stopped, progress=device == "cpu")


def _encode(config: EasyDict, notes: Notes) -> Callable[[], int]:
    for key in ("H", "W"):
        if config[key] is not None:
            notes.append(f"key {key!r} is ignored: the whole image is coded")
    sources = required(config, "test_data", "give the images to encode: a file, a directory or a list")
    target = required(config, "bitstream_path", "give a directory for the .p59 files, or one file")
    backend = backend_of(config, notes)
    task = encode.EncodeTask(
        sources=sources,
        target=Path(target),
        into_directory=is_directory(target),
        scan=scan_of(config),
        models=models_of(config, notes),
        backend=backend,
        fit=fitting_of(config, backend),
        turn=config.turn,
        verify=config.verify,
        skip_existing=config.skip_existing,
        overwrite=config.overwrite,
        pixel_limit=config.pixel_limit,
    )
    return partial(encode.run, task)


def _decode(config: EasyDict, notes: Notes) -> Callable[[], int]:
    target = config.output_path
    if isinstance(config.write_encode_data, str):
        if target is None:
            target = config.write_encode_data
        elif target != config.write_encode_data:
            notes.append(
                f"key 'write_encode_data' is ignored: output_path says {target!r} (output_path=null leaves it out)"
            )
    if target is None:
        raise RequestError("output_path is missing; give a directory for the decoded images, or one .png file")
    task = decode.DecodeTask(
        source=Path(required(config, "bitstream_path", "give a .p59 file or a directory of them")),
        target=Path(target),
        into_directory=is_directory(target),
        models=models_of(config, notes, keep=False),
        backend=backend_of(config, notes),
        height=config.H,
        width=config.W,
        skip_existing=config.skip_existing,
        overwrite=config.overwrite,
        pixel_limit=config.pixel_limit,
    )
    return partial(decode.run, task)


def _compare(config: EasyDict, notes: Notes) -> Callable[[], int]:
    target = required(config, "bitstream_path", "give the directory of the .p59 files, or one file")
    task = compare.CompareTask(
        sources=required(config, "test_data", "give the images: a file, a directory or a list"),
        target=Path(target),
        into_directory=is_directory(target),
        models=models_of(config, notes, keep=False),
        backend=backend_of(config, notes),
        pixel_limit=config.pixel_limit,
    )
    return partial(compare.run, task)


def _inspect(config: EasyDict, notes: Notes) -> Callable[[], int]:
    source = Path(required(config, "bitstream_path", "give a .p59 file or a directory of them"))
    return partial(inspect.run, inspect.InspectTask(source, models_of(config, notes, keep=False)))


def _measure(config: EasyDict, notes: Notes) -> Callable[[], int]:
    task = measure.MeasureTask(
        sources=required(config, "test_data", "give the images to measure: a file, a directory or a list"),
        scan=scan_of(config),
        models=models_of(config, notes, keep=False),
        backend=backend_of(config, notes, "measure"),
        pixel_limit=config.pixel_limit,
    )
    return partial(measure.run, task)


def _freeze(config: EasyDict, notes: Notes) -> Callable[[], int]:
    from utils.tasks import freeze

    required(config, "checkpoint_file", "give the checkpoint to freeze")
    checkpoint = checkpoint_named(single(config, "checkpoint_file"), config.exp_name)
    name = checkpoint.name.split(".")[0] + ".safetensors"
    target = checkpoint.with_name(name) if config.frozen_path is None else Path(config.frozen_path)
    if target.is_dir() or is_directory(str(config.frozen_path)):
        target = target / name
    return partial(
        freeze.run,
        freeze.FreezeTask(
            checkpoint,
            target,
            config.calibration_data or config.train_data,
            {name: config[name] for name in CHANCES if name in config.given},
            config.pixel_limit,
        ),
    )


def _demo(config: EasyDict, notes: Notes) -> Callable[[], int]:
    task = demo.DemoTask(
        directory=Path(required(config, "bitstream_path", "give a directory to work in")),
        models=models_of(config, notes),
        backend=backend_of(config, notes, "demo"),
        sources=config.test_data,
        pixel_limit=config.pixel_limit,
    )
    return partial(demo.run, task)


def _analyze(config: EasyDict, notes: Notes) -> Callable[[], int]:
    backend = backend_of(config, notes, "analyze")
    return analyze_task(config, scan_of(config), models_of(config, notes, keep=False), backend)


RUN_MODES = {
    "demo": _demo,
    "encode": _encode,
    "decode": _decode,
    "compare": _compare,
    "inspect": _inspect,
    "measure": _measure,
    "evaluate": evaluate_task,
    "analyze": _analyze,
    "tables": tables_task,
}
MODES = {"train": train_task, "debug": train_task, "validate": validate_task, "freeze": _freeze}
