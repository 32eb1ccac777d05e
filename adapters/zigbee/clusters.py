"""The clusters that the gateway understands, one row for each attribute: all that is known of it stands in its row.

A new cluster is a new row of ``ROWS`` (docs/add-a-cluster.md). ``reports`` decodes by them, ``orders`` sends by them,
``setup`` has them reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import inf
from typing import Final

from carriage.zigbee.datatypes import BOOL, FLOATS, INT16, INTEGERS, SIGNED, TEXTS, TYPES, UINT8, UINT16, Value, ZclType
from gateway.api.model import Property, Scalar, ValueKind


@dataclass(frozen=True, slots=True)
class Reporting:
    """How a device shall report: at most every ``minimum`` s, at least every ``maximum`` s, and on such a change.

    ``change`` is in the attribute's own units and counts for numbers only.
    """

    minimum: int
    maximum: int
    change: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeMapping:
    """One attribute of one cluster as a property.

    ``range``: the least and the greatest number of the attribute that is a value. (Of a boolean 0 and 1 are.)
    ``scale``: the property's unit in one of the attribute's. ``invalid``: the number that says "no value".
    ``reporting`` None: it is read once and never asked to be reported. ``commands``: the cluster command without
    payload that sets a value; a writable property without commands is written as the attribute.
    """

    cluster: int
    attribute: int
    type: ZclType
    property: Property
    range: tuple[float, float] = (-inf, inf)
    scale: Fraction | int = 1
    invalid: int | None = None
    reporting: Reporting | None = None
    commands: Mapping[Scalar, int] = field(default_factory=dict)

    def value(self, raw: Value) -> Scalar | None:
        """What the property says. None: the device has no value now, or told what can't be one."""
        kind = self.property.kind
        if kind is ValueKind.TEXT:
            return raw if isinstance(raw, str) else None
        if not isinstance(raw, (int, float)) or raw == self.invalid:
            return None
        if kind is ValueKind.BOOLEAN:
            return raw == 1 if raw in (0, 1) else None
        low, high = self.range
        if not low <= raw <= high:
            return None
        numerator, denominator = self.scale.as_integer_ratio()
        return raw * numerator if denominator == 1 else raw * numerator / denominator

    def of_type(self, type_id: int, raw: Value) -> Value:
        """A value that came as another type than the row's, as if it had come as that. None: it can't be one.

        Any integer type carries a whole number or a boolean, but a boolean no number. Of the same width the octets
        are right and the sign is the row's: 0xFF9C for an int16 is -100 though it came as uint16, for -100 can be a
        value and 65436 can't. Of another width the type is believed.
        """
        own = self.type
        if own.id in FLOATS:
            return raw if type_id in FLOATS else None
        if own.id in TEXTS:
            return raw if type_id in TEXTS else None
        if type_id not in INTEGERS or not (own.id in INTEGERS or own is BOOL) or not isinstance(raw, int):
            return None
        if TYPES[type_id].size != own.size:
            return raw
        return int.from_bytes(
            raw.to_bytes(own.size, "little", signed=type_id in SIGNED), "little", signed=own.id in SIGNED
        )

    def raw(self, value: Scalar) -> int | float | str:
        """The attribute's value for a property's."""
        if isinstance(value, str):
            return value
        return float(value) if self.type.id in FLOATS else round(value / self.scale)


def _ipso(number: int) -> str:
    return f"urn:oma:lwm2m:ext:{number}"


ROWS: Final = (
    AttributeMapping(
        cluster=0x0006,  # On/Off (ZCL8, 3.8)
        attribute=0x0000,
        type=BOOL,
        invalid=0xFF,
        property=Property(
            name="state", kind=ValueKind.BOOLEAN, resource_type=_ipso(3306), writable=True, lifetime=7500.0
        ),
        reporting=Reporting(0, 3600),
        commands={False: 0x00, True: 0x01},
    ),
    AttributeMapping(
        cluster=0x0402,  # Temperature Measurement (ZCL8, 4.4)
        attribute=0x0000,
        type=INT16,
        range=(-9000, 0x7FFE),  # colder than any place on Earth is a sensor that failed; the standard has -273.15
        scale=Fraction(1, 100),
        invalid=-0x8000,
        property=Property(
            name="temperature",
            kind=ValueKind.NUMBER,
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
        property=Property(
            name="humidity",
            kind=ValueKind.NUMBER,
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
        property=Property(
            name="battery",
            kind=ValueKind.NUMBER,
            unit="%EL",
            resource_type="urn:oma:lwm2m:oma:3",
            device_class="battery",
            lifetime=90_000.0,
        ),
        reporting=Reporting(3600, 43_200, 2),
    ),
)


class ClusterTable:
    """Rows by their cluster: ``of[cluster][attribute]``."""

    def __init__(self, rows: Iterable[AttributeMapping] = ROWS) -> None:
        self.rows = tuple(rows)
        self.of: dict[int, dict[int, AttributeMapping]] = {}
        for row in self.rows:
            self.of.setdefault(row.cluster, {})[row.attribute] = row


TABLE: Final = ClusterTable()
