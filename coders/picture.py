"""A picture: what an image file holds that P59 keeps, free of any file format."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coders.container import Mode, header_of, pixel_checksum


@dataclass(frozen=True, eq=False)
class Picture:
    """samples      (H, W, C), uint16 for the wide modes, else uint8; bilevel ones are 0 and 1
    palette      colours R G B of the indices in mode P, else empty
    transparency the content of PNG's tRNS chunk, or None
    metadata     (type, data) of further PNG chunks: colour profile, EXIF, resolution ...
    """

    mode: Mode
    samples: np.ndarray
    palette: bytes = b""
    transparency: bytes | None = None
    metadata: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def height(self) -> int:
        return self.samples.shape[0]

    @property
    def width(self) -> int:
        return self.samples.shape[1]

    @property
    def checksum(self) -> bytes:
        """What a file keeps of mode, size, palette, transparency and samples."""
        header = header_of(self.mode, self.height, self.width)
        return pixel_checksum(self.samples, self.palette, self.transparency, header)

    def groups(self) -> list[np.ndarray]:
        """The plane groups of the samples, (H, W, channels) uint8 each, see Mode."""
        planes = self.samples
        if self.mode.wide:
            planes = np.concatenate([(planes >> 8).astype(np.uint8), (planes & 255).astype(np.uint8)], 2)
        ends = np.cumsum(self.mode.groups)
        return [
            np.ascontiguousarray(planes[:, :, end - count : end])
            for end, count in zip(ends, self.mode.groups, strict=True)
        ]


def samples_of_groups(groups: list[np.ndarray], mode: Mode) -> np.ndarray:
    """The samples (H, W, C) whose `Picture.groups` are these."""
    planes = np.concatenate(groups, 2) if len(groups) > 1 else groups[0]
    if not mode.wide:
        return planes
    high, low = np.split(planes, 2, axis=2)
    return high.astype(np.uint16) << 8 | low


def same_picture(one: Picture, other: Picture) -> bool:
    """Whether two pictures are equal in everything."""
    return (
        one.mode == other.mode
        and one.samples.dtype == other.samples.dtype
        and np.array_equal(one.samples, other.samples)
        and (one.palette, one.transparency, one.metadata) == (other.palette, other.transparency, other.metadata)
    )
