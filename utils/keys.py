"""The whole list of configuration keys, with their types, defaults and help; `python main.py --help` prints it.

The keys of the published code are all here; those without a meaning any more are accepted with a line that says so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from utils.arguments import MOST_STEPS, MOST_THREADS

PATHS = (str, list)
NUMBER = (int, float)


@dataclass(frozen=True)
class Key:
    """One configuration key: allowed JSON types, default (None where a task decides), allowed values, help."""

    types: tuple[type, ...]
    default: Any
    help: str
    allowed: tuple = ()
    least: float | None = None
    most: float | None = None


#: Keys of the published code that have no meaning here, and why.
OBSOLETE = {
    "paralel_data_matrix": "scan orders are computed, not read from files",
}

#: The names of utils.evaluation.codecs, whose import takes long.
CODEC_NAMES = "QOI, QOI (Pillow), PNG, JPEG-LS, JPEG 2000, WebP, FLIF, JPEG XL e7, JPEG XL e9, P59"

RUN_MODES = ("demo", "encode", "decode", "compare", "inspect", "measure", "evaluate", "analyze", "tables")

KEYS: dict[str, Key] = {
    # What to do
    "mode": Key((str,), None, "what to do", ("train", "debug", "validate", "test", "freeze")),
    "run_mode": Key((str,), None, "in mode test", RUN_MODES),
    "run_type": Key((str,), "P", "scan order: S sequential, P parallel", ("S", "P")),
    "decoder_method": Key((int,), 1, "of the parallel orders: 1 wavefront, 2 diagonal", (1, 2)),
    "exp_name": Key(
        (str,),
        "default",
        "experiments/<exp_name>/ holds the checkpoints and logs of a training run; may be a path, as ../x",
    ),
    "device": Key((str,), "auto", "auto takes CUDA where there is one; an index as in cuda:1 is allowed"),
    "images_at_once": Key(
        (int,),
        None,
        "images that are coded together, by default 24 on a GPU, as many as threads on a CPU",
        least=1,
        most=1024,
    ),
    "num_threads": Key(
        (int,), None, "CPU threads; default: all cores; evaluate: 1, and all for times", least=1, most=MOST_THREADS
    ),
    # Model
    "checkpoint_file": Key(
        PATHS,
        None,
        "frozen model or checkpoint; a bare name is looked for in experiments/<exp_name>/checkpoints/; of a list, each "
        "image takes the one that suits it",
    ),
    "num_color_channels": Key((int,), None, "channels of the model: 3 or 1; training: default 3", (1, 3)),
    "num_mix_GMM": Key((int,), 3, "Gaussians of each sub-pixel's mixture", least=1, most=10),
    "res_con": Key((bool,), False, "residual network"),
    # Images and files
    "test_data": Key(
        PATHS, None, "images to encode, compare, measure, evaluate, analyze or demonstrate: file, directory or list"
    ),
    "bitstream_path": Key(
        (str,), None, ".p59 files: where to write, what to decode, compare or inspect; a directory or one .p59 file"
    ),
    "output_path": Key(
        (str,),
        None,
        "decode: a directory for the images, or one .png file; evaluate, analyze: a directory for the report, the "
        "pictures; tables: the Markdown file (default README.md)",
    ),
    "write_encode_data": Key((str, bool), None, "published name of output_path, used where that is absent"),
    "skip_existing": Key(
        (bool,), False, "encode, decode: leave whole output files that exist as they are, most without comparing"
    ),
    "overwrite": Key(
        (bool,),
        False,
        "encode, decode: replace output files, also those that hold another image or the same in fewer bytes",
    ),
    "adapt_steps": Key(
        (int,),
        0,
        "encode, evaluate: steps in which the network is fitted to each image; 1000: smaller, some seconds; 0: none",
        least=0,
        most=MOST_STEPS,
    ),
    "turn": Key(
        (bool,),
        True,
        "encode, evaluate: code each image in the one of eight orientations that suits it, by pieces of it",
    ),
    "verify": Key((bool,), True, "decode each file after encoding, before it counts as done"),
    "pixel_limit": Key((int,), 1 << 28, "images of more pixels are refused", least=1),
    "H": Key((int,), None, "height; decoding checks it, encoding ignores it", least=1),
    "W": Key((int,), None, "width; decoding checks it, encoding ignores it", least=1),
    # Evaluation
    "codecs": Key(PATHS, None, f"codecs to compare, of {CODEC_NAMES}; default: all"),
    "orders": Key(PATHS, None, "scan orders of P59 to evaluate; default: all three"),
    "models": Key(
        PATHS,
        None,
        "models of P59: files, or shipped; default: evaluate: checkpoint_file, else shipped; tables: the last measured",
    ),
    "results_path": Key(
        (str,),
        None,
        "evaluate: table (.tsv) that measurements are added to, one row for each image and codec; tables: such a table "
        "or a directory of them",
    ),
    "timing_sizes": Key(PATHS, None, "image sizes to time, HxW each, or none; default: 256x256, 512x768, 1024x1536"),
    "num_workers": Key(
        (int,),
        None,
        "processes that evaluate images; default: one for each core; 0: this one does it",
        least=0,
        most=MOST_THREADS,
    ),
    "block_size": Key((int,), 32, "side of the regions that analyze compares, pixels", least=1),
    # Training. Absent keys mean the published setting; configs/train.json sets this project's recipe.
    "train_data": Key(PATHS, None, "training images: directory or list; also calibrates mode freeze"),
    "valid_data": Key(PATHS, None, "validation images: directory or list"),
    "resume_training": Key((bool,), False, "continue from the experiment's last checkpoint"),
    "initial_weights": Key((str,), None, "checkpoint whose weights a new run starts from"),
    "rivals": Key(
        PATHS,
        None,
        "checkpoints, of as many channels; trains only on crops that initial_weights code better than each of these do",
    ),
    "share_of": Key(
        PATHS,
        None,
        "checkpoints, of as many channels; trains only on crops that the first codes better than each other one does",
    ),
    "batch_size": Key((int,), None, "crops (default 32) or contexts (default 4096) of one step, see sampling", least=1),
    "patch_size": Key((int,), None, "side of a training crop; default 16 for sampling crops, else 256", least=3),
    "val_batch_size": Key((int,), None, "accepted; validation takes whole images one by one", least=1),
    "val_patch_size": Key((int,), None, "side of the centre crop that is validated; default: the whole image", least=1),
    "optimizer": Key(
        (str,),
        "adam",
        "soap: Adam in the eigenbasis of Shampoo's preconditioner; needs fewer steps",
        ("adam", "soap"),
    ),
    "learning_rate": Key(NUMBER, 1e-4, "largest learning rate", least=0.0),
    "max_epoch": Key((int,), 300, "epochs", least=1),
    "max_steps": Key((int,), None, "steps of the whole run, in place of max_epoch", least=1),
    "steps_per_epoch": Key(
        (int,),
        None,
        "default: so many that an epoch takes as many contexts as the training images have pixels",
        least=1,
    ),
    "validate_every": Key((int,), 5, "epochs between validations", least=1),
    "test_every": Key((int,), None, "accepted; testing is a run of its own"),
    "seed": Key((int,), 0, "decides the first weights and every random choice", least=0, most=2**63 - 1),
    "sampling": Key(
        (str,),
        "crops",
        "crops: all contexts of small crops, padded inside each; contexts: single ones from anywhere in large crops",
        ("crops", "contexts"),
    ),
    "reference": Key((str,), "none", "what the network's inputs and means are relative to", ("none", "west")),
    "scales": Key(
        (str,), None, "scales of the mixture; default exponential with west, else clamped", ("clamped", "exponential")
    ),
    "padding": Key(
        (str,),
        None,
        "pixels outside the image; default: zero; with reference=west: edge, or diagonal where taps=diagonal",
        ("zero", "edge", "diagonal"),
    ),
    "input_gain": Key((int,), 64, "factor of the differences from the west pixel", least=1, most=1024),
    "taps": Key(
        (str,),
        "all",
        "the pixels that the network sees: the 12 of the 5x5 window, or 19 that the diagonal order knows",
        ("all", "diagonal"),
    ),
    "parities": Key((bool,), False, "the network also sees whether a pixel's row and column are even or odd"),
    "hidden_width": Key((int,), 128, "outputs of each hidden layer", least=1, most=1024),
    "hidden_layers": Key((int,), None, "hidden layers; default 4, with res_con 7 (an odd number)", least=1, most=32),
    "loss": Key(
        (str,),
        "published",
        "published: the tails are lost, P clipped; coded: what the coder spends",
        ("published", "coded"),
    ),
    "schedule": Key(
        (str,), "step", "learning rate: step falls by 1 % a validation, cosine to 0 at the end", ("step", "cosine")
    ),
    "warmup_steps": Key((int,), 0, "steps in which the learning rate rises to its largest", least=0),
    "adam_beta2": Key(NUMBER, 0.999, "Adam's decay of the squared gradient; soap has its own", least=0.0, most=0.99999),
    "bfloat16_steps": Key(
        (int,),
        0,
        "first steps whose network is computed in bfloat16: less exact, faster where it has instructions",
        least=0,
    ),
    "compiled": Key((bool,), False, "compile the computation of a step: faster on a GPU, some time at the start"),
    "gradient_clip": Key(NUMBER, 0.0, "largest norm of the gradient; 0: not limited", least=0.0),
    "flips": Key((str,), "horizontal", "random flips; all includes transposing", ("none", "horizontal", "all")),
    "noise": Key(NUMBER, 0.0, "probability that a crop gets noise of up to 3 levels", least=0.0, most=1.0),
    "resize": Key(NUMBER, 0.0, "probability that a crop is resampled", least=0.0, most=1.0),
    "sharpen": Key(NUMBER, 0.0, "probability that a crop is sharpened", least=0.0, most=1.0),
    "half_colour": Key(NUMBER, 0.0, "probability that a crop's colour is halved in resolution", least=0.0, most=1.0),
    "pool_size": Key((int,), 600, "crops in memory that batches are drawn from", least=1, most=10**12),
    "refresh_every": Key(
        (int,),
        None,
        "steps after which the pool's oldest crop is replaced; default 1, with sampling=contexts 10; 0: never",
        least=0,
    ),
    "visdom": Key((str,), None, "server:port of a visdom server that shows live curves; default: none"),
    # Freezing
    "calibration_data": Key(
        PATHS, None, "images that freezing looks at; default: train_data, else built-in photographs"
    ),
    "frozen_path": Key(
        (str,), None, "where mode freeze writes the model, a file or a directory; default: beside the checkpoint"
    ),
}

_TEST = ("mode", "run_mode", "adapt_steps")
_FROZEN = ("checkpoint_file", "exp_name", "calibration_data")
_MODEL = (*_TEST, *_FROZEN, "device", "num_threads", "images_at_once")
_CODED = ("run_type", "decoder_method", "num_color_channels", "test_data", "pixel_limit")
_FILES = ("bitstream_path", "skip_existing", "overwrite", "pixel_limit", "H", "W")
#: Keys that describe a model.
MODEL_KEYS = (
    *("num_color_channels", "num_mix_GMM", "res_con", "hidden_width", "hidden_layers", "taps", "parities"),
    *("reference", "scales", "padding", "input_gain"),
)
_TRAINING = (
    *("mode", "exp_name", "device", "num_threads", "pixel_limit", "train_data", "valid_data", "checkpoint_file"),
    *("resume_training", "initial_weights", "rivals", "share_of", *MODEL_KEYS, "sampling", "patch_size", "batch_size"),
    *("pool_size", "refresh_every", "flips", "noise", "resize", "sharpen", "half_colour", "loss", "optimizer"),
    *("learning_rate", "schedule", "warmup_steps", "adam_beta2", "gradient_clip", "bfloat16_steps", "compiled"),
    *("max_epoch", "max_steps", "steps_per_epoch", "validate_every", "val_patch_size", "seed", "visdom"),
    *("test_every", "val_batch_size"),
)
#: Keys that a mode, or in mode test a run mode, uses, or of which its task itself says why they are ignored.
USED: dict[str, tuple[str, ...]] = {
    "train": _TRAINING,
    "debug": _TRAINING,
    "validate": (
        *("mode", "valid_data", "checkpoint_file", "exp_name", "val_patch_size", "device", "num_threads"),
        *("pixel_limit", *MODEL_KEYS),
    ),
    "encode": (*_MODEL, *_CODED, *_FILES, "turn", "verify"),
    "decode": (*_MODEL, *_FILES, "output_path", "write_encode_data"),
    "compare": (*_MODEL, "test_data", "bitstream_path", "pixel_limit"),
    "inspect": (*_TEST, *_FROZEN, "num_threads", "bitstream_path"),
    "measure": (*_MODEL, *_CODED),
    "demo": (*_MODEL, "num_color_channels", "bitstream_path", "test_data", "pixel_limit"),
    "evaluate": (
        *(*_MODEL, *_CODED, "turn", "verify", "results_path", "output_path", "codecs", "orders", "models"),
        *("num_workers", "timing_sizes"),
    ),
    "analyze": (*_MODEL, *_CODED, "output_path", "block_size"),
    "tables": (*_TEST, "results_path", "output_path", "models", "exp_name"),
    "freeze": (
        *("mode", "checkpoint_file", "exp_name", "calibration_data", "train_data", "frozen_path", "num_threads"),
        *("noise", "resize", "sharpen", "half_colour", "pixel_limit"),
    ),
}


def key_help() -> str:
    """All keys, for --help."""
    lines = []
    for name, key in KEYS.items():
        allowed = f" [{', '.join(map(str, key.allowed))}]" if key.allowed else ""
        default = "" if key.default is None else f" (default {json.dumps(key.default)})"
        lines.append(f"  {name:20} {key.help}{allowed}{default}")
    return "\n".join(lines)
