"""Sensors of LUMI: Mijia and Aqara. Buttons are in ``aqara_buttons``, plugs and switches in ``aqara_power``.

Those of before ZigBee 3.0 answer little and leave the network of who binds them or asks for reports: they are neither
asked nor set up, and tell by themselves what they have (zha-quirks and zigbee2mqtt set up none of them either). Some
don't list the clusters of what they measure. None says that a motion is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from math import atan2, degrees, hypot
from struct import unpack
from typing import Any, Final

from adapters.zigbee.cluster_mappings import AttributeMapping, Happening, ReportedEventMapping
from adapters.zigbee.families import measurement, power, security
from adapters.zigbee.families.ipso import ipso
from adapters.zigbee.maker_devices import MakerDevices
from adapters.zigbee.makers.lumi_tags import BASIC, CODE, OLD, OWN, OWN_LIST, TagList
from carriage.zigbee.datatypes import BOOL, UINT8, UINT16, UINT32, UINT48, Value, ZclType
from gateway.api.errors import PeerError
from gateway.api.model import DataType, EventAffordance, PropertyAffordance

MAKER: Final = "Aqara"
CODES: Final = frozenset((CODE, 0x1234))
"""With which they report attributes of Basic that are no maker's."""
QUIET: Final = frozenset((
    0x0001, 0x0003, 0x0004, 0x0005, 0x0006, 0x0008, 0x000C, 0x0012, 0x0019, 0x0101, 0x0400, 0x0402, 0x0403, 0x0405,
    0x0406, 0x0500,
))  # fmt: skip
"""All that such a sensor lists. It means by them what its own rows say."""


def shown(rows: Iterable[AttributeMapping], name: str) -> PropertyAffordance:
    """The property as the standard's rows have it."""
    return next(row.property for row in rows if row.property.name == name)


# The battery ----------------------------------------------------------------------------------------------------------

_EMPTY, _FULL = 2850, 3000
_VOLTAGES: Final = (1500, 4000)


def _charge(millivolts: int | float) -> int | float:
    """In percent of what a button cell or two of AA have left."""
    return min(max(100 * (millivolts - _EMPTY) / (_FULL - _EMPTY), 0), 100)


def voltage(tags: TagList, tag: int = 0x01) -> AttributeMapping:
    """Of a battery; of one that is no button cell it says nothing about the charge."""
    return tags.row(tag, shown(power.ROWS, "voltage"), range=_VOLTAGES)


def battery(tags: TagList, tag: int = 0x01) -> tuple[AttributeMapping, ...]:
    """Voltage and charge by one value."""
    charge = tags.row(tag, shown(power.ROWS, "battery"), range=_VOLTAGES, convert=_charge, digits=0)
    return charge, voltage(tags, tag)


def device_temperature(tags: TagList) -> AttributeMapping:
    """Of its chip. Some models have a constant there: they don't get this row."""
    return tags.row(
        0x03,
        PropertyAffordance(
            name="device_temperature",
            type=DataType.NUMBER,
            unit="Cel",
            resource_type=ipso(3303),
            device_class="temperature",
            category="diagnostic",
            lifetime=7500.0,
        ),
        range=(-40, 120),
    )


# What they measure ----------------------------------------------------------------------------------------------------


def _told(cluster: int, attribute: int, name: str, **changes: Any) -> AttributeMapping:
    """The standard's row of an attribute that is reported without being asked for."""
    row = next(
        row
        for row in (*measurement.ROWS, *security.ROWS)
        if (row.cluster, row.attribute, row.property.name) == (cluster, attribute, name)
    )
    return replace(row, unasked=True, reporting=None, needs=(), adapt=None, **changes)


_TEMPERATURES: Final = (-6499, 6499)
"""In hundredths. They send -100 degrees now and then."""
_HUMIDITIES: Final = (0, 10_000)
"""In hundredths. They send 654.36 % now and then."""
_PRESSURES: Final = (50_000, 110_000)
"""In Pa."""
_HUNDREDTH: Final = Fraction(1, 100)


def _climate(tags: TagList) -> tuple[AttributeMapping, ...]:
    return (
        tags.row(0x64, shown(measurement.ROWS, "temperature"), range=_TEMPERATURES, scale=_HUNDREDTH),
        tags.row(0x65, shown(measurement.ROWS, "humidity"), range=_HUMIDITIES, scale=_HUNDREDTH),
    )


_CLIMATE_REPORTS: Final = (
    _told(0x0402, 0x0000, "temperature", range=_TEMPERATURES),
    _told(0x0405, 0x0000, "humidity"),
)
_PRESSURE: Final = (
    _told(0x0403, 0x0010, "pressure", range=(5000, 11_000), scale=Fraction(1, 10)),  # its Scale is -1 in any case
    BASIC.row(0x66, shown(measurement.ROWS, "pressure"), range=_PRESSURES, scale=_HUNDREDTH),
)


def _contact() -> AttributeMapping:
    """On/Off of a magnet's switch: on is open."""
    return AttributeMapping(
        cluster=0x0006,
        attribute=0x0000,
        type=BOOL,
        inverted=True,
        invalid=0xFF,
        property=shown(security.ROWS, "contact"),
        unasked=True,
    )


_MOTION_ENDS: Final = 90
"""Seconds after which a motion is over for zigbee2mqtt."""
_DARK: Final = 0x1_0000
_TOO_BRIGHT: Final = 65_000
"""In lux: sent in the dark."""
_LIGHT: Final = shown(measurement.ROWS, "illuminance")
_OCCUPANCY: Final = shown(measurement.ROWS, "occupancy")
_SEEN: Final = _told(0x0406, 0x0000, "occupancy", ends=_MOTION_ENDS)
_LUX: Final = AttributeMapping(  # as it is, not as a logarithm
    cluster=0x0400, attribute=0x0000, type=UINT16, range=(0, 0xFFFE), invalid=0xFFFF, property=_LIGHT, unasked=True
)


def _lux(raw: int | float) -> int | float:
    return raw if raw <= _TOO_BRIGHT else 0


def own(attribute: int, kind: ZclType, property_: PropertyAffordance, **columns: Any) -> AttributeMapping:
    """One of LUMI's own attributes."""
    return AttributeMapping(
        cluster=OWN,
        attribute=attribute,
        manufacturer=CODE,
        type=kind,
        invalid=(1 << 8 * kind.size) - 1,
        property=property_,
        **columns,
    )


def _motion(ends: int) -> tuple[AttributeMapping, ...]:
    """Each report of the light is a motion; it is in lux above ``_DARK``."""
    return (
        own(0x0112, UINT32, _LIGHT, range=(_DARK, 2 * _DARK), convert=lambda raw: _lux(raw - _DARK), unasked=True),
        own(0x0112, UINT32, _OCCUPANCY, mask=0xFFFF_FFFF, ends=ends, unasked=True),
        OWN_LIST.row(0x65, _LIGHT, range=(0, 0xFFFF), convert=_lux),
    )


def setting(attribute: int, name: str, words: dict[int, str] | None = None, resource: int = 3302) -> AttributeMapping:
    """It can be set while the device is awake, as behind a press of its button; ``words``: in place of seconds."""
    shape: dict[str, Any] = {
        "name": name,
        "resource_type": ipso(resource),
        "writable": True,
        "category": "config",
    }
    if words is not None:
        property_ = PropertyAffordance(type=DataType.STRING, enum=tuple(words.values()), **shape)
        return own(attribute, UINT8, property_, words=words, optional=True)
    property_ = PropertyAffordance(
        type=DataType.NUMBER, unit="s", device_class="duration", minimum=2, maximum=0xFE, multiple_of=1, **shape
    )
    return own(attribute, UINT8, property_, range=(2, 0xFE), optional=True)


_INTERVAL: Final = setting(0x0102, "detection_interval")
_SENSITIVITY: Final = setting(0x010C, "motion_sensitivity", {1: "low", 2: "medium", 3: "high"})
_DISTANCE: Final = setting(0x010C, "detection_distance", {1: "10mm", 2: "20mm", 3: "30mm"})

_SMOKE: Final = shown(security.ROWS, "smoke")
_DENSITY: Final = PropertyAffordance(
    name="smoke_density", type=DataType.INTEGER, resource_type=ipso(3300), lifetime=7500.0
)
_SMOKE_ROWS: Final = (
    own(0x013A, UINT8, _SMOKE, mask=0x01, unasked=True),
    own(0x013B, UINT8, _DENSITY, range=(0, 10), unasked=True),
    OWN_LIST.row(0xA0, _SMOKE, mask=0x01),
    OWN_LIST.row(0xA1, _DENSITY, range=(0, 10)),
)
_ZONE_EVENTS: Final = tuple(each for each in security.EVENTS if each.cluster == security.ZONE)

# Movement -------------------------------------------------------------------------------------------------------------

_KINDS_OF_MOVEMENT: Final = {1: "vibration", 2: "tilt", 3: "drop"}
_VIBRATION: Final = {b"\x00\x00": 0, b"\x01\x00": 1}


def _moved(value: Value) -> Happening | None:
    kind = _KINDS_OF_MOVEMENT.get(value) if isinstance(value, int) else None
    return None if kind is None else (kind, None)


def _vibrates(octets: bytes) -> Value:
    """Tilt and drop come as the same attribute: they are events, and change nothing of it."""
    return _VIBRATION.get(octets)


def _strength(raw: int | float) -> int | float:
    """The second octet and the third, the higher one first."""
    return int.from_bytes(int(raw).to_bytes(4, "little")[1:3], "big")


def _angle(axis: int) -> Callable[[bytes], Value]:
    """Between an axis of the device and the floor, of the acceleration along all three, two octets each."""

    def angle(octets: bytes) -> Value:
        if len(octets) != 6:
            raise PeerError("an acceleration is three numbers of two octets")
        along = list(unpack("<3h", octets))
        one = along.pop(axis)
        return round(degrees(atan2(one, hypot(*along))))

    return angle


def _moving(name: str, unit: str = "") -> PropertyAffordance:
    kind = DataType.NUMBER if unit else DataType.INTEGER
    return PropertyAffordance(name=name, type=kind, unit=unit, resource_type=ipso(3313), lifetime=90_000.0)


def _of_movement(attribute: int, kind: ZclType, property_: PropertyAffordance, **columns: Any) -> AttributeMapping:
    """In Door Lock's cluster, which is none of a lock here."""
    return AttributeMapping(
        cluster=0x0101,
        attribute=attribute,
        type=kind,
        invalid=(1 << 8 * kind.size) - 1,
        property=property_,
        unasked=True,
        **columns,
    )


_MOVEMENT: Final = (
    _of_movement(0x0055, UINT16, shown(security.ROWS, "vibration"), part=_vibrates, ends=_MOTION_ENDS),
    _of_movement(0x0503, UINT16, _moving("angle", "deg"), range=(0, 360)),
    _of_movement(0x0505, UINT32, _moving("strength"), convert=_strength, range=(0, 0xFFFF_FFFE)),
    *(
        _of_movement(0x0508, UINT48, _moving(f"angle_{name}", "deg"), part=_angle(axis), range=(-90, 90))
        for axis, name in enumerate("xyz")
    ),
)
_MOVEMENTS: Final = ReportedEventMapping(
    cluster=0x0101,
    attribute=0x0055,
    events=tuple(EventAffordance(name=name) for name in _KINDS_OF_MOVEMENT.values()),
    read=_moved,
)

# The devices ----------------------------------------------------------------------------------------------------------


def _sensor(*models: str, rows: tuple[AttributeMapping, ...], also: tuple[int, ...] = (), **more: Any) -> MakerDevices:
    """One of before ZigBee 3.0. ``also``: clusters that it doesn't list."""
    return MakerDevices(
        maker=MAKER, models=models, rows=rows, without=QUIET, codes=CODES, unlisted={1: also} if also else {}, **more
    )


def _later(
    *models: str, rows: tuple[AttributeMapping, ...] = (), also: tuple[int, ...] = (), without: tuple[int, ...] = ()
) -> MakerDevices:
    """One of since ZigBee 3.0, which tells its battery in the list of cluster 0xFCC0 and answers if it is awake."""
    return MakerDevices(
        maker=MAKER,
        models=models,
        rows=(*rows, *battery(OWN_LIST)),
        without=frozenset((0x0001, *without)),
        unlisted={1: (OWN, *also)},
    )


DEVICES: Final = (
    _sensor("lumi.sensor_magnet", rows=(_contact(), *battery(OLD), *battery(BASIC)), also=(0x0006,)),
    _sensor("lumi.sensor_magnet.aq2", rows=(_contact(), *battery(BASIC), device_temperature(BASIC))),
    _later("lumi.magnet.agl02", rows=(_contact(),), also=(0x0006,), without=(0x0006, 0x0500)),
    MakerDevices(  # its battery is no button cell
        maker=MAKER,
        models=("lumi.magnet.ac01",),
        rows=(_contact(), _DISTANCE, voltage(OWN_LIST)),
        without=frozenset((0x0001, 0x0006, 0x0500)),
        unlisted={1: (OWN, 0x0006)},
    ),
    _later("lumi.magnet.acn001"),
    _sensor("lumi.sensor_motion", rows=(_SEEN, *battery(OLD), *battery(BASIC)), also=(0x0406,)),
    _sensor(
        "lumi.sensor_motion.aq2",
        rows=(_SEEN, _LUX, BASIC.row(0x0B, _LIGHT, range=(0, 0xFFFE)), *battery(BASIC), device_temperature(BASIC)),
    ),
    _later("lumi.motion.agl02", "lumi.motion.acn001", rows=_motion(60), without=(0x0400, 0x0406)),
    _later("lumi.motion.ac02", rows=(*_motion(30), _INTERVAL, _SENSITIVITY), without=(0x0400, 0x0406)),
    _later(
        "lumi.motion.agl04",
        rows=(replace(_SEEN, ends=60), _INTERVAL, _SENSITIVITY, device_temperature(OWN_LIST)),
        also=(0x0406,),
        without=(0x0406,),
    ),
    _sensor(
        "lumi.sensor_ht",
        "lumi.sens",
        rows=(*_CLIMATE_REPORTS, *_climate(BASIC), *battery(BASIC)),
        also=(0x0402, 0x0405),
    ),
    _sensor("lumi.weather", rows=(*_CLIMATE_REPORTS, *_climate(BASIC), *_PRESSURE, *battery(BASIC))),
    # Its list has the pressure too, in whole hPa: what Pressure Measurement tells is finer.
    _later("lumi.sensor_ht.agl02", rows=_climate(OWN_LIST)),
    _sensor(
        "lumi.sensor_wleak.aq1",
        rows=(_told(0x0500, 0x0002, "water_leak"), *battery(BASIC), device_temperature(BASIC)),
        also=(0x0500,),
        events=_ZONE_EVENTS,
    ),
    _later("lumi.flood.agl02"),
    _later("lumi.flood.acn001"),
    _sensor(
        "lumi.sensor_smoke",
        rows=(_told(0x0500, 0x0002, "smoke"), *battery(BASIC), device_temperature(BASIC)),
        events=_ZONE_EVENTS,
    ),
    MakerDevices(
        maker=MAKER,
        models=("lumi.sensor_smoke.acn03",),
        rows=(*_SMOKE_ROWS, voltage(OWN_LIST)),
        without=frozenset((0x0001, 0x0500)),
        unlisted={1: (OWN,)},
    ),
    _sensor(
        "lumi.vibration.aq1",
        rows=(*_MOVEMENT, *battery(BASIC), device_temperature(BASIC)),
        reported_events=(_MOVEMENTS,),
    ),
)
