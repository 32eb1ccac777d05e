"""Bodies in blocks on the server's side: requests that are still arriving and responses that are still being fetched.
Bounded in number, size and time."""

from __future__ import annotations

from dataclasses import dataclass

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.blockwise import TRANSFER_OPTIONS, Block, Incoming, Key, cut
from carriage.coap.exchange import Response
from carriage.coap.options import Options, encode_uint


class Uploads:
    """Request bodies by Block1 (RFC 7959 section 2.5)."""

    __slots__ = ("_bodies", "_lifetime", "_max_body", "_max_count", "_szx")

    def __init__(self, *, szx: int, max_body: int, max_count: int, lifetime: float) -> None:
        self._szx = szx
        self._max_body = max_body
        self._max_count = max_count
        self._lifetime = lifetime
        self._bodies: dict[Key, Incoming] = {}  # by time of the last block

    def __len__(self) -> int:
        return len(self._bodies)

    def add(self, key: Key, block: Block, chunk: bytes, size: int | None, now: float) -> bytes | Response:
        """One more block. Returns the whole body after the last one, else the response to this block."""
        body = self._bodies.pop(key, None)
        if size is not None and size > self._max_body:
            return self._too_large()
        if block.number == 0:
            body = Incoming()  # a client may start over at any time
        if body is None:
            return Response(codes.REQUEST_ENTITY_INCOMPLETE)
        wrong = body.add(block, chunk, self._max_body)
        if wrong == "limit":
            return self._too_large()
        if wrong == "size":
            return Response(codes.BAD_REQUEST, payload=b"block size and payload disagree")
        if wrong == "gap":
            return Response(codes.REQUEST_ENTITY_INCOMPLETE)
        if not block.more:
            return bytes(body.octets)
        if len(self._bodies) >= self._max_count:
            return Response(codes.SERVICE_UNAVAILABLE, ((opt.MAX_AGE, encode_uint(int(self._lifetime))),))
        body.deadline = now + self._lifetime
        self._bodies[key] = body
        echo = Block(block.number, True, min(block.szx, self._szx))
        return Response(codes.CONTINUE, ((opt.BLOCK1, echo.encode()),))

    def _too_large(self) -> Response:
        return Response(codes.REQUEST_ENTITY_TOO_LARGE, ((opt.SIZE1, encode_uint(self._max_body)),))

    def next_deadline(self) -> float | None:
        """When the stalest body goes."""
        for body in self._bodies.values():
            return body.deadline
        return None

    def expire(self, now: float) -> None:
        """Forget the bodies that their clients did not continue in time."""
        while self._bodies:
            key = next(iter(self._bodies))
            if self._bodies[key].deadline > now:
                return
            del self._bodies[key]


@dataclass(slots=True)
class Served:
    """A response whose body is being fetched in blocks. ``notification``: of which observation and which one it is."""

    response: Response
    deadline: float
    notification: tuple[int, int] | None = None


class Downloads:
    """Response bodies by Block2 (RFC 7959 section 2.4); the newest per key counts."""

    __slots__ = ("_lifetime", "_max_count", "_served")

    def __init__(self, *, max_count: int, lifetime: float) -> None:
        self._max_count = max_count
        self._lifetime = lifetime
        self._served: dict[Key, Served] = {}  # by time of the last fetch

    def __len__(self) -> int:
        return len(self._served)

    def keep(self, key: Key, response: Response, now: float, notification: tuple[int, int] | None = None) -> None:
        """Keep a response for the fetches that follow; the stalest one makes room.

        A client that begins again by a separate request goes on with the notification that it began with.
        """
        replaced = self._served.pop(key, None)
        if notification is None and replaced is not None:
            notification = replaced.notification
        if len(self._served) >= self._max_count:
            del self._served[next(iter(self._served))]
        self._served[key] = Served(response, now + self._lifetime, notification)

    def find(self, key: Key, now: float) -> Served | None:
        """The body kept for this key; a look keeps it longer."""
        served = self._served.pop(key, None)
        if served is not None:
            served.deadline = now + self._lifetime
            self._served[key] = served
        return served

    def next_deadline(self) -> float | None:
        """When the stalest response goes."""
        for served in self._served.values():
            return served.deadline
        return None

    def expire(self, now: float) -> None:
        """Forget the bodies that their clients no longer fetch."""
        while self._served:
            key = next(iter(self._served))
            if self._served[key].deadline > now:
                return
            del self._served[key]


def block_of(response: Response, number: int, szx: int) -> tuple[Block, Options, bytes]:
    """Block ``number`` of a response: the block, the message's options and its payload (empty beyond the end)."""
    block, chunk = cut(response.payload, number, szx)
    options: Options = (*opt.without(response.options, TRANSFER_OPTIONS), (opt.BLOCK2, block.encode()))
    if number == 0:
        options = (*options, (opt.SIZE2, encode_uint(len(response.payload))))
    return block, options, chunk
