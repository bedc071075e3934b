"""Images to .p59 bytes and back: codec and container together, with the checks that make it lossless."""

from __future__ import annotations

import numpy as np

from coders.backends import Backend
from coders.container import Container, pixel_checksum
from coders.scan import Scan
from models.frozen import FINGERPRINT_BYTES, FrozenModel
from utils.errors import FormatError, LosslessError


def encode_image(image: np.ndarray, model: FrozenModel, scan: Scan, backend: Backend) -> bytes:
    """The whole .p59 file of an image (H, W, C) uint8. Raises FormatError where the model has other channels."""
    channels = model.description.channels
    if image.shape[2] != channels:
        raise FormatError(f"image has {image.shape[2]} channels, model {model.name} codes {channels}; choose another")
    stream = backend.encode(image, model, scan)
    return Container(
        scan, *image.shape, model.fingerprint[:FINGERPRINT_BYTES], pixel_checksum(image), stream
    ).to_bytes()


def decode_image(container: Container, model: FrozenModel, backend: Backend) -> np.ndarray:
    """The image (H, W, C) uint8 of a parsed file.

    Raises FormatError where the model is not the file's, LosslessError where the pixels differ from those encoded.
    """
    if model.fingerprint[:FINGERPRINT_BYTES] != container.model or model.description.channels != container.channels:
        raise FormatError(f"coded with model {container.model[:8].hex()}, not {model.name}; give that model")
    image = backend.decode(container.stream, container.height, container.width, model, container.scan)
    if pixel_checksum(image) != container.pixels:
        raise LosslessError("decoded pixels differ from those encoded (checksum); the file is damaged or forged")
    return image
