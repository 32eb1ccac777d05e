"""Text of a peer takes one line, whatever is in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.printable import printable


@given(text=st.text() | st.text(alphabet="\x00\x1b\n\r\u2028\u202e\ud800äb"), limit=st.none() | st.integers(1, 20))
def test_any_text_is_one_printable_line(text: str, limit: int | None) -> None:
    found = printable(text, limit)
    assert found.isprintable() and len(found) == (len(text) if limit is None else min(len(text), limit))


def test_what_is_printable_stays_and_what_is_cut_off_shows() -> None:
    assert printable("lämp ✓") == "lämp ✓"
    assert printable("a\nb\x1b[0m") == "a?b?[0m"
    assert printable("abcdef", 6) == "abcdef" and printable("abcdefg", 6) == "abcde…"


def test_octets_that_are_no_utf_8_are_question_marks() -> None:
    assert printable(b"a\xff".decode(errors="replace")) == "a?"
