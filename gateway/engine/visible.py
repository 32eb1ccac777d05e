"""The visible part of a unit, which needs no key, as the values that a policy can ask about.

All reading is done by ``layer.records`` and ``layer.tls_stream``; here units become ``Visible`` values, and a hello
that came in DTLS fragments is put together, since a sender could otherwise hide it from the rules by cutting it up. A
unit that two stacks could read in two ways is unreadable: that is its sender's doing, and to choose the harmless
reading is not for us.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from gateway.api.errors import PeerError
from layer.records import (
    ACK,
    APPLICATION_DATA,
    CLIENT_HELLO,
    CONNECTION_ID,
    HANDSHAKE,
    HELLO_VERIFY_REQUEST,
    MAX_HELLO,
    SERVER_HELLO,
    UNIFIED,
    VERSION_NAMES,
    ClientHelloFacts,
    HandshakeFragment,
    RecordHeader,
    ServerHelloFacts,
    client_hello,
    read_datagram,
    read_fragments,
    server_hello,
)
from layer.tls_stream import StreamState, TlsRecordReader

_PROTECTED: Final = frozenset({APPLICATION_DATA, CONNECTION_ID, ACK, UNIFIED})
_HELLOS: Final = frozenset({CLIENT_HELLO, SERVER_HELLO})
_MAX_FRAGMENTS: Final = 64
_MAX_MESSAGES: Final = 3


Flight = frozenset[tuple[int, int, int, int]]
"""The content of a unit with a part of a handshake in clear.

Of each handshake fragment: message type, message_seq, offset and end (RFC 6347 4.2.2). Of each other record: its
content type, negative, its epoch, its number among those of the same type and epoch in this unit, and its length.
"""

NO_FLIGHT: Final[Flight] = frozenset()


class HeldHello(NamedTuple):
    """The fragments of one hello of DTLS so far; ``pieces``: offsets and octets, in order, with a gap between any two.

    ``settled``: all of it is there, for the stack that gets it too, as it came in one piece or was answered. Stacks
    differ in what they make of overlaps, so one of them may still wait for a fragment that this reader does not need.
    """

    message_type: int
    length: int
    pieces: tuple[tuple[int, bytes], ...] = ()
    settled: bool = False

    @property
    def body(self) -> bytes | None:
        """All of it, or None."""
        if len(self.pieces) == 1 and len(self.pieces[0][1]) == self.length:
            return self.pieces[0][1]
        return None


Held = Mapping[int, HeldHello]
"""By message_seq: hellos that are not settled, and settled ones, whose repeated fragments are then known."""

NOTHING_HELD: Final[Held] = {}


class Visible(NamedTuple):
    """One unit as a policy sees it.

    ``types``: content types of the records that begin in it; DTLS 1.3 ciphertext, whose true type is encrypted, counts
    as application data just as TLS 1.3 ciphertext does on the wire. ``protected``: some of it is encrypted.
    ``handshake``: some of it is a handshake message in clear; ``flight`` says of DTLS which. ``client``, ``server``:
    the hello that is complete with this unit. ``held``: what a ``DatagramReader`` holds once the unit is on its way.
    """

    types: frozenset[int]
    protected: bool = False
    handshake: bool = False
    client: ClientHelloFacts | None = None
    server: ServerHelloFacts | None = None
    flight: Flight = NO_FLIGHT
    held: Held = NOTHING_HELD

    @property
    def answers(self) -> bool:
        """Whether the sender has the ClientHello of the other end."""
        return self.server is not None or any(part[0] == HELLO_VERIFY_REQUEST for part in self.flight)

    @property
    def offered(self) -> frozenset[str]:
        """The versions that the ClientHello offers, by name; those without a name are left out."""
        if self.client is None:
            return frozenset()
        return frozenset(VERSION_NAMES[version] for version in self.client.versions if version in VERSION_NAMES)

    @property
    def chosen(self) -> str:
        """The version that the ServerHello chose; a name that no policy lists if it is unknown."""
        if self.server is None:
            return ""
        return VERSION_NAMES.get(self.server.version, f"0x{self.server.version:04x}")


OPAQUE: Final = Visible(frozenset())
"""A unit of a kind without visible records."""


class _Plain(dict[tuple[int, bool], Visible]):
    """The usual units, which are one record: a shared value for each content type that was seen, protected or not."""

    def __missing__(self, key: tuple[int, bool]) -> Visible:
        content_type, protected = key
        made = self[key] = Visible(
            frozenset({APPLICATION_DATA if content_type == UNIFIED else content_type}), protected
        )
        return made


_PLAIN: Final = _Plain()


class DatagramReader:
    """Reads the units of one direction of a DTLS session.

    ``read`` changes nothing: a unit that is not forwarded has not been heard. ``take`` is called for one that is.
    ``connection_id``: octets of the connection id that records of this direction bear; -1 if that isn't known.
    """

    __slots__ = ("_held", "connection_id")

    def __init__(self) -> None:
        self.connection_id = -1
        self._held: Held = NOTHING_HELD

    def read(self, octets: bytes) -> Visible:
        """Raises ``PeerError`` if the unit isn't whole DTLS records, or can be read in two ways."""
        headers = read_datagram(octets, self.connection_id)
        if len(headers) == 1:
            header = headers[0]
            if not header.handshake_types:
                return _PLAIN[header.content_type, bool(header.epoch) or header.content_type in _PROTECTED]
        if not any(header.handshake_types for header in headers):
            return _summary(headers)
        held, found = self._held, set()
        client, server = None, None
        fragments = read_fragments(octets, self.connection_id)
        for fragment in fragments:
            if fragment.message_type in _HELLOS:
                hello, held = _joined(fragment, held)
                body = hello.body
                if body is not None and fragment.message_type == CLIENT_HELLO:
                    client = client_hello(body, dtls=True)
                    found.add(body)
                elif body is not None:
                    server = server_hello(body)
                    found.add(body)
        if len(found) > 1:
            raise PeerError("two hellos in one unit")
        return _summary(headers, client, server)._replace(flight=_flight(headers, fragments), held=held)

    def take(self, visible: Visible) -> None:
        """A unit with a part of a handshake in clear, which looked like this, is on its way."""
        self._held = visible.held

    def answered(self, retry: bool) -> None:
        """The other end has the hello. (Of a datagram every record says whether it is in clear, so ``retry`` says
        nothing here.)"""
        self._held = {
            number: hello if hello.body is None else hello._replace(settled=True)
            for number, hello in self._held.items()
        }

    @property
    def half_read(self) -> Held:
        """The hellos that are not settled, to be kept over a restart (``resumed``)."""
        return {number: hello for number, hello in self._held.items() if not hello.settled}

    @classmethod
    def resumed(cls, connection_id: int, half_read: Held) -> DatagramReader:
        reader = cls()
        reader.connection_id, reader._held = connection_id, half_read
        return reader


def _joined(fragment: HandshakeFragment, held: Held) -> tuple[HeldHello, Held]:
    """The hello as far as it is there with this fragment, and all that is held then.

    Fragments may overlap (RFC 6347 4.2.3, RFC 9147 5.5) if they agree: some stacks keep what came first, others
    what came last. A ClientHello with message_seq 0 that is complete begins a new handshake: nothing else is held then.
    """
    number = fragment.message_seq
    known = held.get(number)
    hello = HeldHello(fragment.message_type, fragment.length)
    if fragment.whole:
        hello = hello._replace(pieces=((0, fragment.body),), settled=True)
    elif known is not None and not known.settled:
        if known[:2] != hello[:2]:
            raise PeerError("a fragment of another message with the same number")
        hello = hello._replace(pieces=_merged(known.pieces, fragment))
    else:
        if fragment.length > MAX_HELLO:
            raise PeerError("hello message too long")
        hello = hello._replace(pieces=_merged((), fragment))
        if known is not None and known[:2] == hello[:2] and _repeats(fragment, known.body or b""):
            hello = known
    if len(hello.pieces) > _MAX_FRAGMENTS:
        raise PeerError("hello message in too many fragments")
    if hello.body is not None and hello.message_type == CLIENT_HELLO and number == 0:
        return hello, {number: hello}
    if known is None and len(held) >= _MAX_MESSAGES:
        held = {other: found for other, found in held.items() if not found.settled}
        if len(held) >= _MAX_MESSAGES:
            raise PeerError("too many hello messages in fragments")
    return hello, {**held, number: hello}


def _repeats(fragment: HandshakeFragment, body: bytes) -> bool:
    return body[fragment.offset : fragment.offset + len(fragment.body)] == fragment.body


def _merged(pieces: Sequence[tuple[int, bytes]], fragment: HandshakeFragment) -> tuple[tuple[int, bytes], ...]:
    merged: list[tuple[int, bytes]] = []
    for offset, octets in sorted([*pieces, (fragment.offset, fragment.body)]):
        if merged and offset <= merged[-1][0] + len(merged[-1][1]):
            start, before = merged[-1]
            overlap = before[offset - start :]
            common = min(len(overlap), len(octets))
            if overlap[:common] != octets[:common]:
                raise PeerError("a fragment that contradicts an earlier one")
            merged[-1] = start, before + octets[common:]
        else:
            merged.append((offset, octets))
    return tuple(merged)


def _flight(headers: Sequence[RecordHeader], fragments: Sequence[HandshakeFragment]) -> Flight:
    flight = set()
    for fragment in fragments:
        end = fragment.offset + len(fragment.body)
        flight.add((fragment.message_type, fragment.message_seq, fragment.offset, end))
    alike: Counter[tuple[int, int]] = Counter()
    for header in headers:
        if not header.handshake_types:
            kind = header.content_type, header.epoch
            flight.add((-header.content_type, header.epoch, alike[kind], header.length))
            alike[kind] += 1
    return frozenset(flight)


def repeats(newer: Flight, older: Flight) -> bool:
    """Whether a unit with ``newer`` holds all that one with ``older`` does: then the older one needn't arrive.

    A protected record counts as the repetition of one with its type, epoch, place and length: of those in a flight with
    a handshake in clear that is the Finished.
    """
    for kind, number, start, end in older:
        if (kind, number, start, end) in newer:
            continue
        reached = start
        for also, same, begin, until in sorted(newer):
            if (also, same) == (kind, number) and begin <= reached < until:
                reached = until
        if kind < 0 or reached < end or start == end:
            return False
    return True


class StreamReader:
    """Reads the units of one direction of a TLS session, each exactly once and in order."""

    __slots__ = ("_client", "_lost", "_reader", "_server", "at_rest", "connection_id")

    def __init__(self) -> None:
        self._reader = TlsRecordReader(paired=True)
        self._lost = False
        self._client: ClientHelloFacts | None = None
        self._server: ServerHelloFacts | None = None
        self.connection_id = -1
        """TLS has none: this is never looked at."""
        self.at_rest = False
        """Whether the last unit ended between two protected records."""

    def read(self, octets: bytes) -> Visible:
        """Raises ``PeerError`` if the stream isn't TLS records, or can be read in two ways, from then on always."""
        if self._lost:
            raise PeerError("TLS stream was not read without a gap")
        self.at_rest = False
        headers = self._reader.feed(octets)
        self.at_rest = self._reader.at_rest
        if len(headers) == 1 and not headers[0].handshake_types:
            return _PLAIN[headers[0].content_type, headers[0].content_type in _PROTECTED]
        client, server = self._reader.client_hello, self._reader.server_hello
        new_client = client if client is not self._client else None
        new_server = server if server is not self._server else None
        self._client, self._server = client, server
        if self._reader.hellos > 1:
            self.lose()
            raise PeerError("two hellos in one unit")
        return _summary(headers, new_client, new_server)

    def take(self, visible: Visible) -> None:
        """Nothing to do: a stream is read only once."""

    def answered(self, retry: bool) -> None:
        """The other end sent a ServerHello; ``retry``: another ClientHello comes, in clear."""
        self._reader.answered(retry)

    def lose(self) -> None:
        """Octets went by unread: nothing is known of what follows."""
        self._lost, self.at_rest = True, False

    @property
    def lost(self) -> bool:
        return self._lost

    @property
    def state(self) -> StreamState | None:
        """Its position, to be kept over a restart (``resumed``); None if it is lost."""
        return None if self._lost else self._reader.state

    @classmethod
    def resumed(cls, state: StreamState | None) -> StreamReader:
        """A reader that goes on where another one was (``state``)."""
        reader = cls()
        if state is None:
            reader.lose()
        else:
            reader._reader = TlsRecordReader.resumed(state, paired=True)
            reader.at_rest = reader._reader.at_rest
        return reader


def _summary(
    headers: Sequence[RecordHeader], client: ClientHelloFacts | None = None, server: ServerHelloFacts | None = None
) -> Visible:
    return Visible(
        frozenset(APPLICATION_DATA if header.content_type == UNIFIED else header.content_type for header in headers),
        any(header.epoch or header.content_type in _PROTECTED for header in headers),
        any(header.content_type == HANDSHAKE and header.handshake_types for header in headers),
        client,
        server,
    )
