"""What anyone on the path can see of TLS and DTLS: record headers and the hello messages. Nothing else belongs here.

This is the only module of ``layer`` (with ``errors``) that a middlebox imports: no OpenSSL, no cryptography, no state
but a stream's position. Malformed input raises ``PeerError`` and nothing else. Unknown content types pass: ATLS wants
middleboxes not to stop what they don't know; a policy that wants a list of types has them in the headers.

Sources: RFC 6347 4.1 and 4.2.2 (DTLS 1.2), RFC 9146 4 (connection id), RFC 9147 4 (DTLS 1.3), RFC 8446 4.1 and 5.1,
RFC 5246 7.4.1, RFC 6066 3 (server name), RFC 7301 3.1 (ALPN).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from layer.errors import PeerError

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
#: Octets of a hello message that a ``TlsRecordReader`` keeps; post-quantum key shares need some 2 kB.
MAX_HELLO: Final = 16384

_DTLS_HEADER: Final = struct.Struct("!BHHHLH")
_TLS_HEADER: Final = struct.Struct("!BHH")
_FRAGMENT: Final = struct.Struct("!BBHHBHBH")  # type, length 8+16, message_seq, offset 8+16, fragment length 8+16
_SERVER_NAME_EXTENSION: Final = 0
_ALPN_EXTENSION: Final = 16
_EARLY_DATA_EXTENSION: Final = 42
_SUPPORTED_VERSIONS_EXTENSION: Final = 43
#: A ServerHello with this random is a HelloRetryRequest (RFC 8446 4.1.3).
_RETRY_RANDOM: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

Octets = bytes | bytearray | memoryview


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


class ClientHelloFacts(NamedTuple):
    """What a ClientHello says in clear; all of it is the client's own claim.

    ``versions`` and ``suites`` are wire values in the client's order of preference. ``cookie`` is DTLS only.
    """

    random: bytes
    versions: tuple[int, ...]
    suites: tuple[int, ...]
    sni: str | None
    alpn: tuple[str, ...]
    early_data: bool
    session_id: bytes
    compression: bytes
    cookie: bytes


class ServerHelloFacts(NamedTuple):
    """The version and suite that the server chose; ``retry`` marks a HelloRetryRequest (RFC 8446 4.1.4)."""

    random: bytes
    version: int
    suite: int
    retry: bool


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


def read_datagram(unit: Octets) -> tuple[RecordHeader, ...]:
    """The headers of all records of one DTLS datagram, in order.

    A record whose end can't be seen (connection id of unknown length) takes the rest of the datagram. Raises
    ``PeerError`` for anything else than whole records.
    """
    size = len(unit)
    if size >= 13 and not 0x20 <= unit[0] < 0x40:
        content_type, version, epoch, high, low, length = _DTLS_HEADER.unpack_from(unit)
        # The usual unit: one protected record.
        if (
            epoch
            and length + 13 == size
            and content_type != CONNECTION_ID
            and version >> 8 == 0xFE
            and content_type > 19
        ):
            return (RecordHeader(content_type, version, epoch, high << 32 | low, length),)
    if not size:
        raise PeerError("empty datagram")
    headers = []
    position = 0
    while position < size:
        header, position = _dtls_record(unit, position, size)
        headers.append(header)
    return tuple(headers)


def read_fragments(unit: Octets) -> tuple[HandshakeFragment, ...]:
    """Every handshake fragment in clear (epoch 0) of one DTLS datagram. Raises ``PeerError`` on malformed input."""
    found = []
    position = 0
    size = len(unit)
    while position < size:
        header, after = _dtls_record(unit, position, size)
        if header.content_type == HANDSHAKE and header.epoch == 0:
            at = position + 13
            while at < after:
                fragment = _fragment(unit, at, header.sequence)
                found.append(fragment)
                at += 12 + len(fragment.body)
        position = after
    return tuple(found)


def dtls_client_hello(unit: Octets) -> ClientHelloFacts | None:
    """The ClientHello of a DTLS datagram; None where there is none or only a fragment of one."""
    for fragment in read_fragments(unit):
        if fragment.message_type == CLIENT_HELLO and fragment.whole:
            return client_hello(fragment.body, dtls=True)
    return None


def dtls_server_hello(unit: Octets) -> ServerHelloFacts | None:
    """The ServerHello of a DTLS datagram; None where there is none or only a fragment of one."""
    for fragment in read_fragments(unit):
        if fragment.message_type == SERVER_HELLO and fragment.whole:
            return server_hello(fragment.body)
    return None


def client_hello(body: Octets, *, dtls: bool) -> ClientHelloFacts:
    """Read the body of a ClientHello (without the handshake header). Raises ``PeerError`` when it is malformed."""
    reader = _Fields(body)
    legacy = reader.number(2)
    random = reader.take(32)
    session_id = reader.vector(1, 32)
    cookie = reader.vector(1, 255) if dtls else b""
    suites = _numbers(reader.vector(2, 65534))
    compression = reader.vector(1, 255)
    if not suites or not compression:
        raise PeerError("ClientHello without suites or compression methods")
    versions: tuple[int, ...] = (legacy,)
    sni: str | None = None
    alpn: tuple[str, ...] = ()
    early_data = False
    for kind, content in _extensions(reader):
        if kind == _SUPPORTED_VERSIONS_EXTENSION:
            versions = _numbers(_only(content).vector(1, 254))
        elif kind == _SERVER_NAME_EXTENSION:
            sni = _server_name(content)
        elif kind == _ALPN_EXTENSION:
            alpn = _alpn(content)
        elif kind == _EARLY_DATA_EXTENSION:
            early_data = True
    return ClientHelloFacts(random, versions, suites, sni, alpn, early_data, session_id, compression, cookie)


def server_hello(body: Octets) -> ServerHelloFacts:
    """Read the body of a ServerHello (TLS or DTLS). Raises ``PeerError`` when it is malformed."""
    reader = _Fields(body)
    version = reader.number(2)
    random = reader.take(32)
    reader.vector(1, 32)
    suite = reader.number(2)
    reader.take(1)
    for kind, content in _extensions(reader):
        if kind == _SUPPORTED_VERSIONS_EXTENSION:
            version = _Fields(content).number(2)
    return ServerHelloFacts(random, version, suite, random == _RETRY_RANDOM)


class TlsRecordReader:
    """Follows one direction of a TLS stream, chunk by chunk; records span chunks as they like.

    ``feed`` gives each record's header once: as soon as it is known, or for handshake records in clear when the record
    is complete (so that ``handshake_types`` and the hello are known with it). It holds at most one such record and one
    hello message. After a ``PeerError`` the position in the stream is lost: the reader refuses everything.
    """

    __slots__ = (
        "_clear",
        "_hello",
        "_hello_type",
        "_lost",
        "_message_left",
        "_partial",
        "_prefix",
        "_skip",
        "client_hello",
        "server_hello",
    )

    def __init__(self) -> None:
        #: What the first and any later complete hello of this direction said, None before.
        self.client_hello: ClientHelloFacts | None = None
        self.server_hello: ServerHelloFacts | None = None
        self._partial = b""  # a record header, or a handshake record in clear, that is not complete yet
        self._skip = 0  # octets of the current record's payload still to come
        self._clear = True  # handshake records are readable until the first CCS or application data
        self._lost = False
        self._prefix = b""  # an incomplete handshake header
        self._message_left = 0  # octets of the current handshake message still to come
        self._hello = bytearray()
        self._hello_type = 0

    @property
    def between_records(self) -> bool:
        """True when everything fed so far was whole records: a chunk that starts now starts a record."""
        return not self._partial and not self._skip

    @property
    def position(self) -> int:
        """Octets of the current record still to come, from which a reader can be ``resumed``.

        -1 where it can't: in the middle of a record's header, in the handshake in clear, or out of step.
        """
        return -1 if self._clear or self._partial or self._lost else self._skip

    @classmethod
    def resumed(cls, position: int) -> TlsRecordReader:
        """A reader that goes on where another one's ``position`` was (>= 0)."""
        reader = cls()
        reader._clear, reader._skip = False, position
        return reader

    def feed(self, chunk: Octets) -> list[RecordHeader]:
        """Headers of the records that started (in clear handshake: ended) in this chunk. Raises ``PeerError``."""
        if self._lost:
            raise PeerError("TLS stream is out of step after a malformed record")
        try:
            return self._feed(chunk)
        except PeerError:
            self._lost = True
            self._partial = b""
            raise

    def _feed(self, chunk: Octets) -> list[RecordHeader]:
        data = self._partial + bytes(chunk) if self._partial else chunk
        self._partial = b""
        size = len(data)
        position = min(self._skip, size)
        self._skip -= position
        headers = []
        while position < size:
            if size - position < 5:
                self._partial = bytes(data[position:])
                break
            content_type, version, length = _TLS_HEADER.unpack_from(data, position)
            if version >> 8 != 3 or not 20 <= content_type < 64:
                raise PeerError("not a TLS record")
            if length > MAX_TLS_PAYLOAD:
                raise PeerError("TLS record longer than the standard allows")
            if content_type == HANDSHAKE and self._clear:
                if size - position - 5 < length:
                    self._partial = bytes(data[position:])
                    break
                types = self._messages(bytes(data[position + 5 : position + 5 + length]))
                position += 5 + length
                headers.append(RecordHeader(content_type, version, 0, 0, length, types))
                continue
            if content_type in (CHANGE_CIPHER_SPEC, APPLICATION_DATA):
                self._clear = False
            headers.append(RecordHeader(content_type, version, 0, 0, length))
            position += 5 + length
            if position > size:
                self._skip = position - size
        return headers

    def _messages(self, payload: bytes) -> tuple[int, ...]:
        """Walk the handshake messages in one record's payload; they may span records (RFC 8446 5.1)."""
        if not payload:
            raise PeerError("empty handshake record")
        types = []
        if self._message_left:
            types.append(self._hello_type)
        data = self._prefix + payload
        self._prefix = b""
        position = 0
        while position < len(data):
            if self._message_left:
                taken = data[position : position + self._message_left]
                position += len(taken)
                self._message_left -= len(taken)
                if self._hello_type in (CLIENT_HELLO, SERVER_HELLO):
                    self._hello += taken
            elif len(data) - position < 4:
                self._prefix = data[position:]
                break
            else:
                self._hello_type = data[position]
                self._message_left = int.from_bytes(data[position + 1 : position + 4], "big")
                types.append(self._hello_type)
                position += 4
                if self._hello_type in (CLIENT_HELLO, SERVER_HELLO) and self._message_left > MAX_HELLO:
                    raise PeerError("hello message too long")
            if not self._message_left:
                self._finish_message()
        return tuple(types)

    def _finish_message(self) -> None:
        if self._hello_type == CLIENT_HELLO:
            self.client_hello = client_hello(self._hello, dtls=False)
        elif self._hello_type == SERVER_HELLO:
            self.server_hello = server_hello(self._hello)
        self._hello = bytearray()


def _dtls_record(unit: Octets, position: int, size: int) -> tuple[RecordHeader, int]:
    """The record that starts at ``position`` and where it ends."""
    first = unit[position]
    if 0x20 <= first < 0x40:
        return _unified_record(unit, position, size)
    if size - position < 13:
        raise PeerError("DTLS record header cut short")
    content_type, version, epoch, high, low, length = _DTLS_HEADER.unpack_from(unit, position)
    if version >> 8 != 0xFE or content_type < 20:
        raise PeerError("not a DTLS record")
    sequence = high << 32 | low
    if content_type == CONNECTION_ID:
        # The length field follows a connection id whose length only the two ends know (RFC 9146 4).
        return RecordHeader(content_type, version, epoch, sequence, size - position - 11), size
    end = position + 13 + length
    if end > size:
        raise PeerError("DTLS record reaches beyond its datagram")
    types: tuple[int, ...] = ()
    if content_type == HANDSHAKE and epoch == 0:
        types = _fragment_types(unit, position + 13, end)
    return RecordHeader(content_type, version, epoch, sequence, length, types), end


def _fragment_types(unit: Octets, position: int, end: int) -> tuple[int, ...]:
    types = []
    while position < end:
        if end - position < 12:
            raise PeerError("handshake header cut short")
        types.append(unit[position])
        position += 12 + (unit[position + 9] << 16 | unit[position + 10] << 8 | unit[position + 11])
    if position != end:
        raise PeerError("handshake fragment reaches beyond its record")
    return tuple(types)


def _fragment(unit: Octets, at: int, record_sequence: int) -> HandshakeFragment:
    kind, length_1, length_2, message_seq, offset_1, offset_2, part_1, part_2 = _FRAGMENT.unpack_from(unit, at)
    length, offset = length_1 << 16 | length_2, offset_1 << 16 | offset_2
    body = bytes(unit[at + 12 : at + 12 + (part_1 << 16 | part_2)])
    if offset + len(body) > length:
        raise PeerError("handshake fragment reaches beyond its message")
    return HandshakeFragment(kind, length, message_seq, offset, body, record_sequence)


def _unified_record(unit: Octets, position: int, size: int) -> tuple[RecordHeader, int]:
    """A DTLS 1.3 ciphertext: 001CSLEE, then connection id, sequence and length as the bits say (RFC 9147 4)."""
    flags = unit[position]
    epoch = flags & 0x03
    if flags & 0x10:  # a connection id: where it ends only the two ends know
        return RecordHeader(UNIFIED, 0xFEFC, epoch, 0, size - position - 1), size
    start = position + (3 if flags & 0x08 else 2)
    if flags & 0x04:
        start += 2
    if start > size:
        raise PeerError("DTLS record header cut short")
    sequence = int.from_bytes(unit[position + 1 : position + (3 if flags & 0x08 else 2)], "big")
    end = size
    if flags & 0x04:
        end = start + int.from_bytes(unit[start - 2 : start], "big")
        if end > size:
            raise PeerError("DTLS record reaches beyond its datagram")
    return RecordHeader(UNIFIED, 0xFEFC, epoch, sequence, end - start), end


class _Fields:
    """Reads fixed and length-prefixed fields in turn; running out of octets is a ``PeerError``."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: Octets) -> None:
        self._data = bytes(data)
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise PeerError("hello message cut short")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, octets: int) -> int:
        return int.from_bytes(self.take(octets), "big")

    def vector(self, prefix: int, most: int) -> bytes:
        length = self.number(prefix)
        if length > most:
            raise PeerError("hello field longer than the standard allows")
        return self.take(length)


def _only(content: bytes) -> _Fields:
    return _Fields(content)


def _numbers(octets: bytes) -> tuple[int, ...]:
    if len(octets) % 2:
        raise PeerError("list of 16-bit numbers with an odd length")
    return struct.unpack(f"!{len(octets) // 2}H", octets)


def _extensions(reader: _Fields) -> list[tuple[int, bytes]]:
    """Extension type and content, in order; a hello without extensions simply ends (RFC 5246 7.4.1.2)."""
    if not reader.left:
        return []
    block = _Fields(reader.vector(2, 65535))
    if reader.left:
        raise PeerError("octets after the extensions of a hello message")
    found = []
    while block.left:
        kind = block.number(2)
        found.append((kind, block.vector(2, 65535)))
    return found


def _server_name(content: bytes) -> str | None:
    names = _Fields(_Fields(content).vector(2, 65535))
    while names.left:
        kind = names.number(1)
        name = names.vector(2, 65535)
        if kind == 0:
            text = name.decode("latin-1")
            if not text.isascii() or not text.isprintable():
                raise PeerError("server name is not printable ASCII")
            return text
    return None


def _alpn(content: bytes) -> tuple[str, ...]:
    names = _Fields(_Fields(content).vector(2, 65535))
    found = []
    while names.left:
        found.append(names.vector(1, 255).decode("latin-1"))
    return tuple(found)
