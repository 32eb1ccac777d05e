"""The DTLS server end of one UDP-like socket: tells many peers apart by address, each with its own association.

No state is kept for an address that has not answered a cookie (``layer.cookie``). A hello with a good cookie begins a
handshake if its host is within its rate (``layer.admission``); whom a full table gives up for it, ``layer.half_open``
says. A finished handshake has proved a key, so it always gets in: there is a bound for each identity, each host and
all, and the one that was silent for the longest time makes room. The evicted peer gets close_notify.

A client that comes back on the same port (a reboot) goes through cookie and handshake while its old association stays
in use until the new handshake is finished (RFC 6347 4.2.8), so an attacker can't throw a peer out by faking its
address. What is not authenticated ends no handshake either, as far as the protocol lets one tell (``layer.sift``). NAT
rebinding needs a new handshake: OpenSSL has no connection ids yet.

States of an address, and who moves it:

=========  =========================================================================================================
unknown    nothing is kept; a hello with a good cookie, admitted by the rate of its host, moves it to *half open*
half open  its ``Handshake`` is in ``HalfOpen``; the association's ``HandshakeCompleted`` moves it to *connected*. Its
           failure or time-out, no answer to the first flight (``tick``), ``AFTER_ALERT`` seconds after an alert in
           clear, a newer handshake in a full table, or a key that was shut out moves it to *unknown*
           (``HandshakeRefused``); so does another hello of the same address, whose handshake takes its place
connected  its ``ConnectedPeer`` is in ``Connected`` (``PeerConnected``); close_notify or a fatal alert of the peer, a
           bound that a newcomer needs, the idle time-out (``tick``) or a newer handshake of the same address moves it
           to *unknown* (``PeerGone``), ``close`` without an event
=========  =========================================================================================================

An address may be *half open* and *connected* at once, with two associations.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Final

from layer.admission import Admission
from layer.association import Association
from layer.config import AssociationConfig, Role
from layer.connected import Connected, ConnectedPeer
from layer.context import context_for
from layer.cookie import CookieJar
from layer.credentials import Credentials
from layer.errors import UsageError
from layer.events import AssociationInfo, DataReceived, Failed, PeerClosed, Truncated
from layer.half_open import HalfOpen, Handshake
from layer.handshakes import Handshakes
from layer.hosts import Address
from layer.listener_events import HandshakeRefused, ListenerEvent, PeerConnected, PeerData, PeerGone
from layer.records import CLIENT_HELLO, HANDSHAKE

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
    "refused_over_rate",
    "unexpected_records",
    "evicted_half_open",
    "evicted_peers",
    "replaced",
    "idle",
)


class DtlsListener:
    """See the module's docstring. The role is always server; ``config.protocol`` must be a DTLS one.

    ``max_peers``, ``max_peers_per_host``, ``max_peers_per_identity``  connected peers: all, of one host (an IPv6 /64
                        is one), of one PSK identity or certificate
    ``max_half_open``, ``max_half_open_per_host``  handshakes under way; one host has at most half of them
    ``handshake_burst``, ``handshake_rate``  handshakes that one host may begin at once, and a second after that
    ``spare_rate``      hellos a second above the rate of their host that may begin if they waited, over all hosts
    ``first_answer``    seconds until a client has answered our first flight; the configuration's ``handshake_timeout``
                        counts once it has
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
        max_half_open_per_host: int = 32,
        max_peers: int = 1024,
        max_peers_per_host: int = 64,
        max_peers_per_identity: int = 8,
        handshake_burst: float = 20.0,
        handshake_rate: float = 2.0,
        spare_rate: float = 20.0,
        first_answer: float = 5.0,
        idle_timeout: float | None = None,
        cookie_lifetime: float = 60.0,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if not config.datagram:
            raise UsageError("a DTLS listener needs a DTLS configuration")
        self._idle_timeout = idle_timeout
        self._next_id = 1
        self._half_open = HalfOpen(max_half_open, max_half_open_per_host)
        self._connected = Connected(max_peers, max_peers_per_host, max_peers_per_identity)
        self.events: deque[ListenerEvent] = deque()
        """The events that ``next_event`` takes."""
        self._out: list[tuple[bytes, Address]] = []
        self._count: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self.counters: Mapping[str, int] = MappingProxyType(self._count)
        self._handshakes = Handshakes(
            credentials,
            config,
            half_open=self._half_open,
            admission=Admission(burst=handshake_burst, rate=handshake_rate, spare=spare_rate),
            cookies=CookieJar(cookie_lifetime, entropy),
            first_answer=first_answer,
            out=self._out,
            events=self.events,
            count=self._count,
            established=self._connect,
        )
        context_for(Role.SERVER, credentials, config)  # unusable credentials show at once

    def __repr__(self) -> str:
        return f"<DtlsListener {len(self._connected)} peers, {len(self._half_open)} half open>"

    def __len__(self) -> int:
        return len(self._connected)

    def info(self, peer_id: int) -> AssociationInfo | None:
        """The handshake's result of a connected peer; None for any other id."""
        peer = self._connected.by_id.get(peer_id)
        return peer.association.info if peer is not None else None

    def association(self, peer_id: int) -> Association | None:
        """A connected peer's association, for ``export``; drive it through the listener only."""
        peer = self._connected.by_id.get(peer_id)
        return peer.association if peer is not None else None

    def peer_ids(self) -> tuple[int, ...]:
        """All connected peers."""
        return tuple(self._connected.by_id)

    def replace_credentials(
        self, credentials: Credentials, config: AssociationConfig | None = None, shut_out: Collection[bytes] = ()
    ) -> None:
        """New handshakes use these; connected peers and handshakes under way go on as they are.

        ``shut_out``: PSK identities whose key is no longer good. A handshake under way with one of them is refused in
        the end; to ``close`` those that are connected is the caller's. Raises like the constructor and then changes
        nothing.
        """
        config = config or self._handshakes.config
        if not config.datagram:
            raise UsageError("a DTLS listener needs a DTLS configuration")
        context_for(Role.SERVER, credentials, config)
        self._handshakes.credentials, self._handshakes.config = credentials, config
        for handshake in self._half_open:
            handshake.shut_out |= frozenset(shut_out)

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
            self._handshakes.receive_hello(data, addr, self._connected.by_addr.get(addr), now)
        else:
            self._receive_clear(data, addr, now)

    def send(self, peer_id: int, data: bytes | bytearray | memoryview, now: float) -> bool:
        """Protect and queue data for a connected peer; False when it is gone. ``DataSizeError`` when it is too long."""
        peer = self._connected.by_id.get(peer_id)
        if peer is None:
            return False
        association = peer.association
        association.send(data, now)
        datagrams, association.out = association.out, []
        for datagram in datagrams:
            self._out.append((datagram, peer.addr))
        return True

    def close(self, peer_id: int, now: float) -> None:
        """Send close_notify and forget the peer; no event follows. Without effect for an id that is gone."""
        peer = self._connected.by_id.get(peer_id)
        if peer is not None:
            self._drop_connected(peer, now)

    def close_all(self, now: float) -> None:
        """Close every peer and give up the handshakes under way."""
        for peer in list(self._connected.by_id.values()):
            self._drop_connected(peer, now)
        for handshake in self._half_open:
            self._handshakes.cancel(handshake, now)

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        """Take what is to be sent, each with its address."""
        out = self._out.copy()
        if out:
            self._out.clear()
            self._count["datagrams_out"] += len(out)
        return out

    def next_event(self) -> ListenerEvent | None:
        """The oldest event not taken yet."""
        return self.events.popleft() if self.events else None

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do."""
        handshakes = self._handshakes
        deadline = handshakes.next_deadline() if handshakes.changed else handshakes.deadline
        peers = self._connected.by_id
        if self._idle_timeout is not None and peers:
            idle = next(iter(peers.values())).heard + self._idle_timeout
            return idle if deadline is None else min(deadline, idle)
        return deadline

    def tick(self, now: float) -> None:
        """Do what is due: retransmissions, handshakes that took too long, idle peers."""
        self._handshakes.tick(now)
        if self._idle_timeout is None:
            return
        peers = self._connected.by_id
        while peers:
            peer = next(iter(peers.values()))
            if peer.heard + self._idle_timeout > now:
                return
            self._count["idle"] += 1
            self._drop_connected(peer, now)
            self.events.append(PeerGone(peer.id, "idle"))

    # Ways in.

    def _receive_protected(self, data: bytes, addr: Address, now: float) -> None:
        peer = self._connected.by_addr.get(addr)
        handshake = self._half_open.by_addr.get(addr)
        if handshake is not None:
            # Whose keys these are only decryption shows; the association that has the wrong ones drops the record.
            self._handshakes.feed_protected(handshake, data, now)
        if peer is not None and self._connected.by_addr.get(addr) is peer:  # the lines above may have replaced it
            peer.association.receive(data, now)
            self._collect(peer, now)
        elif handshake is None:
            self._count["unknown_address"] += 1

    def _receive_clear(self, data: bytes, addr: Address, now: float) -> None:
        handshake = self._half_open.by_addr.get(addr)
        if handshake is not None:
            self._handshakes.feed(handshake, data, now)
        elif (peer := self._connected.by_addr.get(addr)) is not None:
            peer.association.receive(data, now)
            self._collect(peer, now)
        else:
            self._count["unknown_address"] += 1

    # What came of it.

    def _connect(self, handshake: Handshake, info: AssociationInfo, now: float) -> None:
        old = self._connected.by_addr.get(handshake.addr)
        if old is not None:
            self._count["replaced"] += 1
            self._connected.drop(old)
            self.events.append(PeerGone(old.id, "replaced by a new handshake from the same address"))
        peer = ConnectedPeer(self._next_id, handshake, info.peer, now)
        self._next_id += 1
        while (crowded := self._connected.victim(peer)) is not None:  # each bound may ask for one
            victim, reason = crowded
            self._count["evicted_peers"] += 1
            self._drop_connected(victim, now)
            self.events.append(PeerGone(victim.id, reason))
        self._connected.add(peer)
        self._count["handshakes_completed"] += 1
        self.events.append(PeerConnected(peer.id, peer.addr, info))
        self._collect(peer, now)

    def _collect(self, peer: ConnectedPeer, now: float) -> None:
        """Carry away what a connected peer's association produced."""
        association = peer.association
        if association.out:
            for datagram in association.records_to_send():
                self._out.append((datagram, peer.addr))
        events = association.events
        while events:
            event = events.popleft()
            if isinstance(event, DataReceived):
                # Only what decrypts counts as a sign of life.
                peer.heard = now
                self._connected.by_id.move_to_end(peer.id)
                self.events.append(PeerData(peer.id, event.data))
            elif isinstance(event, Failed | PeerClosed | Truncated):
                reason = event.reason if isinstance(event, Failed) else "closed by the peer"
                self._drop_connected(peer, now)
                self.events.append(PeerGone(peer.id, reason))
                return

    # Ways out.

    def _drop_connected(self, peer: ConnectedPeer, now: float) -> None:
        peer.association.close(now)
        for datagram in peer.association.records_to_send():
            self._out.append((datagram, peer.addr))
        self._connected.drop(peer)


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
