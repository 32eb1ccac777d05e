"""The fields of a ClientHello and a ServerHello in clear. Nothing else belongs here. ``layer.records`` finds them.

Malformed input raises ``PeerError`` and nothing else, and so does what two readers could take for two things: an
extension that is there twice, or octets behind the content of one that we read.

Sources: RFC 8446 4.1 and 4.2.1, RFC 5246 7.4.1, RFC 6066 3 (server name), RFC 7301 3.1 (ALPN), RFC 9146 3 (connection
id).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from layer.errors import PeerError

_SERVER_NAME_EXTENSION: Final = 0
_ALPN_EXTENSION: Final = 16
_EARLY_DATA_EXTENSION: Final = 42
_SUPPORTED_VERSIONS_EXTENSION: Final = 43
_CONNECTION_ID_EXTENSION: Final = 54
#: A ServerHello with this random is a HelloRetryRequest (RFC 8446 4.1.3).
_RETRY_RANDOM: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

Octets = bytes | bytearray | memoryview


class ClientHelloFacts(NamedTuple):
    """The fields of a ClientHello in clear; all are the client's own claims.

    ``versions`` and ``suites`` are wire values in the client's order of preference. ``cookie`` is DTLS only.
    ``connection_id``: octets of the connection id that records to the client are to bear; -1 if it offers none.
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
    connection_id: int = -1


class ServerHelloFacts(NamedTuple):
    """The version and suite that the server chose; ``retry`` marks a HelloRetryRequest (RFC 8446 4.1.4).

    ``connection_id``: octets of the connection id that records to the server are to bear; -1 if it takes none.
    """

    random: bytes
    version: int
    suite: int
    retry: bool
    connection_id: int = -1


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
    connection_id = -1
    for kind, content in _extensions(reader):
        if kind == _SUPPORTED_VERSIONS_EXTENSION:
            versions = _numbers(_whole_vector(content, 254))
        elif kind == _SERVER_NAME_EXTENSION:
            sni = _server_name(content)
        elif kind == _ALPN_EXTENSION:
            alpn = _alpn(content)
        elif kind == _EARLY_DATA_EXTENSION:
            early_data = True
        elif kind == _CONNECTION_ID_EXTENSION:
            connection_id = len(_whole_vector(content, 255))
    return ClientHelloFacts(
        random, versions, suites, sni, alpn, early_data, session_id, compression, cookie, connection_id
    )


def server_hello(body: Octets) -> ServerHelloFacts:
    """Read the body of a ServerHello (TLS or DTLS). Raises ``PeerError`` when it is malformed."""
    reader = _Fields(body)
    version = reader.number(2)
    random = reader.take(32)
    reader.vector(1, 32)
    suite = reader.number(2)
    reader.take(1)
    connection_id = -1
    for kind, content in _extensions(reader):
        if kind == _SUPPORTED_VERSIONS_EXTENSION:
            if len(content) != 2:
                raise PeerError("chosen version of more or less than 16 bits")
            version = int.from_bytes(content, "big")
        elif kind == _CONNECTION_ID_EXTENSION:
            connection_id = len(_whole_vector(content, 255))
    return ServerHelloFacts(random, version, suite, random == _RETRY_RANDOM, connection_id)


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


def _whole_vector(content: bytes, most: int) -> bytes:
    """The vector with a length of one octet that ``content`` is, and nothing behind it."""
    reader = _Fields(content)
    found = reader.vector(1, most)
    if reader.left:
        raise PeerError("octets behind the content of an extension")
    return found


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
    found: dict[int, bytes] = {}
    while block.left:
        kind = block.number(2)
        if kind in found:
            raise PeerError("an extension twice in one hello message")  # RFC 8446 4.2
        found[kind] = block.vector(2, 65535)
    return list(found.items())


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
