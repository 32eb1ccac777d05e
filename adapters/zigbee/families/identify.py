"""Which one it is: Identify, 0x0003 (ZCL8, 3.5)."""

from __future__ import annotations

from typing import Final

from adapters.zigbee.cluster_mappings import ActionMapping, AttributeMapping, EventMapping, WriteMapping
from adapters.zigbee.families.payloads import amount, fields_of, record, words
from gateway.api.model import ActionAffordance, DataSchema, DataType
from gateway.api.model import Value as PropertyValue
from layer.errors import UsageError

_LONGEST: Final = 0xFFFE
_EFFECTS: Final = {
    "blink": 0x00,
    "breathe": 0x01,
    "okay": 0x02,
    "channel_change": 0x0B,
    "finish_effect": 0xFE,
    "stop_effect": 0xFF,
}
"""Of Trigger Effect (ZCL8, 3.5.2.3.3)."""


def _identify(given: PropertyValue | None) -> bytes:
    return words(max(0, amount(given, "duration", _LONGEST)))


def _effect(given: PropertyValue | None) -> bytes:
    number = _EFFECTS.get(str(fields_of(given).get("effect")))
    if number is None:
        raise UsageError("no such effect")
    return bytes((number, 0))  # of each effect there is one variant


ROWS: Final[tuple[AttributeMapping, ...]] = ()
WRITES: Final[tuple[WriteMapping, ...]] = ()
ACTIONS: Final = (
    ActionMapping(
        cluster=0x0003,
        command=0x00,
        action=ActionAffordance(
            name="identify",
            input=record(
                ("duration", DataSchema(type=DataType.INTEGER, minimum=0, maximum=_LONGEST)), required=("duration",)
            ),
            idempotent=True,
        ),
        payload=_identify,
    ),
    ActionMapping(
        cluster=0x0003,
        command=0x40,
        beside=(0x0008, 0x0300),
        action=ActionAffordance(
            name="effect",
            input=record(("effect", DataSchema(type=DataType.STRING, enum=tuple(_EFFECTS))), required=("effect",)),
            idempotent=True,
            entity="light",
        ),
        payload=_effect,
    ),
)
EVENTS: Final[tuple[EventMapping, ...]] = ()
