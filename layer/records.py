"""The parts of TLS and DTLS that anyone on the path can see: record headers, and the hello messages of a datagram.

Nothing else belongs here; streams are in ``tls_stream``. A middlebox imports nothing else of ``layer`` than these two
(but ``errors``): no OpenSSL, no cryptography, no state but a stream's position. Malformed input raises ``PeerError``
and nothing else. Unknown content types pass: ATLS wants middleboxes not to stop what they don't know; a policy that
wants a list of types has them in the headers.

Stacks differ in what they skip, and how many octets of it. So whatever some stack could read as a record in clear that
we read as something else is a ``PeerError`` too: there is one way to read a unit, or none.

Sources: RFC 6347 4.1 and 4.2.2 (DTLS 1.2), RFC 9146 4 (connection id), RFC 9147 4 (DTLS 1.3); of the hellos see
``layer.hellos``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from layer.errors import PeerError
from layer.hellos import ClientHelloFacts as ClientHelloFacts
from layer.hellos import Octets as Octets
from layer.hellos import ServerHelloFacts as ServerHelloFacts
from layer.hellos import client_hello as client_hello
from layer.hellos import server_hello as server_hello

CHANGE_CIPHER_SPEC: Final = 20
ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23
CONNECTION_ID: Final = 25
ACK: Final = 26
#: The content type that ``read_datagram`` gives to DTLS 1.3 ciphertext, whose true type is encrypted: the three fixed
#: bits of its header (RFC 9147 4), so it can't be mistaken for a registered type in use (20-31).
UNIFIED: Final = 0x20

CLIENT_HELLO: Final = 1
SERVER_HELLO: Final = 2
HELLO_VERIFY_REQUEST: Final = 3

#: Wire version -> name as configuration and policy files spell it.
VERSION_NAMES: Final[dict[int, str]] = {
    0x0300: "ssl3",
    0x0301: "tls1.0",
    0x0302: "tls1.1",
    0x0303: "tls1.2",
    0x0304: "tls1.3",
    0xFEFF: "dtls1.0",
    0xFEFD: "dtls1.2",
    0xFEFC: "dtls1.3",
}

#: Octets of one TLS record's payload: 2^14 and the 2048 that TLS 1.2 allows for protection (RFC 5246 6.2.3).
MAX_TLS_PAYLOAD: Final = 16384 + 2048
#: Octets of a hello message that a reader keeps; post-quantum key shares need some 2 kB.
MAX_HELLO: Final = 16384

_DTLS_HEADER: Final = struct.Struct("!BHHHLH")
_FRAGMENT: Final = struct.Struct("!BBHHBHBH")  # type, length 8+16, message_seq, offset 8+16, fragment length 8+16
_DTLS_1_2: Final = 0xFEFD
#: How a record in clear begins: a type of 20 to 27, any version of DTLS (a stack takes any for its first), epoch 0.
_IN_CLEAR: Final = re.compile(rb"[\x14-\x1b]\xfe.\0\0", re.DOTALL)
#: The same of DTLS 1.0, without the type.
_IN_CLEAR_1_0: Final = b"\xfe\xff\0\0"
#: Types of protected records with a plain header, whose length ends them.
_WITH_A_LENGTH: Final = frozenset(range(20, UNIFIED)) - {CONNECTION_ID}


class RecordHeader(NamedTuple):
    """One record as the path sees it.

    ``version`` is the wire value of the record (see ``VERSION_NAMES``); ``length`` counts the payload octets.
    ``epoch`` and ``sequence`` are 0 for TLS; of a DTLS 1.3 ciphertext only the two and the 8 or 16 low (and encrypted)
    bits are there. ``handshake_types`` lists the messages that begin or go on in a record in clear, in order.
    """

    content_type: int
    version: int
    epoch: int
    sequence: int
    length: int
    handshake_types: tuple[int, ...] = ()


#: ``RecordHeader`` of all its fields, without the call of a Python function: a third of what reading a unit takes.
_header: Final[Callable[[tuple[int, int, int, int, int, tuple[int, ...]]], RecordHeader]] = partial(
    tuple.__new__, RecordHeader
)


class HandshakeFragment(NamedTuple):
    """One DTLS handshake message or fragment in clear (RFC 6347 4.2.2); ``record_sequence`` is its record's."""

    message_type: int
    length: int
    message_seq: int
    offset: int
    body: bytes
    record_sequence: int

    @property
    def whole(self) -> bool:
        """Whether the body is the message and not a part of it."""
        return self.offset == 0 and len(self.body) == self.length


def read_datagram(unit: bytes, connection_id: int = -1) -> tuple[RecordHeader, ...]:
    """The headers of all records of one DTLS datagram, in order.

    ``connection_id``: octets of the connection id in records of this direction, as the hellos agreed; -1 where that
    isn't known. A record whose end can't be seen takes the rest of the datagram. Raises ``PeerError`` for anything else
    than whole records, and if a record in clear may begin at a place at which this reader sees none.
    """
    size = len(unit)
    if size >= 13:
        content_type, version, epoch, high, low, length = _DTLS_HEADER.unpack_from(unit)
        # The usual unit: one protected record. All stacks skip it as a whole, but for those of DTLS 1.0.
        if (
            epoch
            and length + 13 == size
            and version == _DTLS_1_2
            and content_type in _WITH_A_LENGTH
            and unit.find(_IN_CLEAR_1_0) < 0
        ):
            return (_header((content_type, version, epoch, high << 32 | low, length, ())),)
    if not size:
        raise PeerError("empty datagram")
    headers = []
    position = 0
    try:
        while position < size:
            header, position = _dtls_record(unit, position, size, connection_id)
            headers.append(header)
    except PeerError:
        if connection_id < 1:
            raise
        return read_datagram(unit)  # an end may change the length of its connection ids (RFC 9147 9)
    if _IN_CLEAR.search(unit, 1):
        _check_borders(unit, connection_id)
    return tuple(headers)


def _check_borders(unit: bytes, connection_id: int) -> None:
    """Raises ``PeerError`` if a whole record in clear may begin at a place at which this reader sees none."""
    size, position = len(unit), 0
    starts = set()
    while position < size:
        starts.add(position)
        _, position = _dtls_record(unit, position, size, connection_id)
    for found in _IN_CLEAR.finditer(unit):
        at = found.start()
        if at not in starts and at + 13 <= size and at + 13 + (unit[at + 11] << 8 | unit[at + 12]) <= size:
            raise PeerError("a record in clear may begin inside another record")


def read_fragments(unit: bytes, connection_id: int = -1) -> tuple[HandshakeFragment, ...]:
    """Every handshake fragment in clear (epoch 0) of one DTLS datagram; see ``read_datagram``."""
    found = []
    try:
        position = 0
        size = len(unit)
        places = []
        while position < size:
            header, after = _dtls_record(unit, position, size, connection_id)
            if header.handshake_types:
                places.append((header, position + 13, after))
            position = after
    except PeerError:
        if connection_id < 1:
            raise
        return read_fragments(unit)
    for header, at, after in places:
        while at < after:
            fragment = _fragment(unit, at, header.sequence)
            found.append(fragment)
            at += 12 + len(fragment.body)
    return tuple(found)


def dtls_client_hello(unit: bytes) -> ClientHelloFacts | None:
    """The ClientHello of a DTLS datagram; None if there is none or only a fragment of one."""
    for fragment in read_fragments(unit):
        if fragment.message_type == CLIENT_HELLO and fragment.whole:
            return client_hello(fragment.body, dtls=True)
    return None


def dtls_server_hello(unit: bytes) -> ServerHelloFacts | None:
    """The ServerHello of a DTLS datagram; None if there is none or only a fragment of one."""
    for fragment in read_fragments(unit):
        if fragment.message_type == SERVER_HELLO and fragment.whole:
            return server_hello(fragment.body)
    return None


def _dtls_record(unit: bytes, position: int, size: int, connection_id: int) -> tuple[RecordHeader, int]:
    """The record that starts at ``position`` and where it ends."""
    first = unit[position]
    if 0x20 <= first < 0x40:
        return _unified_record(unit, position, size, connection_id)
    if size - position < 13:
        raise PeerError("DTLS record header cut short")
    content_type, version, epoch, high, low, length = _DTLS_HEADER.unpack_from(unit, position)
    if version >> 8 != 0xFE or content_type < 20:
        raise PeerError("not a DTLS record")
    sequence = high << 32 | low
    if content_type == CONNECTION_ID:
        if not epoch:
            raise PeerError("a record in clear with a connection id")
        # The connection id stands before the length (RFC 9146 4).
        start = position + 13 + connection_id
        if connection_id > 0 and start <= size:
            end = start + (unit[start - 2] << 8 | unit[start - 1])
            if end <= size:
                return RecordHeader(content_type, version, epoch, sequence, end - start), end
        return RecordHeader(content_type, version, epoch, sequence, size - position - 11), size
    end = position + 13 + length
    if end > size or length > MAX_TLS_PAYLOAD:
        raise PeerError("DTLS record reaches beyond its datagram")
    types: tuple[int, ...] = ()
    if content_type == HANDSHAKE and epoch == 0:
        types = _fragment_types(unit, position + 13, end)
    return RecordHeader(content_type, version, epoch, sequence, length, types), end


def _fragment_types(unit: bytes, position: int, end: int) -> tuple[int, ...]:
    if position == end:
        raise PeerError("empty handshake record")
    types = []
    while position < end:
        if end - position < 12:
            raise PeerError("handshake header cut short")
        types.append(unit[position])
        position += 12 + (unit[position + 9] << 16 | unit[position + 10] << 8 | unit[position + 11])
    if position != end:
        raise PeerError("handshake fragment reaches beyond its record")
    return tuple(types)


def _fragment(unit: bytes, at: int, record_sequence: int) -> HandshakeFragment:
    kind, length_1, length_2, message_seq, offset_1, offset_2, part_1, part_2 = _FRAGMENT.unpack_from(unit, at)
    length, offset = length_1 << 16 | length_2, offset_1 << 16 | offset_2
    body = unit[at + 12 : at + 12 + (part_1 << 16 | part_2)]
    if offset + len(body) > length:
        raise PeerError("handshake fragment reaches beyond its message")
    return HandshakeFragment(kind, length, message_seq, offset, body, record_sequence)


def _unified_record(unit: bytes, position: int, size: int, connection_id: int) -> tuple[RecordHeader, int]:
    """A DTLS 1.3 ciphertext: 001CSLEE, then connection id, sequence and length as the bits say (RFC 9147 4)."""
    flags = unit[position]
    epoch = flags & 0x03
    at = position + 1
    if flags & 0x10:
        if connection_id < 1:  # where it ends only the two ends know
            return RecordHeader(UNIFIED, 0xFEFC, epoch, 0, size - at), size
        at += connection_id
    start = at + (2 if flags & 0x08 else 1) + (2 if flags & 0x04 else 0)
    if start > size:
        raise PeerError("DTLS record header cut short")
    sequence = unit[at] << 8 | unit[at + 1] if flags & 0x08 else unit[at]
    end = size
    if flags & 0x04:
        end = start + (unit[start - 2] << 8 | unit[start - 1])
        if end > size:
            raise PeerError("DTLS record reaches beyond its datagram")
    return RecordHeader(UNIFIED, 0xFEFC, epoch, sequence, end - start), end
