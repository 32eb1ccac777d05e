"""What the gateway sees of a unit without any key, boiled down to what a policy can ask about.

All reading is done by ``layer.records``; here units become ``Visible`` values, and a hello that came in DTLS fragments
is put together, since a sender could otherwise hide it from the rules by cutting it up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.api.errors import PeerError
from layer.records import (
    ACK,
    APPLICATION_DATA,
    CLIENT_HELLO,
    CONNECTION_ID,
    HANDSHAKE,
    MAX_HELLO,
    SERVER_HELLO,
    UNIFIED,
    VERSION_NAMES,
    ClientHelloFacts,
    HandshakeFragment,
    RecordHeader,
    ServerHelloFacts,
    TlsRecordReader,
    client_hello,
    read_datagram,
    read_fragments,
    server_hello,
)

_PROTECTED: Final = frozenset({APPLICATION_DATA, CONNECTION_ID, ACK, UNIFIED})
_HELLOS: Final = frozenset({CLIENT_HELLO, SERVER_HELLO})
_MAX_FRAGMENTS: Final = 64


Flight = frozenset[tuple[int, int, int]]
"""Handshake fragments in clear: message type, message_seq and fragment offset of each (RFC 6347 4.2.2)."""

NO_FLIGHT: Final[Flight] = frozenset()


class Visible(NamedTuple):
    """One unit as a policy sees it.

    ``types``: content types of the records that begin in it; DTLS 1.3 ciphertext, whose true type is encrypted, counts
    as application data just as TLS 1.3 ciphertext does on the wire. ``protected``: some of it is encrypted.
    ``handshake``: some of it is a handshake message in clear; ``flight`` says of DTLS which. ``client``, ``server``:
    the hello that is complete with this unit.
    """

    types: frozenset[int]
    protected: bool = False
    handshake: bool = False
    client: ClientHelloFacts | None = None
    server: ServerHelloFacts | None = None
    flight: Flight = NO_FLIGHT

    @property
    def offered(self) -> frozenset[str]:
        """The versions that the ClientHello offers, by name; those without a name are left out."""
        if self.client is None:
            return frozenset()
        return frozenset(VERSION_NAMES[version] for version in self.client.versions if version in VERSION_NAMES)

    @property
    def chosen(self) -> str:
        """The version that the ServerHello chose; a name that no policy lists where it is unknown."""
        if self.server is None:
            return ""
        return VERSION_NAMES.get(self.server.version, f"0x{self.server.version:04x}")


OPAQUE: Final = Visible(frozenset())
"""A unit of a kind without visible records."""

# The usual units are one protected record: one shared value for each content type.
_PLAIN: Final = {
    (content_type, protected): Visible(
        frozenset({APPLICATION_DATA if content_type == UNIFIED else content_type}), protected
    )
    for content_type in range(256)
    for protected in (False, True)
}


class DatagramReader:
    """Reads the units of one direction of a DTLS session. Reading a unit twice does no harm."""

    __slots__ = ("_fragments", "_length", "_message", "_size")

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._message = (-1, -1)
        self._length = 0
        self._size = 0
        self._fragments: dict[int, bytes] = {}

    def read(self, octets: bytes) -> Visible:
        """Raises ``PeerError`` where the unit isn't whole DTLS records."""
        headers = read_datagram(octets)
        if len(headers) == 1:
            header = headers[0]
            if not header.handshake_types:
                return _PLAIN[header.content_type, bool(header.epoch) or header.content_type in _PROTECTED]
        client, server = None, None
        flight = set()
        if any(header.handshake_types for header in headers):
            for fragment in read_fragments(octets):
                flight.add((fragment.message_type, fragment.message_seq, fragment.offset))
                if fragment.message_type in _HELLOS:
                    body = self._whole(fragment)
                    if body is not None and fragment.message_type == CLIENT_HELLO:
                        client = client_hello(body, dtls=True)
                    elif body is not None:
                        server = server_hello(body)
        return _summary(headers, client, server, frozenset(flight))

    def _whole(self, fragment: HandshakeFragment) -> bytes | None:
        """The message's body, once all of it is here."""
        if fragment.whole:
            return fragment.body
        message = (fragment.message_type, fragment.message_seq)
        if message != self._message or fragment.length != self._length:
            self._forget()
            if fragment.length > MAX_HELLO:
                raise PeerError("hello message too long")
            self._message, self._length = message, fragment.length
        known = self._fragments.get(fragment.offset, b"")
        if len(fragment.body) > len(known):
            self._size += len(fragment.body) - len(known)
            self._fragments[fragment.offset] = fragment.body
        if len(self._fragments) > _MAX_FRAGMENTS or self._size > 2 * MAX_HELLO:
            self._forget()
            raise PeerError("hello message in too many fragments")
        body = bytearray()
        for offset in sorted(self._fragments):
            if offset > len(body):
                return None
            body += self._fragments[offset][len(body) - offset :]
        if len(body) < self._length:
            return None
        self._forget()
        return bytes(body)


class StreamReader:
    """Reads the units of one direction of a TLS session, each exactly once and in order."""

    __slots__ = ("_client", "_lost", "_reader", "_server")

    def __init__(self) -> None:
        self._reader = TlsRecordReader()
        self._lost = False
        self._client: ClientHelloFacts | None = None
        self._server: ServerHelloFacts | None = None

    def read(self, octets: bytes) -> Visible:
        """Raises ``PeerError`` where the stream isn't TLS records, from then on for every unit."""
        if self._lost:
            raise PeerError("TLS stream was not read without a gap")
        headers = self._reader.feed(octets)
        if len(headers) == 1 and not headers[0].handshake_types:
            return _PLAIN[headers[0].content_type, headers[0].content_type in _PROTECTED]
        client, server = self._reader.client_hello, self._reader.server_hello
        new_client = client if client is not self._client else None
        new_server = server if server is not self._server else None
        self._client, self._server = client, server
        return _summary(headers, new_client, new_server)

    def lose(self) -> None:
        """Something went by unread: nothing can be told of what follows."""
        self._lost = True

    @property
    def lost(self) -> bool:
        return self._lost

    @property
    def position(self) -> int:
        """Octets of a record that are still to come; -1 where a reader can't go on from that alone."""
        return -1 if self._lost else self._reader.position

    @classmethod
    def resumed(cls, position: int) -> StreamReader:
        """A reader that goes on where another one was (``position``)."""
        reader = cls()
        if position < 0:
            reader.lose()
        else:
            reader._reader = TlsRecordReader.resumed(position)
        return reader


def _summary(
    headers: Sequence[RecordHeader],
    client: ClientHelloFacts | None,
    server: ServerHelloFacts | None,
    flight: Flight = NO_FLIGHT,
) -> Visible:
    return Visible(
        frozenset(APPLICATION_DATA if header.content_type == UNIFIED else header.content_type for header in headers),
        any(header.epoch or header.content_type in _PROTECTED for header in headers),
        any(header.content_type == HANDSHAKE and header.handshake_types for header in headers),
        client,
        server,
        flight,
    )
