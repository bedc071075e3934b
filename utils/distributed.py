"""Several processes that train one model together, joined by PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from utils.errors import RequestError
from utils.processes import Processes, started


def added_up(values: torch.Tensor, processes: Processes) -> torch.Tensor:
    """Replace `values` by its sum over all processes, the same in each; returns it."""
    if processes.count > 1:
        dist.all_reduce(values)
    return values


def gathered(value: Any, processes: Processes) -> list[Any]:
    """The values of all processes, in their order, the same in each; they are pickled."""
    values = [value] * processes.count
    if processes.count > 1:
        dist.all_gather_object(values, value)
    return values


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the other processes that torchrun started, if there are any, until the block ends.

    Raises RequestError where this machine has fewer GPUs than processes that take one each.
    """
    processes = started()
    if processes.count == 1:
        yield processes
        return
    if device.startswith("cuda"):
        if device == "cuda" and processes.local_rank >= torch.cuda.device_count():
            raise RequestError(
                f"process {processes.local_rank + 1} of this machine has no GPU, of which there are "
                f"{torch.cuda.device_count()}; start fewer processes (--nproc_per_node), or use device=cpu"
            )
        torch.cuda.set_device(processes.device(device))
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield processes
        dist.barrier()  # who leaves first would close connections that others may still read
    finally:
        dist.destroy_process_group()
