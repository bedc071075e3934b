"""What a model is: everything but its weights, as one value that travels in every model file."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass, replace

import numpy as np

from models.neighbourhood import ALLOWED_TAPS, CAUSAL_TAPS, PADDINGS, PARITIES, WEST, Tap

REFERENCES = ("none", "west")
SCALES = ("clamped", "exponential")
#: Of LeakyReLU, below zero.
LEAKY_SLOPE = 0.01


@dataclass(frozen=True)
class ModelDescription:
    """Architecture and number conventions of a context model.

    taps        the pixels it sees, in the order of its inputs
    channels    C, 1 or 3
    mixtures    M, components of each sub-pixel's Gaussian mixture (`num_mix_GMM`)
    widths      outputs of the hidden layers
    residual    `res_con`: first layer, then residual blocks of two layers, then the output layer
    reference   what inputs and means are relative to: "none" (published: absolute values) or "west"
                (the pixel to the left)
    scales      "clamped" (published: sigma = max(output, 0.11/255)) or "exponential" (sigma = exp(output - 4)), in
                units of 255 pixel values; once frozen 0.11 to 431 pixel values
    input_gain  factor of the differences from the west pixel before the first layer (reference "west" only)
    padding     how pixels outside the image read, see models.neighbourhood
    parities    whether it also sees if a pixel's row and column are even or odd: colour of half the resolution of
                brightness, or a camera's colour filter, leaves every second row and column different from the others
    """

    taps: tuple[Tap, ...] = CAUSAL_TAPS
    channels: int = 3
    mixtures: int = 3
    widths: tuple[int, ...] = (128, 128, 128, 128)
    residual: bool = False
    reference: str = "west"
    scales: str = "exponential"
    input_gain: int = 64
    padding: str = "edge"
    parities: bool = False

    def __post_init__(self) -> None:
        whole = {name: (getattr(self, name),) for name in ("channels", "mixtures", "input_gain")}
        whole |= {"widths": self.widths, "taps": tuple(part for tap in self.taps for part in tap)}
        for name, numbers in whole.items():
            if not all(type(number) is int for number in numbers):
                raise ValueError(f"model description: {name} {getattr(self, name)}: allowed are whole numbers")
        problems = []
        for name in ("residual", "parities"):
            if not isinstance(getattr(self, name), bool):
                problems.append(f"{name} {getattr(self, name)!r}: allowed are true and false")
        if self.channels not in (1, 3):
            problems.append(f"channels {self.channels}: allowed are 1 and 3")
        if not 1 <= self.mixtures <= 10:
            problems.append(f"mixtures {self.mixtures}: allowed are 1 to 10")
        if not self.widths or not all(1 <= width <= 1024 for width in self.widths) or len(self.widths) > 32:
            problems.append(f"widths {self.widths}: allowed are 1 to 32 layers of 1 to 1024")
        if self.residual and (len(self.widths) % 2 == 0 or len(set(self.widths)) != 1):
            problems.append(f"widths {self.widths}: a residual network has an odd number of equal widths")
        if not self.taps or not set(self.taps) <= ALLOWED_TAPS or len(set(self.taps)) != len(self.taps):
            problems.append(f"taps {self.taps}: allowed are different ones of {sorted(ALLOWED_TAPS)}")
        for name, allowed in (("reference", REFERENCES), ("scales", SCALES), ("padding", PADDINGS)):
            if getattr(self, name) not in allowed:
                problems.append(f"{name} {getattr(self, name)!r}: allowed are {', '.join(allowed)}")
        if not 1 <= self.input_gain <= 1024:
            problems.append(f"input_gain {self.input_gain}: allowed are 1 to 1024")
        if self.reference == "west" and WEST not in self.taps:
            problems.append("reference 'west' needs the tap (0, -1)")
        if self.padding == "edge" and any(row > 0 for row, _ in self.taps):
            problems.append("padding 'edge': taps of the next row need 'diagonal' or 'zero'")
        if problems:
            raise ValueError("model description: " + "; ".join(problems))

    @property
    def inputs(self) -> int:
        return len(self.taps) * self.channels + (PARITIES if self.parities else 0)

    @property
    def phases(self) -> int:
        """Ways to take rows and columns for even and odd: 4 for a network that sees parities, else 1."""
        return 1 << PARITIES if self.parities else 1

    @property
    def cross_terms(self) -> int:
        """Pairs of an earlier channel and the one whose mean it shifts: none for one channel, a, b, c for three."""
        return self.channels * (self.channels - 1) // 2

    @property
    def outputs(self) -> int:
        """Rows of the output: means, scales and logits of C x M components, then the cross terms' M each."""
        return (3 * self.channels + self.cross_terms) * self.mixtures

    @property
    def layer_shapes(self) -> tuple[tuple[int, int], ...]:
        """(outputs, inputs) of each linear layer, first to last."""
        sizes = (self.inputs, *self.widths, self.outputs)
        return tuple((after, before) for before, after in itertools.pairwise(sizes))

    @property
    def layer_roles(self) -> tuple[tuple[bool, bool], ...]:
        """(leaky, skip) of each layer. leaky: LeakyReLU follows. skip: what entered the layer before is added."""
        hidden = len(self.widths)
        if not self.residual:
            return ((True, False),) * hidden + ((False, False),)
        return ((False, False),) + ((True, False), (False, True)) * ((hidden - 1) // 2) + ((False, False),)

    @property
    def parameters(self) -> int:
        return sum(after * before + after for after, before in self.layer_shapes)

    @property
    def macs_per_pixel(self) -> int:
        return sum(after * before for after, before in self.layer_shapes)

    @property
    def output_rows(self) -> dict[str, slice]:
        """Rows of each kind of output, channel blocks of M inside."""
        block = self.channels * self.mixtures
        return {
            "means": slice(0, block),
            "scales": slice(block, 2 * block),
            "logits": slice(2 * block, 3 * block),
            "cross": slice(3 * block, self.outputs),
        }

    @property
    def input_scales(self) -> np.ndarray:
        """(inputs,) float64: what one unit of each integer input (see `integer_inputs`) is worth to the network."""
        scales = np.full(self.inputs, 1 / 255)
        if self.reference == "west":
            gains = np.where([tap == WEST for tap in self.taps], 1, self.input_gain)
            scales[: len(gains) * self.channels] *= np.repeat(gains, self.channels)
        return scales

    def seeing_as(self, other: ModelDescription) -> ModelDescription:
        """This description with the inputs of another: its taps, the padding that follows from them, its parities."""
        return replace(self, taps=other.taps, padding=other.padding, parities=other.parities)

    def to_json(self) -> str:
        values = asdict(self)
        if not self.parities:  # models that do not see them are described as before there were any
            del values["parities"]
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ModelDescription:
        """Raises ValueError or TypeError where the text is not a description."""
        try:
            values = json.loads(text)
        except RecursionError as error:
            raise ValueError("model description: nested too deeply") from error
        values["taps"] = tuple((row, column) for row, column in values["taps"])
        values["widths"] = tuple(values["widths"])
        return cls(**values)


#: The network of the paper: 58,916 parameters, absolute values in and out, zeros outside the image.
PUBLISHED = ModelDescription(reference="none", scales="clamped", padding="zero")
