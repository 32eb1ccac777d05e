"""The CoAP message over datagrams (RFC 7252 section 3): one value, its encoder and its strict decoder.

The option list and payload behind the token are the same over streams (RFC 8323) and inside protected payloads, so
``encode_options`` and ``decode_options`` stand alone. Nothing here knows about exchanges.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from carriage.coap.codes import dotted
from carriage.coap.options import Options
from layer.errors import PeerError, UsageError

CON: Final = 0
NON: Final = 1
ACK: Final = 2
RST: Final = 3

TYPE_NAMES: Final = ("CON", "NON", "ACK", "RST")
MAX_OPTIONS: Final = 64  # of one message; far above what any known use needs
MAX_OPTION_NUMBER: Final = 0xFFFF
MAX_OPTION_LENGTH: Final = 65_804  # 269 + 65,535

_HEADER: Final = Struct("!BBH")
_PACK: Final = _HEADER.pack
_UNPACK: Final = _HEADER.unpack_from

# Which code classes a type may carry (RFC 7252 section 4.3, table 1). Classes 1 and 6 are reserved, 7 belongs to
# streams. Row: type; column: class; the empty message is handled apart.
_CARRIES: Final = (
    (True, False, True, True, True, True, False, False),  # CON
    (True, False, True, True, True, True, False, False),  # NON
    (False, False, True, True, True, True, False, False),  # ACK
    (False, False, False, False, False, False, False, False),  # RST
)


class Message:
    """One CoAP message.

    ``type`` is CON, NON, ACK or RST, ``message_id`` 0-65535 (both without meaning over streams), ``token`` 0-8 octets,
    ``options`` in rising order of number after decoding, ``payload`` may be empty.
    """

    __slots__ = ("code", "message_id", "options", "payload", "token", "type")

    def __init__(
        self, type: int, code: int, message_id: int, token: bytes = b"", options: Options = (), payload: bytes = b""
    ) -> None:
        self.type = type
        self.code = code
        self.message_id = message_id
        self.token = token
        self.options = options
        self.payload = payload

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return (
            self.type == other.type
            and self.code == other.code
            and self.message_id == other.message_id
            and self.token == other.token
            and self.options == other.options
            and self.payload == other.payload
        )

    __hash__ = None  # type: ignore[assignment]  # mutable: the message id is set when it is sent

    def __repr__(self) -> str:
        return (
            f"<Message {TYPE_NAMES[self.type]} {dotted(self.code)} id {self.message_id} "
            f"options {[number for number, _ in self.options]} payload {len(self.payload)} octets>"
        )

    def encode(self) -> bytes:
        """The datagram. Raises like ``encode``."""
        return encode(self.type, self.code, self.message_id, self.token, self.options, self.payload)


def encode(
    type: int, code: int, message_id: int, token: bytes = b"", options: Options = (), payload: bytes = b""
) -> bytes:
    """The datagram of such a message. Raises ``UsageError`` for a token over 8 octets or an impossible option."""
    length = len(token)
    if length > 8:
        raise UsageError("a token has at most 8 octets")
    head = _PACK(0x40 | type << 4 | length, code, message_id) + token
    if not options:
        return head + b"\xff" + payload if payload else head
    return head + encode_options(options, payload)


def encode_options(options: Options, payload: bytes) -> bytes:
    """Options in order of number, then the marker and the payload if there is one (RFC 7252 section 3.1)."""
    out = bytearray()
    last = 0
    for number, value in options:
        delta = number - last
        if delta < 0:
            return encode_options(tuple(sorted(options, key=_number)), payload)
        last = number
        length = len(value)
        if delta < 13 and length < 13:
            out.append(delta << 4 | length)
        elif delta < 13 and length < 269:  # a path segment with a session id
            out.append(delta << 4 | 13)
            out.append(length - 13)
        else:
            if number > MAX_OPTION_NUMBER or length > MAX_OPTION_LENGTH:
                raise UsageError("an option number or value is out of range")
            out.append(min(delta, 13 + (delta > 268)) << 4 | min(length, 13 + (length > 268)))
            for long in (delta, length):
                if long > 268:
                    out += (long - 269).to_bytes(2, "big")
                elif long > 12:
                    out.append(long - 13)
        out += value
    if payload:
        out.append(0xFF)
        out += payload
    return bytes(out)


def decode(datagram: bytes) -> Message:
    """One datagram as message. Raises ``PeerError`` for anything that RFC 7252 section 3 or 4.3 does not allow."""
    size = len(datagram)
    if size < 4:
        raise PeerError("shorter than a CoAP header")
    head, code, message_id = _UNPACK(datagram)
    if head >> 6 != 1:
        raise PeerError("CoAP version is not 1")
    type_ = head >> 4 & 3
    length = head & 15
    if code == 0:
        if size != 4 or length:
            raise PeerError("an empty message with octets behind its header")
        if type_ == NON:
            raise PeerError("an empty message that is non-confirmable")
        return Message(type_, 0, message_id)
    if length > 8:
        raise PeerError("token length 9 to 15 is reserved")
    if not _CARRIES[type_][code >> 5]:
        raise PeerError("a code that this message type can't carry")
    end = 4 + length
    if end > size:
        raise PeerError("the token is cut short")
    if end == size:
        return Message(type_, code, message_id, datagram[4:end])
    options, payload = decode_options(datagram, end)
    return Message(type_, code, message_id, datagram[4:end], options, payload)


def decode_options(octets: bytes, at: int) -> tuple[Options, bytes]:
    """The options from offset ``at`` to the payload marker or the end, and the payload. Raises ``PeerError``."""
    size = len(octets)
    options: list[tuple[int, bytes]] = []
    number = 0
    while at < size:
        head = octets[at]
        at += 1
        if head == 0xFF:
            if at == size:
                raise PeerError("a payload marker without payload")
            return tuple(options), octets[at:]
        delta = head >> 4
        length = head & 15
        if delta > 12:
            delta, at = _extend(octets, at, delta)
        if length == 13 and at < size:  # a path segment with a session id
            length += octets[at]
            at += 1
        elif length > 12:
            length, at = _extend(octets, at, length)
        number += delta
        end = at + length
        if end > size:
            raise PeerError("an option is cut short")
        if number > MAX_OPTION_NUMBER:
            raise PeerError("an option number above 65535")
        options.append((number, octets[at:end]))
        if len(options) > MAX_OPTIONS:
            raise PeerError("too many options")
        at = end
    return tuple(options), b""


def _number(option: tuple[int, bytes]) -> int:
    return option[0]


def _extend(octets: bytes, at: int, nibble: int) -> tuple[int, int]:
    if nibble == 13:
        if at >= len(octets):
            raise PeerError("an option header is cut short")
        return octets[at] + 13, at + 1
    if nibble == 14:
        if at + 2 > len(octets):
            raise PeerError("an option header is cut short")
        return (octets[at] << 8 | octets[at + 1]) + 269, at + 2
    raise PeerError("option delta or length 15 is reserved")
