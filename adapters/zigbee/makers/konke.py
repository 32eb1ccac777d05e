"""Konke's button and motion detectors. Its contacts, climate sensors and water detectors are as the standard says.

The button reports its presses as values of On/Off that no boolean has. No detector says that a motion is over.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from adapters.zigbee.cluster_mappings import AttributeMapping, Happening, ReportedEventMapping
from adapters.zigbee.families.security import ZONE
from adapters.zigbee.maker_devices import MakerDevices
from carriage.zigbee.datatypes import Value
from gateway.api.model import EventAffordance

_MAKER: Final = "Konke"
_ON_OFF: Final = 0x0006
_PRESSES: Final = {0x80: "single", 0x81: "double", 0x82: "hold"}
_MOTION_ENDS: Final = 90


def _pressed(value: Value) -> Happening | None:
    word = _PRESSES.get(value) if isinstance(value, int) else None
    return None if word is None else (word, None)


def _that_ends(row: AttributeMapping) -> AttributeMapping:
    motion = (row.cluster, row.property.name) == (ZONE, "occupancy")
    return replace(row, ends=_MOTION_ENDS) if motion else row


DEVICES: Final = (
    MakerDevices(
        maker=_MAKER,
        models=("3AFE170100510001", "3AFE280100510001"),
        reported_events=(
            ReportedEventMapping(
                cluster=_ON_OFF,
                attribute=0x0000,
                events=tuple(EventAffordance(name=name) for name in _PRESSES.values()),
                read=_pressed,
            ),
        ),
        without=frozenset((_ON_OFF,)),
    ),
    MakerDevices(maker=_MAKER, models=("3AFE14010402000D", "3AFE27010402000D", "3AFE28010402000D"), changed=_that_ends),
)
