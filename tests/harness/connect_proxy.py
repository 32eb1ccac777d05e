"""A forward proxy that knows CONNECT and does as a test wants."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any


class Proxy:
    """``login``: USER:PASSWORD that it wants. ``status``: what it answers to CONNECT. ``answer``: does that instead.
    ``requests``: the heads that came."""

    def __init__(
        self,
        login: str | None = None,
        status: str = "200 OK",
        answer: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None,
    ) -> None:
        self.requests: list[str] = []
        self.login = login
        self.status = status
        self.answer = answer

    @asynccontextmanager
    async def running(self, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
        self.tasks: set[Any] = set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for writer in (each for each in self.tasks if not each.is_closing()):
                writer.transport.abort()
            await asyncio.sleep(0.02)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head)
            if self.answer is not None:
                await self.answer(writer)
                return
            wanted = None if self.login is None else base64.b64encode(self.login.encode()).decode()
            if wanted is not None and f"Basic {wanted}" not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            writer.write(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
            if not self.status.startswith("200"):
                return
            host, port = head.split(" ")[1].rsplit(":", 1)
            far, onwards = await asyncio.open_connection(host, int(port))
            self.tasks.add(onwards)
            await asyncio.gather(_copy(reader, onwards), _copy(far, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while octets := await source.read(65536):
        sink.write(octets)
    sink.close()


# What else it may answer to CONNECT


async def silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    pass


async def no_http(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    await writer.drain()


async def endless_header(writer: asyncio.StreamWriter) -> None:
    """Ends only if the other side does."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x: " + b"y" * 1000 + b"\r\n")
        await writer.drain()


async def slow_header(writer: asyncio.StreamWriter) -> None:
    for each in b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1000:
        writer.write(bytes([each]))
        await asyncio.sleep(0.05)


async def only_hundreds(writer: asyncio.StreamWriter) -> None:
    for _ in range(1000):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0.05)


IMPROPER = (silence, hang_up, no_http, endless_header, slow_header, only_hundreds)
