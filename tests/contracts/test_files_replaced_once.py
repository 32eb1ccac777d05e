"""There is one way to write a file beside another, sync it and rename it: ``common.replacing``."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("adapters", "carriage", "endpoint", "gateway", "layer", "simulator")
STAGED = "gateway/runtime/restore.py"
"""It syncs files that its plan renames later, all together."""


def test_no_room_syncs_files_itself() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if "fsync" in path.read_text()
    }
    assert found == {STAGED}, "use common.replacing"
