"""Figures that others published, for the complexity table. Rates are means on Kodak, bits per sub-pixel.

Li et al., "CALLIC: Content Adaptive Learning for Lossless Image Compression", arXiv 2412.17464; its network before
adapting is MGCF. Li et al., "Rethinking Autoregressive Models for Lossless Image Compression via Hierarchical
Parallelism and Progressive Adaptation", arXiv 2511.10991. Bai et al., "Deep Lossy Plus Residual Coding for Lossless and
Near-lossless Image Compression", arXiv 2209.04847. Zhang et al., "Learned Lossless Image Compression based on Bit Plane
Slicing", CVPR 2024.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A learned codec: parameters of all its networks, multiply-accumulates of one pixel where stated, Kodak bpsp, and
    where these were published."""

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
        "arXiv 2212.01185; rate measured here: ideal length, 16-bit coder",
    ),
    Published("MGCF", 575e3, None, 2.77, "arXiv 2412.17464"),
    Published("CALLIC", 600e3, None, 2.54, "arXiv 2412.17464; adapts to each image"),
    Published("HPAC-FT", 677e3, None, 2.52, "arXiv 2511.10991; fine-tuned on each image"),
    Published("DLPR", 22.2e6, None, 2.86, "arXiv 2209.04847"),
    Published("ArIB-BPS", 146e6, None, 2.78, "CVPR 2024"),
)
