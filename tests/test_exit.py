"""Processes that end while daemon threads of theirs are at work in the native core."""

from __future__ import annotations

import subprocess
import sys

import pytest

from coders import native
from coders.native.gradients import gradient_kind
from tests.helpers import ROOT

#: `work` once to load what it needs, then again and again, until the process ends in the midst of it.
PROGRAM = """
import threading
import time
import p59
from tests.helpers import random_image

image = random_image(700, 700, kind="smooth")
data = p59.encode(image, turn=False)
small = image[:96, :96]

def again_and_again(work):
    while True:
        work()

work = lambda: {work}
p59.encode(small, adapt_steps=1)
threads = [threading.Thread(target=again_and_again, args=(work,), daemon=True) for _ in range(2)]
for thread in threads:
    thread.start()
time.sleep(0.5)
"""


@pytest.mark.skipif(native.unavailable_reason() is not None, reason=str(native.unavailable_reason()))
@pytest.mark.parametrize(
    "work",
    [
        "p59.encode(image)",
        "p59.decode(data)",
        pytest.param(
            "p59.encode(small, adapt_steps=10_000)",
            marks=pytest.mark.skipif(gradient_kind() is None, reason="the core was built without gradients"),
        ),
    ],
)
def test_a_process_ends_as_it_would_without_them(work):
    program = PROGRAM.format(work=work)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
