"""The properties of the standard's rows, for makers' devices that have the same by other attributes."""

from __future__ import annotations

from typing import Final

from adapters.zigbee.cluster_mappings import AttributeMapping
from adapters.zigbee.families import closures, energy, hvac, lighting, measurement, power, security, switching
from gateway.api.model import PropertyAffordance

_FAMILIES: Final = (switching, lighting, measurement, energy, closures, hvac, security, power)
_ROWS: Final[tuple[AttributeMapping, ...]] = tuple(row for family in _FAMILIES for row in family.ROWS)


def standard(name: str, *, entity: str | None = None) -> PropertyAffordance:
    """The property with this name; ``entity``: of several the one that is part of this. LookupError: there is none."""
    for row in _ROWS:
        if row.property.name == name and entity in (None, row.property.entity):
            return row.property
    raise LookupError(name)
