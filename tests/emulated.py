"""The native core on processors that this machine has not: cross-compiled, emulated, and compared byte for byte; its
gradients, which are of floats, with PyTorch's.

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
import torch

from coders import native
from models import fixed_tables
from models.context_net import ContextNet
from models.description import ModelDescription
from models.frozen import FrozenModel
from models.neighbourhood import PADDINGS, WEST
from tests.gradient_cases import Sample, by_pytorch, difference, gradient_case
from tests.helpers import LAYERED
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

FLAGS = ("-std=c++20", "-O3", "-static", "-pthread", "-Wall", "-Wextra", "-Wno-psabi")
#: What CMakeLists.txt gives these files, and the others not; on 64-bit ARM more.
OWN_FLAGS = {"gradients_vectors.cpp": ("-ffp-contract=fast", "-fno-trapping-math", "-fno-math-errno")}
OWN_FLAGS_OF_ARM = {
    "kernel_neon.cpp": ("-fno-schedule-insns",),
    "gradients_vectors.cpp": (*OWN_FLAGS["gradients_vectors.cpp"], "-fno-schedule-insns", "-fno-tree-pre"),
}


def missing(processor: str) -> list[str]:
    """The programs that emulating this processor needs and that are not there."""
    return [name for name in (COMPILERS[processor], f"qemu-{processor}") if shutil.which(name) is None]


def build(processor: str, folder: Path) -> Path:
    """The test program for a processor, linked statically. Raises CalledProcessError after the compiler's words."""
    program = folder / f"emulated_{processor}"
    core = ROOT / "coders/native/src"
    compiler = [COMPILERS[processor], *FLAGS, f"-I{core}"]
    sources = [str(path) for path in sorted(core.glob("*.cpp")) if not path.name.startswith("module")]
    objects = []
    for name, flags in (OWN_FLAGS_OF_ARM if processor == "aarch64" else OWN_FLAGS).items():
        sources.remove(str(core / name))
        objects.append(str(folder / f"{processor}_{name}.o"))
        subprocess.run([*compiler, *flags, "-c", "-o", objects[-1], str(core / name)], check=True)
    main_file = str(Path(__file__).with_name("emulated.cpp"))
    subprocess.run([*compiler, "-o", str(program), main_file, *sources, *objects], check=True)
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


def text_of_gradient(net: ContextNet, sample: Sample) -> str:
    """A network and its batch as emulated.cpp reads them."""
    description = net.description
    numbers = [description.channels, description.mixtures, len(description.taps), description.reference == "west"]
    numbers += [description.scales == "clamped", description.parities]
    numbers += [description.taps.index(WEST) if WEST in description.taps else 0, len(description.layer_shapes)]
    parameters, scales = [parameter.detach() for parameter in net.parameters()], input_scales(description)
    for shape, roles, weight, bias in zip(
        description.layer_shapes, description.layer_roles, parameters[::2], parameters[1::2], strict=True
    ):
        weight, scales = weight * scales, 1
        numbers += [*shape, *roles, *weight.ravel().tolist(), *bias.tolist()]
    numbers += [len(sample[0]), *(value for part in sample for value in part.ravel().tolist())]
    return " ".join(repr(number) if isinstance(number, float) else str(int(number)) for number in numbers) + "\n"


def input_scales(description: ModelDescription) -> torch.Tensor:
    return torch.from_numpy(description.input_scales.astype(np.float32))


def compare(
    program: Path, processor: str, cases: list[Case], gradient_cases: list[tuple[ContextNet, Sample]]
) -> tuple[set[str], set[str]]:
    """The instruction sets, each of which coded all cases to this machine's bytes, and the ways of computing gradients,
    each of which gave PyTorch's; AssertionError where one did not."""
    given = f"{len(cases)}\n" + "".join(text_of(case) for case in cases)
    given += f"{len(gradient_cases)}\n" + "".join(text_of_gradient(*case) for case in gradient_cases)
    result = subprocess.run([f"qemu-{processor}", str(program)], input=given, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    answers = [answer.splitlines() for answer in result.stdout.split("done\n")[:-1]]
    assert len(answers) == len(cases) + len(gradient_cases), f"{len(answers)} of {len(cases) + len(gradient_cases)}"
    names = {line.split()[0] for line in answers[0]}
    for number, (case, answer) in enumerate(zip(cases, answers, strict=False)):
        wanted = native.encode_stream(case.image, case.model, case.scan).hex()
        coded = [tuple(line.split(maxsplit=1)) for line in answer]
        assert {name for name, _ in coded} == names, f"case {number}: {coded}"
        for name, stream in coded:
            assert stream == wanted, f"case {number}, {name}: {stream[:60]}, here {wanted[:60]}"
    kinds = {line.split()[0] for line in answers[-1]}
    for (net, sample), answer in zip(gradient_cases, answers[len(cases) :], strict=True):
        compare_gradients(net, sample, {line.split()[0]: np.array(line.split()[1:], float) for line in answer}, kinds)
    return names, kinds


def compare_gradients(net: ContextNet, sample: Sample, found: dict[str, np.ndarray], kinds: set[str]) -> None:
    """Raises AssertionError where bits or gradients in `found`, of each of `kinds`, are not PyTorch's."""
    assert set(found) == kinds
    subpixels = sample[1].numel()
    bits, wanted = by_pytorch(net, sample)
    ends = np.cumsum([1, *(gradient.numel() for gradient in wanted)])
    for kind, numbers in found.items():
        total, *parts = np.split(numbers / subpixels, ends[:-1])
        assert abs(total[0] - bits) < 1e-5 * bits, f"{kind}: {total[0]} bits, {bits} in PyTorch"
        parts[0] = (parts[0].reshape(wanted[0].shape) * input_scales(net.description).numpy()).ravel()
        for index, (part, gradient) in enumerate(zip(parts, wanted, strict=True)):
            error = difference(torch.from_numpy(part), gradient.ravel())
            assert error < 2e-4, f"{kind}: the gradient of parameter {index} is off by {error}"


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
    gradient_cases = [gradient_case(name) for name in LAYERED]
    with tempfile.TemporaryDirectory() as folder:
        for processor in processors:
            if missing(processor):
                parser.error(f"{processor}: {' and '.join(missing(processor))} not found")
            start = time.perf_counter()
            try:
                names, kinds = compare(build(processor, Path(folder)), processor, cases, gradient_cases)
            except AssertionError as error:
                print(f"{processor}: {error}")
                return 1
            seconds = time.perf_counter() - start
            print(f"{processor}: {len(cases)} images, {', '.join(sorted(names))}: all bytes equal")
            print(f"  {len(gradient_cases)} gradients, {', '.join(sorted(kinds))}: as PyTorch's; {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
