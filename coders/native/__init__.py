"""The native core's Python face: the same streams as coders.codec, in compiled code.

The extension module `p59_native` is imported when it is first needed; `unavailable_reason` says why it cannot be used.
The environment variable P59_INSTRUCTION_SET forces one of `instruction_sets()`.
Letters: H, W image height and width; C channels.
"""

from __future__ import annotations

import os
import warnings
import weakref
from collections.abc import Callable
from functools import cache
from types import ModuleType

import numpy as np

from coders import scan as scans
from coders.scan import Scan, is_too_large
from models import description, fixed_point, fixed_tables, frozen, neighbourhood, output_units
from models.frozen import FrozenModel
from models.neighbourhood import WEST
from utils.errors import InputError, RequestError
from utils.fork_safe import ForkSafe

INSTRUCTION_SET_VARIABLE = "P59_INSTRUCTION_SET"
#: Of the extension's functions; the number rises whenever they change.
INTERFACE = 5

Check = Callable[[], None]


@cache
def extension() -> ModuleType:
    """The extension module. Raises ImportError with a reason where it is missing or was built from other sources."""
    try:
        import p59_native
    except ImportError as error:
        raise ImportError(
            f"the extension p59_native cannot be imported ({error}); build it with `make native` in the repository"
        ) from error
    theirs = dict(getattr(p59_native, "constants", {}))
    interface = theirs.pop("INTERFACE", None)
    places = (description, fixed_point, frozen, neighbourhood, output_units, scans)
    ours = {name: {getattr(place, name) for place in places if hasattr(place, name)} for name in theirs}
    if interface != INTERFACE or ours != {name: {value} for name, value in theirs.items()}:
        raise ImportError(
            "the extension p59_native was built from other sources; build it again, as `make native` does"
        )
    return p59_native


def unavailable_reason() -> str | None:
    """Why the native core cannot be used here, or None where it can."""
    try:
        extension()
    except ImportError as error:
        return str(error)
    return None


def instruction_sets() -> list[str]:
    """The instruction sets of this machine that the extension has code for, best first; "portable" is always last."""
    return extension().instruction_sets()


def chosen_instruction_set() -> str:
    """The one that P59_INSTRUCTION_SET names, else the best. Raises RequestError where this machine has it not."""
    available = instruction_sets()
    chosen = os.environ.get(INSTRUCTION_SET_VARIABLE) or available[0]
    if chosen not in available:
        raise RequestError(
            f"{INSTRUCTION_SET_VARIABLE}={chosen!r}: this machine has {', '.join(available)}; unset it or name one"
        )
    return chosen


def encode_stream(
    image: np.ndarray, model: FrozenModel, scan: Scan, threads: int | None = None, check: Check | None = None
) -> bytes:
    """Code an image (H, W, C) uint8 to the stream that coders.codec.encode_stream writes.

    `threads` None takes all cores that this process may use. `check` is called now and then; what it raises ends the
    work. Raises ValueError where image and model do not fit.
    """
    return _prepared(model).encode(_checked(image), *_reading(model, scan), thread_count(threads), False, check)[0]


def decode_stream(
    stream: bytes,
    height: int,
    width: int,
    model: FrozenModel,
    scan: Scan,
    threads: int | None = None,
    check: Check | None = None,
) -> np.ndarray:
    """The image (H, W, C) uint8 that `encode_stream` coded. Any bytes decode to some image; checksums are elsewhere."""
    reading = _reading(model, scan)
    return _prepared(model).decode(bytes(stream), height, width, *reading, thread_count(threads), False, check)[0]


def symbol_shares(image: np.ndarray, model: FrozenModel, scan: Scan, threads: int | None = None) -> np.ndarray:
    """c_high - c_low of every sub-pixel, (H, W, C) uint32; a sub-pixel's ideal bits are 16 - log2 of it."""
    return _prepared(model).measure(_checked(image), *_reading(model, scan), thread_count(threads))


def symbol_shares_of_pieces(
    images: np.ndarray, model: FrozenModel, scan: Scan, margin: int = 0, threads: int | None = None
) -> np.ndarray:
    """`symbol_shares` of each of many small images, (N, H, W, C) uint8 -> (N, H - 2 margin, W - 2 margin, C) uint32.

    The pixels at least `margin` from the sides; an image a thread. Raises ValueError where that leaves none.
    """
    images = np.ascontiguousarray(images)
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(f"images {images.shape} {images.dtype}: must be (N, H, W, C) uint8")
    count, height, width, channels = images.shape
    shares = _prepared(model).measure_pieces(images, *_reading(model, scan), margin, thread_count(threads))
    return shares.reshape(count, height - 2 * margin, width - 2 * margin, channels)


def timed_encode(image: np.ndarray, model: FrozenModel, scan: Scan, threads: int | None = None) -> tuple[bytes, tuple]:
    """`encode_stream`, and the seconds that threads together spent in network, mixture and coder."""
    return _prepared(model).encode(_checked(image), *_reading(model, scan), thread_count(threads), True)


def timed_decode(
    stream: bytes, height: int, width: int, model: FrozenModel, scan: Scan, threads: int | None = None
) -> tuple[np.ndarray, tuple]:
    """`decode_stream`, and the seconds that threads together spent in network, mixture and coder."""
    return _prepared(model).decode(bytes(stream), height, width, *_reading(model, scan), thread_count(threads), True)


def step_encoder(image: np.ndarray, model: FrozenModel, scan: Scan, pixels: int):
    """An image (H, W, C) uint8 to encode by a network that is evaluated elsewhere; see coders.gpu.steps."""
    return _prepared(model).step_encoder(_checked(image), *_reading(model, scan), pixels)


def step_decoder(stream: bytes, height: int, width: int, model: FrozenModel, scan: Scan):
    """A stream to decode in the same way."""
    return _prepared(model).step_decoder(bytes(stream), height, width, *_reading(model, scan))


def pool(threads: int | None = None):
    """Threads for `advance`."""
    return extension().Pool(thread_count(threads))


def advance(coders: list, awaited: list[int], outputs: np.ndarray, inputs: np.ndarray, pool) -> list[int]:
    """A turn of what `step_encoder` and `step_decoder` return, as `coders.gpu.steps.Turns.advance` describes it."""
    return extension().advance(coders, awaited, outputs, inputs, pool)


def ceiling(threads: int | None = None, seconds: float = 0.2) -> float:
    """int16 multiply-accumulates a second that `threads` cores do in registers only, in the chosen instruction set."""
    return extension().ceiling(chosen_instruction_set(), thread_count(threads), seconds)


def thread_count(threads: int | None) -> int:
    """`threads`, or where it is None all cores that this process may use."""
    if threads is not None:
        return threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _reading(model: FrozenModel, scan: Scan) -> tuple[tuple, int, int | None]:
    """Taps as the order reads them, the index of the west pixel among the model's, and the row delay."""
    taps = model.description.taps
    return scan.taps(taps), taps.index(WEST) if WEST in taps else 0, scan.row_delay


def _checked(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3:
        raise ValueError(f"image {image.shape} {image.dtype}: must be (H, W, C) uint8")
    if is_too_large(*image.shape[:2]):
        raise InputError(f"image of {image.shape[0]}x{image.shape[1]} pixels is too large for a network; cut it up")
    return np.ascontiguousarray(image)


#: Packed weights of each model, for each instruction set. Models are compared by identity: they hold arrays.
_models: dict[tuple[int, str], object] = {}
_preparing = ForkSafe()


def _prepared(model: FrozenModel):
    """The extension's form of a model, made once and kept for as long as the model lives."""
    instruction_set = chosen_instruction_set()
    key = (id(model), instruction_set)
    with _preparing.lock:
        if key not in _models:
            _models[key] = _prepare(model, instruction_set)
            weakref.finalize(model, _models.pop, key, None)
        return _models[key]


def _prepare(model: FrozenModel, instruction_set: str):
    description = model.description
    layers = [
        (
            np.ascontiguousarray(layer.weight),
            np.ascontiguousarray(layer.bias),
            np.ascontiguousarray(layer.shift),
            layer.leaky,
            layer.skip,
        )
        for layer in model.layers
    ]
    native = extension().Model(
        channels=description.channels,
        mixtures=description.mixtures,
        limit=model.limit,
        relative_to_west=description.reference == "west",
        clamped_scales=description.scales == "clamped",
        parities=description.parities,
        padding=description.padding,
        layers=layers,
        exp2=fixed_tables.exp2_table(),
        mantissas=fixed_tables.scale_mantissas(),
        thresholds=fixed_tables.scale_thresholds(),
        normal=fixed_tables.normal_cdf_table(),
        instruction_set=instruction_set,
    )
    if native.instruction_set != instruction_set:
        warnings.warn(
            f"instruction set {instruction_set!r} computes other integers than portable code on this machine; "
            f"{native.instruction_set!r} is used. Please report this.",
            RuntimeWarning,
            stacklevel=4,
        )
    return native
