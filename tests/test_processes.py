"""The command line as processes: fresh ones give the same bytes, exit statuses, memory."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from coders.container import Container
from tests.command_line_cases import CONFIGS, encoded, load, run, save
from tests.helpers import ROOT, random_image

__all__ = ["encoded", "run"]  # fixtures


def in_a_process(arguments, cwd, code=None) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "main.py"), *map(str, arguments)]
    if code is not None:
        command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONHASHSEED": "99", "PYTHONWARNINGS": "error", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300)


def test_a_fresh_process_decodes_what_this_one_encoded(tmp_path, encoded):
    image, data = encoded
    (tmp_path / "a.p59").write_bytes(data)
    result = in_a_process([CONFIGS / "decode.json", "bitstream_path=a.p59", "output_path=a.png"], tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    np.testing.assert_array_equal(load(tmp_path / "a.png"), image)


def test_a_fresh_process_encodes_the_same_bytes(tmp_path, encoded):
    image, data = encoded
    save(tmp_path / "a.png", image)
    arguments = ["test_data=a.png", "bitstream_path=a.p59", "num_threads=2"]
    result = in_a_process([CONFIGS / "encode_wavefront.json", *arguments], tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "a.p59").read_bytes() == data


def test_the_exit_status_of_a_process(tmp_path):
    result = in_a_process([CONFIGS / "decode.json", "output_pth=x"], tmp_path)
    assert result.returncode == 2
    assert result.stderr == "error: unknown configuration key 'output_pth'; did you mean 'output_path'?\n"
    assert result.stdout == ""


MEMORY = """
import resource, sys
import main
for megapixels in (0, *map(float, sys.argv[1].split(","))):
    target = f"{megapixels}.p59"
    arguments = [sys.argv[2], f"test_data={megapixels}.png", f"bitstream_path={target}", *sys.argv[3:]]
    assert main.main(arguments) == 0
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def bytes_per_pixel(tmp_path, small: tuple[int, int], large: tuple[int, int], *overrides: str) -> float:
    """Growth of the peak memory of a process from encoding a small image to encoding a large one after it."""
    from skimage import data

    peaks, whole = [], data.astronaut()
    for name, (height, width) in (("0", small), ("1.0", large)):
        repeats = (-(-height // 512), -(-width // 512), 1)
        save(tmp_path / f"{name}.png", np.tile(whole, repeats)[:height, :width] ^ random_image(height, width) % 4)
    result = in_a_process(["1.0", CONFIGS / "encode_wavefront.json", *overrides], tmp_path, MEMORY)
    assert result.returncode == 0, result.stderr
    peaks = [int(line.split()[1]) for line in result.stdout.splitlines() if line.startswith("peak")]
    return (peaks[1] - peaks[0]) / (large[0] * large[1] - small[0] * small[1])


def test_memory_of_encoding(tmp_path):
    assert bytes_per_pixel(tmp_path, (64, 64), (384, 768), "verify=false") <= 100


@pytest.mark.slow
def test_memory_of_encoding_6_megapixels(tmp_path):
    assert bytes_per_pixel(tmp_path, (128, 128), (2000, 3000)) <= 100


def test_the_file_says_what_decoding_needs(encoded):
    image, data = encoded
    container = Container.from_bytes(data)
    assert (container.height, container.width, container.mode.channels) == image.shape
