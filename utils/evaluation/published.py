"""Figures that others published, for the complexity table. Rates are means on Kodak, bits per sub-pixel."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A learned codec: parameters of all its networks, multiply-accumulates of one pixel where stated, Kodak bpsp."""

    name: str
    parameters: float
    macs: float | None
    kodak: float | None
    note: str


PUBLISHED = (
    Published(
        "Gümüş and Kamisli, the method's own weights",
        58_916,
        58_368,
        2.876,
        "network published; rate measured here: ideal length, 16-bit coder",
    ),
    Published("MGCF", 575e3, None, 2.77, "published"),
    Published("CALLIC", 600e3, None, 2.54, "published; adapts to each image"),
    Published("HPAC-FT", 677e3, None, 2.52, "published; fine-tuned on each image"),
    Published("DLPR", 22.2e6, None, 2.86, "published"),
    Published("ArIB-BPS", 146e6, None, 2.78, "published"),
)
