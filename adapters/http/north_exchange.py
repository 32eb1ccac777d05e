"""One request and its answer on a connection that aiohttp's connector made: the request in one write, the answer read
by aiohttp's parser. aiohttp's own ``ClientSession`` takes three times the calls for it (docs/decisions, "Requests
without a session of aiohttp").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aiohttp.connector import Connection
from aiohttp.streams import StreamReader

from carriage.http.atls import HttpResponse

MAX_BODY: Final = 16_384
"""Octets of an answer; a unit has at most 4096."""
_READ: Final = frozenset({
    "atls-seq", "content-encoding", "content-type", "location", "preference-applied", "retry-after", "set-cookie",
})  # fmt: skip
"""The header fields that mean something to us."""


class StaleError(Exception):
    """The connection ended while it was idle, or something came on it that was no answer: nothing was sent on it."""


class TooLargeError(Exception):
    """The body of an answer is longer than any unit."""


def message_of(method: str, target: str, fixed: str, fields: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """A request as it is sent. ``fixed``: the lines of the header fields that all requests have, each with its end.

    ValueError: a field that would be two lines.
    """
    lines = [f"{method} {target} HTTP/1.1\r\n{fixed}content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in fields]
    ends = fixed.count("\n") + len(lines)
    text = "\r\n".join(lines)
    if text.count("\n") != ends or text.count("\r") != ends or "\0" in text:
        raise ValueError("a header field that can't be sent")
    return text.encode() + b"\r\n\r\n" + body


class ServiceExchange:
    """The connection is released afterwards if it can be used again, else closed."""

    __slots__ = ("_connection", "_is_late", "_payload")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_late = False
        self._payload: StreamReader | None = None

    def give_up(self) -> None:
        """Its time is over: ``run`` raises TimeoutError."""
        # The head may have come in this turn of the loop: then ``run`` finds a body only in the next one.
        self._is_late = True
        late = TimeoutError()
        if (protocol := self._connection.protocol) is not None:
            protocol.set_exception(late)
        if self._payload is not None:
            self._payload.set_exception(late)

    async def run(self, message: bytes) -> HttpResponse:
        """Send it, and wait for the answer. Raises ``StaleError``, ``TooLargeError`` and what aiohttp's
        parser does."""
        connection = self._connection
        try:
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None or transport.is_closing() or protocol.should_close:
                raise StaleError
            protocol.set_response_params(read_until_eof=True, auto_decompress=False, read_bufsize=MAX_BODY)
            transport.write(message)
            head, payload = await protocol.read()
            while 100 <= head.code < 200 and head.code != 101:  # RFC 9110, section 15.2
                head, payload = await protocol.read()
            if head.code < 200:  # 101, which was not asked for: what follows it is for no request
                raise ValueError("no answer")
            self._payload = payload
            if int(head.headers.get("Content-Length", 0)) > MAX_BODY:
                raise TooLargeError
            if not payload.is_eof():
                if self._is_late:
                    raise TimeoutError
                body = await _whole(payload)
            else:  # reading nothing would have the connection go on reading, which it does
                body = payload.read_nowait() if payload.total_bytes else b""
            if len(body) > MAX_BODY:
                raise TooLargeError
        except BaseException:
            connection.close()
            raise
        connection.release()
        fields = [(low, value) for name, value in head.headers.items() if (low := name.lower()) in _READ]
        return HttpResponse(head.code, tuple(fields), body)


async def _whole(payload: StreamReader) -> bytes:
    """A body that didn't come with its head. What is longer than any unit is not read."""
    parts, size = [], 0
    async for part in payload.iter_any():
        parts.append(part)
        size += len(part)
        if size > MAX_BODY:
            break
    return b"".join(parts)
