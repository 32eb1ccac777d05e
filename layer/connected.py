"""Connected peers of a DTLS listener: one table, its bounds, and who makes room for a newcomer. Pure; no OpenSSL calls.

A newcomer has proved a key, so it always gets in. If a bound is reached, the peer that was silent for the longest
time goes: of the newcomer's own identity, else of its host, else of the identity that has the most. So clients that
vanish without close_notify, again and again, harm only themselves.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable

from layer.events import PeerIdentity
from layer.half_open import Handshake
from layer.hosts import Address, host_of, ip_of


class ConnectedPeer:
    """A connected peer. ``heard``: when it last proved that it is there."""

    __slots__ = ("addr", "association", "heard", "hello_random", "host", "id", "identity")

    def __init__(self, number: int, handshake: Handshake, identity: PeerIdentity, now: float) -> None:
        self.id = number
        self.addr = handshake.addr
        self.host = host_of(ip_of(handshake.addr))
        self.identity = identity.psk_identity or identity.spki_sha256
        self.association = handshake.association
        self.hello_random = handshake.hello_random
        self.heard = now


class Connected:
    """The table; ``most``, ``per_host`` and ``per_identity`` bound it. ``by_id``: the longest silent one first."""

    def __init__(self, most: int, per_host: int, per_identity: int) -> None:
        self._most = most
        self._per_host = per_host
        self._per_identity = per_identity
        self.by_addr: dict[Address, ConnectedPeer] = {}
        self.by_id: OrderedDict[int, ConnectedPeer] = OrderedDict()
        self._hosts: Counter[Hashable] = Counter()
        self._identities: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return len(self.by_id)

    def add(self, peer: ConnectedPeer) -> None:
        """Enter one whose address has none; ``victim`` says who has to go before."""
        self.by_addr[peer.addr] = peer
        self.by_id[peer.id] = peer
        self._hosts[peer.host] += 1
        self._identities[peer.identity] += 1

    def drop(self, peer: ConnectedPeer) -> None:
        """Take it out. Without effect if it is out already."""
        if self.by_id.pop(peer.id, None) is None:
            return
        if self.by_addr.get(peer.addr) is peer:
            del self.by_addr[peer.addr]
        for counter, key in ((self._hosts, peer.host), (self._identities, peer.identity)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]  # the table must not grow with every host ever seen

    def victim(self, newcomer: ConnectedPeer) -> tuple[ConnectedPeer, str] | None:
        """The peer that must go for a newcomer, and why; None while there is room."""

        def of_identity(peer: ConnectedPeer) -> bool:
            return peer.identity == newcomer.identity is not None

        def of_host(peer: ConnectedPeer) -> bool:
            return peer.host == newcomer.host

        def of_both(peer: ConnectedPeer) -> bool:
            return of_identity(peer) and of_host(peer)

        def of_largest(peer: ConnectedPeer) -> bool:
            return peer.identity == self._identities.most_common(1)[0][0]

        choice: tuple[Callable[[ConnectedPeer], bool], ...]
        if newcomer.identity is not None and self._identities[newcomer.identity] >= self._per_identity:
            choice, most = (of_identity,), f"one identity has {self._per_identity}"
        elif self._hosts[newcomer.host] >= self._per_host:
            choice, most = (of_both, of_host), f"one host has {self._per_host}"
        elif len(self.by_id) >= self._most:
            choice, most = (of_identity, of_host, of_largest), f"all together have {self._most}"
        else:
            return None
        peers = self.by_id.values()
        longest = next(peer for wanted in choice for peer in peers if wanted(peer))
        return longest, f"put out for a newer one, as the longest silent: {most} associations at most"
