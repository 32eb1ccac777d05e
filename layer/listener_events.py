"""Events of a DTLS listener for its owner. Only data belongs here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from layer.events import AssociationInfo
from layer.hosts import Address


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A peer's handshake is complete. ``peer_id`` is new for each association and never used again."""

    peer_id: int
    addr: Address
    info: AssociationInfo


@dataclass(init=False, slots=True)
class PeerData:
    """One record of application data."""

    peer_id: Final[int]
    data: bytes = field(repr=False)

    def __init__(self, peer_id: int, data: bytes) -> None:
        self.peer_id = peer_id
        self.data = data


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
