"""docs/glossary.md against the code: each term's name is defined in its room; a class name belongs to one room."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.harness.docs_page import read

ROOT = Path(__file__).parents[2]
ROOMS = ("layer", "carriage", "endpoint", "gateway", "adapters", "simulator", "demo", "bench", "common")
SPLIT = ("carriage", "gateway", "adapters")  # each folder of these is a room
HEADINGS = (
    "Parties and layers",
    "Sessions and units",
    "Between an adapter and the gateway",
    "Devices",
    "Policy and store",
    "CoAP and MQTT",
)


@cache
def sources() -> dict[str, str]:
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"]  # in a copy nothing is added
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    names = [name for name in done.stdout.split() if name.startswith(tuple(f"{room}/" for room in ROOMS))]
    return {name: (ROOT / name).read_text() for name in names if (ROOT / name).exists()}


def room_of(path: str) -> str:
    first, second, *_ = [*path.split("/"), ""]
    return f"{first}.{second}" if first in SPLIT and not second.endswith(".py") else first


def defined(name: str, room: str) -> bool:
    """As a class, a function, a type or constant, or a field."""
    pattern = re.compile(rf"^\s*(?:(?:async )?def|class) {name}\b|^\s*(?:self\.)?{name}\b(?:: | = )", re.MULTILINE)
    return any(path.startswith(room) and pattern.search(text) for path, text in sources().items())


TERMS = [row for heading in HEADINGS for row in read("glossary.md").rows("term", heading)]


@pytest.mark.parametrize("row", TERMS, ids=lambda row: row[0])
def test_each_name_is_defined_in_its_room(row: list[str], code_words: Callable[[str], list[str]]) -> None:
    term, meaning, source, room, name = row
    assert term and meaning and source
    ((where,), names) = code_words(room), code_words(name)
    assert names and all(defined(each, where) for each in names), f"{term}: {names} in {where}"


def test_a_term_has_one_row() -> None:
    terms = [each for row in TERMS for each in row[0].split(", ")]
    assert len(terms) == len(set(terms))


def test_a_class_name_belongs_to_one_room_or_stands_in_the_list(code_words: Any) -> None:
    rooms: defaultdict[str, set[str]] = defaultdict(set)
    for path, text in sources().items():
        for name in re.findall(r"^class ([A-Z]\w*)", text, re.MULTILINE):
            rooms[name].add(room_of(path))
    shared = {name for name, where in rooms.items() if len(where) > 1}
    rows = {code_words(name)[0]: why for name, why in read("glossary.md").rows("name")}
    assert {name: sorted(rooms[name]) for name in shared - rows.keys()} == {}, (
        "rename one, or add a row with the reason"
    )
    assert rows.keys() - shared == set(), "these names are of one room: remove their rows"
    assert all(rows.values())
