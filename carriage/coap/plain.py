"""Peers by address without DTLS (coap), in the shape of ``layer.listener.DtlsListener``, so that ``CoapsServer`` serves
them too. Nobody is authenticated: an address that has proved by Echo (RFC 9175) that it can be reached is all there is,
and before that nothing is kept for it. For links that are protected otherwise, where the policy says so.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from carriage.coap.codes import EMPTY, is_request
from carriage.coap.echo import EchoGuard
from carriage.coap.exchange import Request
from carriage.coap.message import ACK, CON, NON, RST, Message, decode
from layer.config import AssociationConfig
from layer.credentials import Credentials
from layer.errors import PeerError, UsageError
from layer.events import AssociationInfo, PeerIdentity
from layer.listener import Address, HandshakeRefused, ListenerEvent, PeerConnected, PeerData, PeerGone

UNPROTECTED: Final = AssociationInfo(protocol="none", suite="none", peer=PeerIdentity(kind="none"))

COUNTERS: Final = ("datagrams_in", "datagrams_out", "challenges", "malformed", "refused_peers", "idle")


class _Peer:
    __slots__ = ("address", "heard", "id")

    def __init__(self, number: int, address: Address, now: float) -> None:
        self.id = number
        self.address = address
        self.heard = now


class PlainListener:
    """``key``: 16 random octets or more, secret. A peer is forgotten after ``idle_timeout`` seconds of silence."""

    def __init__(
        self, key: bytes, *, max_peers: int = 1024, max_peers_per_host: int = 64, idle_timeout: float = 300.0
    ) -> None:
        if len(key) < 16:
            raise UsageError("an Echo key has 16 octets or more")
        self._guard = EchoGuard(key)
        self._max_peers = max_peers
        self._max_peers_per_host = max_peers_per_host
        self._idle_timeout = idle_timeout
        self._by_address: dict[Address, _Peer] = {}
        self._by_id: OrderedDict[int, _Peer] = OrderedDict()  # the longest silent one first
        self._hosts: Counter[object] = Counter()
        self._next_id = 0
        self._message_id = 0
        self._events: deque[ListenerEvent] = deque()
        self._out: list[tuple[bytes, Address]] = []
        self._count = dict.fromkeys(COUNTERS, 0)

    @property
    def counters(self) -> Mapping[str, int]:
        """What was counted."""
        return MappingProxyType(self._count)

    def replace_credentials(
        self, credentials: Credentials, config: AssociationConfig | None = None, shut_out: Collection[bytes] = ()
    ) -> None:
        """There are none here."""
        raise UsageError("coap without DTLS has no credentials")

    def receive_datagram(self, data: bytes, addr: Address, now: float) -> None:
        """Hand up what known peers say; challenge all others."""
        self._count["datagrams_in"] += 1
        peer = self._by_address.get(addr)
        if peer is None:
            peer = self._admit(data, addr, now)
            if peer is None:
                return
        peer.heard = now
        self._by_id.move_to_end(peer.id)
        self._events.append(PeerData(peer.id, data))

    def _admit(self, data: bytes, address: Address, now: float) -> _Peer | None:
        try:
            message = decode(data)
        except PeerError:
            self._count["malformed"] += 1
            return None
        if message.code == EMPTY and message.type == CON:
            self._out.append((Message(RST, EMPTY, message.message_id).encode(), address))  # a ping
            return None
        if not is_request(message.code):
            return None
        name = repr(address).encode()
        if not self._guard.is_fresh(name, Request(message.code, message.options), now):
            self._challenge(message, name, address, now)
            return None
        host = address[0] if isinstance(address, tuple) and address else address
        if len(self._by_id) >= self._max_peers or self._hosts[host] >= self._max_peers_per_host:
            self._count["refused_peers"] += 1
            self._events.append(HandshakeRefused(address, "too many peers"))
            return None
        self._next_id += 1
        peer = _Peer(self._next_id, address, now)
        self._by_address[address] = peer
        self._by_id[peer.id] = peer
        self._hosts[host] += 1
        self._events.append(PeerConnected(peer.id, address, UNPROTECTED))
        return peer

    def _challenge(self, message: Message, name: bytes, address: Address, now: float) -> None:
        self._count["challenges"] += 1
        challenge = self._guard.challenge(name, now)
        confirmable = message.type == CON
        self._message_id = (self._message_id + 1) & 0xFFFF
        answer = Message(
            ACK if confirmable else NON,
            challenge.code,
            message.message_id if confirmable else self._message_id,
            message.token,
            challenge.options,
        )
        self._out.append((answer.encode(), address))

    def send(self, peer_id: int, data: bytes, now: float) -> bool:
        """One datagram; false for a peer that is gone."""
        peer = self._by_id.get(peer_id)
        if peer is None:
            return False
        self._out.append((data, peer.address))
        return True

    def close(self, peer_id: int, now: float) -> None:
        """Forget a peer; it is not told."""
        peer = self._by_id.pop(peer_id, None)
        if peer is not None:
            self._forget(peer)

    def close_all(self, now: float) -> None:
        """Forget all."""
        for peer_id in list(self._by_id):
            self.close(peer_id, now)

    def _forget(self, peer: _Peer) -> None:
        del self._by_address[peer.address]
        host = peer.address[0] if isinstance(peer.address, tuple) and peer.address else peer.address
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        """What goes out."""
        out, self._out = self._out, []
        self._count["datagrams_out"] += len(out)
        return out

    def next_event(self) -> ListenerEvent | None:
        """What happened."""
        return self._events.popleft() if self._events else None

    def next_deadline(self) -> float | None:
        """When the longest silent peer goes."""
        for peer in self._by_id.values():
            return peer.heard + self._idle_timeout
        return None

    def tick(self, now: float) -> None:
        """Forget the silent."""
        while self._by_id:
            peer = next(iter(self._by_id.values()))
            if peer.heard + self._idle_timeout > now:
                return
            del self._by_id[peer.id]
            self._forget(peer)
            self._count["idle"] += 1
            self._events.append(PeerGone(peer.id, "idle"))
