"""Files of which Pillow's image leaves something out, or changes it, without a word: they are refused."""

from __future__ import annotations

from PIL import Image

from datasets.tiff import check_tiff
from utils.errors import InputError

#: Formats whose files hold more than the image that Pillow reads, and what that may be.
PARTLY_READ = {"FITS": "further planes, scaled or signed samples", "PCD": "the image in larger sizes"}


def check_whole(image: Image.Image) -> None:
    """Raises InputError where an opened file holds more than Pillow's image of it, or other samples.

    Nothing is found of a file that has been loaded already, as it is closed then, but for TIFF.
    """
    if image.format in PARTLY_READ:
        raise InputError(
            f"{image.format} file may hold {PARTLY_READ[image.format]}; save what you need of it as PNG or TIFF"
        )
    if image.format == "TIFF":
        check_tiff(image)
    elif image.format in CHECKS and getattr(image, "fp", None) is not None:
        place = image.fp.tell()
        CHECKS[image.format](image)
        image.fp.seek(place)


def _check_psd(image: Image.Image) -> None:
    image.fp.seek(12)
    channels, read = int.from_bytes(image.fp.read(2)), len(image.getbands())
    if channels > read:
        raise InputError(f"PSD file has {channels} channels, of which Pillow reads {read}; save it as TIFF or PNG")


def _check_ppm(image: Image.Image) -> None:
    codec, _, start, args = image.tile[0]
    if codec == "ppm_plain":
        return
    wide = image.mode.startswith("I") or (codec == "ppm" and args[1] > 255)
    row = -(-image.width // 8) if image.mode == "1" else image.width * len(image.getbands()) * (2 if wide else 1)
    image.fp.seek(start + image.height * row)
    if image.fp.read(64).lstrip().startswith(b"P"):
        raise InputError("PNM file holds another image behind the first; save each in a file of its own")


CHECKS = {"PSD": _check_psd, "PPM": _check_ppm}
