"""Tables and values as people see them: aligned, cut to a terminal only, coloured on one only, never unprintable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli import screen
from gateway.cli.screen import Screen, shown, span, table, values

COLUMNS = {"a": "NAME", "b": "STATE", "c": "TROUBLE"}
CELL = st.none() | st.text(max_size=40) | st.integers() | st.lists(st.integers(), max_size=3)
ROWS = st.lists(st.fixed_dictionaries({"a": CELL, "b": CELL, "c": CELL}), max_size=5)


def test_columns_line_up_and_empty_ones_are_left_out():
    rows = [{"a": "zigbee", "b": "ready", "c": None}, {"a": "mqtt", "b": "faulty"}]
    assert list(table(rows, COLUMNS, Screen())) == ["NAME    STATE", "zigbee  ready", "mqtt    faulty"]


def test_only_a_terminal_cuts_the_widest_column():
    rows = [{"a": "mqtt", "b": "faulty", "c": "connection refused by the broker " * 3}]
    assert max(map(len, table(rows, COLUMNS, Screen()))) > 80
    lines = list(table(rows, COLUMNS, Screen(width=40)))
    assert max(map(len, lines)) == 40
    assert lines[1].startswith("mqtt  faulty  connection")
    assert lines[1].endswith("…")


def test_colour_adds_nothing_but_colour():
    rows = [{"a": "x", "b": "ready", "c": "-"}]
    plain, coloured = (list(table(rows, COLUMNS, Screen(colour=colour))) for colour in (False, True))
    assert plain != coloured
    assert "\033[32mready" in coloured[1]
    import click

    assert [click.unstyle(line) for line in coloured] == plain


@given(rows=ROWS, width=st.none() | st.integers(10, 120))
def test_a_table_is_printable_and_one_line_a_row(rows, width):
    lines = list(table(rows, COLUMNS, Screen(width=width)))
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() for line in lines)


@given(st.recursive(CELL | st.floats() | st.booleans(), lambda x: st.dictionaries(st.text(max_size=5), x, max_size=3)))
def test_any_value_is_one_printable_line(value):
    assert shown(value).isprintable()
    assert all(line.isprintable() for line in values({"name": value}, 2, Screen()))


def test_a_long_table_in_a_value_is_wrapped():
    counters = {f"counter_{number}": number for number in range(30)}
    lines = list(values({"counters": counters}, 2, Screen(width=60)))
    assert lines[0] == "  counters:"
    assert len(lines) > 5
    assert max(map(len, lines)) <= 60
    assert " ".join(lines[1:]).count("counter_") == 30


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (11_520, "3 h 12 min"),
     (86_400, "1 d"), (90_061, "1 d 1 h"), (86_460, "1 d"), (-5, "0 s")],
)  # fmt: skip
def test_spans(seconds, text):
    assert span(seconds) == text


@pytest.mark.parametrize(("environ", "colour"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_are_for_terminals_without_no_color(monkeypatch, environ, colour):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert screen.screen() == Screen()  # pytest's standard output is no terminal
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert screen.screen().colour is colour
    assert screen.screen().width
