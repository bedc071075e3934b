"""Where results were made: commit, processor, device."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def commit_of(directory: Path) -> str:
    """The commit of a checkout, with "+" where its files differ from it; "unknown" where the directory is none, though
    it may lie in another project's."""
    try:
        if not os.path.samefile(_git(directory, "rev-parse", "--show-toplevel"), directory):
            return "unknown"
        head = _git(directory, "rev-parse", "--short=10", "HEAD")
        changed = _git(directory, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def _git(directory: Path, *arguments: str) -> str:
    command = ["git", "-C", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def machine_of(device: str) -> str:
    """The GPU's or processor's name and the number of cores."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {cores()} cores"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
