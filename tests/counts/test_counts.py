"""What a message costs a real gateway process, in Python calls and objects, against the table of docs/bench.md.

The page names the counts and the way to write new ones: ``make counts COUNTS_ARGS=--write``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import counts
from bench.counting import Count
from bench.counts import NAMES, PAGE, ROWS, SET
from bench.counts_ip import ALONE

TOLERANCE = {"turns": 0.3}
"""Of the page's number; a tenth of all others. A turn of the loop takes what has come, so a busy machine makes fewer
or more of the same work."""
SAME_PYTHON = sys.version_info[:2] == (3, 11)
"""Of the page's counts. A later one makes fewer calls of the same code (comprehensions are no functions there), and of
a message over HTTP more, in smaller turns, on a busy machine: up to a third with 3.13."""
OTHER_PYTHON = 0.5

NAMED = counts.read_page(PAGE.read_text())


@pytest.mark.process
@pytest.mark.parametrize("part", [part for part in ROWS if part != "bare"])
async def test_a_message_costs_what_the_page_says(part: str, tmp_path: Path) -> None:
    found = await counts.count(part, tmp_path)
    assert found.keys() == set(ROWS[part])
    wrong = [line for name in found for line in _differences(name, NAMED[name], found[name])]
    assert not wrong, "\n".join(wrong)


def _differences(name: str, named: Count, found: Count, same: bool = SAME_PYTHON) -> list[str]:
    """In words, for each number that is further from the page's than it may be."""
    return [
        f"{name}: {_text(number)} {what}, {_text(page)} in docs/bench.md"
        for what, page, number in zip(counts.HEAD[1:], named.numbers(), found.numbers(), strict=True)
        if (page is None) is not (number is None)
        or (page is not None and number is not None and not _within(page, number, TOLERANCE.get(what, 0.1), same))
    ]


def _text(number: float | None) -> str:
    return "no" if number is None else f"{number:.1f}"


def _within(page: float, number: float, tolerance: float, same: bool) -> bool:
    if not same:
        return number <= page * (1 + max(tolerance, OTHER_PYTHON))
    return page * (1 - tolerance) <= number <= page * (1 + tolerance)


def test_a_count_a_tenth_away_is_a_difference() -> None:
    page = Count(200.0, 20.0, 4.0, 1.0)
    assert _differences("x", page, Count(219.0, 20.0, 4.0, 1.0), True) == []
    assert _differences("x", page, Count(221.0, 20.0, 4.0, 1.0), True) == ["x: 221.0 calls, 200.0 in docs/bench.md"]
    assert len(_differences("x", page, Count(200.0, 23.0, 5.3, 2.0), True)) == 3
    assert len(_differences("x", page, Count(200.0, 20.0), True)) == 2


def test_with_another_python_a_count_half_again_as_high_is_a_difference() -> None:
    page = Count(200.0, 20.0, 4.0, 1.0)
    assert _differences("x", page, Count(299.0, 10.0, 4.0, 1.0), False) == []
    assert _differences("x", page, Count(301.0, 10.0, 4.0, 1.0), False) == ["x: 301.0 calls, 200.0 in docs/bench.md"]


def test_the_page_has_a_row_for_each_kind_of_message() -> None:
    assert NAMED.keys() == NAMES


def test_written_counts_are_read_again_and_the_rest_of_the_page_stays() -> None:
    before = PAGE.read_text()
    new = {ALONE: Count(300.0, 20.0, 4.0), SET: Count(1100.0, 60.0, 9.5, 1.0)}
    after = counts.write_page(before, new)
    assert counts.read_page(after) == NAMED | new
    changed = [line for line in after.split("\n") if line not in before.split("\n")]
    assert len(changed) == 2 and all(line.startswith(("| coaps to mqtt, one", "| mqtt set")) for line in changed)
    assert counts.write_page(after, NAMED | {}) == before
