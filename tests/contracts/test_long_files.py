"""A source file holds one thing: at most 400 lines, or a reason in ``long_files.txt`` why it is better whole."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("long_files.txt")
MOST = 400
ROOMS = ("common", "layer", "carriage", "endpoint", "gateway", "adapters", "simulator", "bench", "demo", "scripts")


def long_files(root: Path, rooms: tuple[str, ...] = ROOMS, most: int = MOST) -> dict[str, int]:
    """The source files with more than ``most`` lines, each with its number of lines."""
    files = (file for room in rooms for file in sorted((root / room).rglob("*.py")))
    lengths = {file.relative_to(root).as_posix(): len(file.read_text().splitlines()) for file in files}
    return {name: length for name, length in lengths.items() if length > most}


def reasons(text: str) -> dict[str, str]:
    """The rows ``path: reason`` of the list; lines that begin with # are comments."""
    rows = (line.partition(":") for line in text.splitlines() if line and not line.startswith("#"))
    return {path.strip(): reason.strip() for path, _, reason in rows}


def test_a_file_of_more_than_400_lines_has_a_reason() -> None:
    listed = reasons(LIST.read_text())
    unlisted = {name: length for name, length in long_files(ROOT).items() if name not in listed}
    assert not unlisted, f"cut these, or give {LIST.name} a reason: {unlisted}"


def test_the_list_has_no_row_that_is_not_needed() -> None:
    unneeded = reasons(LIST.read_text()).keys() - long_files(ROOT).keys()
    assert not unneeded, f"short enough, so take them out of {LIST.name}: {sorted(unneeded)}"


def test_each_row_has_a_reason_and_is_the_only_one_of_its_file() -> None:
    rows = [line for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
    found = reasons(LIST.read_text())
    assert len(found) == len(rows)
    assert not [name for name, reason in found.items() if len(reason) < 20]
    assert list(found) == sorted(found)


def test_one_line_too_many_is_found(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    (room / "short.py").write_text("pass\n" * 3)
    (room / "long.py").write_text("pass\n" * 4)
    assert long_files(tmp_path, ("room",), 3) == {"room/long.py": 4}
