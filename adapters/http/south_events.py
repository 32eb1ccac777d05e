"""A stream of events (``text/event-stream``, HTML section 9.2) to one client, at the pace at which it reads.

What is put under a key replaces what waits under the same key; of the rest the oldest goes when too much waits, and the
client learns by an event ``missed`` how many went.
"""

from __future__ import annotations

import asyncio
import json
from itertools import count
from typing import Any, Final

from aiohttp import web

MAX_WAITING: Final = 256
KEEP_ALIVE: Final = 15.0
"""Seconds without an event after which a comment goes out: proxies drop connections without a word."""
READ_WITHIN: Final = 30.0
"""Seconds for a client to read what was written, until its connection is given up."""


class EventStream:
    """Put what happened, and have ``run`` write it."""

    def __init__(self, keep_alive: float = KEEP_ALIVE, read_within: float = READ_WITHIN) -> None:
        self._keep_alive = keep_alive
        self._read_within = read_within
        self._waiting: dict[object, str] = {}
        self._unkeyed = count()
        self._missed = 0
        self._wake = asyncio.Event()
        self.over = False

    def put(self, data: Any, *, id: int | None = None, event: str = "", key: object = None) -> None:
        """``data``: JSON."""
        if self.over:
            return
        lines = [f"id: {id}\n"] if id is not None else []
        if event:
            lines.append(f"event: {event}\n")
        lines.append(f"data: {json.dumps(data, separators=(',', ':'))}\n\n")
        self._waiting[next(self._unkeyed) if key is None else (key,)] = "".join(lines)
        if len(self._waiting) > MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
            self._missed += 1
        self._wake.set()

    def end(self, reason: str) -> None:
        """The last event; without effect if it is over."""
        self.put({"reason": reason}, event="end")
        self.over = True
        self._wake.set()

    async def run(self, response: web.StreamResponse) -> None:
        """Write until the end. ConnectionError, TimeoutError: the client is gone, or doesn't read."""
        while True:
            try:
                async with asyncio.timeout(self._keep_alive):
                    await self._wake.wait()
            except TimeoutError:
                await self._write(response, ":\n\n")
                continue
            self._wake.clear()
            missed, self._missed = self._missed, 0
            texts, self._waiting = list(self._waiting.values()), {}
            if missed:
                texts.insert(0, f'event: missed\ndata: {{"count":{missed}}}\n\n')
            if texts:
                await self._write(response, "".join(texts))
            if self.over and not self._waiting:
                async with asyncio.timeout(self._read_within):
                    await response.write_eof()
                return

    async def _write(self, response: web.StreamResponse, text: str) -> None:
        async with asyncio.timeout(self._read_within):
            await response.write(text.encode())
