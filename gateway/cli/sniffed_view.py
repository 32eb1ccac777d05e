"""What `devices sniff` prints: the device without its address, and a line for each thing that the gateway doesn't read.

The lines are for a report, so they have the same columns on every screen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.cli.devices_view import lane_words
from gateway.cli.screen import shown

_ADDRESS = re.compile(r"(0x)?([0-9a-fA-F]{2}[:-]?){8}")
_COLUMNS = (
    ("after", "AFTER", 6),
    ("endpoint", "ENDPOINT", 8),
    ("cluster", "CLUSTER", 7),
    ("manufacturer", "CODE", 6),
    ("what", "WHAT", 24),
    ("type", "TYPE", 8),
    ("value", "VALUE", 12),
    ("hex", "HEX", 0),
)


def sniffed(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer for programs."""
    return {key: value for key, value in answer.items() if key != "left"}


def sniffed_head(answer: Mapping[str, Any], asked: str, seconds: int) -> Iterator[str]:
    """What the device is. ``asked``: its name, or its address, which is left out."""
    who = "the device" if _ADDRESS.fullmatch(asked) else shown(asked)
    yield f"manufacturer: {shown(answer.get('manufacturer'))}"
    yield f"model: {shown(answer.get('model'))}"
    yield f"lane: {lane_words(answer)}"
    for endpoint in answer.get("endpoints", ()):
        clusters = "; ".join(f"{key} {' '.join(map(shown, endpoint.get(key, ())))}".rstrip() for key in ("in", "out"))
        yield f"endpoint {shown(endpoint.get('id'))}: profile {shown(endpoint.get('profile'))}, {clusters}"
    yield ""
    if answer.get("sleepy"):
        yield f"Looking at {who} for {seconds} s. It sleeps: press a button of it, or wait until it measures."
    else:
        yield f"Looking at {who} for {seconds} s; Ctrl-C ends it."


def sniffed_lines(frames: Sequence[Mapping[str, Any]], *, titles: bool) -> Iterator[str]:
    """A line each; ``titles``: under a line of titles."""
    if frames and titles:
        yield ""
        yield _line({key: title for key, title, _ in _COLUMNS})
    for frame in frames:
        yield _line({**frame, "what": _what(frame)})


def sniffed_end(answer: Mapping[str, Any]) -> Iterator[str]:
    """What there is to say when the time is over."""
    frames = answer.get("frames", ())
    yield ""
    if not frames:
        yield "Nothing came that the gateway doesn't read."
        return
    again = sum(1 for frame in frames if frame.get("times", 1) > 1)
    yield f"{len(frames)} that the gateway doesn't read" + (f"; {again} of them came more than once" if again else "")
    if answer.get("left_out"):
        yield f"{answer['left_out']} more came and are left out"


def _what(frame: Mapping[str, Any]) -> str:
    kind, number = shown(frame.get("kind")), frame.get("id")
    parts = [kind] if number is None else [kind, shown(number)]
    if kind.endswith("command") and frame.get("from") == "server":
        parts.append("of the server")
    if frame.get("cast"):
        parts.append("(cast)")
    if frame.get("about"):
        parts.append(f"({shown(frame['about'])})")
    return " ".join(parts)


def _line(row: Mapping[str, Any]) -> str:
    return "  ".join(shown(row.get(key)).ljust(width) for key, _, width in _COLUMNS).rstrip()
