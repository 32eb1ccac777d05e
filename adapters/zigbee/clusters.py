"""The clusters that the gateway understands, one row for each attribute: all that is known of it stands in its row.

A new cluster is a new row of ``ROWS`` (docs/add-a-cluster.md). ``reports`` decodes by them, ``orders`` sends by them,
``setup`` has them reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from carriage.zigbee.datatypes import BOOL, INT16, UINT8, UINT16, Value, ZclType
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
class Row:
    """One attribute of one cluster as a property.

    ``scale``: the property's unit in one of the attribute's. ``invalid``: the number that says "no value".
    ``reporting`` None: it is read once and never asked to be reported. ``commands``: the cluster command without
    payload that sets a value; a writable property without commands is written as the attribute.
    """

    cluster: int
    attribute: int
    type: ZclType
    property: Property
    scale: Fraction | int = 1
    invalid: int | None = None
    reporting: Reporting | None = None
    commands: Mapping[Scalar, int] = field(default_factory=dict)

    def value(self, raw: Value) -> Scalar | None:
        """What the property says. None: the device has no value now, or told one of another kind."""
        kind = self.property.kind
        if kind is ValueKind.TEXT:
            return raw if isinstance(raw, str) else None
        if not isinstance(raw, (int, float)) or raw == self.invalid or raw != raw:
            return None
        if kind is ValueKind.BOOLEAN:
            return raw != 0
        scale = self.scale
        return raw * scale if isinstance(scale, int) else raw * scale.numerator / scale.denominator

    def raw(self, value: Scalar) -> int | float | str:
        """The attribute's value for a property's."""
        if isinstance(value, str):
            return value
        return round(value / self.scale) if self.type.name not in ("semi", "single", "double") else float(value)


def _ipso(number: int) -> str:
    return f"urn:oma:lwm2m:ext:{number}"


ROWS: Final = (
    Row(
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
    Row(
        cluster=0x0402,  # Temperature Measurement (ZCL8, 4.4)
        attribute=0x0000,
        type=INT16,
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
    Row(
        cluster=0x0405,  # Relative Humidity Measurement (ZCL8, 4.7)
        attribute=0x0000,
        type=UINT16,
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
    Row(
        cluster=0x0001,  # Power Configuration (ZCL8, 3.3): battery percentage remaining
        attribute=0x0021,
        type=UINT8,
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


class Table:
    """Rows by their cluster: ``of[cluster][attribute]``."""

    def __init__(self, rows: Iterable[Row] = ROWS) -> None:
        self.rows = tuple(rows)
        self.of: dict[int, dict[int, Row]] = {}
        for row in self.rows:
            self.of.setdefault(row.cluster, {})[row.attribute] = row


TABLE: Final = Table()
