"""The lists in which LUMI's devices (Mijia, Aqara) tell battery, counters and measurements, about once an hour.

Three attributes hold one: 0xFF01 of Basic (called a string, and it is octets) and 0x00F7 of LUMI's own cluster 0xFCC0
(octets) are pairs of a tag and a value with its ZCL type; 0xFF02 of Basic is a structure, whose values have no tags.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from adapters.zigbee.cluster_mappings import AttributeMapping
from carriage.zigbee.datatypes import OCTSTR, STRING, STRUCT, Value, ZclType, decode
from gateway.api.errors import PeerError
from gateway.api.model import PropertyAffordance

CODE: Final = 0x115F
"""LUMI's manufacturer code."""
OWN: Final = 0xFCC0
"""LUMI's own cluster."""
_COUNT: Final = 2
"""Octets of the number of elements in a structure (ZCL8, 2.6.2.24)."""
_STRAY: Final = b"\x00"
"""Some lists have an octet too many at their end."""


@lru_cache(maxsize=8)  # each row of a device asks for its part of the same list
def tagged(octets: bytes) -> Mapping[int, Value]:
    """The values of a list by their tags.

    Of one that is malformed those in front of the fault, for some have types that no standard knows. PeerError: there
    are none.
    """
    found: dict[int, Value] = {}
    at, end = 0, len(octets)
    while at < end and octets[at:] != _STRAY:
        try:
            if at + 2 > end:
                raise PeerError("a list of tags ends early")
            found[octets[at]], at = decode(octets[at + 1], octets, at + 2)
        except PeerError:
            if not found:
                raise
            break
    return found


@lru_cache(maxsize=8)
def elements(octets: bytes) -> Mapping[int, Value]:
    """The values of a structure by their place in it, of the octets behind its type. PeerError: it is malformed."""
    found: dict[int, Value] = {}
    at, end = _COUNT, len(octets)
    if at > end:
        raise PeerError("a structure ends early")
    for each in range(int.from_bytes(octets[:_COUNT], "little")):
        if at >= end:
            raise PeerError("a structure ends early")
        found[each], at = decode(octets[at], octets, at + 1)
    return found


class TagList(NamedTuple):
    """One of the attributes, and how it is read."""

    cluster: int
    attribute: int
    type: ZclType
    read: Callable[[bytes], Mapping[int, Value]]
    manufacturer: int = 0

    def row(self, tag: int, shown: PropertyAffordance, **columns: Any) -> AttributeMapping:
        """The row of one value of the list; ``columns`` as of an ``AttributeMapping``."""

        def part(octets: bytes) -> Value:
            return self.read(octets).get(tag)

        return AttributeMapping(
            cluster=self.cluster,
            attribute=self.attribute,
            type=self.type,
            manufacturer=self.manufacturer,
            part=part,
            unasked=True,
            property=shown,
            **columns,
        )


BASIC: Final = TagList(0x0000, 0xFF01, STRING, tagged)
OLD: Final = TagList(0x0000, 0xFF02, STRUCT, elements)
"""Of Mijia's first sensors. The battery's voltage is the second element."""
OWN_LIST: Final = TagList(OWN, 0x00F7, OCTSTR, tagged, CODE)
