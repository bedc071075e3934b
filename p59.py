"""P59 from Python: images to bytes and back, losslessly, and a Pillow plugin.

    import p59
    data = p59.encode(image)            # a Pillow image, an array (H, W) or (H, W, C), or the path of an image file
    image = p59.decode(data)            # a Pillow image; p59.decode_array(data) gives an array

Importing this module registers the plugin: then Image.open("x.p59") and image.save("x.p59") work. See docs/python.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from coders.backends import Backend, device_of
from coders.container import MAGIC, PIXEL_LIMIT, Container
from coders.fitting import Fitting
from coders.image_codec import decode_picture, encode_picture
from coders.kept_backends import kept_backend
from coders.model_choice import best_model
from coders.picture import Picture, same_picture
from coders.scan import SCANS
from datasets.pictures import image_of, loaded_picture, picture_of_samples, read_picture
from datasets.pillow_plugin import is_p59, register
from models.frozen import FrozenModel
from models.model_file import read_model
from models.store import model_for_file, shipped_models
from utils.arguments import MOST_STEPS, MOST_THREADS, flag, whole_number
from utils.errors import FormatError, InputError, LosslessError, ModelError, P59Error, RequestError
from utils.version import VERSION

__all__ = [
    "FormatError",
    "InputError",
    "LosslessError",
    "ModelError",
    "P59Error",
    "RequestError",
    "add_model",
    "decode",
    "decode_array",
    "encode",
]

__version__ = VERSION

AnyImage = Image.Image | np.ndarray | str | os.PathLike
AnyModel = FrozenModel | str | os.PathLike
AnyModels = AnyModel | Sequence[AnyModel]

#: Models beside the shipped ones that decoding looks for, by the fingerprint that files name.
_models: dict[bytes, FrozenModel] = {}


def encode(
    image: AnyImage,
    *,
    order: str = "wavefront",
    model: AnyModels | None = None,
    threads: int | None = None,
    device: str = "auto",
    adapt_steps: int = 0,
    turn: bool = True,
    verify: bool = False,
    pixel_limit: int = PIXEL_LIMIT,
) -> bytes:
    """The .p59 file of an image.

    image       a Pillow image, an array (H, W) or (H, W, 1 to 4) of uint8 or uint16 (bool: bilevel), or a file's path,
                which may be a .p59 file. Pillow reads 16-bit colour as 8 bits: give such a file's path, or its image
                that nobody has changed
    order       sequential, wavefront or diagonal
    model       a frozen model or its file, used for as many channels as it codes; the rest, and the default: shipped.
                Of several the image takes the one that codes it best
    threads     1 to 1024; default: all cores
    adapt_steps steps in which the network is fitted to the image before it is coded: 1000 make photographs several
                percent smaller and take some seconds; 0: none
    turn        code it in the one of eight orientations that suits it best; it comes back as it was
    verify      decode the file again and compare, before it is returned

    Raises P59Error: InputError for an image that is not coded, RequestError for an argument that is not allowed,
    ModelError for a model file that cannot be used, LosslessError where verifying fails.
    """
    if not isinstance(order, str) or order not in SCANS:
        raise RequestError(f"order is {order!r}; allowed are {', '.join(SCANS)}")
    steps = whole_number("adapt_steps", adapt_steps, 0, MOST_STEPS)
    pixel_limit = whole_number("pixel_limit", pixel_limit, 1)
    turn, verify = flag("turn", turn), flag("verify", verify)
    given, backend = _given(model), _backend(device, threads)
    if isinstance(image, str | os.PathLike) and _begins_as_p59(image):
        picture = _decoded(Container.from_bytes(_path(image).read_bytes(), pixel_limit), given, backend)
    else:
        picture = _picture(image, pixel_limit)

    def network(rows: np.ndarray) -> FrozenModel:
        channels = rows.shape[2]
        candidates = [one for one in given if one.description.channels == channels]
        candidates = candidates or [chosen.model for chosen in shipped_models(order, channels)]
        return best_model(candidates, rows, SCANS[order], backend)

    fit = Fitting(steps, _device(device), _threads(threads), backend.stopped) if steps else None
    data = encode_picture(picture, network, SCANS[order], backend, fit, turn)
    if verify and not same_picture(_decoded(Container.from_bytes(data, pixel_limit), given, backend), picture):
        raise LosslessError("the file just encoded does not decode to the image; report this as a bug")
    return data


def decode(
    data: bytes,
    *,
    model: AnyModels | None = None,
    threads: int | None = None,
    device: str = "auto",
    pixel_limit: int = PIXEL_LIMIT,
) -> Image.Image:
    """The image of a .p59 file, with its metadata in `info`. Arguments as in `encode`.

    Raises P59Error: FormatError where the file is damaged or has more than `pixel_limit` pixels; ModelError where its
    model is not at hand; LosslessError where pixels differ; RequestError for 16-bit colour, which Pillow has no mode
    for (see `decode_array`), and for an argument that is not allowed.
    """
    return image_of(_picture_in(data, model, threads, device, pixel_limit))


def decode_array(
    data: bytes,
    *,
    model: AnyModels | None = None,
    threads: int | None = None,
    device: str = "auto",
    pixel_limit: int = PIXEL_LIMIT,
) -> np.ndarray:
    """The samples of a .p59 file, uint8 or uint16: (H, W) for gray, bilevel (bool) and indices, else (H, W, C).

    The array is the caller's own, to be written to. Raises what `decode` raises, but takes 16-bit colour.
    """
    picture = _picture_in(data, model, threads, device, pixel_limit)
    samples = picture.samples if picture.samples.shape[2] > 1 else picture.samples[:, :, 0]
    return samples.astype(bool) if picture.mode.name == "1" else np.require(samples, requirements="CWO")


def add_model(model: AnyModel) -> None:
    """From now on, decoding in this process finds this frozen model; so do files opened with Pillow.

    Raises ModelError where the file cannot be used, RequestError for what is neither a model nor a path.
    """
    added = _model(model)
    _models[added.file_id] = added


def _picture(image: AnyImage | Picture, pixel_limit: int) -> Picture:
    if isinstance(image, str) and not image:
        raise InputError("image is ''; give the path of an image file")
    if isinstance(image, str | os.PathLike):
        return read_picture(_path(image), pixel_limit)
    if isinstance(image, Picture):
        picture = image
    elif isinstance(image, np.ma.MaskedArray):
        raise InputError("array is masked, and masks are not kept; give its data or its filled()")
    elif isinstance(image, np.ndarray) and image.dtype != bool:
        picture = picture_of_samples(np.atleast_1d(image))
    else:
        if not isinstance(image, Image.Image | np.ndarray):
            raise InputError(f"image is a {type(image).__name__}; give a Pillow image, an array or a path")
        if isinstance(image, np.ndarray) and (image.ndim != 2 or not image.size):
            raise InputError(f"array {image.shape} of bool is no image; bilevel images are (H, W)")
        picture = loaded_picture(Image.fromarray(image) if isinstance(image, np.ndarray) else image)
    if picture.height * picture.width > pixel_limit:
        raise InputError(
            f"{picture.height}x{picture.width} pixels are more than the limit of {pixel_limit}; raise pixel_limit"
        )
    return picture


def _picture_in(data: bytes, model: AnyModels | None, threads: int | None, device: str, pixel_limit: int) -> Picture:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise RequestError(
            f"data is a {type(data).__name__}; give the bytes of a .p59 file (of a path: Path(path).read_bytes()), or "
            "open it with PIL.Image.open"
        )
    container = Container.from_bytes(bytes(data), whole_number("pixel_limit", pixel_limit, 1))
    return _decoded(container, _given(model), _backend(device, threads))


def _decoded(container: Container, given: Sequence[FrozenModel], backend: Backend) -> Picture:
    def find(fingerprint: bytes) -> FrozenModel:
        for one in given:
            if one.file_id == fingerprint:
                return one
        if fingerprint in _models:
            return _models[fingerprint]
        try:
            return model_for_file(fingerprint, []).model
        except ModelError as error:
            raise ModelError(
                f"coded with model {fingerprint[:8].hex()}, which is not among those given, added or shipped; give it "
                "as model, or add it with p59.add_model"
            ) from error

    return decode_picture(container, find, backend)


def _given(model: AnyModels | None) -> list[FrozenModel]:
    if model is None:
        return []
    try:
        models = [model] if isinstance(model, AnyModel | bytes | Mapping) else list(model)
    except TypeError:  # nothing to go through: told below
        models = [model]
    return [_model(one) for one in models]


def _model(model: AnyModel) -> FrozenModel:
    if isinstance(model, FrozenModel):
        return model
    if not isinstance(model, str | os.PathLike):
        raise RequestError(f"model is a {type(model).__name__}; give a frozen model or its file, or a list of these")
    if isinstance(model, str) and not model:
        raise RequestError("model is ''; give a model's file, or None for the shipped models")
    try:
        return read_model(_path(model), "give the path of a model's file")
    except ValueError as error:  # a path that no system takes
        raise ModelError(f"model {str(model)!r} cannot be read ({error}); give a model's file") from error


def _path(path: str | os.PathLike) -> Path:
    """Also of a path that is bytes to the system, as os.scandir(b".") gives."""
    return Path(os.fsdecode(path))


def _threads(threads: int | None) -> int | None:
    return None if threads is None else whole_number("threads", threads, 1, MOST_THREADS)


def _device(device: str) -> str:
    if not isinstance(device, str):
        raise RequestError(f"device is {device!r}; give a name such as 'auto', 'cpu' or 'cuda'")
    return device_of(device)


def _backend(device: str, threads: int | None) -> Backend:
    return kept_backend(_device(device), _threads(threads))


def _begins_as_p59(path: str | os.PathLike) -> bool:
    try:
        with open(path, "rb") as file:
            return is_p59(file.read(len(MAGIC)))
    except (OSError, ValueError):  # told where it is read as an image
        return False


register(lambda container: _decoded(container, (), _backend("auto", None)), encode)
