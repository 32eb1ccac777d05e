"""One virtual device: who it is, what it offers, where it stands in the network. State only; no behaviour.

A device's endpoints are servers of the simulator (``hosted``) or other processes (``attach_server``); the network
knows them by :class:`EndpointServer` alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from simulator.air import COORDINATOR_NWK, ApsFrame, Reach

#: bindings of one device
MAX_BINDINGS: Final = 16
#: frame counters are stored ahead in blocks of this size, so that a restart never goes back
COUNTER_BLOCK: Final = 1024


class Membership(Enum):
    BLANK = "blank"
    JOINED = "joined"
    LEFT = "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpleDescriptor:
    """What one endpoint is (ZigBee r21, 2.3.2.5)."""

    endpoint: int
    profile: int
    device_id: int
    device_version: int = 1
    input_clusters: tuple[int, ...] = ()
    output_clusters: tuple[int, ...] = ()


class EndpointServer(Protocol):
    """The process or behaviour behind an endpoint."""

    @property
    def descriptor(self) -> SimpleDescriptor: ...

    @property
    def alive(self) -> bool:
        """Whether it takes frames now."""

    def received(self, frame: ApsFrame, reach: Reach) -> None:
        """A frame for this endpoint."""

    def in_group(self, group: int) -> bool:
        """Whether a cast to this group is for the endpoint."""

    def forget(self) -> None:
        """The device lost what it was set up with."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Who gets the reports and commands of a cluster. ``group``: all its members; then the destination is 0."""

    source_endpoint: int
    cluster: int
    destination_eui64: int
    destination_endpoint: int
    group: int = 0


@dataclass(slots=True, kw_only=True)
class Device:
    """A device. ``network`` is the fingerprint of the network that it's a member of."""

    eui64: int
    kind: str
    router: bool
    sleepy: bool = False
    poll_interval: float = 0.0
    mains: bool = True
    manufacturer_code: int = 0
    lqi: int = 200
    rssi: int = -60
    endpoints: dict[int, EndpointServer] = field(default_factory=dict)
    membership: Membership = Membership.BLANK
    nwk: int | None = None
    network: str = ""
    parent: int = COORDINATOR_NWK
    bindings: list[Binding] = field(default_factory=list)
    #: endpoints that are listed, and the status that the question for their descriptor gets (0: none is in the answer;
    #: None: there is no answer)
    undescribed: dict[int, int | None] = field(default_factory=dict)
    #: endpoints that are there and not listed
    unlisted: set[int] = field(default_factory=set)
    frame_counter: int = 0
    #: whether it looks for a network when it's blank, and whether it does so now
    joins_by_itself: bool = False
    seeking: bool = False
    permits_joining_until: float = 0.0

    @property
    def powered(self) -> bool:
        """Whether a process is behind it; a device whose processes are all gone is dark."""
        for server in self.endpoints.values():  # noqa: SIM110 - asked twice for each frame, and any() takes longer
            if server.alive:
                return True
        return False

    def next_frame_counter(self) -> int:
        """The frame counter of the next frame (u32). Its low octet serves as APS counter and ZDO sequence, too."""
        self.frame_counter = (self.frame_counter + 1) & 0xFFFF_FFFF
        return self.frame_counter

    @property
    def capability(self) -> int:
        """MAC capability flags (ZigBee r21, 2.3.2.3.6)."""
        flags = 0x80  # allocate address
        if self.router:
            flags |= 0x02  # full-function device
        if self.mains:
            flags |= 0x04
        if not self.sleepy:
            flags |= 0x08  # receiver on when idle
        return flags
