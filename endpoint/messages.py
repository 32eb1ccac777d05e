"""The messages that we send in one session: a bounded queue, how many are under way, and the outcome of each."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from carriage.coap import codes, options
from carriage.coap import exchange as coap
from endpoint.runner import Runner
from endpoint.transports.gateway_link import Kind
from layer.errors import TransportError, UsageError

MESSAGES_PATH: Final = b"messages"
MAX_WAITING: Final = 1024
"""Messages that wait to be sent."""
MAX_UNDER_WAY: Final[Mapping[Kind, int]] = {"adtls": 1, "atls": 16}
"""Messages without an answer. Over datagrams long ones go in blocks, and two such uploads to one resource at a time
would be taken for one (RFC 7959 section 2.5)."""
MAX_OCTETS_UNDER_WAY: Final = 256 * 1024
"""Their octets: more would fill the carriage's queue."""

_OPTIONS = ((options.URI_PATH, MESSAGES_PATH),)

Sent = Callable[[bytes, float, str], None]
"""``sent(message, since when it was to be sent, status)``: ``delivered``, ``sent`` (raw), or why not."""


class Messages:
    """One session's messages to the other end. ``sent`` is called at the end of each one that was taken."""

    def __init__(self, runner: Runner, *, raw: bool, sent: Sent) -> None:
        self._runner = runner
        self._raw = raw
        self._sent = sent
        self._at_once = MAX_UNDER_WAY[runner.carriage.kind]
        self._now = asyncio.get_running_loop().time
        self._waiting: deque[tuple[bytes, float]] = deque()
        self._under_way: dict[int, tuple[bytes, float]] = {}
        self._octets = 0

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is under way."""
        return not (self._waiting or self._under_way)

    def send(self, data: bytes) -> None:
        """Take a message. UsageError: too many wait, or it is too long for a raw one."""
        if self._raw:
            self._send_raw(data)
            return
        if len(self._waiting) >= MAX_WAITING:
            raise UsageError(f"more than {MAX_WAITING} messages wait to be sent")
        self._waiting.append((data, self._now()))
        self._pump()

    def answered(self, exchange: int, response: coap.Response) -> None:
        """The other end answered."""
        data = self._under_way[exchange][0] if exchange in self._under_way else b""
        if response.code != codes.CHANGED:
            self._settle(exchange, f"refused: {response.code >> 5}.{response.code & 31:02}")
        elif hmac.compare_digest(response.payload, hashlib.sha256(data).digest()):
            self._settle(exchange, "delivered")
        else:
            self._settle(exchange, "failed: the other end read something else")

    def failed(self, exchange: int, reason: str) -> None:
        """No answer will come."""
        self._settle(exchange, f"failed: {reason}")

    def give_up(self, reason: str) -> None:
        """The session is over."""
        under_way, self._under_way = self._under_way, {}
        waiting, self._waiting = self._waiting, deque()
        for data, began in (*under_way.values(), *waiting):
            self._sent(data, began, f"failed: {reason}")

    def _send_raw(self, data: bytes) -> None:
        began = self._now()
        try:
            self._runner.session.send_raw(data, began)
        except TransportError as error:
            self._sent(data, began, f"failed: {error}")
            return
        self._runner.pump()
        self._sent(data, began, "sent")

    def _pump(self) -> None:
        while self._waiting and len(self._under_way) < self._at_once:
            data, began = self._waiting[0]
            if self._under_way and self._octets + len(data) > MAX_OCTETS_UNDER_WAY:
                break
            self._waiting.popleft()
            try:
                exchange = self._runner.session.request(coap.Request(codes.POST, _OPTIONS, data), self._now())
            except TransportError as error:
                self._sent(data, began, f"failed: {error}")
                continue
            self._under_way[exchange] = (data, began)
            self._octets += len(data)
        self._runner.pump()

    def _settle(self, exchange: int, status: str) -> None:
        found = self._under_way.pop(exchange, None)
        if found is not None:
            data, began = found
            self._octets -= len(data)
            self._sent(data, began, status)
            self._pump()
