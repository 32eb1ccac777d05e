"""A hop between an HTTP client and its server: it forwards, cuts some connections, or ends TLS as a middlebox."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl


class Forwarder:
    """Forwards to ``port`` on this machine.

    ``share``: of the connections, how many are cut, each after a random number of octets up to ``within``; the others
    end in the same way after ``lives`` octets, so that there are many.
    ``shown`` and ``onward``: the contexts of a middlebox that ends TLS and opens it again; ``seen``: what it reads.
    """

    def __init__(
        self,
        port: int,
        *,
        share: float = 0.0,
        within: int = 20_000,
        lives: int | None = None,
        seed: int = 1,
        shown: ssl.SSLContext | None = None,
        onward: ssl.SSLContext | None = None,
    ) -> None:
        self.port = 0
        self.connections = 0
        self.cuts = 0
        self.seen = bytearray()
        self._to = port
        self._share = share
        self._within = within
        self._lives = lives
        self._chance = random.Random(seed)
        self._shown = shown
        self._onward = onward
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._on_connection, "127.0.0.1", self.port, ssl=self._shown)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for stream in list(self._streams):
            stream.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._streams.add(writer)
        self.connections += 1
        cut = self._chance.random() < self._share
        left = [self._chance.randrange(self._within) if cut else self._lives]
        onward: asyncio.StreamWriter | None = None
        try:
            answers, onward = await asyncio.open_connection(
                "localhost", self._to, family=socket.AF_INET, ssl=self._onward
            )
            up = asyncio.ensure_future(self._pipe(reader, onward, left))
            down = asyncio.ensure_future(self._pipe(answers, writer, left))
            try:
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                up.cancel()
                down.cancel()
        except OSError:
            pass
        finally:
            for stream in (writer, onward):
                if stream is not None:
                    stream.transport.abort()
            self._tasks.discard(task)
            self._streams.discard(writer)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: list[int | None]) -> None:
        with contextlib.suppress(OSError):
            while octets := await reader.read(4096):
                if self._shown is not None:
                    self.seen += octets
                if left[0] is not None:
                    left[0] -= len(octets)
                    if left[0] < 0:
                        self.cuts += 1
                        return
                writer.write(octets)
                await writer.drain()
