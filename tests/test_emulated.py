"""The native core on other processors, where cross compiler and emulator are there; more in `make native-emulated`."""

import pytest

from tests.emulated import build, compare, missing
from tests.gradient_cases import gradient_case
from tests.helpers import LAYERED
from tests.native_cases import random_case


@pytest.mark.parametrize(
    ("processor", "instruction_sets"), [("aarch64", {"neon", "portable"}), ("s390x", {"portable"})]
)
def test_other_processors_write_the_same_bytes_and_find_the_same_gradients(processor, instruction_sets, tmp_path):
    if programs := missing(processor):
        pytest.skip(f"{' and '.join(programs)} not found")
    cases = [random_case(seed) for seed in range(12)]
    gradient_cases = [gradient_case(name) for name in LAYERED]
    assert compare(build(processor, tmp_path), processor, cases, gradient_cases) == (instruction_sets, {"vectors"})
