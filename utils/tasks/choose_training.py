"""From a checked configuration to the tasks train, debug and validate.

The tasks are imported when they are chosen: torchnet, matplotlib and torchvision take seconds that encoding need not
spend.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from easydict import EasyDict

from coders.backends import device_of
from models.description import ModelDescription
from models.neighbourhood import CAUSAL_TAPS, DIAGONAL_TAPS
from models.store import EXPERIMENTS
from utils.config import Notes, listed, required, single
from utils.errors import RequestError
from utils.keys import MODEL_KEYS
from utils.tasks.models import checkpoint_named

#: What depends on `sampling`: side of a crop, crops or contexts of a step, steps between renewals of the pool.
SAMPLING_DEFAULTS = {"crops": (16, 32, 1), "contexts": (256, 4096, 10)}
WITHOUT_EFFECT = {
    "test_every": "testing is a run of its own (run_mode measure)",
    "val_batch_size": "validation takes images one by one",
}
FROM_WHERE = "resume_training continues from the last checkpoint, initial_weights starts from other weights"


def description_of(config: EasyDict) -> ModelDescription:
    """The model that the configuration asks to train. Raises RequestError where there is none such."""
    west = config.reference == "west"
    layers = config.hidden_layers or (7 if config.res_con else 4)
    continued = "diagonal" if config.taps == "diagonal" else "edge"
    try:
        return ModelDescription(
            taps=DIAGONAL_TAPS if config.taps == "diagonal" else CAUSAL_TAPS,
            channels=config.num_color_channels or 3,
            mixtures=config.num_mix_GMM,
            widths=(config.hidden_width,) * layers,
            residual=config.res_con,
            reference=config.reference,
            scales=config.scales or ("exponential" if west else "clamped"),
            input_gain=config.input_gain,
            padding=config.padding or (continued if west else "zero"),
            parities=config.parities,
        )
    except ValueError as error:
        raise RequestError(str(error)) from error


def train_task(config: EasyDict, notes: Notes) -> Callable[[], int]:
    """`mode` train or debug."""
    for key, reason in WITHOUT_EFFECT.items():
        if config[key] is not None:
            notes.append(f"key {key!r} has no effect: {reason}")
    if config.checkpoint_file is not None:
        notes.append(f"key 'checkpoint_file' has no effect in training: {FROM_WHERE}")
    if config.half_colour and config.num_color_channels == 1:
        notes.append("key 'half_colour' has no effect: images of one channel have no colour")
    if "input_gain" in config.given and config.reference == "none":
        notes.append("key 'input_gain' has no effect: with reference none there are no differences to multiply")
    side, batch, refresh = SAMPLING_DEFAULTS[config.sampling]
    from utils.tasks import train
    from utils.train_settings import TrainSettings

    settings = TrainSettings(
        sampling=config.sampling,
        patch_size=config.patch_size or side,
        batch_size=config.batch_size or batch,
        pool_size=config.pool_size,
        refresh_every=refresh if config.refresh_every is None else config.refresh_every,
        flips=config.flips,
        noise=config.noise,
        resize=config.resize,
        sharpen=config.sharpen,
        half_colour=config.half_colour,
        loss=config.loss,
        optimizer=config.optimizer,
        learning_rate=config.learning_rate,
        schedule=config.schedule,
        warmup_steps=config.warmup_steps,
        adam_beta2=config.adam_beta2,
        gradient_clip=config.gradient_clip,
        bfloat16_steps=config.bfloat16_steps,
        compiled=config.compiled,
        max_epoch=config.max_epoch,
        max_steps=config.max_steps,
        steps_per_epoch=config.steps_per_epoch,
        validate_every=config.validate_every,
        val_patch_size=config.val_patch_size,
        seed=config.seed,
    )
    task = train.TrainTask(
        training=required(config, "train_data", "give the training images: a directory or a list"),
        validation=required(config, "valid_data", "give images to validate on that are not among train_data"),
        directory=EXPERIMENTS / config.exp_name,
        description=description_of(config),
        settings=settings,
        device=device_of(config.device),
        threads=config.num_threads,
        resume=config.resume_training,
        initial_weights=config.initial_weights,
        rivals=_rivals(config),
        share_of=_share_of(config),
        visdom=config.visdom,
        find_anomalies=config.mode == "debug",
        pixel_limit=config.pixel_limit,
    )
    return partial(train.run, task)


def _rivals(config: EasyDict) -> tuple[str, ...]:
    rivals = listed(config.rivals)
    if rivals and config.initial_weights is None:
        raise RequestError("rivals needs initial_weights, the checkpoint that is to be trained on what it codes best")
    return rivals


def _share_of(config: EasyDict) -> tuple[str, ...]:
    share_of = listed(config.share_of)
    if len(share_of) == 1:
        raise RequestError("share_of needs two checkpoints or more: the one whose share it is, and the others")
    if share_of and listed(config.rivals):
        raise RequestError("share_of and rivals both say which crops are trained on; give one of them")
    return share_of


def validate_task(config: EasyDict, notes: Notes) -> Callable[[], int]:
    """`mode` validate: the best checkpoint of the experiment, or `checkpoint_file`."""
    for key in MODEL_KEYS:
        if key in config.given:
            notes.append(f"key {key!r} is ignored: the checkpoint says what its model is")
    from utils.tasks import validate

    task = validate.ValidateTask(
        images=required(config, "valid_data", "give the validation images: a directory or a list"),
        checkpoint=checkpoint_named(single(config, "checkpoint_file") or "model_best.pth.tar", config.exp_name),
        patch=config.val_patch_size,
        device=device_of(config.device),
        threads=config.num_threads,
        pixel_limit=config.pixel_limit,
    )
    return partial(validate.run, task)
