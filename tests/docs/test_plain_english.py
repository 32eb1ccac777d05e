"""The lint of docs/style.md (scripts/plain_english.py): what it finds, what it leaves alone, counts that only fall."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "plain_english.py"


@pytest.fixture(scope="module")
def lint() -> Any:
    spec = importlib.util.spec_from_file_location("plain_english", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.py", '"""Returns it, where\nthe file is there."""\n', 1),
        ("b.py", "# Nobody is told.\n", 2),
        ("c.py", 'log(f"{name}: starts anew")\n', 1),
        ("d.py", "nobody = anew = lately\n", 0),
        ("e.py", '"""The folder where files lie; told apart by name, no more than two."""\n', 0),
        ("f.md", "# Page\n\nIt starts\nanew.\n\n```\nanew\n```\n\n| anew | x |\n", 2),
        ("g.py", 'login = "nobody"  # where it stopped\n', 0),
        ("i.py", "def test_nobody_is_there(): ...\n\n\ndef nobody_is_there(): ...\n", 1),
        ("j.py", 'topic = b"home/nobody/set"\n', 0),
        ("h.md", "# Page\n\nSee [decision 17](0017-a-full-table-locks-nobody-out.md): nobody.\n", 1),
        ("i.py", '"""Whoever has told it hears of it."""\n', 3),
    ],
)
def test_what_is_found(lint: Any, tmp_path: Path, name: str, text: str, found: int) -> None:
    (tmp_path / name).write_text(text)
    assert len(lint.found_in(tmp_path / name)) == found


def test_a_file_may_hold_as_many_as_its_count_and_a_new_one_none(lint: Any) -> None:
    limits = lint.allowed("# why\n2 old.py\n")
    assert lint.too_many({"old.py": 2, "fine.py": 0}, limits) == []
    assert lint.too_many({"old.py": 3, "new.py": 1}, limits) == ["new.py", "old.py"]


def test_write_lowers_a_count_and_raises_none(lint: Any) -> None:
    counts = {"a.md": 1, "b.md": 2, "c.md": 0, "new.md": 3}
    assert lint.lowered("# why\n2 a.md\n1 b.md\n1 c.md\n1 gone.md\n", counts) == "# why\n1 a.md\n1 b.md\n"


def test_the_lint_is_part_of_the_checks_and_its_list_names_files_that_are_there(lint: Any) -> None:
    assert "scripts/plain_english.py" in (ROOT / "scripts" / "check").read_text()
    for name, count in lint.allowed(lint.COUNTS.read_text()).items():
        assert (ROOT / name).is_file() and count > 0
