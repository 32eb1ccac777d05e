"""The events that a tunnel endpoint reports, and the limits that it keeps. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, NewType

from carriage.zigbee.transfer import LossReason
from carriage.zigbee.tunneling import DEFAULT_CLOSE_TIMEOUT, DEFAULT_MAX_INCOMING, TransferError, TunnelStatus

Handle = NewType("Handle", int)
"""One tunnel of one endpoint; never used again for another."""


class DeliveryMode(Enum):
    """The way in which the units of one side reach the other; both know it from the tunnel's protocol id."""

    PUSHED = "pushed"
    """Both sides send when they have something."""
    KEPT = "kept"
    """This side's units wait in a mailbox until the other side asks for them: it sleeps."""
    FETCHED = "fetched"
    """The other side's units wait until this side asks for them: it sleeps."""


class CloseReason(Enum):
    """Why a tunnel ended."""

    CLOSED = "closed"
    """In order, by one of the two sides."""
    IDLE = "idle"
    """CloseTunnelTimeout passed without data."""
    UNKNOWN_THERE = "unknown there"
    """The other side doesn't know the tunnel (any longer): it restarted, or its closure was lost."""
    NO_ANSWER = "no answer"
    """The request was not answered, or could not be delivered."""
    UNDELIVERABLE = "undeliverable"
    """Our answer to the request could not be delivered."""
    NOT_DECIDED = "not decided"
    """Our side neither accepted nor refused the request in time; it was refused as busy."""


class FailReason(Enum):
    """Why a unit did not arrive, as far as this side knows."""

    UNDELIVERABLE = "undeliverable"
    OVERFLOW = "overflow"
    """The other side could not take it."""
    STALLED = "stalled"
    """The other side's flow control held it back for too long."""
    CLOSED = "closed"
    """The tunnel ended first."""


@dataclass(frozen=True, slots=True)
class TunnelRequested:
    """The remote asks for a tunnel: answer with ``accept`` or ``refuse``."""

    handle: Handle
    protocol: int
    manufacturer: int
    flow_control: bool


@dataclass(frozen=True, slots=True)
class TunnelOpened:
    """Our request was granted, or our acceptance has arrived."""

    handle: Handle


@dataclass(frozen=True, slots=True)
class TunnelRefused:
    """Our request was refused; the handle is dead."""

    handle: Handle
    status: TunnelStatus


@dataclass(init=False, slots=True, unsafe_hash=True)
class UnitReceived:
    """A whole unit. ``gap``: at least one before it never came."""

    handle: Final[Handle]
    n: Final[int]
    data: Final[bytes]
    gap: Final[bool]

    def __init__(self, handle: Handle, n: int, data: bytes, gap: bool) -> None:
        self.handle = handle
        self.n = n
        self.data = data
        self.gap = gap

    def __repr__(self) -> str:
        return f"UnitReceived(handle={self.handle}, n={self.n}, {len(self.data)} octets, gap={self.gap})"


@dataclass(frozen=True, slots=True)
class UnitIncomplete:
    """Some slices of unit ``n`` came, the rest did not in time: it is lost."""

    handle: Handle
    n: int


@dataclass(init=False, slots=True, unsafe_hash=True)
class UnitSent:
    """Every slice of unit ``n`` was acknowledged by the remote's stack."""

    handle: Final[Handle]
    n: Final[int]

    def __init__(self, handle: Handle, n: int) -> None:
        self.handle = handle
        self.n = n


@dataclass(frozen=True, slots=True)
class UnitFailed:
    """Unit ``n`` was given up."""

    handle: Handle
    n: int
    reason: FailReason


@dataclass(frozen=True, slots=True)
class UnitLost:
    """The gateway reports that a unit it had accepted from us was lost behind it."""

    handle: Handle
    n: int
    reason: LossReason


@dataclass(frozen=True, slots=True)
class Fetched:
    """Fetching is over: nothing more waits, or (not ``complete``) the gateway doesn't answer."""

    handle: Handle
    complete: bool


@dataclass(frozen=True, slots=True)
class TunnelClosed:
    """The tunnel is gone and the handle is dead; units that had not been sent were reported as failed before."""

    handle: Handle
    by_remote: bool
    reason: CloseReason


@dataclass(frozen=True, slots=True)
class DataError:
    """The remote reported an error on a tunnel's data."""

    handle: Handle
    status: TransferError


@dataclass(frozen=True, slots=True)
class MailboxLacking:
    """Units wait for a question on one side of the tunnel only: its frames are dropped. Reported once a tunnel.

    To the device that asks: the other side keeps no mailbox, and sends. To the gateway: the device asks for one.
    """

    handle: Handle
    protocol: int


@dataclass(frozen=True, slots=True)
class PeerMisbehaved:
    """The remote broke the protocol; the frame was dropped. ``reason`` is our own text."""

    reason: str


Event = (
    TunnelRequested
    | TunnelOpened
    | TunnelRefused
    | UnitReceived
    | UnitIncomplete
    | UnitSent
    | UnitFailed
    | UnitLost
    | Fetched
    | TunnelClosed
    | DataError
    | MailboxLacking
    | PeerMisbehaved
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelRecord:
    """An open tunnel, as a restarted process must know it. ``max_incoming``: the remote's. ``server``: it opened it."""

    id: int
    server: bool
    protocol: int
    manufacturer: int
    flow_control: bool
    max_incoming: int
    mode: DeliveryMode


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelLimits:
    """Limits and times of one endpoint. Times are seconds; by the defaults both ends learn of any failure within 30."""

    window: int = 1
    """Frames in flight to the remote."""
    retry_waits: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    """Waits after the first, second ... failure of a frame; one try more than waits."""
    give_up: float = 12.0
    """A frame that fails so long after its first try isn't tried again."""
    delivery_timeout: float = 30.0
    """A frame whose delivery isn't reported by then counts as failed (APS retries to a sleepy device take 28 s)."""
    answer_waits: tuple[float, ...] = (3.0, 6.0, 8.0)
    """Waits for the answer to RequestTunnel after the first, second ... try; the last try waits the last time again."""
    decision_timeout: float = 25.0
    """A request that is neither accepted nor refused by then is refused as busy."""
    request_window: float = 120.0
    """Seconds for which a repeated RequestTunnel is known as a repetition; longer than all answer waits together."""
    duplicate_window: float = 10.0
    """Seconds for which a frame may linger in the network."""
    reassembly_timeout: float = 20.0
    """An unfinished unit is given up when no slice has come for this long."""
    stall_timeout: float = 25.0
    """Queued units are given up when the remote's flow control has held them for this long."""
    idle_timeout: float = float(DEFAULT_CLOSE_TIMEOUT)
    """CloseTunnelTimeout: the server closes a tunnel without data."""
    max_tunnels: int = 8
    """Tunnels per remote, both directions together."""
    quiet_time: float = 600.0
    """When the table is full, a tunnel of the remote that has been quiet for this long makes room."""
    max_queued_units: int = 32
    """Units waiting on one tunnel."""
    max_queued_answers: int = 16
    """Frames waiting that are no part of a unit; more errors to the remote are left out."""
    max_events: int = 256
    """Events not yet taken; beyond it incoming data is refused as overflow."""
    max_incoming: int = DEFAULT_MAX_INCOMING
    """Octets of data that we take in one TransferData."""
    foreign_tunnel_error: TransferError = TransferError.WRONG_DEVICE
    """The answer to data on a tunnel that belongs to another device (NO_SUCH_TUNNEL reveals nothing to it)."""
