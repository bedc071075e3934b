"""Training checkpoints: ours, and the published code's."""

from __future__ import annotations

from pathlib import Path

import torch

from models.context_net import ContextNet
from models.description import PUBLISHED, ModelDescription
from models.neighbourhood import CAUSAL_TAPS
from utils.errors import ModelError, reason_of

PUBLISHED_LAYER = "entropy.model.get_wms.{}."
#: Row and column of the current pixel in the kernel of 5x5.
PUBLISHED_CENTRE = 2


def read_checkpoint(path: Path) -> dict:
    """The dictionary in a checkpoint file. Raises ModelError where it is none; never runs code from the file."""
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(
            f"checkpoint {str(path)!r} cannot be read ({error.strerror or reason_of(error)}); give another"
        ) from error
    except Exception as error:  # PyTorch's reader raises almost anything on bytes that are no checkpoint
        raise ModelError(
            f"{str(path)!r} is no checkpoint of tensors and numbers, or a damaged one; "
            "give a .pth.tar that P59 or the published code wrote"
        ) from error
    if not isinstance(payload, dict) or not isinstance(payload.get("state_dict"), dict):
        raise ModelError(
            f"checkpoint {str(path)!r} has no state_dict; give a .pth.tar that P59 or the published code wrote"
        )
    return payload


def network_of(payload: dict, path: Path) -> ContextNet:
    """The float network of a checkpoint's dictionary. `path` is for messages. Raises ModelError if they do not fit."""
    state = payload["state_dict"]
    try:
        if "description" in payload:
            net = ContextNet(ModelDescription.from_json(payload["description"]))
            net.load_state_dict(state)
            return net
        return _published_network(state)
    except (KeyError, ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
        raise ModelError(
            f"checkpoint {str(path)!r}: weights do not fit ({reason_of(error)}); give another checkpoint"
        ) from error


def settings_of(payload: dict) -> dict:
    """The settings of the run that wrote a checkpoint's dictionary, empty where it does not name them."""
    settings = payload.get("settings")
    return settings if isinstance(settings, dict) and "description" in payload else {}


def _published_network(state: dict[str, torch.Tensor]) -> ContextNet:
    """The published layout: layer 0 a masked 5x5 convolution, layers 2, 4, 6, 8 1x1 convolutions."""
    numbers = sorted(
        int(key.split(".")[3]) for key in state if key.startswith("entropy.model.get_wms.") and key.endswith(".weight")
    )
    first = state[PUBLISHED_LAYER.format(numbers[0]) + "weight"]
    outputs = state[PUBLISHED_LAYER.format(numbers[-1]) + "bias"].shape[0]
    channels = first.shape[1]
    widths = tuple(state[PUBLISHED_LAYER.format(number) + "bias"].shape[0] for number in numbers[:-1])
    kinds = 3 * channels + channels * (channels - 1) // 2
    description = ModelDescription(
        channels=channels,
        mixtures=outputs // kinds,
        widths=widths,
        reference=PUBLISHED.reference,
        scales=PUBLISHED.scales,
        padding=PUBLISHED.padding,
    )
    net = ContextNet(description)
    with torch.no_grad():
        for layer, number in zip(net.layers, numbers, strict=True):
            weight = state[PUBLISHED_LAYER.format(number) + "weight"]
            if number == numbers[0]:
                weight = torch.cat(
                    [weight[:, :, PUBLISHED_CENTRE + row, PUBLISHED_CENTRE + column] for row, column in CAUSAL_TAPS], 1
                )
            layer.weight.copy_(weight.reshape(layer.weight.shape))
            layer.bias.copy_(state[PUBLISHED_LAYER.format(number) + "bias"])
    return net
