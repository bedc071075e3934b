"""Several processes that train one model together, as `torchrun` starts them; one process is the usual special case."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist


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

    def device(self, requested: str) -> str:
        """The device of this process: of several CUDA devices, the one of its number."""
        return f"cuda:{self.local_rank}" if requested == "cuda" and self.count > 1 else requested


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the other processes, if there are any (torchrun says so in the environment), until the block ends."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    processes = Processes(int(os.environ["RANK"]), count, int(os.environ.get("LOCAL_RANK", "0")))
    if device.startswith("cuda"):
        torch.cuda.set_device(processes.device(device))
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield processes
        dist.barrier()  # who leaves first would close connections that others may still read
    finally:
        dist.destroy_process_group()
