"""Which of several processes this one is, as `torchrun` starts them; one process is the usual special case."""

from __future__ import annotations

import os
from dataclasses import dataclass

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

    def device(self, requested: str) -> str:
        """The device of this process: of several CUDA devices, the one of its number."""
        return f"cuda:{self.local_rank}" if requested == "cuda" and self.count > 1 else requested


def started() -> Processes:
    """This process among those that torchrun started; a single one where the environment lacks some of `SAID`."""
    if not all(name in os.environ for name in SAID) or os.environ["WORLD_SIZE"] == "1":
        return Processes()
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return Processes(rank, count, int(os.environ.get("LOCAL_RANK", "0")))
