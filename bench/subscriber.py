"""A subscriber that costs the machine next to nothing while a load runs: it takes what comes in blocks, each with its
time, and reads them when all is over. MQTT 3.1.1, QoS 0.

mosquitto_sub writes each publication to its output at once, which takes as much CPU as a third of a hub's work.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator

_KEEPALIVE = 600
_CONNACK, _PUBLISH, _SUBACK = 0x20, 0x30, 0x90
_RETAINED = 0x01
_BLOCK = 1 << 20
_ROOM = 1 << 22
"""Octets that the kernel may hold between two looks."""
_LIMIT = 10.0


class BlockSubscriber:
    """Subscribed to one topic filter at a broker on loopback. ``apart``: seconds between two blocks at the least; with
    0 a block is taken when it comes, so that its time is that of its publications."""

    def __init__(self, sock: socket.socket, apart: float) -> None:
        self._socket = sock
        self._apart = apart
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._blocks: list[tuple[float, bytes]] = []

    @classmethod
    async def connect(cls, port: int, topic_filter: str, apart: float = 0.0) -> BlockSubscriber:
        """Subscribed when this returns. Raises OSError."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        sock.settimeout(_LIMIT)
        sock.connect(("127.0.0.1", port))
        name = f"bench-{os.getpid()}-{id(sock)}"
        for request, answer in (
            (_packet(0x10, b"\x00\x04MQTT\x04\x02" + _KEEPALIVE.to_bytes(2, "big") + _text(name)), _CONNACK),
            (_packet(0x82, b"\x00\x01" + _text(topic_filter) + b"\x00"), _SUBACK),
        ):
            sock.sendall(request)
            answered = sock.recv(4 if answer == _CONNACK else 5, socket.MSG_WAITALL)
            if answered[:1] != bytes((answer,)) or answered[-1]:
                raise OSError("the broker refuses the subscriber")
        sock.setblocking(False)
        self = cls(sock, apart)
        self._look()
        return self

    def _look(self) -> None:
        self._loop.add_reader(self._socket, self._readable)

    def _readable(self) -> None:
        if block := self._socket.recv(_BLOCK):
            self._blocks.append((time.monotonic(), block))
        if self._apart or not block:
            self._loop.remove_reader(self._socket)
        if self._apart and block:
            self._timer = self._loop.call_later(self._apart, self._look)

    @property
    def octets(self) -> int:
        """How many came so far."""
        return sum(len(block) for _, block in self._blocks)

    def close(self) -> list[tuple[float, str, bytes]]:
        """When each publication came, on the monotonic clock, its topic and its payload; without those that were
        retained."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        return list(self._publications())

    def _publications(self) -> Iterator[tuple[float, str, bytes]]:
        rest = b""
        for at, block in self._blocks:
            data = rest + block
            start = 0
            while (bounds := _bounds(data, start)) is not None:
                body, end = bounds
                if data[start] & 0xF0 == _PUBLISH and not data[start] & _RETAINED:
                    payload = body + 2 + int.from_bytes(data[body : body + 2], "big")
                    yield at, data[body + 2 : payload].decode(), data[payload:end]
                start = end
            rest = data[start:]


def _bounds(data: bytes, start: int) -> tuple[int, int] | None:
    """From where to where the body of the packet that begins at ``start`` goes; None if it isn't all there."""
    size = shift = 0
    for at in range(start + 1, len(data)):
        size |= (data[at] & 0x7F) << shift
        shift += 7
        if data[at] < 0x80:
            end = at + 1 + size
            return (at + 1, end) if end <= len(data) else None
    return None


def _text(text: str) -> bytes:
    octets = text.encode()
    return len(octets).to_bytes(2, "big") + octets


def _packet(kind: int, body: bytes) -> bytes:
    assert len(body) < 0x80
    return bytes((kind, len(body))) + body
