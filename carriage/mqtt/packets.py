"""The two MQTT packets that pass for every message, PUBLISH and PUBACK, in separate, quick codecs.

Source: MQTT 5.0 sections 2.2.2, 3.3, 3.4; level 4 (MQTT 3.1.1) is the same without properties. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct, error
from typing import Final

from layer.errors import PeerError

_U16 = Struct("!H")
_EXPIRY = Struct("!BI")
_HEADED = Struct("!BH")

MESSAGE_EXPIRY: Final = 0x02
CONTENT_TYPE: Final = 0x03
RESPONSE_TOPIC: Final = 0x08
CORRELATION: Final = 0x09
USER_PROPERTY: Final = 0x26
_WIDTHS = {0x01: 1, MESSAGE_EXPIRY: 4, 0x23: 2}
_SUBSCRIPTION = 0x0B
_STRINGS = {CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION}


@dataclass(frozen=True, slots=True)
class Publish:
    """A received PUBLISH; ``packet_id`` is 0 with QoS 0."""

    topic: str
    packet_id: int
    payload: bytes
    content_type: str | None = None
    correlation: bytes | None = None
    expiry: int | None = None
    response_topic: str | None = None

    def __repr__(self) -> str:
        return f"Publish(packet_id={self.packet_id}, {len(self.payload)} octets)"


def publish_properties(
    content_type: str | None, correlation: bytes | None, response_topic: str | None, expiry: int | None
) -> bytes:
    """Property length and properties of a PUBLISH."""
    octets = b"" if expiry is None else _EXPIRY.pack(MESSAGE_EXPIRY, expiry)
    if content_type is not None:
        value = content_type.encode()
        octets += _HEADED.pack(CONTENT_TYPE, len(value)) + value
    if response_topic is not None:
        value = response_topic.encode()
        octets += _HEADED.pack(RESPONSE_TOPIC, len(value)) + value
    if correlation is not None:
        octets += _HEADED.pack(CORRELATION, len(correlation)) + correlation
    length = len(octets)
    if length < 128:
        return bytes((length,)) + octets
    head = bytearray()
    while length >= 128:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + octets


def publish_head(topic: str, version: int) -> bytes:
    """What stands between fixed header and payload of a PUBLISH with QoS 0 and no properties."""
    name = topic.encode()
    return _U16.pack(len(name)) + name + (b"\0" if version == 5 else b"")


def head_topic(head: bytes) -> str:
    """The topic of a ``publish_head``."""
    return head[2 : 2 + _U16.unpack_from(head)[0]].decode(errors="replace")


def publish_at_once(head: bytes, payload: bytes, retain: bool) -> bytes:
    """The PUBLISH with QoS 0 of ``publish_head``'s topic."""
    octets = bytearray(b"\x31" if retain else b"\x30")
    length = len(head) + len(payload)
    while length >= 128:
        octets.append(length & 0x7F | 0x80)
        length >>= 7
    octets.append(length)
    return bytes(octets) + head + payload


def decode_publish(qos: int, body: bytes, version: int) -> Publish:
    """The PUBLISH after its fixed header. User properties and subscription identifiers are skipped. PeerError."""
    try:
        (length,) = _U16.unpack_from(body)
        at = 2 + length
        topic = body[2:at].decode()
        if len(body) < at or not topic or "\0" in topic:
            raise PeerError("PUBLISH without a proper topic")
        packet_id = 0
        if qos:
            (packet_id,) = _U16.unpack_from(body, at)
            at += 2
            if not packet_id:
                raise PeerError("PUBLISH with packet id 0")
        if version != 5:
            return Publish(topic, packet_id, body[at:])
        if body[at] == 0:
            return Publish(topic, packet_id, body[at + 1 :])
        size, at = _variable(body, at)
        end = at + size
        if end > len(body):
            raise PeerError("PUBLISH cut short")
        numbers, strings = _properties(body, at, end)
        content_type = strings.get(CONTENT_TYPE)
        response_topic = strings.get(RESPONSE_TOPIC)
        return Publish(
            topic,
            packet_id,
            body[end:],
            None if content_type is None else content_type.decode(),
            strings.get(CORRELATION),
            numbers.get(MESSAGE_EXPIRY),
            None if response_topic is None else response_topic.decode(),
        )
    except (ValueError, IndexError, error) as failure:  # UnicodeDecodeError is a ValueError
        raise PeerError("malformed PUBLISH") from failure


def decode_puback(body: bytes, version: int) -> tuple[int, int]:
    """Packet id and reason code (0 if it is left out) of a PUBACK. PeerError."""
    if len(body) < 2 or (version != 5 and len(body) > 2):
        raise PeerError("malformed PUBACK")
    return _U16.unpack_from(body)[0], body[2] if len(body) > 2 else 0


def _variable(body: bytes, at: int) -> tuple[int, int]:
    """A variable byte integer and where it ends."""
    value = 0
    for shift in (0, 7, 14, 21):
        octet = body[at]
        at += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
    raise PeerError("variable byte integer beyond four octets")


def _properties(body: bytes, at: int, end: int) -> tuple[dict[int, int], dict[int, bytes]]:
    """The properties in ``body[at:end]``: numbers, and the strings that count."""
    numbers: dict[int, int] = {}
    strings: dict[int, bytes] = {}
    while at < end:
        identifier = body[at]
        at += 1
        if identifier in numbers or identifier in strings:
            raise PeerError("PUBLISH with a property twice")
        width = _WIDTHS.get(identifier)
        if width is not None:
            numbers[identifier] = int.from_bytes(body[at : at + width], "big")
            at += width
        elif identifier in _STRINGS:
            (length,) = _U16.unpack_from(body, at)
            at += 2
            strings[identifier] = body[at : at + length]
            at += length
        elif identifier == USER_PROPERTY:
            for _ in range(2):
                at += 2 + _U16.unpack_from(body, at)[0]
        elif identifier == _SUBSCRIPTION:
            _, at = _variable(body, at)
        else:
            raise PeerError("PUBLISH with a property that is not its own")
    if at != end:
        raise PeerError("PUBLISH with a property cut short")
    return numbers, strings
