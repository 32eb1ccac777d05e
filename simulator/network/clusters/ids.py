"""The ids of the clusters that the simulator has servers for (ZCL8), and what all devices of a kind have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from simulator.network.cluster_server import ClusterServer

BASIC: Final = 0x0000
POWER: Final = 0x0001
IDENTIFY: Final = 0x0003
GROUPS: Final = 0x0004
SCENES: Final = 0x0005
ON_OFF: Final = 0x0006
LEVEL: Final = 0x0008
ANALOG_INPUT: Final = 0x000C
MULTISTATE_INPUT: Final = 0x0012
POLL_CONTROL: Final = 0x0020
DOOR_LOCK: Final = 0x0101
COVERING: Final = 0x0102
THERMOSTAT: Final = 0x0201
FAN: Final = 0x0202
THERMOSTAT_UI: Final = 0x0204
COLOR: Final = 0x0300
ILLUMINANCE: Final = 0x0400
TEMPERATURE: Final = 0x0402
PRESSURE: Final = 0x0403
HUMIDITY: Final = 0x0405
OCCUPANCY: Final = 0x0406
CARBON_DIOXIDE: Final = 0x040D
PM25: Final = 0x042A
IAS_ZONE: Final = 0x0500
IAS_WARNING: Final = 0x0502
METERING: Final = 0x0702
ELECTRICAL: Final = 0x0B04
TUYA: Final = 0xEF00
#: a cluster of Signify's, for what is pressed
HUE_BUTTONS: Final = 0xFC00

#: the ways in which a zone enrols (ZCL8, 8.2.2.1.3)
TRIP_TO_PAIR: Final = "trip-to-pair"
AUTO_ENROLL_RESPONSE: Final = "auto-enroll-response"
AUTO_ENROLL_REQUEST: Final = "auto-enroll-request"
ENROLMENTS: Final = (TRIP_TO_PAIR, AUTO_ENROLL_RESPONSE, AUTO_ENROLL_REQUEST)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device's Basic cluster says, and what makes its other clusters those of its kind."""

    manufacturer: str
    model: str
    mains: bool
    #: IAS zone: its type (ZCL8, table 8-5), its way to enrol, and the seconds after which an alarm ends by itself
    zone_type: int = 0x0015
    enrolment: str = TRIP_TO_PAIR
    hold: float = 0.0
    #: Color Control's capabilities: hue and saturation, enhanced hue, loop, xy, temperature (ZCL8, 5.2.2.2.1.12)
    color: int = 0b1_1011
    #: what Basic says of its software, and Power Configuration of a full battery: half percents, or whole ones
    software: str = "1.0"
    full: int = 200
    #: servers in place of the usual ones, by cluster
    own: Mapping[int, Callable[[Identity], ClusterServer]] = field(default_factory=dict)
