"""The kinds of devices, as rows: what each offers and the clusters that the simulator hosts for it.

A new kind is a new row of ``KINDS``; a new cluster is a function in ``clusters`` and a row of ``CLUSTERS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from simulator.network.cluster_server import ClusterServer
from simulator.network.clusters import lumi
from simulator.network.clusters.closures import covering, door_lock
from simulator.network.clusters.color import color
from simulator.network.clusters.energy import electrical, metering
from simulator.network.clusters.general import HUE, basic, hue_buttons, identify, poll_control, power
from simulator.network.clusters.grouping import groups, scenes
from simulator.network.clusters.hvac import fan, thermostat, thermostat_ui
from simulator.network.clusters.ids import (
    ANALOG_INPUT,
    AUTO_ENROLL_REQUEST,
    AUTO_ENROLL_RESPONSE,
    BASIC,
    CARBON_DIOXIDE,
    COLOR,
    COVERING,
    DOOR_LOCK,
    ELECTRICAL,
    FAN,
    GROUPS,
    HUE_BUTTONS,
    HUMIDITY,
    IAS_WARNING,
    IAS_ZONE,
    IDENTIFY,
    ILLUMINANCE,
    LEVEL,
    METERING,
    MULTISTATE_INPUT,
    OCCUPANCY,
    ON_OFF,
    PM25,
    POLL_CONTROL,
    POWER,
    PRESSURE,
    SCENES,
    TEMPERATURE,
    THERMOSTAT,
    THERMOSTAT_UI,
    TRIP_TO_PAIR,
    TUYA,
    Identity,
)
from simulator.network.clusters.inputs import analog_input, multistate_input
from simulator.network.clusters.lighting import level, on_off
from simulator.network.clusters.measurement import (
    carbon_dioxide,
    humidity,
    illuminance,
    occupancy,
    pm25,
    pressure,
    temperature,
)
from simulator.network.clusters.security import ias_warning, ias_zone
from simulator.network.clusters.tuya import CLIMATE, VALVE, tuya
from simulator.network.device import Device, SimpleDescriptor

__all__ = [
    "BASIC",
    "CLUSTERS",
    "HUMIDITY",
    "KINDS",
    "ON_OFF",
    "POWER",
    "TEMPERATURE",
    "HostedRow",
    "Identity",
    "Kind",
    "basic",
    "descriptor",
    "humidity",
    "make_clusters",
    "make_device",
    "on_off",
    "power",
    "temperature",
]

HA_PROFILE: Final = 0x0104

CLUSTERS: Final[Mapping[int, Callable[[Identity], ClusterServer]]] = {
    BASIC: basic,
    POWER: power,
    IDENTIFY: identify,
    GROUPS: groups,
    SCENES: scenes,
    ON_OFF: on_off,
    LEVEL: level,
    ANALOG_INPUT: analog_input,
    MULTISTATE_INPUT: multistate_input,
    POLL_CONTROL: poll_control,
    DOOR_LOCK: door_lock,
    COVERING: covering,
    THERMOSTAT: thermostat,
    FAN: fan,
    THERMOSTAT_UI: thermostat_ui,
    COLOR: color,
    ILLUMINANCE: illuminance,
    TEMPERATURE: temperature,
    PRESSURE: pressure,
    HUMIDITY: humidity,
    OCCUPANCY: occupancy,
    CARBON_DIOXIDE: carbon_dioxide,
    PM25: pm25,
    IAS_ZONE: ias_zone,
    IAS_WARNING: ias_warning,
    METERING: metering,
    ELECTRICAL: electrical,
    TUYA: tuya,
    HUE_BUTTONS: hue_buttons,
}


@dataclass(frozen=True, slots=True)
class HostedRow:
    """An endpoint that the simulator stands behind: its number, HA device id, the clusters that it serves, and those
    that it is a client of."""

    number: int
    device_id: int
    clusters: tuple[int, ...]
    outputs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What all devices of a kind have in common. One without ``endpoints`` is for other processes to stand behind.

    The model identifier begins with ``virtual``, which no product's does: hubs that know products by it (``plug`` is
    one) must not take a virtual device for one of these. One that is like a ``product`` of a maker has its model and
    manufacturer, and may have ``own`` servers for some clusters. The others: see ``Identity``.
    """

    name: str
    router: bool = False
    mains: bool = False
    sleepy: bool = False
    endpoints: tuple[HostedRow, ...]
    manufacturer: str = "atls-simulator"
    product: str = ""
    zone_type: int = 0x0015
    enrolment: str = TRIP_TO_PAIR
    hold: float = 0.0
    color: int = 0b1_1011
    software: str = "1.0"
    full: int = 200
    own: Mapping[int, Callable[[Identity], ClusterServer]] = field(default_factory=dict)

    @property
    def model(self) -> str:
        return self.product or f"virtual-{self.name}"

    def identity(self, manufacturer: str | None, model: str | None, enrolment: str | None = None) -> Identity:
        """Of one device; what is None is the kind's."""
        return Identity(
            manufacturer or self.manufacturer,
            model or self.model,
            self.mains,
            zone_type=self.zone_type,
            enrolment=enrolment or self.enrolment,
            hold=self.hold,
            color=self.color,
            software=self.software,
            full=self.full,
            own=self.own,
        )


def _router(name: str, device_id: int, *clusters: int, color: int = 0b1_1011) -> Kind:
    """A kind with one endpoint that is always on and routes, as what has mains power does."""
    rows = (HostedRow(1, device_id, (BASIC, IDENTIFY, *clusters)),)
    return Kind(name=name, router=True, mains=True, endpoints=rows, color=color)


def _sleeper(name: str, device_id: int, *clusters: int, outputs: tuple[int, ...] = ()) -> Kind:
    """A kind with one endpoint and a battery."""
    return Kind(name=name, sleepy=True, endpoints=(HostedRow(1, device_id, (BASIC, POWER, *clusters), outputs),))


def _tuya(name: str, manufacturer: str) -> Kind:
    """A sleeper that has nothing but Tuya's datapoints."""
    rows = (HostedRow(1, 0x0051, (BASIC, GROUPS, SCENES, TUYA)),)
    return Kind(name=name, sleepy=True, endpoints=rows, manufacturer=manufacturer, product="TS0601")


def _zone(
    name: str,
    zone_type: int,
    enrolment: str,
    *further: int,
    hold: float = 0.0,
    mains: bool = False,
    device_id: int = 0x0402,
) -> Kind:
    """An IAS zone: a sleeper, unless it has mains power."""
    clusters = (BASIC, *(() if mains else (POWER,)), IDENTIFY, IAS_ZONE, *further)
    return Kind(
        name=name,
        router=mains,
        mains=mains,
        sleepy=not mains,
        endpoints=(HostedRow(1, device_id, clusters),),
        zone_type=zone_type,
        enrolment=enrolment,
        hold=hold,
    )


def _lumi(name: str, product: str, device_id: int, *clusters: int) -> Kind:
    """A sensor of LUMI of before ZigBee 3.0, which lists no battery."""
    return Kind(
        name=name,
        sleepy=True,
        endpoints=(HostedRow(1, device_id, (BASIC, IDENTIFY, *clusters)),),
        manufacturer="LUMI",
        product=product,
        own={
            BASIC: lumi.basic,
            ON_OFF: lumi.contact,
            TEMPERATURE: lumi.temperature,
            PRESSURE: lumi.pressure,
            HUMIDITY: lumi.humidity,
        },
    )


_LIGHT: Final = (GROUPS, SCENES, ON_OFF)

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
        _router("dimmable-lamp", 0x0101, *_LIGHT, LEVEL),
        _router("ct-lamp", 0x010C, *_LIGHT, LEVEL, COLOR, color=0b1_0000),
        _router("color-lamp", 0x010D, *_LIGHT, LEVEL, COLOR),
        _router("metering-plug", 0x0051, *_LIGHT, METERING, ELECTRICAL),
        _router("air-sensor", 0x0302, TEMPERATURE, HUMIDITY, CARBON_DIOXIDE, PM25),
        _zone("siren", 0x0225, AUTO_ENROLL_RESPONSE, IAS_WARNING, mains=True, device_id=0x0403),
        _router("thermostat", 0x0301, THERMOSTAT, THERMOSTAT_UI),
        _router("fan", 0x0300, GROUPS, FAN),
        _router("cover", 0x0202, GROUPS, SCENES, COVERING),
        _router("flow-meter", 0x000C, ANALOG_INPUT),
        _sleeper("multi-sensor", 0x0107, ILLUMINANCE, TEMPERATURE, PRESSURE, HUMIDITY, OCCUPANCY),
        _sleeper("lock", 0x000A, IDENTIFY, DOOR_LOCK),
        _sleeper("radiator-valve", 0x0301, IDENTIFY, POLL_CONTROL, THERMOSTAT),
        _sleeper("poll-sensor", 0x0302, POLL_CONTROL, TEMPERATURE),
        _sleeper("button", 0x0000, MULTISTATE_INPUT),
        _sleeper("on-off-remote", 0x0000, IDENTIFY, outputs=(IDENTIFY, ON_OFF)),
        _sleeper("dimmer-remote", 0x0104, IDENTIFY, outputs=(IDENTIFY, GROUPS, SCENES, ON_OFF, LEVEL)),
        _sleeper("color-remote", 0x0105, IDENTIFY, outputs=(IDENTIFY, GROUPS, SCENES, ON_OFF, LEVEL, COLOR)),
        _sleeper("scene-remote", 0x0004, IDENTIFY, outputs=(IDENTIFY, GROUPS, SCENES)),
        # types: ZCL8, table 8-5
        _zone("contact-sensor", 0x0015, AUTO_ENROLL_REQUEST),
        _zone("motion-sensor", 0x000D, AUTO_ENROLL_RESPONSE, hold=60.0),
        _zone("smoke-sensor", 0x0028, AUTO_ENROLL_REQUEST),
        _zone("gas-sensor", 0x002B, AUTO_ENROLL_RESPONSE, mains=True),
        _zone("water-sensor", 0x002A, TRIP_TO_PAIR),
        _zone("vibration-sensor", 0x002D, AUTO_ENROLL_REQUEST, hold=5.0),
        _zone("panic-button", 0x002C, TRIP_TO_PAIR, hold=2.0),
        _tuya("tuya-climate", CLIMATE),
        _tuya("tuya-valve", VALVE),
        # products with attributes and commands of their makers
        Kind(
            name="ikea-remote",
            sleepy=True,
            endpoints=(HostedRow(1, 0x0820, (BASIC, POWER, IDENTIFY), (IDENTIFY, GROUPS, SCENES, ON_OFF, LEVEL)),),
            manufacturer="IKEA of Sweden",
            product="TRADFRI remote control",
            software="2.3.087",
            full=100,
        ),
        Kind(
            name="hue-dimmer",
            sleepy=True,
            endpoints=(
                HostedRow(1, 0x0820, (BASIC, POWER, IDENTIFY, HUE_BUTTONS), (IDENTIFY, GROUPS, SCENES, ON_OFF, LEVEL)),
            ),
            manufacturer=HUE[1],
            product="RWL022",
        ),
        _lumi("aqara-climate", "lumi.weather", 0x5F01, TEMPERATURE, PRESSURE, HUMIDITY),
        _lumi("aqara-contact", "lumi.sensor_magnet.aq2", 0x5F01, ON_OFF),
        _lumi("aqara-button", "lumi.remote.b1acn01", 0x0103, MULTISTATE_INPUT),
    )
}
DEFAULT_POLL_INTERVAL: Final = 2.0


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
    servers = {**CLUSTERS, **identity.own}
    return [servers[cluster](identity) for cluster in row.clusters]


def descriptor(row: HostedRow) -> SimpleDescriptor:
    """What a hosted endpoint says of itself."""
    return SimpleDescriptor(
        endpoint=row.number,
        profile=HA_PROFILE,
        device_id=row.device_id,
        input_clusters=row.clusters,
        output_clusters=row.outputs,
    )
