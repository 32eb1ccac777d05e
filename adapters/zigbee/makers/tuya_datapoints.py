"""Tuya's datapoints: all that such a device has goes through one cluster of Tuya's own, 0xEF00, in both directions.

A command there is a number (uint16) and datapoints: the id (uint8), a type (uint8), the length of the value (uint16)
and the value, with the most significant octet first. What an id means each model decides: a row's ``attribute`` is one.
Nothing can be read. What is set is acknowledged by the radio only; the device then reports what it has become.

Sources: Tuya's description of its generic ZigBee interfaces, zha-quirks and zigbee-herdsman-converters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import count
from typing import Any, Final

from adapters.zigbee.cluster_mappings import (
    ActionMapping,
    AttributeMapping,
    EventMapping,
    Plan,
    SetupMapping,
    WriteMapping,
)
from adapters.zigbee.makers.standard import standard
from adapters.zigbee.transaction import Content
from carriage.zigbee import foundation
from carriage.zigbee.datatypes import BOOL, ENUM8, INT32, OCTSTR, STRING, TYPES, Value, ZclType
from carriage.zigbee.foundation import General
from gateway.api.errors import PeerError, UsageError
from gateway.api.model import ActionAffordance, PropertyAffordance, Scalar
from gateway.api.model import Value as PropertyValue

CLUSTER: Final = 0xEF00
_SET, _QUERY, _TIME, _CONNECTION = 0x00, 0x03, 0x24, 0x25
_TELLS: Final = (0x01, 0x02, 0x05, 0x06)
"""Commands with datapoints: the answer to what was set, a report, and two reports of sleeping devices."""

# The octets -----------------------------------------------------------------------------------------------------------

_HEAD, _POINT = 2, 4
"""Octets of the number in front, and of a datapoint without its value."""
_RAW, _BOOL, _VALUE, _STRING, _ENUM, _BITMAP = range(6)
_NUMBERS: Final[Mapping[tuple[int, int], ZclType]] = {
    (_BOOL, 1): BOOL,
    (_ENUM, 1): ENUM8,
    **{(_VALUE, width): TYPES[0x27 + width] for width in (1, 2, 4)},
    **{(_BITMAP, width): TYPES[0x17 + width] for width in (1, 2, 4)},
}
"""By type and length of a datapoint the ZCL type of the same values."""
_TYPES: Final[Mapping[int, int]] = {BOOL.id: _BOOL, ENUM8.id: _ENUM, INT32.id: _VALUE}


def datapoints(payload: bytes) -> list[tuple[int, int, Value]]:
    """What a command tells: ids, ZCL types and values. PeerError: it is malformed."""
    found: list[tuple[int, int, Value]] = []
    at, end = _HEAD, len(payload)
    if at + _POINT > end:
        raise PeerError("no datapoint")
    while at < end:
        if at + _POINT > end:
            raise PeerError("a datapoint ends early")
        number, kind = payload[at], payload[at + 1]
        start = at + _POINT
        at = start + int.from_bytes(payload[at + 2 : start], "big")
        if at > end:
            raise PeerError("a datapoint ends early")
        octets = payload[start:at]
        if kind == _RAW:
            found.append((number, OCTSTR.id, octets))
        elif kind == _STRING:
            found.append((number, STRING.id, octets.decode(errors="replace")))
        elif (own := _NUMBERS.get((kind, len(octets)))) is not None:
            found.append((number, own.id, int.from_bytes(octets, "big", signed=kind == _VALUE)))
        else:
            raise PeerError("a datapoint of an unknown type or length")
    return found


_numbers = count()


def setting(number: int, kind: ZclType, value: float) -> bytes:
    """The payload that sets a datapoint of a type with a fixed length."""
    octets = round(value).to_bytes(kind.size, "big", signed=kind is INT32)
    head = (next(_numbers) & 0xFFFF).to_bytes(_HEAD, "big")
    return head + bytes((number, _TYPES[kind.id])) + len(octets).to_bytes(2, "big") + octets


# Rows -----------------------------------------------------------------------------------------------------------------

_SILENT: Final = 90_000.0
"""The lifetime of what nothing asks a device to report."""


def point(number: int, shown: PropertyAffordance | str, kind: ZclType = INT32, **columns: Any) -> AttributeMapping:
    """A datapoint as a property, or as the standard's of this name. ``columns`` as of an ``AttributeMapping``."""
    if isinstance(shown, str):
        shown = standard(shown)
    return AttributeMapping(
        cluster=CLUSTER,
        attribute=number,
        type=kind,
        property=replace(shown, lifetime=_SILENT),
        unasked=True,
        **columns,
    )


def writes(rows: Iterable[AttributeMapping]) -> tuple[WriteMapping, ...]:
    """The commands that set what can be set by the datapoint that tells it."""
    return tuple(set_by(row.property.name, _own(row)) for row in rows if row.property.writable)


def set_by(name: str, plan: Callable[[PropertyValue], bytes]) -> WriteMapping:
    """The command that sets a property. ``plan``: its payload; UsageError: there is no such value."""
    return WriteMapping(
        cluster=CLUSTER, command=_SET, properties=(name,), plan=lambda given: Plan(plan(given[name])), unanswered=True
    )


def _own(row: AttributeMapping) -> Callable[[PropertyValue], bytes]:
    def plan(wanted: PropertyValue) -> bytes:
        try:
            raw = row.raw(wanted) if isinstance(wanted, Scalar) else None
        except (ValueError, OverflowError):  # none of its words, or infinite
            raw = None
        if not isinstance(raw, int) or row.value(raw) is None:
            raise UsageError("not a value of this property")
        return setting(row.attribute, row.type, raw)

    return plan


def does(action: ActionAffordance, number: int, kind: ZclType, value: int) -> ActionMapping:
    """An action that sets a datapoint."""
    return ActionMapping(
        cluster=CLUSTER,
        command=_SET,
        action=action,
        payload=lambda given: setting(number, kind, value),
        unanswered=True,
    )


# What every such device needs -----------------------------------------------------------------------------------------


def _connected(payload: bytes, waits: bool) -> tuple[int, bytes]:
    """The gateway is connected: a length (uint16) and 1. Some devices stop telling values if it isn't."""
    return _CONNECTION, b"\x01\x00\x01"


EVENTS: Final = (
    *(EventMapping(cluster=CLUSTER, command=each, by_client=False, values=datapoints) for each in _TELLS),
    EventMapping(cluster=CLUSTER, command=_CONNECTION, by_client=False, reply=_connected),
)
UNIX, YEAR_2000 = 0, 946_684_800
"""When a device's clock begins to count, in seconds of Unix."""
_UNSET: Final = YEAR_2000 + 86_400
"""An earlier time is that of a computer whose clock is not set yet."""


def clock(since: int, now: Callable[[], float] = time.time) -> EventMapping:
    """The row of a device that asks for the time: a length (uint16), the seconds of UTC and of local time (uint32)."""

    def reply(payload: bytes, waits: bool) -> tuple[int, bytes] | None:
        seconds = int(now())
        if seconds < _UNSET:
            return None  # the device asks again
        local = seconds + time.localtime(seconds).tm_gmtoff
        return _TIME, b"\x08\x00" + b"".join((each - since).to_bytes(4, "big") for each in (seconds, local))

    return EventMapping(cluster=CLUSTER, command=_TIME, by_client=False, reply=reply)


_IDENTITY: Final = (0x0004, 0x0000, 0x0001, 0x0005, 0x0007, 0xFFFE)
HELLO: Final = SetupMapping(
    cluster=0x0000,
    name="tuya_hello",
    content=lambda own: Content(General.READ, foundation.read(_IDENTITY), General.READ_RESPONSE),
)
"""Many begin to tell values only after Basic was read just so, as Tuya's own gateways do."""
ASK: Final = SetupMapping(
    cluster=CLUSTER,
    name="tuya_values",
    content=lambda own: Content(_QUERY, b"", cluster_specific=True, unanswered=True),
)
"""Some tell their values only if they are asked for all."""
