"""Standard input as it comes, without blocking the loop: a pipe, a terminal, a socket or a plain file."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator
from typing import Final

PIECE: Final = 65_536
"""Octets that are read at a time."""


async def pieces() -> AsyncIterator[bytes]:
    """The pieces of standard input as they come, until it ends."""
    if sys.stdin is None or sys.stdin.closed:
        return
    descriptor = sys.stdin.fileno()
    loop = asyncio.get_running_loop()
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor):
        reader = asyncio.StreamReader(limit=PIECE)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        try:
            while data := await reader.read(PIECE):
                yield data
        finally:
            transport.close()
        return
    # A file is always ready, which is why no loop watches it.
    while data := await loop.run_in_executor(None, os.read, descriptor, PIECE):
        yield data
