"""A device as the coordinator knows it, for all who need to know: values only, and what cleans and shows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from common.printable import printable
from gateway.api.model import LinkSecurity

NETWORK_KEY: Final = LinkSecurity(protocol="zigbee-network-key")
"""Anyone who holds the network key can claim any EUI64."""
LINK_KEY: Final = LinkSecurity(protocol="zigbee-link-key", authenticated=True)


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


def clean(text: object, limit: int = 64) -> str:
    """A string of a peer's for logs and listings: printable, and not longer than ``limit``."""
    return "" if text is None else printable(str(text), limit)


def timestamp(seconds: float | None) -> str | None:
    """``last_seen`` as ISO 8601 in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
