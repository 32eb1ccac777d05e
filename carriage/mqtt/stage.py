"""What stands between paho and the socket: PUBLISH and PUBACK are read and written here, all else is passed on to paho.

Sans-I/O, in the manner of h11: ``receive`` takes octets and gives events, and what is to be sent gathers in ``out``. A
stage is one connection's. Its states, and what moves it:

==========  ========================================================================================================
connecting  from the start: paho's CONNECT goes out, and its CONNACK is the only packet that may come in
open        from CONNACK on, whatever it says: all packets pass
failed      from the first packet that is no MQTT on (``fault`` says why): ``receive`` gives nothing more
==========  ========================================================================================================

The table of what is in flight outlives the stage (``outgoing``). An acknowledgement is ours if the table has its packet
id, and paho's otherwise. ``publish`` gives ids from ``FIRST_ID`` on, so that they meet paho's, which only subscribes,
after 32,767 subscriptions on one connection.

Between packets and inside one, the octets wait in the buffer, as many as the longest packet that is taken. Past the
head of a PUBLISH that is too long none is kept: ``_past`` counts those to come, and the next packet begins behind them.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from carriage.mqtt.options import Message, Token
from carriage.mqtt.outgoing import Outgoing
from carriage.mqtt.packets import (
    DUP,
    PUBACK,
    PUBLISH,
    QOS,
    Unread,
    decode_puback,
    decode_publish,
    publish_properties,
    unread,
    unread_head,
    write_publish,
)
from layer.errors import PeerError

FIRST_ID: Final = 0x8000
"""The lowest packet id that ``publish`` gives."""
LAST_ID: Final = 0xFFFF

_KIND: Final = 0xF0
_CONNACK: Final = 0x20
_ACKNOWLEDGE: Final = Struct("!BBH")

Landed = tuple[Token | None, int]
"""The broker's answer to a message in flight: its token, and the reason code."""
Event = Message | Unread | Landed | bytes
"""``bytes``: a packet for paho, whole."""


class Stage:
    """One connection with MQTT of ``version`` (5, or 4 for 3.1.1).

    ``most``: octets of the longest packet that is taken, without its fixed header. ``in_flight`` and ``again`` are
    those of the client's table. ``connection`` counts the client's connections.
    """

    __slots__ = (
        "_connection",
        "_most",
        "_past",
        "_skipped",
        "_version",
        "again",
        "buffered",
        "fault",
        "in_flight",
        "last_id",
        "open",
        "out",
    )

    def __init__(
        self,
        version: int,
        most: int,
        in_flight: dict[int, Outgoing],
        again: dict[int, Outgoing],
        *,
        connection: int = 0,
        last_id: int = LAST_ID,
    ) -> None:
        self._version = version
        self._most = most
        self._connection = connection
        self.in_flight = in_flight
        self.again = again
        self.last_id = last_id
        """The packet id that was given last; the next connection's stage goes on from there."""
        self.out = bytearray()
        """What is to be sent, whole packets; the sender removes from its front what the socket took."""
        self.open = False
        self.fault: PeerError | None = None
        self.buffered = b""
        """What came of a packet that isn't complete."""
        self._past = 0
        self._skipped: Unread | None = None

    # -- what comes --------------------------------------------------------------------------------------------------

    def receive(self, octets: bytes) -> list[Event]:
        """The packets that these octets complete, in order; those before a fault, too."""
        events: list[Event] = []
        if self.fault is None:
            try:
                self._read(self.buffered + octets if self.buffered else octets, events)
            except PeerError as failure:
                self.fault = failure
                self.buffered = b""
        return events

    def _read(self, data: bytes, events: list[Event]) -> None:
        version, most, in_flight = self._version, self._most, self.in_flight
        end = len(data)
        at = self._skip(0, end, events) if self._past else 0
        while end - at >= 2:
            first, length, start = data[at], data[at + 1], at + 2
            if length >= 0x80:
                length, start = _length(data, at + 1)
                if not start:
                    break
            stop = start + length
            if length > most:
                found = self._begin_past(first, data, start, length)
                if found is None:
                    break
                self._skipped, self._past = found, length
                at = self._skip(start, end, events)
                continue
            if stop > end:
                break
            kind = first & _KIND
            if not self.open:
                self._begin(kind)
                events.append(data[at:stop])
            elif kind == PUBACK:
                if length == 2:
                    packet_id, code = data[start] << 8 | data[start + 1], 0
                else:
                    packet_id, code = decode_puback(data[start:stop], version)
                message = in_flight.pop(packet_id, None)
                if message is None:
                    events.append(data[at:stop])
                else:
                    events.append((message.token, code))
            elif kind == PUBLISH:
                if first & QOS > 2:
                    raise PeerError("a PUBLISH with a QoS that we did not subscribe with")
                body = data[start:stop]
                try:
                    events.append(decode_publish(first, body, version, self._connection))
                except PeerError as failure:
                    events.append(unread(first, body, length, str(failure)))
            elif kind == _CONNACK:
                raise PeerError("a second CONNACK")
            else:
                events.append(data[at:stop])
            at = stop
        self.buffered = data[at:]

    def _begin(self, kind: int) -> None:
        if kind in (PUBLISH, PUBACK):
            raise PeerError("a message before CONNACK")
        self.open = kind == _CONNACK

    def _begin_past(self, first: int, data: bytes, start: int, length: int) -> Unread | None:
        """A packet that is too long; None: what names it is still to come."""
        if first & _KIND != PUBLISH or not self.open:
            raise PeerError(f"a packet of {length} octets that is no PUBLISH")
        head = unread_head(data[start : start + 2])
        if head == 0 or len(data) - start < min(length, head):
            return None
        return unread(first, data[start : start + min(length, head)], length, f"longer than {self._most} octets")

    def _skip(self, at: int, end: int, events: list[Event]) -> int:
        """Read past what is too long. Returns the position of the next packet."""
        there = min(self._past, end - at)
        self._past -= there
        if not self._past and self._skipped is not None:
            events.append(self._skipped)
            self._skipped = None
        return at + there

    # -- what goes ---------------------------------------------------------------------------------------------------

    def publish(self, message: Outgoing, left: int | None) -> None:
        """Send a message; with QoS 1 it is in flight from now on. ``left``: seconds until it expires.

        One that has a packet id was in flight on an earlier connection: it keeps that, and is marked as sent before.
        """
        first = PUBLISH | message.qos << 1 | message.retain
        packet_id = message.packet_id
        if packet_id:
            first |= DUP
            self.in_flight[packet_id] = message
        elif message.qos:
            packet_id = self.last_id
            while True:
                packet_id = packet_id + 1 if packet_id < LAST_ID else FIRST_ID
                if packet_id not in self.in_flight and packet_id not in self.again:
                    break
            message.packet_id = self.last_id = packet_id
            self.in_flight[packet_id] = message
        write_publish(
            self.out,
            first,
            message.topic.encode(),
            packet_id,
            message.payload,
            publish_properties(message.content_type, message.correlation, message.response_topic, left)
            if self._version == 5
            else b"",
        )

    def acknowledge(self, packet_id: int) -> None:
        """Send a PUBACK."""
        self.out += _ACKNOWLEDGE.pack(PUBACK, 2, packet_id)


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A packet's length and where its content begins; 0 there: more is to come."""
    length, end = 0, len(data)
    for shift in (0, 7, 14, 21):
        if at >= end:
            return 0, 0
        octet = data[at]
        at += 1
        length |= (octet & 0x7F) << shift
        if octet < 0x80:
            return length, at
    raise PeerError("a packet length of more than four octets")
