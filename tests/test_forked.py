"""Processes that are forked from one that has coded already: its threads, its locks and its GPU are not theirs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from coders import native
from tests.helpers import ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
REASON = native.unavailable_reason()

#: A child that ends normally, within a minute, once `work` is done.
BEGIN = """
import os, signal, sys
import p59
from coders import backends, native
from tests.helpers import random_image

def forked(work):
    if child := os.fork():
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        return
    signal.alarm(60)
    work()
    sys.exit()

image = random_image(64, 64, kind="smooth")
"""
#: A GPU that the processor plays.
PLAYED = """
import torch
torch.cuda.is_available = lambda: True
from coders import torch_backends
batched = torch_backends.batched_backend
torch_backends.batched_backend = lambda device, *case: batched("cpu", *case)
"""


def run(*parts: str) -> None:
    """Like a user's program. Python from 3.12 on warns of any fork of a process that has threads."""
    warned = ["-W", "ignore:This process:DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, *warned, "-c", "".join(parts)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


ADAPTS = """
def encoded():
    return p59.encode(image, adapt_steps=2, threads=2, device="cpu")

def works():
    assert len(encoded()) == len(data)

data = encoded()
forked(works)
"""


def test_a_forked_process_adapts_too():
    """PyTorch's threads are the parent's."""
    run(BEGIN, ADAPTS)


CODES = """
def works():
    assert p59.encode(image, threads=3) == data
    assert p59.decode(data, threads=3).tobytes() == image.tobytes()

data = p59.encode(image, threads=3)
forked(works)
works()
"""


@pytest.mark.parametrize(
    "device",
    [
        "played",
        pytest.param(
            "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
        ),
    ],
)
def test_a_forked_process_codes_too(device):
    """Whatever the parent keeps for its GPU: the device is `auto`."""
    run(BEGIN, PLAYED if device == "played" else "", CODES)


HELD = """
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from PIL import Image
from coders import fitting, kept_backends
from datasets import images
from datasets.png import png_bytes
from utils import files

limit, held, done = Image.MAX_IMAGE_PIXELS, Event(), Event()

def hold():
    with kept_backends._one_at_a_time.lock, native._preparing.lock, fitting._one_at_a_time.lock, files._asking.lock:
        with images._pillow_limit.lifted(), images._pillow_limit._lock:
            held.set()
            done.wait()

def works():
    assert Image.MAX_IMAGE_PIXELS == limit
    with TemporaryDirectory() as folder:
        file = Path(folder) / "a.png"
        files.write_whole(file, png_bytes(image))
        p59.encode(file, adapt_steps=2)
    assert Image.MAX_IMAGE_PIXELS == limit

def reads_again():
    with images._pillow_limit.lifted():
        assert Image.MAX_IMAGE_PIXELS is None
    assert Image.MAX_IMAGE_PIXELS == limit

with images._pillow_limit.lifted():
    if not (child := os.fork()):
        assert Image.MAX_IMAGE_PIXELS == limit
if not child:
    reads_again()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
reads_again()

holder = Thread(target=hold)
holder.start()
held.wait()
forked(works)
done.set()
holder.join()
assert Image.MAX_IMAGE_PIXELS == limit
"""


def test_locks_that_another_thread_held_are_not_the_childs():
    run(BEGIN, PLAYED, HELD)


UNUSABLE = """
def works():
    torch.cuda._is_in_bad_fork = lambda: True
    assert backends.device_of("auto") == "cpu"
    for device in ("cuda", "cuda:1"):
        try:
            p59.encode(image, device=device)
        except p59.RequestError as error:
            assert "forked" in str(error) and "spawn" in str(error) and "device=cpu" in str(error)
        else:
            raise AssertionError
    assert p59.encode(image) == data

data = p59.encode(image)
forked(works)
"""


def test_cuda_that_the_parent_has_used_is_not_to_be_had():
    """PyTorch says so in the child."""
    run(BEGIN, PLAYED, UNUSABLE)


POOL = """
import time
pool = native.pool(3)
time.sleep(0.1)  # its threads wait for work

def works():
    global pool
    del pool

forked(works)
del pool
"""


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
def test_threads_of_the_parent_are_not_waited_for():
    run(BEGIN, POOL)
