"""The two MQTT packets that pass for every message, PUBLISH and PUBACK, written and read as octets.

Source: MQTT 5.0 sections 2.2.2, 3.3, 3.4; level 4 (MQTT 3.1.1) is the same without properties. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct, error
from typing import Final

from carriage.mqtt.options import Message
from layer.errors import PeerError

_U16 = Struct("!H")
_EXPIRY = Struct("!BI")
_HEADED = Struct("!BH")

PUBLISH: Final = 0x30
PUBACK: Final = 0x40
DUP: Final = 0x08
QOS: Final = 0x06
RETAIN: Final = 0x01
"""Type of a packet, in the upper half of its first octet; flags of a PUBLISH, in the lower."""
_HEAD: Final = 4  # length of the topic, and packet id
MESSAGE_EXPIRY: Final = 0x02
CONTENT_TYPE: Final = 0x03
RESPONSE_TOPIC: Final = 0x08
CORRELATION: Final = 0x09
USER_PROPERTY: Final = 0x26
_WIDTHS = {0x01: 1, MESSAGE_EXPIRY: 4, 0x23: 2}
_SUBSCRIPTION = 0x0B
_STRINGS = {CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION}


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
    if first & QOS:
        found = body[2 + length : _HEAD + length]
        packet_id = (int.from_bytes(found, "big") or None) if len(found) == 2 else None
    return Unread(topic, packet_id, size, why)


def unread_head(body: bytes) -> int:
    """How many octets of a PUBLISH that begins with ``body`` name it (topic and packet id); 0: not known yet."""
    return _HEAD + int.from_bytes(body[:2], "big") if len(body) >= 2 else 0


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


def packet_size(length: int) -> int:
    """Octets of a packet with ``length`` octets behind its fixed header."""
    return length + 2 + (length >= 0x80) + (length >= 0x4000) + (length >= 0x20_0000)


def write_at_once(out: bytearray, head: bytes, payload: bytes, retain: bool) -> None:
    """Append the PUBLISH with QoS 0 of ``publish_head``'s topic."""
    out.append(0x31 if retain else 0x30)
    length = len(head) + len(payload)
    while length >= 128:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    out += head
    out += payload


def write_publish(
    out: bytearray,
    first: int,
    topic: bytes,
    packet_id: int,
    payload: bytes,
    properties: bytes,
) -> None:
    """Append a PUBLISH. ``first``: its first octet. ``packet_id``: 0 with QoS 0. ``properties``: empty for level 4."""
    size = len(topic)
    length = 2 + size + len(properties) + len(payload)
    if packet_id:
        length += 2
    out.append(first)
    while length >= 128:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    out += _U16.pack(size)
    out += topic
    if packet_id:
        out += _U16.pack(packet_id)
    out += properties
    out += payload


def decode_publish(first: int, body: bytes, version: int, connection: int = 0) -> Message:
    """The PUBLISH with this first octet and this content. ``connection``: the first half of its ``receipt``.

    User properties and subscription identifiers are skipped. PeerError.
    """
    qos = (first & QOS) >> 1
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
        content_type = correlation = expiry = response_topic = None
        if version == 5:
            size = body[at]
            at += 1
            if size:
                if size >= 128:
                    size, at = _variable(body, at - 1)
                end = at + size
                if end > len(body):
                    raise PeerError("PUBLISH cut short")
                numbers, strings = _properties(body, at, end)
                at = end
                if CONTENT_TYPE in strings:
                    content_type = strings[CONTENT_TYPE].decode()
                if RESPONSE_TOPIC in strings:
                    response_topic = strings[RESPONSE_TOPIC].decode()
                correlation, expiry = strings.get(CORRELATION), numbers.get(MESSAGE_EXPIRY)
    except (ValueError, IndexError, error) as failure:  # UnicodeDecodeError is a ValueError
        raise PeerError("malformed PUBLISH") from failure
    return Message(
        topic,
        body[at:],
        first & RETAIN != 0,
        qos,
        content_type,
        correlation,
        expiry,
        response_topic,
        (connection, packet_id),
        first & DUP != 0,
    )


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
