"""What a device has and tells, by the rows of ``clusters``: its properties, and the values in its reports.

Pure: no radio, no clock.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass, field, replace
from typing import Final

from adapters.zigbee.air import LINK_KEY, NETWORK_KEY, Device
from adapters.zigbee.clusters import Row, Table
from carriage.zigbee import foundation
from gateway.api.model import Peer, Property, Scalar

BASIC: Final = 0x0000
MAX_PROPERTIES: Final = 64
"""Of one device; what its further endpoints offer is left out."""
RECENT: Final = 8
"""Frames of a device that are remembered to know their copies."""
RECENT_SECONDS: Final = 5.0
"""A copy comes within the APS retries of its sender (3 of 1.6 s); later the counters may have gone round."""

Values = tuple[tuple[str, Scalar | None], ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """One property of one device: where it is."""

    property: Property
    endpoint: int
    row: Row

    @builtins.property
    def place(self) -> int:
        """The cluster on its endpoint as one number, a key of tables."""
        return self.endpoint << 16 | self.row.cluster


@dataclass(slots=True, eq=False)
class Model:
    """One device as this adapter understands it. ``places``: the slots of a cluster on an endpoint by attribute."""

    eui64: str
    sleepy: bool
    peer: Peer
    peer_link_key: Peer
    slots: dict[str, Slot]
    places: dict[int, dict[int, Slot]]
    endpoint: int
    """One with the Basic cluster, as every device has it."""
    answering: bool = False
    """A default response to it is on its way."""
    recent: dict[tuple[int, int, bool, bytes], float] = field(default_factory=dict)

    @property
    def properties(self) -> tuple[Property, ...]:
        return tuple(slot.property for slot in self.slots.values())

    def repeated(self, key: tuple[int, int, bool, bytes], now: float) -> bool:
        """Whether this frame came already: the same APS counter, place, protection and octets (with the ZCL sequence) a
        moment ago."""
        recent = self.recent
        before = recent.get(key)
        if before is not None and now - before < RECENT_SECONDS:
            return True
        if before is not None:
            del recent[key]  # so that it is the youngest again
        elif len(recent) >= RECENT:
            del recent[next(iter(recent))]
        recent[key] = now
        return False


def peer_of(eui64: str, *, link_key: bool = False) -> Peer:
    return Peer(scheme="zigbee", claims=(f"eui64:{eui64}",), link=LINK_KEY if link_key else NETWORK_KEY)


def model_of(device: Device, table: Table) -> Model:
    """What a device's interview says, as properties; those of a further endpoint have its number: ``state_2``."""
    slots: dict[str, Slot] = {}
    places: dict[int, dict[int, Slot]] = {}
    for endpoint in device.endpoints:
        for cluster in endpoint.in_clusters:
            for row in table.of.get(cluster, {}).values():
                name = row.property.name
                if name in slots:
                    name = f"{name}_{endpoint.number}"
                if name in slots or len(slots) >= MAX_PROPERTIES:
                    continue
                slot = slots[name] = Slot(replace(row.property, name=name), endpoint.number, row)
                places.setdefault(slot.place, {})[row.attribute] = slot
    return Model(
        eui64=device.eui64,
        sleepy=device.sleepy,
        peer=peer_of(device.eui64),
        peer_link_key=peer_of(device.eui64, link_key=True),
        slots=slots,
        places=places,
        endpoint=next((endpoint.number for endpoint in device.endpoints if BASIC in endpoint.in_clusters), 1),
    )


def reported(slots: dict[int, Slot], payload: bytes) -> Values:
    """The values in a report of one cluster, attributes that have no row left out. PeerError: it can't be read."""
    values: list[tuple[str, Scalar | None]] = []
    for attribute, type_id, raw in foundation.reported(payload):
        slot = slots.get(attribute)
        if slot is not None and type_id == slot.row.type.id:
            values.append((slot.property.name, slot.row.value(raw)))
    return tuple(values)


def answered(slots: dict[int, Slot], records: list[foundation.ReadRecord]) -> Values:
    """The values in a read response."""
    return tuple(
        (slot.property.name, slot.row.value(record.value))
        for record in records
        if not record.status and (slot := slots.get(record.attribute)) is not None and record.type == slot.row.type.id
    )
