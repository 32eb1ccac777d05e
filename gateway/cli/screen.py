"""Values as people read them: aligned tables and wrapped lists, coloured on a terminal only. Pure but for ``screen()``.

Peers chose some of the text (a device its model, a broker its reason), so nothing unprintable goes out.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from common.printable import printable

_GAP = "  "
_LEAST = 8
"""Columns that the widest cell of a table keeps on however narrow a terminal."""
_SPANS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_COLOURS: Mapping[str, str] = {
    "ready": "green",
    "healthy": "green",
    "degraded": "yellow",
    "open": "green",
    "online": "green",
    "yes": "green",
    "starting": "yellow",
    "interviewing": "yellow",
    "opening": "yellow",
    "draining": "yellow",
    "stale": "yellow",
    "shadow": "yellow",
    "faulty": "red",
    "offline": "red",
    "stopped": "red",
    "behind its deadlines": "red",
}


@dataclass(frozen=True, slots=True)
class Screen:
    """The output: ``width`` in columns (None: a file or a pipe, nothing is cut), and whether colours show."""

    width: int | None = None
    colour: bool = False

    def style(self, text: str, **how: Any) -> str:
        return click.style(text, **how) if self.colour else text

    def word(self, text: str) -> str:
        """A state word in its colour, if it has one."""
        colour = _COLOURS.get(text.strip())
        return self.style(text, fg=colour) if colour else text

    def title(self, text: str) -> str:
        return self.style(text, bold=True)


def screen() -> Screen:
    """Standard output as it is. Colours are for terminals, and not where NO_COLOR is set (no-color.org)."""
    if not sys.stdout.isatty():
        return Screen()
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return Screen(width=shutil.get_terminal_size().columns, colour=not plain)


def shown(value: object) -> str:
    """A value as one printable line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "/".join(map(shown, value)) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{shown(name)} {shown(inner)}" for name, inner in value.items()) or "-"
    return printable(str(value))


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], to: Screen) -> Iterator[str]:
    """Aligned lines under a line of titles. ``columns``: key of a row to title; a column that no row has is left out.

    On a terminal the widest column is cut until the table fits.
    """
    keys = [key for key in columns if any(row.get(key) is not None for row in rows)]
    cells = [[shown(row.get(key)) for key in keys] for row in rows]
    titles = [columns[key] for key in keys]
    widths = _fitting([max(map(len, column)) for column in zip(titles, *cells, strict=True)], to.width)
    yield to.title(_GAP.join(title.ljust(width) for title, width in zip(titles, widths, strict=True)).rstrip())
    for row in cells:
        last = len(row) - 1
        parts = [
            to.word(_cut(cell, width).ljust(0 if i == last else width))
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield _GAP.join(parts)


def _fitting(widths: list[int], most: int | None) -> list[int]:
    excess = 0 if most is None else sum(widths) + len(_GAP) * (len(widths) - 1) - most
    while excess > 0:
        widest = max(range(len(widths)), key=widths.__getitem__)
        second = max((w for i, w in enumerate(widths) if i != widest), default=_LEAST)
        less = min(excess, max(1, widths[widest] - max(second, _LEAST)))
        if widths[widest] - less < _LEAST:
            break
        widths[widest] -= less
        excess -= less
    return widths


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def values(found: Mapping[str, Any], indent: int, to: Screen) -> Iterator[str]:
    """``name: value`` lines; what is a table itself goes on one line as far as the width allows."""
    lead = " " * indent
    for name, value in found.items():
        text = f"{shown(name)}: {shown(value)}"
        width = max(40, (to.width or 112) - indent)
        if not isinstance(value, Mapping) or len(text) <= width:
            yield lead + text
            continue
        pairs = textwrap.wrap(shown(value), width - 2, break_long_words=False, break_on_hyphens=False)
        yield f"{lead}{shown(name)}:"
        yield from (f"{lead}  {line}" for line in pairs)


def span(seconds: float) -> str:
    """A stretch of time in its two largest units: ``3 h 12 min``."""
    whole = max(0, int(seconds))
    at = next(i for i, (size, _) in enumerate(_SPANS) if whole >= size or size == 1)
    parts: list[str] = []
    for size, unit in _SPANS[at : at + 2]:
        count, whole = divmod(whole, size)
        if count or not parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts)


def ago(seconds: float | None) -> str | None:
    return None if seconds is None else f"{span(seconds)} ago"


def clock(timestamp: float) -> str:
    """A time of this machine's clock: of the day, with the date if that isn't today's."""
    then, now = time.localtime(timestamp), time.localtime()
    return time.strftime("%H:%M:%S" if then[:3] == now[:3] else "%Y-%m-%d %H:%M:%S", then)


def octets(count: int) -> str:
    """An amount of octets: ``812 B``, ``14.2 KiB``."""
    for size, unit in ((1024 * 1024, "MiB"), (1024, "KiB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
