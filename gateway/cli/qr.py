"""A QR code as lines for a terminal, which a phone's camera reads whatever the terminal's colours are."""

from __future__ import annotations

import io
from collections.abc import Iterator

_BLACK_AND_WHITE = "\033[38;5;231;48;5;16m"
"""White modules are drawn by the text's colour, dark ones are the background: both fixed, also on a light terminal."""


def lines(content: str) -> Iterator[str]:
    """Two rows of modules to a line, with the quiet zone around it."""
    import segno  # only who is shown a key pays for it

    drawn = io.StringIO()
    segno.make(content, micro=False).terminal(drawn, compact=True)
    for line in drawn.getvalue().splitlines():
        yield f"{_BLACK_AND_WHITE}{line}\033[0m"
