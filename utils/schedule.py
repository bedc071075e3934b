"""Learning rates as functions of the step, so that a resumed run needs to know nothing but its step."""

from __future__ import annotations

import math


def warmup_cosine(step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate: linear rise over `warmup` steps, then half a cosine down to 0 at `steps`."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))


def validation_decay(step: int, validate: int, warmup: int, gamma: float = 0.99) -> float:
    """The published schedule: the factor falls by `gamma` at each validation, every `validate` steps."""
    return min(1.0, (step + 1) / max(1, warmup)) * gamma ** (step // validate)
