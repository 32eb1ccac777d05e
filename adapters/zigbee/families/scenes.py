"""Scenes, 0x0005 (ZCL8, 3.7): what remotes send of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from adapters.zigbee.cluster_mappings import ActionMapping, AttributeMapping, EventMapping, Happening, WriteMapping
from adapters.zigbee.families.payloads import BYTE, SECONDS, WORD, first, record, told_transition, word
from gateway.api.model import EventAffordance
from gateway.api.model import Value as PropertyValue


def _of(name: str) -> Callable[[bytes], Happening]:
    """Store Scene, Recall Scene (ZCL8, 3.7.2.4.6, 3.7.2.4.7): group, scene, and for the latter maybe a transition."""

    def read(payload: bytes) -> Happening:
        head = first(payload, 3)
        data: dict[str, PropertyValue] = {"scene": head[2], "group": word(head)}
        return name, data | (told_transition(word(payload, 3)) if len(payload) >= 5 else {})

    return read


_DATA: Final = record(("scene", BYTE), ("group", WORD), ("transition_time", SECONDS), required=("scene",))

ROWS: Final[tuple[AttributeMapping, ...]] = ()
WRITES: Final[tuple[WriteMapping, ...]] = ()
ACTIONS: Final[tuple[ActionMapping, ...]] = ()
EVENTS: Final = tuple(
    EventMapping(
        cluster=0x0005,
        command=command,
        by_client=True,
        events=(EventAffordance(name=name, data=_DATA),),
        read=_of(name),
    )
    for command, name in ((0x04, "store"), (0x05, "recall"))
)
