"""The native core on processors that this machine has not: cross-compiled, emulated, and compared byte for byte.

    python -m tests.emulated --images 100 aarch64 s390x

needs a cross compiler for each processor and QEMU's user emulation: on Debian the packages g++-aarch64-linux-gnu,
g++-s390x-linux-gnu and so on, and qemu-user. s390x stores the highest byte first, arm has pointers of 32 bits. Images
and models are those of tests.native_cases; every instruction set of the processor codes them, with one thread and two.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from coders import native
from models import fixed_tables
from models.frozen import FrozenModel
from models.neighbourhood import PADDINGS, WEST
from tests.native_cases import Case, random_case

ROOT = Path(__file__).parents[1]

#: Of each processor, as QEMU calls it: the compiler.
COMPILERS = {
    "aarch64": "aarch64-linux-gnu-g++",
    "arm": "arm-linux-gnueabihf-g++",
    "ppc64le": "powerpc64le-linux-gnu-g++",
    "riscv64": "riscv64-linux-gnu-g++",
    "s390x": "s390x-linux-gnu-g++",
}

#: The last one is what kernel_neon.cpp is compiled with.
FLAGS = ("-std=c++20", "-O3", "-static", "-pthread", "-Wall", "-Wextra", "-Wno-psabi", "-fno-schedule-insns")


def missing(processor: str) -> list[str]:
    """The programs that emulating this processor needs and that are not there."""
    return [name for name in (COMPILERS[processor], f"qemu-{processor}") if shutil.which(name) is None]


def build(processor: str, folder: Path) -> Path:
    """The test program for a processor, linked statically. Raises CalledProcessError after the compiler's words."""
    program = folder / f"emulated_{processor}"
    core = ROOT / "coders/native/src"
    command = [COMPILERS[processor], *FLAGS]
    command += [f"-I{core}", "-o", str(program), str(Path(__file__).with_name("emulated.cpp"))]
    sources = [str(path) for path in sorted(core.glob("*.cpp")) if not path.name.startswith("module")]
    subprocess.run([*command, *sources], check=True)
    return program


def numbers_of(model: FrozenModel) -> list:
    """A model as emulated.cpp reads it."""
    description = model.description
    numbers = [description.channels, description.mixtures, model.limit, description.reference == "west"]
    numbers += [description.scales == "clamped", description.parities, PADDINGS.index(description.padding)]
    numbers.append(len(model.layers))
    for layer in model.layers:
        numbers += [*layer.weight.shape, layer.leaky, layer.skip]
        numbers += [*layer.weight.ravel(), *layer.bias, *layer.shift]
    for table in (
        fixed_tables.exp2_table(),
        fixed_tables.scale_mantissas(),
        fixed_tables.scale_thresholds(),
        fixed_tables.normal_cdf_table(),
    ):
        numbers += [len(table), *table]
    return numbers


def text_of(case: Case) -> str:
    """A case as emulated.cpp reads it."""
    taps = case.model.description.taps
    height, width = case.image.shape[:2]
    numbers = [*numbers_of(case.model), height, width, case.scan.row_delay or width]
    numbers.append(taps.index(WEST) if WEST in taps else 0)
    numbers += [offset for tap in case.scan.taps(taps) for offset in tap]
    return " ".join(str(int(number)) for number in np.concatenate([numbers, case.image.ravel()])) + "\n"


def compare(program: Path, processor: str, cases: list[Case]) -> set[str]:
    """The instruction sets, each of which coded all cases to this machine's bytes; AssertionError where one did not."""
    given = f"{len(cases)}\n" + "".join(text_of(case) for case in cases)
    result = subprocess.run([f"qemu-{processor}", str(program)], input=given, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    answers = result.stdout.split("done\n")[:-1]
    assert len(answers) == len(cases), f"{len(answers)} of {len(cases)} cases"
    names = {line.split()[0] for line in answers[0].splitlines()}
    for number, (case, answer) in enumerate(zip(cases, answers, strict=True)):
        wanted = native.encode_stream(case.image, case.model, case.scan).hex()
        coded = [tuple(line.split(maxsplit=1)) for line in answer.splitlines()]
        assert {name for name, _ in coded} == names, f"case {number}: {coded}"
        for name, stream in coded:
            assert stream == wanted, f"case {number}, {name}: {stream[:60]}, here {wanted[:60]}"
    return names


def main() -> int:
    """Compare random cases on each processor named; print what was found."""
    parser = argparse.ArgumentParser(prog="tests.emulated", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("processors", nargs="*", help=f"of {', '.join(COMPILERS)}; default: all whose tools are there")
    arguments = parser.parse_args()
    if unknown := set(arguments.processors) - set(COMPILERS):
        parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(COMPILERS)}")
    processors = arguments.processors or [processor for processor in COMPILERS if not missing(processor)]
    if not processors:
        parser.error("no cross compiler with its emulator was found: see tests/emulated.py")
    cases = [random_case(seed) for seed in range(arguments.seed, arguments.seed + arguments.images)]
    with tempfile.TemporaryDirectory() as folder:
        for processor in processors:
            if missing(processor):
                parser.error(f"{processor}: {' and '.join(missing(processor))} not found")
            start = time.perf_counter()
            try:
                names = compare(build(processor, Path(folder)), processor, cases)
            except AssertionError as error:
                print(f"{processor}: {error}")
                return 1
            print(f"{processor}: {len(cases)} images, {', '.join(sorted(names))}: all bytes equal, "
                  f"{time.perf_counter() - start:.0f} s")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
