"""The kinds of devices, as rows: what each offers and the clusters that the simulator hosts for it.

A new kind is a new row of ``KINDS``; a new cluster is a function of ``CLUSTERS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from layer.errors import PeerError
from simulator.network.datatypes import BITMAP8, BOOL, ENUM8, INT16, STRING, UINT8, UINT16, Value
from simulator.network.device import Device, SimpleDescriptor
from simulator.network.foundation import Attribute, ClusterServer, GlobalCommand, make_cluster

HA_PROFILE: Final = 0x0104
BASIC: Final = 0x0000
POWER: Final = 0x0001
ON_OFF: Final = 0x0006
TEMPERATURE: Final = 0x0402
HUMIDITY: Final = 0x0405

#: Basic power source (ZCL8, 3.2.2.2.8)
_MAINS, _BATTERY = 0x01, 0x03


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device's Basic cluster says."""

    manufacturer: str
    model: str
    mains: bool


def basic(identity: Identity) -> ClusterServer:
    """Basic, 0x0000 (ZCL8, 3.2)."""
    return make_cluster(
        BASIC,
        [
            Attribute(0x0000, UINT8, 8),  # ZCL version
            Attribute(0x0001, UINT8, 1),  # application version
            Attribute(0x0003, UINT8, 1),  # hardware version
            Attribute(0x0004, STRING, identity.manufacturer),
            Attribute(0x0005, STRING, identity.model),
            Attribute(0x0007, ENUM8, _MAINS if identity.mains else _BATTERY),
            Attribute(0x0010, STRING, "", writable=True),  # location description
            Attribute(0x4000, STRING, "1.0"),  # software build
        ],
        revision=3,
    )


def power(_identity: Identity) -> ClusterServer:
    """Power configuration, 0x0001 (ZCL8, 3.3): battery voltage in 100 mV, what remains in half percents."""
    return make_cluster(
        POWER,
        [
            Attribute(0x0020, UINT8, 30, reportable=True),
            Attribute(0x0021, UINT8, 200, reportable=True),
            Attribute(0x0035, BITMAP8, 0, writable=True),  # battery alarm mask
        ],
        revision=2,
    )


def _set_on_off(value: int) -> GlobalCommand:
    return lambda server, _payload: server.set(0x0000, value)


def _toggle(server: ClusterServer, _payload: bytes) -> None:
    server.set(0x0000, 1 - int(server.attributes[0x0000].value))


def on_off(_identity: Identity) -> ClusterServer:
    """On/Off, 0x0006 (ZCL8, 3.8)."""
    return make_cluster(
        ON_OFF,
        [Attribute(0x0000, BOOL, 0, reportable=True)],
        {0x00: _set_on_off(0), 0x01: _set_on_off(1), 0x02: _toggle},
        revision=2,
    )


def temperature(_identity: Identity) -> ClusterServer:
    """Temperature measurement, 0x0402 (ZCL8, 4.4): hundredths of a degree Celsius."""
    return make_cluster(
        TEMPERATURE,
        [
            Attribute(0x0000, INT16, 2000, reportable=True),
            Attribute(0x0001, INT16, -4000),
            Attribute(0x0002, INT16, 12500),
            Attribute(0x0003, UINT16, 50),
        ],
        revision=2,
    )


def humidity(_identity: Identity) -> ClusterServer:
    """Relative humidity measurement, 0x0405 (ZCL8, 4.7): hundredths of a percent."""
    return make_cluster(
        HUMIDITY,
        [
            Attribute(0x0000, UINT16, 5000, reportable=True),
            Attribute(0x0001, UINT16, 0),
            Attribute(0x0002, UINT16, 10000),
            Attribute(0x0003, UINT16, 200),
        ],
        revision=2,
    )


CLUSTERS: Final[Mapping[int, Callable[[Identity], ClusterServer]]] = {
    BASIC: basic,
    POWER: power,
    ON_OFF: on_off,
    TEMPERATURE: temperature,
    HUMIDITY: humidity,
}


@dataclass(frozen=True, slots=True)
class HostedRow:
    """An endpoint that the simulator stands behind: its number, HA device id, and the clusters that it serves."""

    number: int
    device_id: int
    clusters: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What all devices of a kind have in common. One without ``endpoints`` is for other processes to stand behind.

    The model identifier begins with ``virtual``, which no product's does: hubs that know products by it (``plug`` is
    one) must not take a virtual device for one of these.
    """

    name: str
    router: bool = False
    mains: bool = False
    sleepy: bool = False
    endpoints: tuple[HostedRow, ...]
    manufacturer: str = "atls-simulator"

    @property
    def model(self) -> str:
        return f"virtual-{self.name}"


KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind(name="lamp", router=True, mains=True, endpoints=(HostedRow(1, 0x0100, (BASIC, ON_OFF)),)),
        Kind(name="plug", router=True, mains=True, endpoints=(HostedRow(1, 0x0051, (BASIC, ON_OFF)),)),
        # a wall switch with two relays
        Kind(
            name="switch",
            router=True,
            mains=True,
            endpoints=(HostedRow(1, 0x0002, (BASIC, ON_OFF)), HostedRow(2, 0x0002, (ON_OFF,))),
        ),
        Kind(name="thermometer", sleepy=True, endpoints=(HostedRow(1, 0x0302, (BASIC, POWER, TEMPERATURE, HUMIDITY)),)),
        # a thermometer that is on all the time, as one for the wall of a room with mains power
        Kind(name="climate", mains=True, endpoints=(HostedRow(1, 0x0302, (BASIC, TEMPERATURE, HUMIDITY)),)),
        # what stands behind its endpoint is another process, which says the rest when it attaches
        Kind(name="atls", mains=True, router=True, endpoints=()),
    )
}
DEFAULT_POLL_INTERVAL: Final = 2.0


@dataclass(frozen=True, slots=True)
class Measure:
    """A value that people set by name. ``scale``: attribute units per unit of the value."""

    cluster: int
    attribute: int
    scale: int


MEASURES: Final[Mapping[str, Measure]] = {
    "temperature": Measure(TEMPERATURE, 0x0000, 100),
    "humidity": Measure(HUMIDITY, 0x0000, 100),
    "battery": Measure(POWER, 0x0021, 2),
    "voltage": Measure(POWER, 0x0020, 10),
    "on_off": Measure(ON_OFF, 0x0000, 1),
}


def make_device(kind: Kind, eui64: int, *, poll_interval: float | None = None) -> Device:
    """A blank device of a kind, without endpoints yet."""
    return Device(
        eui64=eui64,
        kind=kind.name,
        router=kind.router,
        mains=kind.mains,
        sleepy=kind.sleepy,
        poll_interval=(poll_interval or DEFAULT_POLL_INTERVAL) if kind.sleepy else 0.0,
    )


def make_clusters(row: HostedRow, identity: Identity) -> list[ClusterServer]:
    """New servers for the clusters of a hosted endpoint."""
    return [CLUSTERS[cluster](identity) for cluster in row.clusters]


def descriptor(row: HostedRow) -> SimpleDescriptor:
    """What a hosted endpoint says of itself."""
    return SimpleDescriptor(
        endpoint=row.number, profile=HA_PROFILE, device_id=row.device_id, input_clusters=row.clusters
    )


def measured(name: str, value: float) -> tuple[Measure, Value]:
    """A named value in attribute units. Raises PeerError for an unknown name or no number."""
    measure = MEASURES.get(name)
    if measure is None:
        raise PeerError(f"a value is one of {', '.join(MEASURES)}")
    try:
        return measure, round(value * measure.scale)
    except (OverflowError, ValueError):
        raise PeerError("the value is not a number") from None
