"""Commands from standard input, until it ends. What they are: ``control``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from endpoint.control import MAX_LINE, ControlCommand, Lines, parse_command
from endpoint.standard_input import pieces
from layer.errors import PeerError, UsageError


async def obey(carry_out: Callable[[ControlCommand], None], failed: Callable[[str], None]) -> None:
    """``failed`` gets the reason why a line is no command, or can't be carried out."""

    def each(lines: Sequence[bytes | None]) -> None:
        for line in lines:
            try:
                if line is None:
                    raise PeerError(f"a command has at most {MAX_LINE} octets")
                if line.strip():
                    carry_out(parse_command(line))
            except (PeerError, UsageError) as error:
                failed(str(error))

    lines = Lines()
    async for piece in pieces():
        each(lines.feed(piece))
    each(lines.finish())
