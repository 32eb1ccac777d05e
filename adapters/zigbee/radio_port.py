"""What the radio is asked and what it tells: values and one port. No bellows, no zigpy, no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from carriage.zigbee.zdo import SimpleDescriptor
from common.printable import printable
from gateway.api.model import LinkSecurity

NETWORK_KEY: Final = LinkSecurity(protocol="zigbee-network-key")
"""Anyone who holds the network key can claim any EUI64."""
LINK_KEY: Final = LinkSecurity(protocol="zigbee-link-key", authenticated=True)


class BlankDongleError(Exception):
    """The dongle holds no network, and none may be formed."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint of a device as its simple descriptor says: ``in_clusters`` are those whose server it is."""

    number: int
    profile: int
    device_id: int
    in_clusters: tuple[int, ...]
    out_clusters: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device as the coordinator knows it. ``last_seen``: seconds since 1970. Strings are cleaned."""

    eui64: str
    nwk: int
    manufacturer: str
    model: str
    interviewed: bool
    sleepy: bool
    lqi: int | None
    rssi: int | None
    last_seen: float | None
    endpoints: tuple[Endpoint, ...]
    tunnel_endpoints: tuple[int, ...]
    missing: tuple[int, ...] = ()
    """Endpoints that it has, and that it didn't describe."""
    interviewing: bool = False
    """It is being asked what it is."""


class Radio(Protocol):
    """What is asked of the radio about devices; every call returns at once."""

    @property
    def eui64(self) -> int:
        """Our own."""

    def devices(self) -> Iterator[Device]: ...

    def device(self, eui64: str) -> Device | None: ...

    def described(self, eui64: str, descriptor: SimpleDescriptor) -> None:
        """A device told what one of its endpoints is, after its interview."""


class RadioEvents(Protocol):
    """What the radio tells; every call returns at once and never raises."""

    def tunnel_frame(self, eui64: str, endpoint: int, payload: bytes, link_key: bool) -> None:
        """A tunnelling frame came; ``endpoint`` is the device's, ``link_key``: protected under the APS link key."""

    def zcl_frame(
        self, eui64: str, endpoint: int, cluster: int, aps_counter: int, payload: bytes, link_key: bool, unicast: bool
    ) -> bool:
        """Any other frame came, ZDO's from endpoint 0. False: it isn't ours, zigpy may get it."""

    def heard(self, eui64: str, sleepy: bool) -> None:
        """A frame of any kind came from a device, which may sleep otherwise; told before the frame itself."""

    def device_asked(self, eui64: str) -> None:
        """A device has come in, and is asked what it is: its interview begins."""

    def device_joined(self, device: Device) -> None:
        """A device is in, and its interview is over (or took too long: then ``interviewed`` is false)."""

    def device_changed(self, device: Device) -> None:
        """A device that was in already has told of another endpoint."""

    def device_restarted(self, device: Device) -> None:
        """A device that was in already, and is always on, announced itself: it was without power, say."""

    def device_left(self, eui64: str) -> None: ...


def clean(text: object, limit: int = 64) -> str:
    """A string of a peer's for logs and listings: printable, and not longer than ``limit``."""
    return "" if text is None else printable(str(text), limit)


def timestamp(seconds: float | None) -> str | None:
    """``last_seen`` as ISO 8601 in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
