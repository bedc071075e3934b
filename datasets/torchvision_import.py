"""Importing torchvision where its compiled operators are missing.

torchvision registers abstract versions of its compiled operators at import, which fails where those were built for
another variant of PyTorch (its usual wheel beside a CPU build of PyTorch). The transforms of images need none of
them, so the two names that are missed are declared, without an implementation, and the import is tried again.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType

import torch

SIGNATURES = ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",)
SIGNATURES += tuple(signature.replace("nms", "qnms") for signature in SIGNATURES)


@cache
def declared_operators() -> torch.library.Library:
    """The declarations, which live as long as this object does: hence the cache."""
    library = torch.library.Library("torchvision", "DEF")
    for signature in SIGNATURES:
        library.define(signature)
    return library


@cache
def transforms() -> ModuleType:
    """`torchvision.transforms`."""
    try:
        return importlib.import_module("torchvision.transforms")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # what the failed import left half done
    declared_operators()
    return importlib.import_module("torchvision.transforms")
