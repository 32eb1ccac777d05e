"""The table of SunJSSE in docs/round-trips.md against another run."""

from __future__ import annotations

from bench import round_trips
from tests.harness.docs_page import read


def test_another_run_of_java_counts_the_same() -> None:
    (table,) = round_trips.count(round_trips.java_table)
    assert round_trips.lines(table) in read("round-trips.md").text, "python -m bench.round_trips --java --write"
