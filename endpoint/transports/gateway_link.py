"""The interface of a link to the gateway, over any protocol: carriage sessions that take and give units.

A ``GatewayLink`` is one layer-1 connection to a gateway (coaps, HTTPS, MQTT, the ZigBee network), or the HTTP side of a
service. A ``CarriageSession`` is one session over it, as this endpoint sees its own side. Calls are synchronous; what
takes time comes back by callback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

Kind = Literal["atls", "adtls"]

MAX_QUEUED_UNITS: Final = 512
"""Units that wait for the carriage, per session. More is a fault of the caller's flow, and ends the session."""

LATER: Final = frozenset({"over-rate", "busy"})
"""Reasons after which the gateway takes the same unit later."""
LOST: Final = frozenset({"too-large", "expired", "timeout", "unreachable", "link", "dropped"})
"""Reasons that concern one unit. It is lost: DTLS repairs that, TLS can't. All other reasons end any session."""
GONE: Final = frozenset({"unknown", "closed", "broken", "restarted"})
"""Reasons by which the gateway says that it has no such session (any longer): no close needs to be sent."""
RETRY_PAUSE: Final = 1.0
"""Seconds before a unit is offered again if the gateway doesn't say."""
RETRY_FOR: Final = 60.0
"""Seconds after its first refusal in which a unit is still offered again; a handshake's unit is of no use after it."""


@dataclass(slots=True)
class Callbacks:
    """The reports of a carriage session to its owner. Set them before the loop turns again."""

    unit: Callable[[bytes], None]
    """A unit of the other end arrived, in order, once."""
    lost: Callable[[int, str], None]
    """Our unit ``n`` was not delivered, and why."""
    ended: Callable[[str], None]
    """The carriage session is over; nothing follows."""


class CarriageSession(Protocol):
    """One session over a link."""

    @property
    def kind(self) -> Kind: ...

    @property
    def peer(self) -> str:
        """The gateway's name of the other end (informational: only the layer-0 handshake proves who it is)."""

    def attach(self, callbacks: Callbacks) -> None:
        """Take the session over; events that came before are reported now."""

    def send(self, units: Iterable[bytes]) -> None:
        """Queue units for sending, numbered in this order."""

    def proven(self) -> None:
        """Layer 0 has proven who the peer is: a carriage with too many sessions does without others first."""

    def close(self) -> None:
        """Close behind what is queued. ``ended`` may still be called; the caller ignores it."""


class GatewayLink(Protocol):
    """One layer-1 connection."""

    async def run(self, ready: Callable[[], None], incoming: Callable[[CarriageSession], None]) -> None:
        """Connect and stay connected until cancelled. ``ready`` is called once; ``incoming`` for each session that
        the gateway opens towards us. Raises TransportError if trying again can't help."""

    async def open(self, to: str, kind: Kind, first: bytes = b"") -> CarriageSession:
        """Ask the gateway for a session with its resource ``to``; within 30 s. ``first``: our unit 0, if it is there
        already; it goes along with the open if the carriage can carry it so, which saves a round trip, else behind it.
        TransportError with the reason when refused or not answered."""

    async def drain(self) -> None:
        """Wait until the gateway knows of every session that was closed. The caller sets the limit."""
