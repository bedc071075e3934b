"""The native core on other processors, where cross compiler and emulator are there; more in `make native-emulated`."""

import pytest

from tests.emulated import build, compare, missing
from tests.native_cases import random_case


@pytest.mark.parametrize(
    ("processor", "instruction_sets"), [("aarch64", {"neon", "portable"}), ("s390x", {"portable"})]
)
def test_other_processors_write_the_same_bytes(processor, instruction_sets, tmp_path):
    if programs := missing(processor):
        pytest.skip(f"{' and '.join(programs)} not found")
    cases = [random_case(seed) for seed in range(12)]
    assert compare(build(processor, tmp_path), processor, cases) == instruction_sets
