"""Load on an HTTPS server: many clients in one process, each with one unit under way at a time, in order.

``python -m bench.https_units PORT CA TOKENS SIZE TARGET``: each line of TOKENS is a client, as ``NAME:TOKEN``. With a
TARGET each opens a session to it, and a question of it waits on a second connection for what comes back; with ``-``
the server is one that takes any POST (``bench.https_bare``). One message is one POST with one unit, done at its 200.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import ssl
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

from bench.https_service import HttpMessages
from bench.load import Done, serve
from bench.messages import record
from layer.errors import TransportError

Answered = Callable[[bytes, bytes], None]
"""Gets the head of an answer, in lower case, and its body."""
_LOCATION = re.compile(rb"\r\nlocation: *(\S+)")
WAIT = 50


class LoadConnection(asyncio.Protocol):
    """One connection with one request under way."""

    def __init__(self) -> None:
        self._messages = HttpMessages()
        self._transport: asyncio.Transport
        self._answered: Answered | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, request: bytes, answered: Answered) -> None:
        self._answered = answered
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        for head, body in self._messages.read(data):
            answered, self._answered = self._answered, None
            assert answered is not None
            answered(head, body)

    def close(self) -> None:
        self._transport.abort()


class HttpsClient:
    """A client with a token. ``place``: the path of its session."""

    def __init__(self, port: int, token: str, context: ssl.SSLContext) -> None:
        self._port = port
        self._context = context
        self._host = f"Host: localhost:{port}\r\nAuthorization: Bearer {token}\r\n"
        self._units: LoadConnection
        self._questions: LoadConnection | None = None
        self.place = "/unit"
        self.n = 0

    async def start(self) -> None:
        self._units = await self._connect()

    async def _connect(self) -> LoadConnection:
        _, protocol = await asyncio.get_running_loop().create_connection(
            LoadConnection, "127.0.0.1", self._port, ssl=self._context, server_hostname="localhost"
        )
        return protocol

    async def open(self, target: str) -> None:
        opened: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        target = f"/atls?to={target}&nonce={secrets.token_hex(16)}"
        request = self._request(target, "Content-Type: application/adtls\r\n")
        self._units.ask(request, lambda head, body: opened.set_result(head))
        async with asyncio.timeout(10):
            place = _LOCATION.search(head := await opened)
        if place is None:
            raise TransportError(f"the gateway refuses: {head!r}", transient=False)
        self.place = place[1].decode()
        self._questions = await self._connect()
        self._question(b"http/1.1 200 ", b"")

    def _question(self, head: bytes, body: bytes) -> None:
        """Again and again: all units that came have arrived."""
        if not head.startswith(b"http/1.1 200 ") or body:
            raise TransportError(f"a question was answered {head!r}", transient=False)
        assert self._questions is not None
        self._questions.ask(self._request(self.place, f"ATLS-Seq: 0\r\nPrefer: wait={WAIT}\r\n"), self._question)

    def _request(self, target: str, fields: str, body: bytes = b"") -> bytes:
        head = f"POST {target} HTTP/1.1\r\n{self._host}{fields}Content-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def post(self, unit: bytes, answered: Answered) -> None:
        fields = f"Content-Type: application/adtls\r\nATLS-Seq: {self.n}\r\n"
        self.n += 1
        self._units.ask(self._request(self.place, fields, unit), answered)

    def close(self) -> None:
        self._units.close()
        if self._questions is not None:
            self._questions.close()


async def clients_of(port: int, ca: str, tokens: str, target: str) -> list[HttpsClient]:
    """One for each line of ``tokens``, connected, with a session to ``target`` unless that is ``-``."""
    context = ssl.create_default_context(cafile=ca)
    found = [HttpsClient(port, line.partition(":")[2], context) for line in tokens.split()]
    for client in found:
        await client.start()
        if target != "-":
            await client.open(target)
    return found


async def main(port: int, ca: str, tokens: str, size: int, target: str) -> None:
    everybody = await clients_of(port, ca, tokens, target)
    free = deque(everybody)
    unit = record(size)

    def send(done: Done) -> None:
        client = free.popleft()

        def answered(head: bytes, body: bytes) -> None:
            if not head.startswith(b"http/1.1 200 "):
                raise TransportError(f"a unit was answered {head!r}", transient=False)
            free.append(client)
            done()

        client.post(unit, answered)

    await serve(send, lambda: {"units": sum(client.n for client in everybody)})


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_text(), int(sys.argv[4]), sys.argv[5]))
