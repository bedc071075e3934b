"""Several processes that train one model together, as `torchrun` starts them; one process is the usual special case."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from utils.errors import RequestError

#: What torchrun says in the environment. Schedulers set some of these too, for processes that are not to be joined.
SAID = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Processes:
    """Process number `rank` of `count`; `local_rank` is its number on this machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def share(self, total: int) -> slice:
        """This process' part of `total` things; the parts of all processes are consecutive and cover them."""
        return slice(self.rank * total // self.count, (self.rank + 1) * total // self.count)

    def add_up(self, values: torch.Tensor) -> torch.Tensor:
        """Replace `values` by its sum over all processes, the same in each; returns it."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def gathered(self, value: Any) -> list[Any]:
        """The values of all processes, in their order, the same in each; they are pickled."""
        values = [value] * self.count
        if self.count > 1:
            dist.all_gather_object(values, value)
        return values

    def device(self, requested: str) -> str:
        """The device of this process: of several CUDA devices, the one of its number."""
        return f"cuda:{self.local_rank}" if requested == "cuda" and self.count > 1 else requested


def started() -> Processes:
    """This process among those that torchrun started; a single one where the environment lacks some of `SAID`."""
    if not all(name in os.environ for name in SAID) or os.environ["WORLD_SIZE"] == "1":
        return Processes()
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return Processes(rank, count, int(os.environ.get("LOCAL_RANK", "0")))


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
