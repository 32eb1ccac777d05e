"""The seam between the virtual dongle (EZSP side) and the virtual ZigBee network (radio side).

The dongle calls ``Network``; the network calls ``Coordinator``. Both run on one asyncio loop; every call is
synchronous and returns at once; what takes time on the air is reported later through a callback.
Only types live here: ``simulator.ncp`` implements ``Coordinator``, ``simulator.network`` implements ``Network``.

Addresses: ``nwk`` is the 16-bit network address; ``eui64`` is an int whose most significant octet is the first
one of the usual colon notation (00:0d:6f:... -> 0x000d6f...).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

COORDINATOR_NWK = 0x0000


@dataclass(init=False, slots=True, unsafe_hash=True)
class ApsFrame:
    """One APS data frame (ZigBee r21, 2.2.5). ``payload`` is the ASDU; ``sequence`` is the APS counter (u8)."""

    profile: Final[int]
    cluster: Final[int]
    source_endpoint: Final[int]
    destination_endpoint: Final[int]
    payload: bytes = field(repr=False)
    sequence: Final[int]
    group: Final[int]
    ack_request: Final[bool]
    #: the frame is protected under the APS link key, not only under the network key
    link_key: Final[bool]
    #: how many fragments the message has, and which this is (2.2.8.4.5); None: it is whole
    fragment: Final[tuple[int, int] | None]

    def __init__(
        self,
        *,
        profile: int,
        cluster: int,
        source_endpoint: int,
        destination_endpoint: int,
        payload: bytes,
        sequence: int = 0,
        group: int = 0,
        ack_request: bool = False,
        link_key: bool = False,
        fragment: tuple[int, int] | None = None,
    ) -> None:  # written, for a frozen class costs four times as much to make
        self.profile = profile
        self.cluster = cluster
        self.source_endpoint = source_endpoint
        self.destination_endpoint = destination_endpoint
        self.payload = payload
        self.sequence = sequence
        self.group = group
        self.ack_request = ack_request
        self.link_key = link_key
        self.fragment = fragment


class Reach(Enum):
    UNICAST = "unicast"
    MULTICAST = "multicast"
    BROADCAST = "broadcast"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkParameters:
    """What a coordinator forms a network with. Keys are never shown."""

    pan_id: int
    extended_pan_id: int
    channel: int
    tx_power: int
    nwk_update_id: int
    coordinator_eui64: int
    network_key: bytes = field(repr=False)


class JoinKind(Enum):
    """How a device came (EmberDeviceUpdate, UG100)."""

    SECURED_REJOIN = 0
    UNSECURED_JOIN = 1
    LEFT = 2
    UNSECURED_REJOIN = 3


class Coordinator(Protocol):
    """What the network reports to the dongle."""

    def incoming(
        self, sender: int, sender_eui64: int | None, aps: ApsFrame, *, reach: Reach, lqi: int, rssi: int
    ) -> None:
        """An APS frame for the coordinator was received over the air (after the radio's loss, delay, duplication)."""

    def device_update(self, nwk: int, eui64: int, parent: int, kind: JoinKind) -> None:
        """A device joined, rejoined or left (trust centre join handler)."""

    def room(self) -> int:
        """Packet buffers that are free for frames. Without one the radio loses a frame before it is acknowledged, as a
        real stack does whose host doesn't keep up."""

    def admits(self, eui64: int) -> bool:
        """Whether the trust centre's policy lets this device in now (joining open, key known)."""


class Network(Protocol):
    """What the dongle asks of the network."""

    def start(self, coordinator: Coordinator, parameters: NetworkParameters) -> None:
        """The coordinator is up with these parameters; devices that belong to this network may talk to it."""

    def stop(self) -> None:
        """The coordinator's radio is off (left the network, was reset, or is gone). Unsent frames fail."""

    def permit_joining(self, seconds: int) -> None:
        """Open the coordinator for joining (0 closes, 255 stays open)."""

    def unicast(self, destination: int, aps: ApsFrame, on_sent: Callable[[bool], None]) -> None:
        """Send to one device. ``on_sent`` is called exactly once: True when delivered (APS ACK seen if asked for,
        else the next hop took it), False when given up."""

    def broadcast(self, destination: int, radius: int, aps: ApsFrame, on_sent: Callable[[bool], None]) -> None:
        """Broadcast or multicast (``aps.group``); ``on_sent`` as above."""

    def leave_request(self, nwk: int) -> None:
        """The trust centre removes a device."""

    def nwk_of(self, eui64: int) -> int | None: ...

    def eui64_of(self, nwk: int) -> int | None: ...

    def children(self) -> list[tuple[int, int, bool]]:
        """The coordinator's children: (nwk, eui64, sleepy)."""

    def energy(self, channel: int) -> int:
        """RSSI of a channel in dBm, for energy scans."""

    def beacons(self, channel: int) -> list[NetworkParameters]:
        """Other networks heard on a channel (empty here unless a test plants one)."""
