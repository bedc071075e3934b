"""Coverage-guided fuzzing of the decoder with atheris (libFuzzer): `make fuzz-guided`, or with libFuzzer's own flags

    python -m tests.fuzz.guided CORPUS -max_total_time=600

Inputs are files without their last four bytes; the right checksum is put behind them, so that all else is reached.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["coders", "datasets", "utils"]):
    from datasets.metadata import info_of
    from tests.fuzz.seeds import decode, seeds, with_crc
    from utils.errors import P59Error


def one_input(data: bytes) -> None:
    """Anything but a P59Error that leaves the decoder is a finding."""
    try:
        picture = decode(with_crc(data + bytes(4)))
        info_of(picture.mode.name, picture.palette, picture.transparency, picture.metadata)
    except P59Error:
        pass


def main() -> None:
    corpus = next((Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")), None)
    if corpus is not None:
        corpus.mkdir(parents=True, exist_ok=True)
        for number, (data, _) in enumerate(seeds()):
            (corpus / f"seed{number:02}").write_bytes(data[:-4])
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
