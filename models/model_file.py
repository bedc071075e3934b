"""Frozen models as files: safetensors with the integers, the description in its metadata. No pickle.

metadata  "format": "p59 frozen 1", "description": JSON, "limit": decimal, and free text such as "provenance"
tensors   "layer.<n>.weight" int16, "layer.<n>.bias" int32, "layer.<n>.shift" uint8, n from 0
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models.description import ModelDescription
from models.frozen import FrozenLayer, FrozenModel
from utils.errors import ModelError

FORMAT = "p59 frozen 1"
#: A model file of the largest allowed description stays below this.
FILE_LIMIT = 1 << 27


def model_to_bytes(model: FrozenModel, notes: dict[str, str] | None = None) -> bytes:
    """A frozen model as the bytes of its file; `notes` are kept in the metadata and do not change the fingerprint."""
    tensors: dict[str, np.ndarray] = {}
    for number, layer in enumerate(model.layers):
        tensors |= {
            f"layer.{number}.weight": layer.weight,
            f"layer.{number}.bias": layer.bias,
            f"layer.{number}.shift": layer.shift,
        }
    metadata = {"format": FORMAT, "description": model.description.to_json(), "limit": str(model.limit)}
    return save(tensors, {**(notes or {}), **metadata})


def model_from_bytes(data: bytes, name: str) -> tuple[FrozenModel, dict[str, str]]:
    """(model, notes) of a file's bytes. `name` is for messages. Raises ModelError where they are no frozen model."""
    try:
        metadata = _metadata(data)
        if metadata.get("format") != FORMAT:
            raise ModelError(f"model {name!r} is no frozen P59 model; freeze a checkpoint with mode=freeze")
        description = ModelDescription.from_json(metadata["description"])
        tensors = load(data)
        layers = tuple(
            FrozenLayer(*(tensors[f"layer.{number}.{part}"] for part in ("weight", "bias", "shift")), *roles)
            for number, roles in enumerate(description.layer_roles)
        )
        model = FrozenModel(description, layers, int(metadata["limit"]))
    except ModelError:
        raise
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelError(f"model {name!r} cannot be read ({error}); give a file that mode=freeze wrote") from error
    notes = {key: text for key, text in metadata.items() if key not in ("format", "description", "limit")}
    return model, notes


def is_model_file(data: bytes) -> bool:
    """Whether the bytes look like safetensors (an 8-byte length, then a JSON object) and not like a checkpoint."""
    return len(data) > 9 and data[8:9] == b"{"


def read_model(path: Path, remedy: str = "check checkpoint_file") -> FrozenModel:
    """Read a frozen model. Raises ModelError where the file is too large, no model or missing, then with `remedy`."""
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise ModelError(
                f"model {str(path)!r} has more than {FILE_LIMIT} bytes; give a file that mode=freeze wrote"
            )
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"model {str(path)!r} cannot be read ({error.strerror}); {remedy}") from error
    return model_from_bytes(data, str(path))[0]


def _metadata(data: bytes) -> dict[str, str]:
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length]) if 0 < length <= len(data) - 8 else {}
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    return metadata if isinstance(metadata, dict) else {}
