"""Encoding and decoding by the native core: PyTorch is not imported, and need not be there."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from coders import native
from coders.native.gradients import gradient_kind
from tests.command_line_cases import photograph, save
from tests.helpers import ROOT

needs_native = pytest.mark.skipif(native.unavailable_reason() is not None, reason=str(native.unavailable_reason()))

#: As where PyTorch is not installed.
BEGIN = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, Absent())
sys.path.insert(0, {root!r})
"""
CALL_MAIN = """
import main
sys.exit(main.main(sys.argv[1:]))
"""
WITHOUT_GRADIENTS = """
from coders import native
native.extension().gradient_kinds = lambda: []
"""
WITHOUT_NATIVE = """
sys.modules["p59_native"] = None
"""


def run(code: str, *arguments: str, folder=ROOT) -> subprocess.CompletedProcess:
    code = BEGIN.format(root=str(ROOT)) + code
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True)


@needs_native
@pytest.mark.parametrize("order", ["sequential", "wavefront", "diagonal"])
def test_a_round_trip_from_the_command_line(tmp_path, order):
    save(tmp_path / "photos/a.png", photograph(64, 64))
    save(tmp_path / "photos/b.png", photograph(48, 56)[:, :, :1])
    for arguments in (
        (f"encode_{order}", "test_data=photos", "bitstream_path=out", "num_threads=2"),
        ("inspect", "bitstream_path=out"),
        ("decode", "bitstream_path=out", "output_path=back"),
        ("compare", "test_data=back", "bitstream_path=out"),
    ):
        done = run(CALL_MAIN, *arguments, folder=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    assert order in done.stdout
    assert "2 of 2 images are held" in done.stdout


@needs_native
def test_a_round_trip_from_python():
    code = """
import io
import numpy as np
import p59
from PIL import Image

ramp = np.add.outer(np.arange(40), np.arange(40))[:, :, None] * [1, 2, 3]
image = (ramp + np.random.default_rng(0).integers(0, 9, ramp.shape)).astype(np.uint8)
for order in ("sequential", "wavefront", "diagonal"):
    assert np.array_equal(p59.decode_array(p59.encode(image, order=order, verify=True)), image)
file = io.BytesIO()
Image.fromarray(image).save(file, "P59")
assert np.array_equal(np.asarray(Image.open(file)), image)
try:
    p59.encode(image, device="cuda")
except p59.RequestError as error:
    print(error)
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "device is 'cuda', which takes PyTorch; install it, or use device=cpu\n"


@needs_native
@pytest.mark.skipif(gradient_kind() is None, reason="the native core was built without gradients")
@pytest.mark.parametrize("instruction_set", native.instruction_sets() if not native.unavailable_reason() else [])
def test_networks_are_fitted(tmp_path, monkeypatch, instruction_set):
    """By the native core; where that cannot, PyTorch is missed before anything is done."""
    monkeypatch.setenv(native.INSTRUCTION_SET_VARIABLE, instruction_set)
    save(tmp_path / "a.png", photograph(300, 300))
    arguments = ("encode_smallest", "test_data=a.png", "bitstream_path=a.p59", "adapt_steps=100", "device=cpu")
    done = run(CALL_MAIN, *arguments, folder=tmp_path)
    assert done.returncode == 0
    assert "wavefront, adapted" in done.stdout
    done = run(WITHOUT_GRADIENTS + CALL_MAIN, *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert (
        done.stderr
        == "error: adapt_steps takes torch, as the native core cannot fit networks here; install it, or use 0\n"
    )


@needs_native
@pytest.mark.parametrize(
    "arguments",
    [
        ("encode_wavefront", "test_data=a.png", "bitstream_path=out/", "checkpoint_file=a.pth.tar"),
        ("train", "train_data=.", "valid_data=."),
        ("measure", "test_data=a.png", "checkpoint_file=a.pth.tar"),
    ],
)
def test_what_takes_pytorch_says_so(tmp_path, arguments):
    save(tmp_path / "a.png", photograph(64, 64))
    (tmp_path / "a.pth.tar").write_bytes(b"PK, a checkpoint")
    done = run(CALL_MAIN, *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: this needs the Python module torch, which is not installed; see docs/python.md\n"


@needs_native
def test_frozen_models_are_measured_and_tables_made(tmp_path):
    save(tmp_path / "a.png", photograph(64, 64))
    done = run(CALL_MAIN, "measure", "test_data=a.png", "num_threads=1", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "mean of 1" in done.stdout
    shutil.copy(ROOT / "README.md", tmp_path)
    done = run(CALL_MAIN, "tables", f"results_path={ROOT / 'results'}", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_of_another_kind_is_not_taken_for_a_checkpoint(tmp_path):
    save(tmp_path / "a.png", photograph(64, 64))
    done = run(CALL_MAIN, "measure", "test_data=a.png", "checkpoint_file=a.png", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'a.png' is no checkpoint, nor a frozen model")


def test_neither_the_native_core_nor_pytorch(tmp_path):
    save(tmp_path / "a.png", photograph(64, 64))
    done = run(
        WITHOUT_NATIVE + CALL_MAIN, "encode_wavefront", "test_data=a.png", "bitstream_path=out/", folder=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: neither the native core nor torch can be used: ")


@needs_native
def test_pytorch_is_not_imported_where_it_is_there(tmp_path):
    """It would take most of the time of a single image."""
    save(tmp_path / "a.png", photograph(64, 64))
    code = """
import sys
sys.path.insert(0, {root!r})
from utils import gpu_driver
gpu_driver.DRIVERS = gpu_driver.DEVICES = ()
import main
for arguments in (["encode_wavefront", "test_data=a.png", "bitstream_path=a.p59"],
                  ["decode", "bitstream_path=a.p59", "output_path=b.png"]):
    assert main.main(arguments) == 0
assert "torch" not in sys.modules
"""
    code = code.format(root=str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
