"""The strict YAML reader: values of the 1.2 core schema, lines, refusals, and no other exception on any text."""

# ruff: noqa: E501 - the tables read better in rows

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.errors import ConfigError
from gateway.runtime import strict_yaml

# YAML 1.2.2, section 10.3.2, and what a 1.1 reader would have made of it.
SCALARS = [
    ("no", "no"), ("off", "off"), ("y", "y"), ("true", True), ("FALSE", False), ("tRue", "tRue"),
    ("null", None), ("~", None), ("", None), ("'~'", "~"), ('"8"', "8"),
    ("0123", 123), ("01020304", 1020304), ("-7", -7), ("+7", 7), ("0o17", 15), ("0xFF", 255), ("0b1", "0b1"), ("1_000", "1_000"),
    ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("-.inf", -math.inf), (".", "."), ("1.2.3", "1.2.3"),
    ("06:00-23:00", "06:00-23:00"), ("12:30", "12:30"), ("00:0d:6f:00:0b:5d:e3:b6", "00:0d:6f:00:0b:5d:e3:b6"),
    ("2026-01-01", "2026-01-01"), ("9" * 40, "9" * 40), ("|\n  two\n  lines", "two\nlines\n"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_scalars_are_read_as_yaml_1_2_says(text, value):
    found = strict_yaml.parse(f"key: {text}\n", "F").data["key"]
    assert (found, type(found)) == (value, type(value))


def test_keys_are_the_text_that_stands_there():
    assert strict_yaml.parse("200: a\nno: b\n0x1: c\n'q': d\n", "F").data == {
        "200": "a",
        "no": "b",
        "0x1": "c",
        "q": "d",
    }


def test_lines_are_those_of_keys_and_of_list_items():
    lines = strict_yaml.parse("# c\na:\n  b:\n    - 1\n    - {c: 2,\n       d: 3}\n", "F").lines
    assert lines[("a",)] == 2
    assert lines[("a", "b")] == 3
    assert lines[("a", "b", 1)] == 5
    assert lines[("a", "b", 1, "d")] == 6


REFUSED = [
    ("a: 1\nb: 2\na: 3", "F:3: a: expected each key once (first on line 1)"),
    ("200: 1\n'200': 2", "F:2: 200: expected each key once (first on line 1)"),
    ("a: &x 1", "F:1: a: expected a value written out: anchors and aliases are not read"),
    ("a: {b: *x}", "F:1: a.b: expected a value written out: anchors and aliases are not read"),
    ("&x a: 1", "F:1: (top level): expected a value written out: anchors and aliases are not read"),
    ("a:\n  <<: {b: 1}\n  <<: {c: 1}", "F:3: a.<<: expected each key once (first on line 2)"),
    ("a: !!python/object:os.system x", "F:1: a: expected a value without a tag"),
    ("!!str a: x", "F:1: (top level): expected a value without a tag"),
    ("%YAML 1.1\n---\na: no", "F:2: (top level): expected no YAML directive"),
    ("a: 1\n---\nb: 2", "F:2: (top level): expected one document, not several"),
    ("? [a]\n: b", "F:1: (top level): expected keys that are strings"),
    ("'': b", "F:1: (top level): expected a key that isn't empty"),
    ("a: 1\n\tb: 2", "F:2: (top level): expected spaces, not a tab"),
    ("a: [1,\n", "F:2: (top level): expected the ] or } that closes what was opened"),
    ("a: b: c", "F:1: (top level): expected text with ': ' in it in quotes"),
    ("a: 1\nb: \x07", "F:2: (top level): expected YAML: a character that it doesn't allow"),
    ("- " * 17 + "a", "F:1: " + ".".join("0" * 17) + ": expected at most 16 levels"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_yaml_that_can_be_read_in_two_ways_is_refused(text, message):
    with pytest.raises(ConfigError) as caught:
        strict_yaml.parse(text, "F")
    assert str(caught.value) == message


def test_size_and_number_of_values_are_bounded(tmp_path):
    path = tmp_path / "big.yaml"
    path.write_bytes(b"a: " + b"x" * 1000)
    with pytest.raises(ConfigError, match="at most 500 octets"):
        strict_yaml.read(path, max_octets=500)
    with pytest.raises(ConfigError, match="at most 200 values"):
        strict_yaml.parse("[" + "a," * 200 + "]", "F", max_nodes=200)


def test_a_file_that_is_not_utf8_is_refused_at_its_line(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(ConfigError) as caught:
        strict_yaml.read(path)
    assert str(caught.value) == f"{path}:2: (top level): expected UTF-8 text"


@pytest.mark.parametrize(
    "text", [r'a: ["\ud83d"]', r'a: "\x1b[2J"', r'a: "\0"', r'"\x9b": 1', r'"a\nb": 1', r'"\udcff": 1']
)
def test_control_characters_are_refused_at_their_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^F:2: (a|a\.0|\(top level\)): expected text without control characters"):
        strict_yaml.parse(f"# one\n{text}\n", "F")
    assert strict_yaml.parse('a: "x\\ty\\nz"', "F").data == {"a": "x\ty\nz"}


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected a readable file: No such file"):
        strict_yaml.read(tmp_path / "none.yaml")


_PIECES = st.lists(
    st.sampled_from(["a", "b: ", "- ", "\n", "  ", "{", "}", "[", "]", ",", "'", '"', "*x", "&x ", "!t ", "|\n", "#", ": ", "? ",
                     "%YAML 1.1\n", "---\n", "...\n", "\t", "é", "\x00", "\ud7ff", "\ufeff", "1", "~"]),
    max_size=40,
).map("".join)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=60), _PIECES))
def test_any_text_is_a_document_or_a_config_error(text):
    try:
        strict_yaml.parse(text, "F")
    except ConfigError as error:
        assert "\n" not in str(error)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcxyz0123", min_size=1, max_size=5), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(_JSON)
def test_json_is_read_as_what_it_is(value):
    assert strict_yaml.parse(json.dumps(value), "F").data == value
