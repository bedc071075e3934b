"""Data flows one way through the rooms, and so do imports: none leads from a room to one above it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.helpers import ROOT

#: The rooms from the lowest on, and what is above them; what lies in `utils` but below all rooms is named in COMMON.
ROOMS = ("common", "models", "coders", "datasets", "utils", "top")
COMMON = {
    "device_memory",
    "errors",
    "files",
    "fork_safe",
    "gpu_driver",
    "png_chunks",
    "schedule",
    "search",
    "torch_threads",
}


def room_of(module: str) -> str | None:
    """The room of a module such as utils.tasks.train; None where it is not of this project."""
    room, _, inside = module.partition(".")
    if room == "utils" and inside.split(".")[0] in COMMON:
        return "common"
    return "top" if room in ("p59", "main") else room if room in ROOMS else None


def imported(path: Path) -> list[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return names + [f"{node.module}.{alias.name}" for node in froms for alias in node.names]


@pytest.mark.parametrize("room", ROOMS[:-1])
def test_rooms_import_from_those_below(room):
    files = [path for name in ROOMS[1:-1] for path in (ROOT / name).rglob("*.py")]
    modules = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files}
    own = [path for path, module in modules.items() if room_of(module) == room]
    assert len(own) >= len(COMMON) if room == "common" else own
    for path in own:
        above = [name for name in imported(path) if room_of(name) and ROOMS.index(room_of(name)) > ROOMS.index(room)]
        assert not above, f"{path.relative_to(ROOT)} imports {above}"
