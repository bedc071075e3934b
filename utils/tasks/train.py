"""Task: training images to checkpoints, a log and learning curves in experiments/<exp_name>/."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch

from coders.container import PIXEL_LIMIT
from coders.native.batch_bits import NativeBatchBits
from coders.scan import DIAGONAL
from datasets.image_set import CACHE_BYTES, ImageSet
from datasets.images import find_images
from datasets.training_samples import ContextPool, PatchPool, RotatingPool
from models.checkpoint import network_of, read_checkpoint
from models.context_net import ContextNet, with_inputs_of
from models.description import ModelDescription
from models.specialty import Specialty
from models.store import EXPERIMENTS
from utils.batch_bits import chosen_batch_bits
from utils.config import PROGRAM
from utils.device_memory import is_out_of_memory
from utils.distributed import gathered, joined
from utils.errors import DeviceMemoryError, ModelError, RequestError
from utils.experiment import Experiment, continued
from utils.learning_log import LiveCurves
from utils.processes import Processes
from utils.tasks.report import say
from utils.train_settings import TrainSettings
from utils.training import Training

INTERRUPTED = 130
#: Settings on which the rate of a validation depends, beside the network.
OF_VALIDATION = frozenset(("validation_images", "val_patch_size", "rivals"))


@dataclass(frozen=True)
class TrainTask:
    """Train a model of `description` on `training`, into `directory`; `resume` continues what is there."""

    training: str | list[str]
    validation: str | list[str]
    directory: Path
    description: ModelDescription
    settings: TrainSettings
    device: str
    threads: int | None = None
    resume: bool = False
    initial_weights: str | None = None
    rivals: tuple[str, ...] = ()
    share_of: tuple[str, ...] = ()
    visdom: str | None = None
    find_anomalies: bool = False
    pixel_limit: int = PIXEL_LIMIT


def run(task: TrainTask) -> int:
    """Returns 0 where the run is complete, 130 where a signal stopped it."""
    if task.threads:
        torch.set_num_threads(task.threads)
    with (
        joined(task.device) as processes,
        closing(Experiment(task.directory)) as experiment,
        torch.autograd.set_detect_anomaly(task.find_anomalies),
        _memory_shortage_told(task.device),
    ):
        if task.settings.batch_size < processes.count:
            raise RequestError(f"batch_size {task.settings.batch_size} is less than the {processes.count} processes")
        training = prepare(task, experiment, processes)
        if training.complete:
            say(f"nothing to do: the run ended at step {training.step:,}; raise max_steps or max_epoch to go on")
            return 0
        _report_images(training)
        complete = training.run()
        _report_images(training)
        _conclude(training, complete)
    return 0 if complete else INTERRUPTED


@contextmanager
def _memory_shortage_told(device: str) -> Iterator[None]:
    """Raises DeviceMemoryError where memory does not suffice inside."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not is_out_of_memory(error):
            raise
        raise DeviceMemoryError(
            f"out of memory in training on {device}; lower pool_size, batch_size or patch_size, or free memory there"
        ) from error


def prepare(task: TrainTask, experiment: Experiment, processes: Processes) -> Training:
    """Everything that can go wrong before the first step does so here."""
    description = task.description
    device = processes.device(task.device)
    cache, limit = CACHE_BYTES / processes.count, task.pixel_limit
    smallest = task.settings.patch_size
    images = ImageSet(find_images(task.training), description.channels, smallest, "training image", cache, limit)
    valid = ImageSet(find_images(task.validation), description.channels, 1, "validation image", cache, limit)
    settings = task.settings.resolved(images.pixels)
    bits = chosen_batch_bits(description, device, settings.loss, settings.compiled)
    notes = settings.record(description.to_json(), images.fingerprint)
    notes["rivals"] = [_digest(name) for name in (task.initial_weights, *task.rivals)] if task.rivals else []
    notes["gradients"] = str(bits) if isinstance(bits, NativeBatchBits) else "pytorch"
    notes["threads"], notes["processes"] = torch.get_num_threads(), processes.count
    notes["device"], notes["pytorch"] = device, f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
    notes["share_of"] = [_digest(name) for name in task.share_of]
    notes["validation_images"] = valid.fingerprint
    payload, comparable = None, True
    if task.resume:
        payload, changed = experiment.resume(notes, processes.first)
        notes, comparable = continued(notes, payload, changed), OF_VALIDATION.isdisjoint(changed)
        if experiment.latest == experiment.best:
            say(f"{experiment.last} does not exist; {experiment.best} is continued")
        if changed:
            say(f"changed since the run began, so the result is not that of an unbroken run: {', '.join(changed)}")
        if not comparable:
            say(
                f"validation was another up to step {payload['iteration']:,}: the best model is chosen among later ones"
            )
    else:
        notes["initial_weights"] = _digest(task.initial_weights) if task.initial_weights else None
        if processes.first:
            experiment.start(notes)
    net = _network(task).to(device)
    rivals = [_compared(task, rival, "rivals").to(device) for rival in task.rivals]
    shares = [_compared(task, name, "share_of") for name in task.share_of]
    if rivals:
        shares = [_compared(task, task.initial_weights, "initial_weights")]
        shares += [_compared(task, name, "rivals") for name in task.rivals]
    excess = Specialty(shares).excess if shares else None  # on the CPU: there are too few pixels for a GPU
    make = ContextPool if settings.sampling == "contexts" else PatchPool
    pool: RotatingPool = make(
        images,
        size=settings.pool_size,
        refresh_every=settings.refresh_every,
        seed=settings.seed,
        side=settings.patch_size,
        batch=settings.batch_size,
        taps=description.taps,
        padding=description.padding,
        augment=settings.augment,
        device=device,
        excess=excess,
    )
    live = LiveCurves(task.visdom, task.directory.name, say) if task.visdom and processes.first else None
    record = {"record": live.add} if live else {}
    training = Training(
        net,
        pool,
        valid,
        settings,
        experiment,
        rivals=rivals,
        notes=notes,
        processes=processes,
        bits=bits,
        announce=say,
        **record,
    )
    if payload:
        training.load(payload, comparable)
        if processes.first and not training.complete:
            experiment.describe(notes)
    say(
        f"{task.directory}: {description.parameters:,} parameters, {len(images):,} training images of "
        f"{images.pixels / 1e6:,.1f} megapixels, {len(valid):,} validation images; {settings.steps:,} steps of "
        f"{settings.contexts_per_step:,} contexts, {processes.count} process(es) on {task.device}, "
        f"gradients by {notes['gradients']}" + (f", from step {training.step:,}" if payload else "")
    )
    pool.advance(training.step)
    return training


def _network(task: TrainTask) -> ContextNet:
    if task.initial_weights and not task.resume:
        return _same_model(task, task.initial_weights, "initial_weights", other_inputs=not task.rivals)
    net = ContextNet(task.description)
    net.reset_parameters(torch.Generator().manual_seed(task.settings.seed))
    return net


def _same_model(task: TrainTask, name: str, key: str, other_inputs: bool = False) -> ContextNet:
    """The network of the checkpoint `name`, which `key` names; with `other_inputs` given the task's inputs."""
    path = Path(name)
    net = network_of(read_checkpoint(path), path)
    if other_inputs:
        net = with_inputs_of(net, task.description)
    if net.description != task.description:
        raise ModelError(f"{key} {str(path)!r} are of another model than this configuration describes")
    return net


def _compared(task: TrainTask, name: str, key: str) -> ContextNet:
    """The network of a checkpoint that `key` names, to be compared: of any model for images with as many channels."""
    path = Path(name)
    net = network_of(read_checkpoint(path), path)
    if net.description.channels != task.description.channels:
        raise ModelError(f"{key} {str(path)!r} is of {net.description.channels} channels, the model to train is not")
    return net


def _digest(name: str) -> str:
    """Of a file's contents: a run among rivals depends on them in every step."""
    try:
        return sha256(Path(name).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise ModelError(f"checkpoint {name!r} cannot be read ({error.strerror}); give another") from error


def _report_images(training: Training) -> None:
    """What was skipped by any process; each reads its share of the validation images."""
    for skipped in gathered(training.valid.skipped, training.processes):
        training.valid.skipped.update(skipped)
    for images in (training.pool.images, training.valid):
        for line in images.report():
            say(line)


def _conclude(training: Training, complete: bool) -> None:
    """What was reached, how fast, and what to do with it."""
    experiment, directory = training.experiment, training.experiment.directory
    name = shlex.quote(str(directory.relative_to(EXPERIMENTS) if directory.is_relative_to(EXPERIMENTS) else directory))
    rate, waiting = training.speed()
    if rate:
        say(
            f"{rate:,.0f} contexts/s; waiting for data took {waiting:.1%} of the time "
            f"({rate / max(1 - waiting, 1e-9):,.0f} contexts/s without)"
        )
    if not complete:
        say(f"stopped at step {training.step:,} of {training.settings.steps:,}; {experiment.last} is written")
        say("continue: the same command with resume_training=true")
        return
    order = "diagonal" if all(map(DIAGONAL.knows, training.net.description.taps)) else "wavefront"
    whose = " of the network and its rivals together" if training.rivals else ""
    best = training.best
    say(f"done: best validation{whose} {best.valid_bpsp:.4f} bpsp at step {best.step:,}, {experiment.best}")
    say(f"freeze: {PROGRAM} freeze exp_name={name} calibration_data=IMAGES/")
    say(
        f"encode: {PROGRAM} encode_{order} exp_name={name} checkpoint_file=model_best.safetensors "
        "test_data=IMAGES/ bitstream_path=ENCODED/"
    )
