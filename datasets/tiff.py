"""What Pillow changes of TIFF files without a word, which is refused; and which of their tags are metadata."""

from __future__ import annotations

from PIL import Image

from utils.errors import InputError

#: Fields: bits of a sample, what samples mean, how they are turned, whether planes lie apart (2), palette, channels
#: besides colour.
BITS_OF_SAMPLE, PHOTOMETRIC, ORIENTATION, PLANES, PALETTE, EXTRA_SAMPLES = 258, 262, 274, 284, 320, 338
SAMPLE_FORMAT, DEPTH = 339, 32997
#: What the first image of a file is: a smaller copy where bit 0 is set. The version of a camera's raw file (DNG).
KIND, SMALLER, RAW_VERSION = 254, 1, 50706
WHITE_IS_ZERO, SIGNED = 0, 2
#: Kinds of a channel besides colour: premultiplied alpha; alpha, also as one program numbers it.
ASSOCIATED, ALPHA = 1, frozenset((2, 999))
#: Fields that describe how samples are stored, those that `info` has, and layers; the rest is EXIF.
LAYOUT = frozenset(
    [254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 282, 283, 284, 288, 289, 290]
    + [291, 292, 293, 296, 317, 320, 322, 323, 324, 325, 330, 332, 338, 339, 340, 341, 347, 529, 530, 531, 532, 700]
    + [34675, 37724]
)


def check_tiff(image: Image.Image) -> None:
    """Raises InputError where an opened TIFF file's samples would not come back as they are stored."""
    tags = image.tag_v2
    if RAW_VERSION in tags or tags.get(KIND, 0) & SMALLER:
        raise InputError("TIFF file's first image is a smaller copy or a camera's raw file; save the image itself")
    if tags.get(ORIENTATION, 1) != 1:  # Pillow turns it on loading, some of them wrongly, and forgets the tag
        raise InputError(f"TIFF image is stored turned (its tag Orientation is {tags[ORIENTATION]}); save it upright")
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO and image.mode.startswith("I"):  # in other modes Pillow inverts them
        raise InputError("TIFF image of 16 bits has 0 for white; save it with 0 for black")
    if tags.get(DEPTH, 1) > 1:
        raise InputError(f"TIFF image has {tags[DEPTH]} planes in depth; save each as an image of its own")
    if SIGNED in tags.get(SAMPLE_FORMAT, ()) and not image.mode.startswith("I"):  # those are seen to be negative
        raise InputError("TIFF image has signed samples of 8 bits; save it with unsigned ones")
    extra = set(tags.get(EXTRA_SAMPLES, ())) - ALPHA
    if (
        extra == {ASSOCIATED}
        and max(tags.get(BITS_OF_SAMPLE, (1,))) <= 8
        and image.getchannel("A").getextrema()[0] == 255
    ):
        return  # divided by one
    if extra:
        raise InputError(
            "TIFF image has alpha multiplied into colour, or another channel; convert to unassociated alpha"
        )


def exif_of_tiff(fields: Image.Exif) -> bytes:
    """A TIFF file's fields that are metadata, as EXIF.

    Raises ValueError where a field's value is none of EXIF.
    """
    layout, big = {field: fields[field] for field in LAYOUT.intersection(fields)}, fields.bigtiff
    for field in layout:
        del fields[field]
    fields.bigtiff = False  # EXIF knows classic TIFF only
    try:
        return fields.tobytes() if fields else b""
    except Exception as error:  # Pillow packs what it is given
        raise ValueError(f"{_not_of_exif(fields)} cannot be EXIF: {error}") from error
    finally:  # they are the caller's
        fields.update(layout)
        fields.bigtiff = big


def _not_of_exif(fields: Image.Exif) -> str:
    """Names the first field that cannot be written."""
    for field, value in fields.items():
        alone = Image.Exif()
        alone[field] = value
        try:
            alone.tobytes()
        except Exception:  # as above
            return f"TIFF tag {field}, which is {value!r:.60},"
    return "a field of TIFF"
