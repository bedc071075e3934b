"""How PyTorch says that memory is short."""

from __future__ import annotations

import torch

#: Words of errors that have no type of their own; cuBLAS does not say which error kept it from allocating what it
#: starts with.
SHORT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch says that the memory of a device or of the host does not suffice."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SHORT_OF_MEMORY)
