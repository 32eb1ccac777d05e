"""Slips in YAML's syntax, explained to a person: the line to look at and what belongs there.

A parser reports the place at which it stopped and what its grammar wanted; the slip is often a line above, and the
remedy is quotes, a colon or spaces.
"""

from __future__ import annotations

from ruamel.yaml.error import MarkedYAMLError

_QUOTES = "expected text with [ or { or : in quotes"
_INDENT = "expected as many spaces before this as before its neighbours"
_PAIR = "expected 'key: value', with the colon and a space behind it"

_SLIPS: tuple[tuple[str, str, str, bool], ...] = (
    ("", "could not find expected ':'", _PAIR, True),
    ("", "found '<stream end>'", "expected the ] or } that closes what was opened", False),
    ("", "found '<scalar>'", _QUOTES, False),
    ("", "expected <block end>", _INDENT, False),
    ("", r"found character '\t'", "expected spaces, not a tab", False),
    ("", "that cannot start any token", "expected text that begins with @, % or ` in quotes", False),
    ("scanning an alias", "", "expected text that begins with * in quotes", False),
    ("quoted scalar", "end of stream", "expected the closing quote of the text that begins here", True),
    ("quoted scalar", "unknown escape character", "expected text with \\ in single quotes", False),
    ("flow mapping", "", "expected a comma, or the } that closes what begins here", True),
    ("flow sequence", "", "expected a comma, or the ] that closes what begins here", True),
    ("block scalar", "", "expected text that begins with | or > in quotes", False),
    ("", "expected the node content", "expected a value, and text with ] or } in quotes", False),
)
"""Words of the parser's context, of its problem, the message for them, and whether the line is that of the context."""


def explained(error: MarkedYAMLError, text: str) -> tuple[int, str]:
    """The line (from 1; 0: unknown) and what was expected there."""
    context, problem = error.context or "", " ".join((error.problem or "").split())
    begun, met = error.context_mark, error.problem_mark or error.context_mark
    line = met.line + 1 if met else 0
    if problem == "mapping values are not allowed here":
        return _second_colon(text.split("\n"), line)
    for in_context, in_problem, words, at_begin in _SLIPS:
        if in_context in context and in_problem in problem:
            return (begun.line + 1 if at_begin and begun else line), words
    return line, f"expected YAML: {problem or 'this is none'}"


def _second_colon(lines: list[str], line: int) -> tuple[int, str]:
    """A colon at a place without a key: in a value, or since the line above is no pair, or is indented otherwise."""
    here = lines[line - 1].strip() if 0 < line <= len(lines) else ""
    if here.count(": ") + here.endswith(":") > 1:
        return line, "expected text with ': ' in it in quotes"
    above = next((n for n in range(line - 1, 0, -1) if lines[n - 1].strip() and not _comment(lines[n - 1])), 0)
    if above and ": " not in lines[above - 1] and not lines[above - 1].rstrip().endswith(":"):
        return above, _PAIR
    return line, _INDENT


def _comment(line: str) -> bool:
    return line.lstrip().startswith("#")
