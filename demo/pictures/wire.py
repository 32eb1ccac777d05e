"""A cable between two boxes of a picture that can be listened to: a relay that keeps what crosses it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Self


@dataclass(slots=True)
class Crossing:
    """One connection. ``parts``: in order, whether the side that connected sent it, and the octets; what one side
    sends in a row is one part."""

    parts: list[tuple[bool, bytes]] = field(default_factory=list)

    def note(self, up: bool, octets: bytes) -> None:
        if self.parts and self.parts[-1][0] == up:
            octets = self.parts.pop()[1] + octets
        self.parts.append((up, octets))

    def of(self, up: bool) -> bytes:
        """All octets of one direction."""
        return b"".join(octets for sent_up, octets in self.parts if sent_up == up)


class Wire:
    """From ``port`` on this machine, which the context opens, to another port on it."""

    def __init__(self, to_port: int, port: int = 0) -> None:
        self.port = port
        self.crossings: list[Crossing] = []
        self._to = to_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _onward(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._to)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        crossing = Crossing()
        self.crossings.append(crossing)
        onward: asyncio.StreamWriter | None = None
        try:
            answers, onward = await self._onward()
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, onward, crossing, True))
                pumps.create_task(self._pump(answers, writer, crossing, False))
        except (OSError, asyncio.CancelledError):
            pass  # the task is ours to end: asyncio would report its cancellation as a fault
        finally:
            for stream in (writer, onward):
                if stream is not None:
                    stream.transport.abort()

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, crossing: Crossing, up: bool) -> None:
        with contextlib.suppress(OSError):
            while octets := await reader.read(65536):
                crossing.note(up, octets)
                writer.write(octets)
                await writer.drain()
            writer.write_eof()
