"""The DTLS server end of one UDP-like socket: tells many peers apart by address, each with its own association.

No state is kept for an address that has not answered a cookie (``layer.cookie``). Everything is bounded: peers, half
open handshakes, both also per host, and each handshake by the configuration's timeout. A client that comes back on the
same port (a reboot) goes through cookie and handshake while its old association stays in use until the new handshake
is finished (RFC 6347 4.2.8), so nobody can throw a peer out by faking its address. NAT rebinding needs a new
handshake: OpenSSL has no connection ids yet.
"""

from __future__ import annotations

import os
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from layer.association import Association
from layer.config import AssociationConfig, Role
from layer.context import context_for
from layer.cookie import CookieJar, FragmentedHelloError, hello_verify_request, read_hello
from layer.credentials import Credentials
from layer.errors import PeerError, UsageError
from layer.events import AssociationInfo, DataReceived, Failed, HandshakeCompleted, PeerClosed, Truncated
from layer.records import CLIENT_HELLO, HANDSHAKE

#: ``(host, port, ...)`` as sockets give it, or any other hashable value; caps count by the first item of a tuple.
Address = Hashable

#: What ``DtlsListener.counters`` holds, from the start.
COUNTERS: Final = (
    "datagrams_in",
    "datagrams_out",
    "hello_verify_requests",
    "bad_cookies",
    "malformed",
    "fragmented_hellos",
    "unknown_address",
    "handshakes_started",
    "handshakes_completed",
    "handshakes_failed",
    "refused_half_open",
    "refused_peers",
    "refused_per_host",
    "replaced",
    "idle",
)


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A peer's handshake is complete. ``peer_id`` is new for each association and never used again."""

    peer_id: int
    addr: Address
    info: AssociationInfo


@dataclass(slots=True)  # not frozen: one is made per record, and freezing doubles the cost
class PeerData:
    """One record of application data."""

    peer_id: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PeerGone:
    """A connected peer's association is over; ``reason`` is for logs."""

    peer_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class HandshakeRefused:
    """A client with a good cookie did not get in; ``reason`` is for logs."""

    addr: Address
    reason: str


ListenerEvent = PeerConnected | PeerData | PeerGone | HandshakeRefused


class _Peer:
    __slots__ = ("addr", "association", "heard", "hello_random", "host", "id")

    def __init__(self, number: int, addr: Address, association: Association, hello_random: bytes, now: float) -> None:
        self.id = number
        self.addr = addr
        self.host = _host(addr)
        self.association = association
        self.hello_random = hello_random
        self.heard = now


class DtlsListener:
    """See the module's docstring. The role is always server; ``config.protocol`` must be a DTLS one.

    ``max_peers``, ``max_half_open``         connected peers and handshakes under way, over all hosts
    ``max_peers_per_host``, ``max_half_open_per_host``  the same for one host
    ``idle_timeout``    seconds without any datagram from a connected peer until it is closed; None: never
    ``cookie_lifetime`` seconds until the cookie secret changes (a cookie is good for one to two of them)
    ``entropy``         source of random octets
    """

    def __init__(
        self,
        credentials: Credentials,
        config: AssociationConfig,
        *,
        max_half_open: int = 64,
        max_peers: int = 1024,
        max_half_open_per_host: int = 8,
        max_peers_per_host: int = 64,
        idle_timeout: float | None = None,
        cookie_lifetime: float = 60.0,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if not config.datagram:
            raise UsageError("a DTLS listener needs a DTLS configuration")
        self._max_half_open = max_half_open
        self._max_peers = max_peers
        self._max_half_open_per_host = max_half_open_per_host
        self._max_peers_per_host = max_peers_per_host
        self._idle_timeout = idle_timeout
        self._cookies = CookieJar(cookie_lifetime, entropy)
        self._credentials = credentials
        self._config = config
        self._next_id = 1
        self._connected: dict[Address, _Peer] = {}
        self._half_open: dict[Address, _Peer] = {}
        self._by_id: OrderedDict[int, _Peer] = OrderedDict()  # connected peers, the longest silent one first
        self._peers_of: Counter[Hashable] = Counter()
        self._half_open_of: Counter[Hashable] = Counter()
        self._events: deque[ListenerEvent] = deque()
        self._out: list[tuple[bytes, Address]] = []
        self._deadline: float | None = None
        self._deadline_stale = False
        self._count: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self.counters: Mapping[str, int] = MappingProxyType(self._count)
        context_for(Role.SERVER, credentials, config)  # unusable credentials show at once

    def __repr__(self) -> str:
        return f"<DtlsListener {len(self._by_id)} peers, {len(self._half_open)} half open>"

    def __len__(self) -> int:
        return len(self._by_id)

    def info(self, peer_id: int) -> AssociationInfo | None:
        """What a connected peer's handshake agreed on; None for any other id."""
        peer = self._by_id.get(peer_id)
        return peer.association.info if peer is not None else None

    def association(self, peer_id: int) -> Association | None:
        """A connected peer's association, for ``export``; drive it through the listener only."""
        peer = self._by_id.get(peer_id)
        return peer.association if peer is not None else None

    def peer_ids(self) -> tuple[int, ...]:
        """All connected peers."""
        return tuple(self._by_id)

    def replace_credentials(self, credentials: Credentials, config: AssociationConfig | None = None) -> None:
        """New handshakes use these; connected peers and handshakes under way go on as they are.

        Raises like the constructor and then changes nothing.
        """
        config = config or self._config
        if not config.datagram:
            raise UsageError("a DTLS listener needs a DTLS configuration")
        context_for(Role.SERVER, credentials, config)
        self._credentials, self._config = credentials, config

    def receive_datagram(self, data: bytes | bytearray | memoryview, addr: Address, now: float) -> None:
        """Take one datagram from an address. Never raises over its content."""
        self._count["datagrams_in"] += 1
        if type(data) is not bytes:
            data = bytes(data)
        if len(data) < 14:
            self._count["malformed"] += 1
            return
        if data[3] or data[4]:  # epoch 1: a connected peer's traffic, or the Finished of a handshake under way
            self._receive_protected(data, addr, now)
        elif data[0] == HANDSHAKE and data[13] == CLIENT_HELLO:
            self._receive_hello(data, addr, now)
        else:
            peer = self._half_open.get(addr) or self._connected.get(addr)
            if peer is None:
                self._count["unknown_address"] += 1
            else:
                self._feed(peer, data, now)

    def send(self, peer_id: int, data: bytes | bytearray | memoryview, now: float) -> bool:
        """Protect and queue data for a connected peer; False when it is gone. ``DataSizeError`` when it is too long."""
        peer = self._by_id.get(peer_id)
        if peer is None:
            return False
        association = peer.association
        association.send(data, now)
        for datagram in association.records_to_send():
            self._out.append((datagram, peer.addr))
        return True

    def close(self, peer_id: int, now: float) -> None:
        """Send close_notify and forget the peer; no event follows. Without effect for an id that is gone."""
        peer = self._by_id.get(peer_id)
        if peer is not None:
            self._drop_connected(peer, now)

    def close_all(self, now: float) -> None:
        """Close every peer and give up the handshakes under way."""
        for peer in list(self._by_id.values()):
            self._drop_connected(peer, now)
        for peer in list(self._half_open.values()):
            self._drop_half_open(peer)

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        """Take what is to be sent, each with its address."""
        out = self._out
        if out:
            self._out = []
            self._count["datagrams_out"] += len(out)
        return out

    def next_event(self) -> ListenerEvent | None:
        """The oldest event not taken yet."""
        return self._events.popleft() if self._events else None

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do."""
        if self._deadline_stale:
            self._deadline_stale = False
            due = [at for peer in self._half_open.values() if (at := peer.association.next_deadline()) is not None]
            self._deadline = min(due, default=None)
        deadline = self._deadline
        if self._idle_timeout is not None and self._by_id:
            idle = next(iter(self._by_id.values())).heard + self._idle_timeout
            return idle if deadline is None else min(deadline, idle)
        return deadline

    def tick(self, now: float) -> None:
        """Do what is due: retransmissions, handshakes that took too long, idle peers."""
        for peer in list(self._half_open.values()):
            at = peer.association.next_deadline()
            if at is not None and at <= now:
                peer.association.tick(now)
                self._collect_half_open(peer, now)
        if self._idle_timeout is None:
            return
        while self._by_id:
            peer = next(iter(self._by_id.values()))
            if peer.heard + self._idle_timeout > now:
                return
            self._count["idle"] += 1
            self._drop_connected(peer, now)
            self._events.append(PeerGone(peer.id, "idle"))

    # Ways in.

    def _receive_protected(self, data: bytes, addr: Address, now: float) -> None:
        peer = self._connected.get(addr)
        half_open = self._half_open.get(addr)
        if half_open is not None:
            # Whose keys these are only decryption shows; the association that has the wrong ones drops the record.
            self._feed(half_open, data, now)
        if peer is not None and self._connected.get(addr) is peer:  # the line above may have replaced it
            self._feed(peer, data, now)
        elif half_open is None:
            self._count["unknown_address"] += 1

    def _receive_hello(self, data: bytes, addr: Address, now: float) -> None:
        try:
            hello = read_hello(data)
        except FragmentedHelloError:
            self._count["fragmented_hellos"] += 1
            return
        except PeerError:
            self._count["malformed"] += 1
            return
        name = repr(addr).encode()
        if not hello.cookie or not self._cookies.good(name, hello, now):
            if hello.cookie:
                self._count["bad_cookies"] += 1
            self._count["hello_verify_requests"] += 1
            self._out.append((hello_verify_request(self._cookies.make(name, hello, now), hello.sequence), addr))
            return
        known = self._half_open.get(addr)
        if known is not None:
            if known.hello_random == hello.random:
                self._feed(known, data, now)  # a repeated hello
                return
            self._drop_half_open(known)
        connected = self._connected.get(addr)
        if connected is not None and connected.hello_random == hello.random:
            return  # a late copy of the hello that this very association began with
        self._begin(data, addr, hello.random, now, replacing=connected is not None)

    def _begin(self, data: bytes, addr: Address, random: bytes, now: float, *, replacing: bool) -> None:
        host = _host(addr)
        refusal = None
        if len(self._half_open) >= self._max_half_open:
            refusal = "refused_half_open", "too many handshakes under way"
        elif not replacing and len(self._by_id) + len(self._half_open) >= self._max_peers:
            refusal = "refused_peers", "too many peers"
        elif self._half_open_of[host] >= self._max_half_open_per_host:
            refusal = "refused_per_host", "too many handshakes under way from this host"
        elif not replacing and self._peers_of[host] + self._half_open_of[host] >= self._max_peers_per_host:
            refusal = "refused_per_host", "too many peers from this host"
        if refusal is not None:
            self._count[refusal[0]] += 1
            self._events.append(HandshakeRefused(addr, refusal[1]))
            return
        association = Association(Role.SERVER, self._credentials, self._config, cookie_verified=True)
        peer = _Peer(self._next_id, addr, association, random, now)
        self._next_id += 1
        self._half_open[addr] = peer
        self._half_open_of[host] += 1
        self._count["handshakes_started"] += 1
        association.start(now)
        self._feed(peer, data, now)

    def _feed(self, peer: _Peer, data: bytes, now: float) -> None:
        association = peer.association
        association.receive(data, now)
        if self._half_open.get(peer.addr) is peer:
            self._collect_half_open(peer, now)
        else:
            self._collect(peer, now)

    # What came of it.

    def _collect_half_open(self, peer: _Peer, now: float) -> None:
        """Carry away what a handshake produced, and see whether it ended."""
        self._deadline_stale = True
        association = peer.association
        for datagram in association.records_to_send():
            self._out.append((datagram, peer.addr))
        event = association.next_event()
        if event is None:
            return
        if isinstance(event, HandshakeCompleted):
            self._connect(peer, event.info, now)
            self._collect(peer, now)
            return
        reason = event.reason if isinstance(event, Failed) else "closed during the handshake"
        self._count["handshakes_failed"] += 1
        self._drop_half_open(peer)
        self._events.append(HandshakeRefused(peer.addr, reason))

    def _connect(self, peer: _Peer, info: AssociationInfo, now: float) -> None:
        self._drop_half_open(peer)
        old = self._connected.get(peer.addr)
        if old is not None:
            self._count["replaced"] += 1
            self._forget(old)
            self._events.append(PeerGone(old.id, "replaced by a new handshake from the same address"))
        peer.heard = now
        self._connected[peer.addr] = peer
        self._by_id[peer.id] = peer
        self._peers_of[peer.host] += 1
        self._count["handshakes_completed"] += 1
        self._events.append(PeerConnected(peer.id, peer.addr, info))

    def _collect(self, peer: _Peer, now: float) -> None:
        """Carry away what a connected peer's association produced."""
        association = peer.association
        for datagram in association.records_to_send():
            self._out.append((datagram, peer.addr))
        while True:
            event = association.next_event()
            if event is None:
                return
            if isinstance(event, DataReceived):
                # Only what decrypts counts as a sign of life.
                peer.heard = now
                self._by_id.move_to_end(peer.id)
                self._events.append(PeerData(peer.id, event.data))
            elif isinstance(event, Failed | PeerClosed | Truncated):
                reason = event.reason if isinstance(event, Failed) else "closed by the peer"
                self._drop_connected(peer, now)
                self._events.append(PeerGone(peer.id, reason))
                return

    # Ways out.

    def _drop_connected(self, peer: _Peer, now: float) -> None:
        peer.association.close(now)
        for datagram in peer.association.records_to_send():
            self._out.append((datagram, peer.addr))
        self._forget(peer)

    def _forget(self, peer: _Peer) -> None:
        if self._by_id.pop(peer.id, None) is None:
            return
        if self._connected.get(peer.addr) is peer:
            del self._connected[peer.addr]
        _decrease(self._peers_of, peer.host)

    def _drop_half_open(self, peer: _Peer) -> None:
        if self._half_open.pop(peer.addr, None) is None:
            return
        self._deadline_stale = True
        _decrease(self._half_open_of, peer.host)


def _host(addr: Address) -> Hashable:
    return addr[0] if isinstance(addr, tuple) and addr else addr


def _decrease(counter: Counter[Hashable], key: Hashable) -> None:
    """One less, and no entry for nothing: the table must not grow with every host ever seen."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


__all__ = [
    "COUNTERS",
    "Address",
    "DtlsListener",
    "HandshakeRefused",
    "ListenerEvent",
    "PeerConnected",
    "PeerData",
    "PeerGone",
]
