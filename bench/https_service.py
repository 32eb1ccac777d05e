"""A web service for loads, HTTPS on asyncio's bare protocols: it takes units and lets questions wait.

``python -m bench.https_service CERTIFICATE KEY SIZE``. A POST to ``/atls`` opens a session, and the answer brings the
service's first unit, as it does with any handshake: from then on the gateway knows that units are numbered here. It is
no aiohttp, so that no fault of that is on both sides and the machine has time for what is measured.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
from itertools import count

from bench.load import say
from bench.messages import record

TAKEN = b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")
_WAIT = re.compile(rb"\r\nprefer: *wait=(\d+)")


class HttpMessages:
    """Cuts what comes on a connection into messages: the head, in lower case, and the body."""

    def __init__(self) -> None:
        self._octets = b""

    def read(self, octets: bytes) -> list[tuple[bytes, bytes]]:
        """Those that are whole now. Only bodies with a Content-Length."""
        found = []
        self._octets += octets
        while (end := self._octets.find(b"\r\n\r\n")) >= 0:
            head, start = self._octets[:end].lower(), end + 4
            length = _LENGTH.search(head)
            size = start + (int(length[1]) if length else 0)
            if len(self._octets) < size:
                break
            found.append((head, self._octets[start:size]))
            self._octets = self._octets[size:]
        return found


class UnitTaker(asyncio.Protocol):
    """One connection; requests of a connection come one by one."""

    sessions = count()

    def __init__(self, unit: bytes) -> None:
        self._unit = unit
        self._messages = HttpMessages()
        self._transport: asyncio.Transport
        self._question: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._question is not None:
            self._question.cancel()

    def data_received(self, data: bytes) -> None:
        for head, body in self._messages.read(data):
            if head.startswith((b"post /atls ", b"post /atls?")):
                self._transport.write(
                    b"HTTP/1.1 200 OK\r\nLocation: /atls/s/%d\r\nContent-Type: application/adtls\r\nATLS-Seq: 0\r\n"
                    b"Content-Length: %d\r\n\r\n%b" % (next(self.sessions), len(self._unit), self._unit)
                )
            elif body or (wait := _WAIT.search(head)) is None:
                self._transport.write(TAKEN)
            else:
                self._question = asyncio.get_running_loop().call_later(int(wait[1]), self._transport.write, TAKEN)


async def main(certificate: str, key: str, size: int) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    unit = record(size)
    server = await asyncio.get_running_loop().create_server(
        lambda: UnitTaker(unit), "127.0.0.1", 0, ssl=context, backlog=1024
    )
    say(event="ready", port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
