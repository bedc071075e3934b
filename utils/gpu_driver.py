"""Whether there may be a GPU that PyTorch can use, found without PyTorch, which takes a second to import."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

#: CUDA's driver, by which PyTorch finds GPUs, and the device of ROCm's.
DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
ROCM_DEVICE = "/dev/kfd"


@cache
def has_gpu_driver() -> bool:
    """Whether a GPU's driver is installed; without one PyTorch finds no GPU."""
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return os.path.exists(ROCM_DEVICE)
    return True
