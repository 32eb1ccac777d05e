"""The tables of a tunnel endpoint: one record per tunnel, the server's tunnel ids, the requests of the last seconds.

How a repeated RequestTunnel is recognised. The client keeps the ZCL sequence number of a request for all its
repetitions and lowers ``max incoming`` by one each time, so the octets are new (zigpy drops octets that it has seen
within 10 s) while (sequence number, protocol, manufacturer, flow control) stay. It takes no such number again within
the request window. The server takes a request that agrees in these with one inside the window for a repetition

- as long as the client has not used the tunnel, for then it may not know it, and the answer is sent again; or
- when it is octet for octet one that came within the last 10 s: a copy that lingered in the network.

Anything else is a new request: a client that restarted and happens to begin with the same number gets a new tunnel. If
a copy lingers for longer, the client answers the response that it didn't ask for with CloseTunnel.

States of a tunnel (``TunnelState``), and who moves it: see ``tunnel``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from carriage.zigbee.events import CloseReason, DeliveryMode, Handle
from carriage.zigbee.mailbox_server import MailboxServer
from carriage.zigbee.retransmission import Job
from carriage.zigbee.segmentation import Reassembler
from carriage.zigbee.sending import UnitSender
from carriage.zigbee.tunneling import NO_TUNNEL, RequestTunnel, RequestTunnelResponse

MAX_REQUESTS = 64
"""Requests remembered per remote."""

REPETITIONS = 8
"""Different values of ``max incoming`` that the tries of one request or answer run through."""


class TunnelIds:
    """The tunnel ids of one cluster server, shared by its endpoints: an id belongs to one remote.

    Ids are given out in turn, so that one that has just been freed rests; ``first`` should be random, so that ids
    from before a restart are seldom met again. ``limit``: ids in use at the same time.
    """

    def __init__(self, limit: int = 256, first: int = 0) -> None:
        self._limit = min(limit, NO_TUNNEL)
        self._next = first % NO_TUNNEL
        self._owners: dict[int, object] = {}

    def allocate(self, owner: object) -> int | None:
        """A free id, or None if the limit is reached."""
        if len(self._owners) >= self._limit:
            return None
        while self._next in self._owners:
            self._next = (self._next + 1) % NO_TUNNEL
        tunnel = self._next
        self._next = (tunnel + 1) % NO_TUNNEL
        self._owners[tunnel] = owner
        return tunnel

    def claim(self, tunnel: int, owner: object) -> bool:
        """Take an id that was given out before a restart. False if it isn't free."""
        if tunnel in self._owners or len(self._owners) >= self._limit or not 0 <= tunnel < NO_TUNNEL:
            return False
        self._owners[tunnel] = owner
        return True

    def release(self, tunnel: int) -> None:
        self._owners.pop(tunnel, None)

    def owner(self, tunnel: int) -> object | None:
        return self._owners.get(tunnel)


@dataclass(slots=True, eq=False)
class Asked:
    """One RequestTunnel that the server has seen. ``seen``: when each ``max incoming`` came."""

    sequence: int
    handle: Handle
    expires: float
    seen: dict[int, float]
    answer: RequestTunnelResponse | None = None
    answering: bool = False
    answers: int = 0
    used: bool = False


class RequestLog:
    """Requests of the last ``window`` seconds; the module docstring says what makes one a repetition."""

    def __init__(self, window: float, duplicate_window: float) -> None:
        self._window = window
        self._duplicate_window = duplicate_window
        self._entries: dict[tuple[int, int, int, bool], Asked] = {}

    def repeated(self, sequence: int, request: RequestTunnel, now: float) -> Asked | None:
        """The earlier request that this one repeats."""
        entry = self._entries.get(self._key(sequence, request))
        if entry is None or now >= entry.expires:
            return None
        came = entry.seen.get(request.max_incoming)
        copy = came is not None and now < came + self._duplicate_window
        if entry.used and not copy:
            return None
        if not copy and len(entry.seen) < REPETITIONS:
            entry.seen[request.max_incoming] = now
        return entry

    def add(self, sequence: int, request: RequestTunnel, handle: Handle, now: float) -> Asked:
        key = self._key(sequence, request)
        self._entries.pop(key, None)  # so that the order stays that of arrival
        while len(self._entries) >= MAX_REQUESTS:
            del self._entries[next(iter(self._entries))]
        entry = Asked(sequence, handle, now + self._window, {request.max_incoming: now})
        self._entries[key] = entry
        return entry

    @staticmethod
    def _key(sequence: int, request: RequestTunnel) -> tuple[int, int, int, bool]:
        return sequence, request.protocol, request.manufacturer, request.flow_control


class TunnelState(Enum):
    ASKED = auto()
    """Requested, not answered."""
    OPEN = auto()
    LEAVING = auto()
    """Our close is under way; the tunnel takes nothing more."""


@dataclass(slots=True, eq=False)
class Tunnel:
    """One tunnel. ``server``: the remote opened it; ``id`` is -1 until the remote's answer names it."""

    handle: Handle
    server: bool
    request: RequestTunnel
    sender: UnitSender | MailboxServer = field(init=False)
    reassembler: Reassembler = field(init=False)
    id: int = -1
    mode: DeliveryMode = DeliveryMode.PUSHED
    lacking: bool = False
    """Whether we reported that only one side has a mailbox."""
    state: TunnelState = TunnelState.ASKED
    sequence: int = 0
    """ZCL sequence number of the request."""
    tries: int = 0
    """Client: how often the request was handed over for delivery."""
    builds: int = 0
    """Client: how often the request was put into a frame."""
    until_awake: bool = False
    """Client: the remote sleeps; the request waits until it is heard."""
    asked: Asked | None = None
    known: bool = False
    """The remote knows the tunnel id: data may flow."""
    draining: bool = False
    leaving: CloseReason = CloseReason.CLOSED
    peer_max_incoming: int = 0
    wait: float | None = None
    """While ASKED: when to ask again (client) or to refuse (server)."""
    active: float = 0.0
    """When data last came or went."""
    held_since: float = 0.0
    flow_heard: tuple[int, float] | None = None
    """Sequence number and time of the remote's last flow control command."""
    paused: bool = False
    pause_sent: bool = False
    """Whether the last flow control command to the remote was to pause."""
    flow_job: Job | None = None
    fetching: bool = False
    """A GET is out, and no answer has said yet that nothing more waits."""
    gets: int = 0
    """The GETs sent since something came."""
    answer_due: float | None = None
    """When to ask again."""
    jobs: list[Job] = field(default_factory=list)
    """Requests, flow control and closes of this tunnel that aren't settled."""

    @property
    def flow_control(self) -> bool:
        return self.request.flow_control

    def cancel_jobs(self) -> None:
        for job in self.jobs:
            job.cancelled = True
        self.jobs.clear()


def varied(max_incoming: int, turn: int) -> int:
    """``max incoming`` of a request's or an answer's try number ``turn``: new octets, never above the truth."""
    return max_incoming - turn % REPETITIONS
