"""The listener beneath a coaps server: it ends DTLS; and what may be bounded in it. Only contracts."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from typing import Protocol, TypedDict

from carriage.coap.udp import Address
from layer.config import AssociationConfig
from layer.credentials import Credentials
from layer.listener_events import ListenerEvent


class ServerLimits(TypedDict, total=False):
    """Bounds that may differ from the defaults; see ``DtlsListener``."""

    max_half_open: int
    max_half_open_per_host: int
    max_peers: int
    max_peers_per_host: int
    max_peers_per_identity: int
    handshake_burst: float
    handshake_rate: float
    first_answer: float
    idle_timeout: float | None
    cookie_lifetime: float


class Listener(Protocol):
    """``layer.listener.DtlsListener``, or what stands in for it."""

    events: deque[ListenerEvent]
    """The events, the oldest first; the server takes them out."""

    @property
    def counters(self) -> Mapping[str, int]:
        """Its own counts."""

    def replace_credentials(
        self, credentials: Credentials, config: AssociationConfig | None = None, shut_out: Collection[bytes] = ()
    ) -> None:
        """For handshakes to come; and whose handshake under way comes to nothing."""

    def receive_datagram(self, data: bytes, addr: Address, now: float) -> None:
        """One datagram."""

    def send(self, peer_id: int, data: bytes, now: float) -> bool:
        """One message to a peer."""

    def close(self, peer_id: int, now: float) -> None:
        """End one peer."""

    def close_all(self, now: float) -> None:
        """End all."""

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        """The datagrams to send."""

    def next_deadline(self) -> float | None:
        """When ``tick`` is due."""

    def tick(self, now: float) -> None:
        """Let timers act."""
