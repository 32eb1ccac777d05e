"""Pieces of cluster commands' payloads that several families read or write."""

from __future__ import annotations

from typing import Final

from gateway.api.errors import PeerError
from gateway.api.model import DataSchema, DataType
from gateway.api.model import Value as PropertyValue
from layer.errors import UsageError

TENTHS: Final = 10
"""Of a second: the unit of transition times (ZCL8, 3.10.2.4.1)."""
INSTANT: Final = 0xFFFF
"""As a transition time: the device's own (ZCL8, 3.10.2.4.1). Only Level Control has it."""
LONGEST: Final = 6553.0
"""Seconds of the longest transition."""

BYTE: Final = DataSchema(type=DataType.INTEGER, minimum=0, maximum=255)
WORD: Final = DataSchema(type=DataType.INTEGER, minimum=0, maximum=0xFFFF)
SECONDS: Final = DataSchema(type=DataType.NUMBER, unit="s", minimum=0, maximum=LONGEST, multiple_of=0.1)


def first(payload: bytes, size: int) -> bytes:
    """Devices may send more than the standard has, by a later one. PeerError: less."""
    if len(payload) < size:
        raise PeerError("a cluster command ends early")
    return payload[:size]


def word(octets: bytes, at: int = 0) -> int:
    """Two octets as a number."""
    return int.from_bytes(octets[at : at + 2], "little")


def words(*numbers: int) -> bytes:
    """Numbers of two octets each."""
    return b"".join(number.to_bytes(2, "little") for number in numbers)


def transition(seconds: object, otherwise: int = INSTANT) -> bytes:
    """A transition time in tenths; ``otherwise`` if it isn't a number."""
    return words(round(seconds * TENTHS) if isinstance(seconds, int | float) else otherwise)


def told_transition(tenths: int) -> dict[str, PropertyValue]:
    """A transition time as the field of an event's data; none if it is the device's own."""
    return {} if tenths == INSTANT else {"transition_time": tenths / TENTHS}


def record(*fields: tuple[str, DataSchema], required: tuple[str, ...] = ()) -> DataSchema:
    """The schema of an object."""
    return DataSchema(type=DataType.OBJECT, fields=fields, required=frozenset(required))


def signed(most: int) -> DataSchema:
    """The schema of a step or a rate: above 0 it is upwards, below downwards."""
    return DataSchema(type=DataType.INTEGER, minimum=-most, maximum=most)


def fields_of(given: PropertyValue | None) -> dict[str, PropertyValue]:
    """The input of an action that is an object. UsageError: it is none."""
    if not isinstance(given, dict):
        raise UsageError("an object is expected")
    return given


def amount(given: PropertyValue | None, name: str, most: int) -> int:
    """A step or a rate of an action's input. UsageError: it is none."""
    value = fields_of(given).get(name)
    if not isinstance(value, int) or not -most <= value <= most:
        raise UsageError("out of range")
    return value
