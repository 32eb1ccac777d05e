"""The port between a family of dongles and all that is made of it: what a family gives, and what it is given.

``ezsp_radio`` is the family that there is. A device is zigpy's object here (``node``), opaque but for
``device_table``. Values and protocols only: no bellows, no zigpy, no I/O.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVarTuple

from adapters.zigbee.frame_kinds import manufacturer_of
from carriage.zigbee.tunneling import CLUSTER_ID

HOME_AUTOMATION: Final = 0x0104
OWN_ENDPOINT: Final = 1
"""Our endpoint with the tunnelling cluster: zigpy's own of the HA profile, where devices look first."""

BUSY_WAITS: Final[tuple[float, ...]] = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0)
"""Seconds before a frame is offered again that was refused though nothing else is in flight; ends after the last."""

Arguments = TypeVarTuple("Arguments")

Slot = Callable[[bool], AbstractAsyncContextManager[None]]
"""Makes what a frame holds from when it is given to the dongle until its fate is known. True: for one that sleeps."""


class NotFormedError(Exception):
    """The dongle holds no network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioSettings:
    """What a start needs. ``database``: zigpy's, which also holds backups with the network key."""

    path: str
    baudrate: int
    flow_control: str
    channel: int | None
    database: Path
    interview: float
    start: float


class IncomingFrame(NamedTuple):
    """One APS frame that came, whole. ``endpoint`` and ``cluster`` are the sender's, ``own_endpoint`` is ours."""

    nwk: int
    profile: int
    cluster: int
    endpoint: int
    own_endpoint: int
    counter: int
    """The APS counter."""
    payload: bytes
    unicast: bool
    """False: a broadcast or a groupcast."""
    link_key: bool
    """It came under the link key of its sender."""
    lqi: int
    rssi: int
    group: int = 0
    """Of a groupcast, to which it went."""

    @property
    def at(self) -> int:
        """The cluster on its endpoint as one number, a key of tables."""
        return self.endpoint << 16 | self.cluster

    @property
    def place(self) -> int:
        """The same with the manufacturer's code that a ZCL frame has: its own attributes are at another place."""
        return manufacturer_of(self.payload) << 32 | self.endpoint << 16 | self.cluster


class SendOutcome(StrEnum):
    """What became of one attempt to send."""

    DELIVERED = "delivered"
    """APS acknowledgement seen."""
    FAILED = "failed"
    """The dongle gave it up, or isn't there."""
    BUSY = "busy"
    """There is no room for it now, in the dongle or in our queue; nothing was sent."""
    TOO_LONG = "too-long"
    """More than one APS frame holds; nothing was sent."""
    NO_KEY = "no-key"
    """There is no link key with the device; nothing was sent."""
    NO_DEVICE = "no-device"
    """Not a device of this network."""


@dataclass(init=False, slots=True, eq=False)
class Frame:
    """One APS unicast, or the content of a group cast. ``endpoint`` is the device's, ``source_endpoint`` ours. ``done``
    is called exactly once, unless the frame is withdrawn; never of a cast."""

    endpoint: Final[int]
    payload: Final[bytes]
    link_key: Final[bool]
    done: Final[Callable[[SendOutcome], None]]
    cluster: Final[int]
    profile: Final[int]
    source_endpoint: Final[int]

    def __init__(
        self,
        endpoint: int,
        payload: bytes,
        link_key: bool,
        done: Callable[[SendOutcome], None],
        cluster: int = CLUSTER_ID,
        profile: int = HOME_AUTOMATION,
        source_endpoint: int = OWN_ENDPOINT,
    ) -> None:
        self.endpoint = endpoint
        self.payload = payload
        self.link_key = link_key
        self.done = done
        self.cluster = cluster
        self.profile = profile
        self.source_endpoint = source_endpoint

    def __repr__(self) -> str:
        return f"Frame(endpoint={self.endpoint}, cluster=0x{self.cluster:04x}, {len(self.payload)} octets)"


class RadioHooks(Protocol):
    """What a radio tells. Nothing here may raise: zigpy and bellows swallow it."""

    def in_turn(self, callback: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        """Call the callback of a line that can be read; the gateway has its turn behind it."""

    def frame(self, app: Any, frame: IncomingFrame) -> bytes | None:
        """A frame came to zigpy's application; the octets of it that zigpy may look at, None if it may not."""

    def no_leaving(self) -> AbstractContextManager[None]:
        """While this context lasts, nothing that zigpy says has left is believed."""

    def announced(self, node: Any) -> None:
        """A device that zigpy knew already announced itself."""

    def expected(self, nwk: int) -> bool:
        """Whether zigpy may have asked who has a network address."""

    # The names by which zigpy calls its listeners.

    def device_joined(self, device: Any) -> None: ...
    def device_initialized(self, device: Any) -> None: ...
    def device_init_failure(self, device: Any) -> None: ...
    def device_left(self, device: Any) -> None: ...


class RunningRadio(Protocol):
    """A dongle that is up, with the network that it holds. ``stop`` it in the end, lost or not."""

    @property
    def app(self) -> Any:
        """zigpy's application, for ``device_table`` and ``backups``."""

    @property
    def lost(self) -> asyncio.Future[str]:
        """Why the link ended."""

    @property
    def taken_on(self) -> bool:
        """The dongle held a network, and the database knew of none."""

    @property
    def max_payload(self) -> int:
        """Octets of one APS payload under network security alone."""

    @property
    def eui64(self) -> int:
        """The coordinator's own."""

    @property
    def network(self) -> dict[str, Any]:
        """Channel, PAN id and firmware, without keys."""

    @property
    def counters(self) -> Mapping[str, int]: ...

    def send_through(self, slot: Slot) -> None:
        """From now on each frame of zigpy's own is sent while it holds a slot. Ours get theirs from the queue."""

    async def unicast(self, node: Any, frame: Frame, *, sleepy: bool, polls_often: bool = False) -> SendOutcome:
        """Send one frame with APS acknowledgement, once: no library tries again. Never raises.

        ``polls_often``: the device sleeps, and fetches what waits for it within 7.68 s."""

    async def cast(self, group: int, frame: Frame) -> SendOutcome:
        """Send one frame to all members of a group: ``DELIVERED`` means that it is on the air. Never raises."""

    async def subscribe(self, group: int) -> bool:
        """Have the dongle hand on what others send to a group; False: it has no room for one more. Never raises."""

    async def permit(self, seconds: int) -> None:
        """Let devices join for 1 to 254 seconds; 0 closes. TransportError where the dongle doesn't do it."""

    async def permit_at(self, seconds: int, node: Any) -> int:
        """Let devices join by way of this router only (None: the dongle); the ZDP status of its answer, 0: it does.
        TransportError: neither it nor the dongle answers."""

    async def children(self) -> dict[str, int]:
        """By EUI64 the network addresses of those whom the dongle itself keeps in mind: its children above all."""

    async def stop(self) -> None:
        """Take it down. The dongle keeps its network."""


class RadioFamily(Protocol):
    """One kind of dongle."""

    def quiet_libraries(self) -> None:
        """Keep what the libraries log bounded, and free of keys and payloads."""

    async def start(self, settings: RadioSettings, hooks: RadioHooks) -> RunningRadio:
        """Bring the dongle up with the network that it holds.

        Raises NotFormedError; ForeignNetworkError, with nothing stored or listened to; and whatever the libraries may
        raise: almost anything."""

    async def form(self, settings: RadioSettings, tell: Callable[[str], None]) -> None:
        """Give a blank dongle the network of the last backup, or else a new one; it is to be started after that.

        ``tell`` gets a line before each long step. AddressError where the backup's coordinator can't be made of it."""

    def opened(self, settings: RadioSettings, database: Path | None) -> AbstractAsyncContextManager[Any]:
        """zigpy's application for a dongle to be asked and written to, its radio not listened to.

        ``database``: zigpy's, if the network is to be recorded there. Raises as ``start``, but not the first two."""
