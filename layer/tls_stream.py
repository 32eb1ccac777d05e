"""One direction of a TLS stream, followed record by record as anyone on the path can. Datagrams are in ``records``.

Sources: RFC 8446 4.2.10, 5 and 5.1. Malformed input raises ``PeerError`` and nothing else.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from layer.errors import PeerError
from layer.hellos import ClientHelloFacts, Octets, ServerHelloFacts, client_hello, server_hello
from layer.records import (
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    CLIENT_HELLO,
    HANDSHAKE,
    MAX_HELLO,
    MAX_TLS_PAYLOAD,
    SERVER_HELLO,
    RecordHeader,
)

_TLS_HEADER: Final = struct.Struct("!BHH")
_HELLOS: Final = frozenset({CLIENT_HELLO, SERVER_HELLO})
_READ_WHOLE: Final = frozenset({HANDSHAKE, CHANGE_CIPHER_SPEC})
_ENDS_CLEAR: Final = frozenset({CHANGE_CIPHER_SPEC, APPLICATION_DATA})


class StreamState(NamedTuple):
    """The position of a ``TlsRecordReader``, from which another can go on (``TlsRecordReader.resumed``)."""

    clear: bool = False
    """Handshake records are readable."""
    begun: bool = True
    """A hello of this direction was seen."""
    retry: bool = False
    """Between a HelloRetryRequest and the next hello of this direction."""
    skip: int = 0
    """Octets of the current record's payload still to come."""
    partial: bytes = b""
    """A record header, or a record in clear, that is not complete yet."""
    prefix: bytes = b""
    """An incomplete handshake header."""
    message_type: int = 0
    message_left: int = 0
    """Octets of the current handshake message still to come."""
    hello: bytes = b""
    """The octets of an incomplete hello so far."""
    waiting: bool = False
    """A ClientHello was seen, and no answer to it."""


class TlsRecordReader:
    """Follows one direction of a TLS stream, chunk by chunk; records span chunks as they like.

    ``paired``: the other direction is passed in, too (``answered``).

    ``feed`` gives each record's header once: as soon as it is known, or for handshake and ChangeCipherSpec records in
    clear when the record is complete (so that ``handshake_types`` and the hello are known with it). It holds at most
    one such record and one hello message. After a ``PeerError`` the position in the stream is lost: the reader refuses
    everything.

    What a stack might skip and go on behind is refused: a record without content or a ChangeCipherSpec other than one
    octet 01 in clear, anything but handshake and alerts before the first hello, anything between the parts of a hello.
    A paired reader also refuses a handshake record that seems protected ahead of the answer to a ClientHello: if that
    answer is a HelloRetryRequest, it was in clear.
    """

    __slots__ = (
        "_begun",
        "_clear",
        "_hello",
        "_hello_type",
        "_lost",
        "_message_left",
        "_paired",
        "_partial",
        "_prefix",
        "_retry",
        "_skip",
        "_waiting",
        "at_rest",
        "client_hello",
        "hellos",
        "server_hello",
    )

    def __init__(self, *, paired: bool = False) -> None:
        self._paired = paired
        #: What the first and any later complete hello of this direction said, None before.
        self.client_hello: ClientHelloFacts | None = None
        self.server_hello: ServerHelloFacts | None = None
        #: How many hellos the last chunk completed.
        self.hellos = 0
        #: Whether the last chunk ended between two protected records, with nothing to wait for.
        self.at_rest = False
        self._clear = True  # until the first ChangeCipherSpec or application data, but for a retry
        self._begun = self._retry = self._waiting = False
        self._skip = 0
        self._partial = b""
        self._lost = False
        self._prefix = b""
        self._message_left = 0
        self._hello = bytearray()
        self._hello_type = 0

    @property
    def between_records(self) -> bool:
        """True when everything fed so far was whole records: a chunk that starts now starts a record."""
        return not self._partial and not self._skip

    @property
    def state(self) -> StreamState | None:
        """Its position; None if it is out of step."""
        if self._lost:
            return None
        if not self._clear:
            return StreamState(skip=self._skip, partial=self._partial, waiting=self._waiting)
        return StreamState(
            self._clear,
            self._begun,
            self._retry,
            self._skip,
            self._partial,
            self._prefix,
            self._hello_type,
            self._message_left,
            bytes(self._hello),
            self._waiting,
        )

    @classmethod
    def resumed(cls, state: StreamState, *, paired: bool = False) -> TlsRecordReader:
        """A reader that goes on from another one's ``state``."""
        reader = cls(paired=paired)
        reader._clear, reader._begun, reader._retry, reader._skip, reader._partial, reader._prefix = state[:6]
        reader._hello_type, reader._message_left, hello, reader._waiting = state[6:]
        reader._hello += hello
        reader.at_rest = state == StreamState()
        return reader

    def answered(self, retry: bool) -> None:
        """The other end sent a ServerHello. ``retry``: another ClientHello comes in this direction, in clear.

        Early data that the server rejects by it may come before that (RFC 8446 4.2.10), and is skipped.
        """
        self._waiting = False
        if retry:
            self._clear = self._retry = True

    def feed(self, chunk: Octets) -> list[RecordHeader]:
        """Headers of the records that started (in clear handshake: ended) in this chunk. Raises ``PeerError``."""
        if self._lost:
            raise PeerError("TLS stream is out of step after a malformed record")
        try:
            headers = self._feed(chunk)
        except PeerError:
            self._lost, self.at_rest = True, False
            self._partial = b""
            raise
        self.at_rest = not (self._skip or self._partial or self._clear or self._waiting)
        return headers

    def _feed(self, chunk: Octets) -> list[RecordHeader]:
        data = self._partial + bytes(chunk) if self._partial else chunk
        self._partial = b""
        self.hellos = 0
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
            types: tuple[int, ...] = ()
            if self._clear:
                self._check(content_type, length)
                if content_type in _READ_WHOLE and size - position - 5 < length:
                    self._partial = bytes(data[position:])
                    break
                if content_type == HANDSHAKE:
                    types = self._messages(bytes(data[position + 5 : position + 5 + length]))
                elif content_type == CHANGE_CIPHER_SPEC and data[position + 5] != 1:
                    raise PeerError("ChangeCipherSpec with another content than 1")
                if content_type in _ENDS_CLEAR and not self._retry:
                    self._clear = False
            elif not length and content_type != APPLICATION_DATA:
                raise PeerError("empty record")
            elif content_type == HANDSHAKE and self._waiting:
                raise PeerError("a protected handshake record ahead of the server's answer")
            headers.append(RecordHeader(content_type, version, 0, 0, length, types))
            position += 5 + length
            if position > size:
                self._skip = position - size
        return headers

    def _check(self, content_type: int, length: int) -> None:
        """Whether a record may stand here in clear."""
        if not length:
            raise PeerError("empty record")
        if content_type == HANDSHAKE:
            return
        if self._prefix or (self._message_left and self._hello_type in _HELLOS):
            raise PeerError("another record between the parts of a hello")  # RFC 8446 5.1
        if content_type == CHANGE_CIPHER_SPEC and length != 1:
            raise PeerError("ChangeCipherSpec of another length than 1")
        if content_type != ALERT and not self._begun:
            raise PeerError("a record before the first hello")
        if content_type == APPLICATION_DATA and self._retry and self._hello_type == SERVER_HELLO:
            raise PeerError("application data behind a HelloRetryRequest")

    def _messages(self, payload: bytes) -> tuple[int, ...]:
        """Walk the handshake messages in one record's payload; they may span records (RFC 8446 5.1)."""
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
                if self._hello_type in _HELLOS:
                    self._hello += taken
            elif len(data) - position < 4:
                self._prefix = data[position:]
                break
            else:
                self._hello_type = data[position]
                self._message_left = int.from_bytes(data[position + 1 : position + 4], "big")
                types.append(self._hello_type)
                position += 4
                if self._hello_type in _HELLOS and self._message_left > MAX_HELLO:
                    raise PeerError("hello message too long")
            if not self._message_left:
                self._finish_message()
        return tuple(types)

    def _finish_message(self) -> None:
        if self._hello_type in _HELLOS:
            self._begun = True
            self.hellos += 1
            if self._hello_type == CLIENT_HELLO:
                self.client_hello = client_hello(self._hello, dtls=False)
                self._retry, self._waiting = False, self._paired
            else:
                self.server_hello = server_hello(self._hello)
                self._retry = self.server_hello.retry
        self._hello = bytearray()
