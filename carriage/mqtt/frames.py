"""Cuts what a broker sends into packets (MQTT 5.0 section 2.1). A PUBLISH that is too long is read past. Pure.

Between packets and inside one the octets wait in the buffer, ``most`` of them at most. Past the head of a PUBLISH that
is too long none is kept: ``_past`` counts those to come, and the next packet begins behind them. ``next`` moves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from layer.errors import PeerError

PUBLISH: Final = 0x30
_KIND, _QOS = 0xF0, 0x06
_HEAD = 4  # length of the topic, and packet id


@dataclass(frozen=True, slots=True)
class Unread:
    """A PUBLISH that can't be taken: ``size`` octets behind its fixed header. ``why`` says what is wrong with it.

    ``packet_id``: 0 with QoS 0; None: it can't be read, so the packet can't be acknowledged.
    """

    topic: str
    packet_id: int | None
    size: int
    why: str


def unread(first: int, body: bytes, size: int, why: str) -> Unread:
    """What can be said of the PUBLISH with this first octet that begins with ``body``."""
    length = int.from_bytes(body[:2], "big") if len(body) >= 2 else len(body)
    topic = body[2 : 2 + length].decode(errors="replace")
    packet_id: int | None = 0
    if first & _QOS:
        found = body[2 + length : _HEAD + length]
        packet_id = (int.from_bytes(found, "big") or None) if len(found) == 2 else None
    return Unread(topic, packet_id, size, why)


class Frames:
    """``most``: octets of the longest packet that is handed out, without its fixed header."""

    __slots__ = ("_at", "_buffer", "_most", "_past", "_skipped")

    def __init__(self, most: int) -> None:
        self._most = most
        self._buffer = b""
        self._at = 0
        self._past = 0
        self._skipped: Unread | None = None

    def feed(self, octets: bytes) -> None:
        self._buffer = self._buffer[self._at :] + octets if self._at < len(self._buffer) else octets
        self._at = 0

    def next(self) -> tuple[int, bytes] | Unread | None:
        """First octet and content of the next packet; None if it isn't complete yet. PeerError: not MQTT."""
        if self._skipped is not None:
            return self._skip()
        buffer, at = self._buffer, self._at
        end = len(buffer)
        if end - at < 2:
            return None
        length, start = buffer[at + 1], at + 2
        if length >= 0x80:
            length &= 0x7F
            for shift in (7, 14, 21, 28):
                if shift == 28:
                    raise PeerError("a packet length of more than four octets")
                if start >= end:
                    return None
                octet = buffer[start]
                start += 1
                length |= (octet & 0x7F) << shift
                if octet < 0x80:
                    break
        if length > self._most:
            return self._begin_past(buffer[at], start, length)
        stop = start + length
        if stop > end:
            return None
        self._at = stop
        return buffer[at], buffer[start:stop]

    def _begin_past(self, first: int, start: int, length: int) -> Unread | None:
        """Wait for what names the packet, then count the rest."""
        if first & _KIND != PUBLISH:
            raise PeerError(f"a packet of {length} octets that is no PUBLISH")
        there = self._buffer[start : start + 2]
        head = min(length, _HEAD + int.from_bytes(there, "big"))
        if len(there) < 2 or len(self._buffer) - start < head:
            return None
        self._skipped = unread(first, self._buffer[start : start + head], length, f"longer than {self._most} octets")
        self._at, self._past = start, length
        return self._skip()

    def _skip(self) -> Unread | None:
        there = min(self._past, len(self._buffer) - self._at)
        self._at += there
        self._past -= there
        if self._past:
            return None
        found, self._skipped = self._skipped, None
        return found
