"""Patterns of paths: what they match, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.exchanges import parse_path
from gateway.engine.path_pattern import parse_pattern

MATCHES = {
    "/": (["/"], ["/a", "/a/"]),
    "/a": (["/a"], ["/", "/a/", "/A", "/b", "/a/b", "/aa"]),
    "/a/": (["/a/"], ["/a", "/a/b"]),
    "/*": (["/a", "/*", "/a*"], ["/", "/a/", "/a/b"]),
    "/a/*": (["/a/b", "/a/%2A"], ["/a", "/a/", "/a/b/", "/a/b/c", "/b/a"]),
    "/a/*/c": (["/a/b/c"], ["/a/c", "/a/b/c/", "/a/b/d"]),
    "/a/*/": (["/a/b/"], ["/a/b", "/a/"]),
    "/**": (["/", "/a", "/a/", "/a/b/c"], []),
    "/a/**": (["/a", "/a/", "/a/b", "/a/b/c/"], ["/", "/ab", "/A", "/b/a"]),
    "/*/b/**": (["/a/b", "/x/b/c"], ["/b", "/a/c"]),
    "/a%2a": (["/a*"], ["/ab", "/a"]),
    "/a%20b/%C3%BC": (["/a%20b/%c3%bc"], ["/a%20b/u"]),
}


@pytest.mark.parametrize("pattern", MATCHES)
def test_a_pattern_matches_these_paths_and_no_others(pattern: str) -> None:
    matching, others = MATCHES[pattern]
    found = parse_pattern(pattern)
    for path in matching:
        assert found.matches(parse_path(path)), path
    for path in others:
        assert not found.matches(parse_path(path)), path


@pytest.mark.parametrize(
    "text",
    ["", "a", "*", "**", "a/b", "//", "/a//b", "/a//**", "/**/a", "/a**", "/a*", "/*a", "/a/***", "/a/../b", "/.", "/%",
     "/%2f", "/a?b", "/ü", "/a/**/", "/%2e%2e/**"],
)  # fmt: skip
def test_text_that_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_pattern(text)


@given(st.text("/*a%2.", max_size=10))
def test_a_text_is_a_pattern_or_a_mistake(text: str) -> None:
    try:
        found = parse_pattern(text)
    except ValueError:
        return
    assert found.text == text
    assert found.matches(tuple("x" if part is None else part for part in found.parts))
