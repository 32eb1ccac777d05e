"""The clusters that the gateway understands, as rows: all that is known of an attribute or a command stands in its row.

``ROWS``: attributes as properties. ``WRITES``: commands that set several properties in one frame. ``ACTIONS``: commands
as actions. ``EVENTS``: commands that devices send, as events. A new cluster is new rows (docs/add-a-cluster.md).
What each column means is in ``cluster_mappings``.
``reports`` decodes by them, ``command_execution`` sends by them, ``reporting_setup`` has attributes reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Final

from adapters.zigbee.cluster_mappings import ActionMapping, AttributeMapping, EventMapping, Reporting, WriteMapping
from carriage.zigbee.datatypes import BOOL, INT16, MAP16, UINT8, UINT16
from gateway.api.errors import PeerError
from gateway.api.model import ActionAffordance, DataSchema, DataType, EventAffordance, PropertyAffordance, Scalar
from gateway.api.model import Value as PropertyValue


def _ipso(number: int) -> str:
    return f"urn:oma:lwm2m:ext:{number}"


_TENTHS: Final = 10
_INSTANT: Final = 0xFFFF
"""As a transition time: the device's own (ZCL8, 3.10.2.4.1)."""


def _to_level(values: Mapping[str, PropertyValue]) -> tuple[bytes, dict[str, Scalar]] | None:
    """Move to Level with On/Off (ZCL8, 3.10.2.4.5): level 0 switches off, another one on."""
    state, level, transition = values.get("state"), values.get("brightness"), values.get("transition")
    if state is False and (level is not None or transition is not None):
        level = 0
    if not isinstance(level, int):
        return None
    tenths = round(transition * _TENTHS) if isinstance(transition, int | float) else _INSTANT
    became: dict[str, Scalar] = {"state": level > 0}
    if level:
        became["brightness"] = level
    return bytes((level,)) + tenths.to_bytes(2, "little"), became


def _first(payload: bytes, size: int) -> bytes:
    """Devices may send more than the standard has, by a later one."""
    if len(payload) < size:
        raise PeerError("a cluster command ends early")
    return payload[:size]


_UP_DOWN: Final = ("up", "down")


def _direction(payload: bytes) -> str:
    if payload[0] >= len(_UP_DOWN):
        raise PeerError("a direction that is neither up nor down")
    return _UP_DOWN[payload[0]]


def _move(payload: bytes) -> PropertyValue:
    """Move (ZCL8, 3.10.2.4.2): direction, rate in levels a second (0xFF: the device's own)."""
    payload = _first(payload, 2)
    rate: dict[str, PropertyValue] = {} if payload[1] == 0xFF else {"rate": payload[1]}
    return {"direction": _direction(payload), **rate}


def _step(payload: bytes) -> PropertyValue:
    """Step (ZCL8, 3.10.2.4.3): direction, size, transition time in tenths of a second."""
    payload = _first(payload, 4)
    tenths = int.from_bytes(payload[2:4], "little")
    time: dict[str, PropertyValue] = {} if tenths == _INSTANT else {"transition": tenths / _TENTHS}
    return {"direction": _direction(payload), "size": payload[1], **time}


_ZONE_BITS: Final = (
    "alarm_1", "alarm_2", "tamper", "battery_low", "supervision", "restore", "trouble", "mains_fault", "test",
    "battery_defect",
)  # fmt: skip
"""Bits of ZoneStatus from the lowest (ZCL8, 8.2.2.2.1.3)."""


def _zone_status(payload: bytes) -> int:
    return int.from_bytes(_first(payload, 2), "little")


def _zone(payload: bytes) -> PropertyValue:
    """Zone Status Change Notification (ZCL8, 8.2.2.4.1)."""
    status = _zone_status(payload)
    return {name: bool(status >> bit & 1) for bit, name in enumerate(_ZONE_BITS)}


_BOOLEAN: Final = DataSchema(type=DataType.BOOLEAN)
_BYTE: Final = DataSchema(type=DataType.INTEGER, minimum=0, maximum=255)
_WAY: Final = DataSchema(type=DataType.STRING, enum=_UP_DOWN)


ROWS: Final = (
    AttributeMapping(
        cluster=0x0006,  # On/Off (ZCL8, 3.8)
        attribute=0x0000,
        type=BOOL,
        invalid=0xFF,
        property=PropertyAffordance(
            name="state", type=DataType.BOOLEAN, resource_type=_ipso(3306), writable=True, lifetime=7500.0
        ),
        reporting=Reporting(0, 3600),
        commands={False: 0x00, True: 0x01},
    ),
    AttributeMapping(
        cluster=0x0008,  # Level Control (ZCL8, 3.10)
        attribute=0x0000,
        type=UINT8,
        range=(0, 254),
        invalid=0xFF,
        property=PropertyAffordance(
            name="brightness",
            type=DataType.INTEGER,
            resource_type=_ipso(3343),
            writable=True,
            minimum=0,
            maximum=254,
            lifetime=7500.0,
        ),
        reporting=Reporting(1, 3600, 1),
    ),
    AttributeMapping(
        cluster=0x0500,  # IAS Zone (ZCL8, 8.2): its status, which it also reports by a cluster command
        attribute=0x0002,
        type=MAP16,
        mask=0x0003,
        property=PropertyAffordance(
            name="alarm", type=DataType.BOOLEAN, resource_type=_ipso(3338), device_class="safety"
        ),
    ),
    AttributeMapping(
        cluster=0x0402,  # Temperature Measurement (ZCL8, 4.4)
        attribute=0x0000,
        type=INT16,
        range=(-9000, 0x7FFE),  # colder than any place on Earth is a sensor that failed; the standard has -273.15
        scale=Fraction(1, 100),
        invalid=-0x8000,
        property=PropertyAffordance(
            name="temperature",
            type=DataType.NUMBER,
            unit="Cel",
            resource_type=_ipso(3303),
            device_class="temperature",
            lifetime=7500.0,
        ),
        reporting=Reporting(10, 3600, 10),
    ),
    AttributeMapping(
        cluster=0x0405,  # Relative Humidity Measurement (ZCL8, 4.7)
        attribute=0x0000,
        type=UINT16,
        range=(0, 10_000),
        scale=Fraction(1, 100),
        invalid=0xFFFF,
        property=PropertyAffordance(
            name="humidity",
            type=DataType.NUMBER,
            unit="%RH",
            resource_type=_ipso(3304),
            device_class="humidity",
            lifetime=7500.0,
        ),
        reporting=Reporting(10, 3600, 100),
    ),
    AttributeMapping(
        cluster=0x0001,  # Power Configuration (ZCL8, 3.3): battery percentage remaining
        attribute=0x0021,
        type=UINT8,
        range=(0, 200),
        scale=Fraction(1, 2),
        invalid=0xFF,
        property=PropertyAffordance(
            name="battery",
            type=DataType.NUMBER,
            unit="%EL",
            resource_type="urn:oma:lwm2m:oma:3",
            device_class="battery",
            lifetime=90_000.0,
        ),
        reporting=Reporting(3600, 43_200, 2),
    ),
)


WRITES: Final = (
    WriteMapping(
        cluster=0x0008,
        command=0x04,
        properties=("brightness", "state"),
        modifiers=(
            PropertyAffordance(
                name="transition",
                type=DataType.NUMBER,
                unit="s",
                writable=True,
                readable=False,
                minimum=0,
                maximum=6553,
                multiple_of=0.1,
            ),
        ),
        plan=_to_level,
    ),
)
ACTIONS: Final = (ActionMapping(cluster=0x0006, command=0x02, action=ActionAffordance(name="toggle"), reads=(0x0000,)),)
EVENTS: Final = (
    EventMapping(cluster=0x0006, command=0x00, by_client=True, event=EventAffordance(name="off")),
    EventMapping(cluster=0x0006, command=0x01, by_client=True, event=EventAffordance(name="on")),
    EventMapping(cluster=0x0006, command=0x02, by_client=True, event=EventAffordance(name="toggle_pressed")),
    *(
        EventMapping(
            cluster=0x0008,
            command=command,
            by_client=True,
            event=EventAffordance(
                name="level_move",
                data=DataSchema(
                    type=DataType.OBJECT,
                    fields=(("direction", _WAY), ("rate", _BYTE)),
                    required=frozenset({"direction"}),
                ),
            ),
            data=_move,
        )
        for command in (0x01, 0x05)
    ),
    *(
        EventMapping(
            cluster=0x0008,
            command=command,
            by_client=True,
            event=EventAffordance(
                name="level_step",
                data=DataSchema(
                    type=DataType.OBJECT,
                    fields=(
                        ("direction", _WAY),
                        ("size", _BYTE),
                        ("transition", DataSchema(type=DataType.NUMBER, unit="s")),
                    ),
                    required=frozenset({"direction", "size"}),
                ),
            ),
            data=_step,
        )
        for command in (0x02, 0x06)
    ),
    *(
        EventMapping(cluster=0x0008, command=command, by_client=True, event=EventAffordance(name="level_stop"))
        for command in (0x03, 0x07)
    ),
    EventMapping(
        cluster=0x0500,
        command=0x00,
        by_client=False,
        event=EventAffordance(
            name="zone_status",
            data=DataSchema(type=DataType.OBJECT, fields=tuple((name, _BOOLEAN) for name in _ZONE_BITS)),
        ),
        data=_zone,
        attribute=0x0002,
        raw=_zone_status,
    ),
)


class ClusterTable:
    """Rows by their cluster: ``of[cluster][attribute]``, ``events[cluster, command, by_client]``."""

    def __init__(
        self,
        rows: Iterable[AttributeMapping] = ROWS,
        writes: Iterable[WriteMapping] = WRITES,
        actions: Iterable[ActionMapping] = ACTIONS,
        events: Iterable[EventMapping] = EVENTS,
    ) -> None:
        self.rows = tuple(rows)
        self.of: dict[int, dict[int, AttributeMapping]] = {}
        for row in self.rows:
            self.of.setdefault(row.cluster, {})[row.attribute] = row
        self.writes = {row.cluster: row for row in writes}
        self.actions: dict[int, list[ActionMapping]] = {}
        for action in actions:
            self.actions.setdefault(action.cluster, []).append(action)
        self.events = {(row.cluster, row.command, row.by_client): row for row in events}


TABLE: Final = ClusterTable()
