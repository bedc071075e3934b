"""Whether there may be a GPU that PyTorch can use, found without PyTorch, which takes a second to import."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

#: CUDA's driver, and on Windows ROCm's.
DRIVERS = ("nvcuda.dll", "amdhip64.dll") if sys.platform == "win32" else ("libcuda.so.1",)
#: Of CUDA's driver where it is elsewhere, of ROCm's, and of Windows beneath Linux.
DEVICES = ("/proc/driver/nvidia", "/dev/kfd", "/dev/dxg")


@cache
def has_gpu_driver() -> bool:
    """Whether a GPU's driver is installed, as far as that shows; without one PyTorch is not asked for GPUs."""
    return any(map(os.path.exists, DEVICES)) or any(map(_loads, DRIVERS))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
