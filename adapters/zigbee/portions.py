"""Attributes in portions, so that a request for each and the answer to it fit one frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from carriage.zigbee.attach import MAX_PAYLOAD
from carriage.zigbee.datatypes import ZclType
from carriage.zigbee.zcl import HEADER_LENGTH, MANUFACTURER_HEADER_LENGTH

T = TypeVar("T")

_TEXT: Final = 20
"""Octets of a value whose length varies, as we expect it; of what a device leaves out it is asked again."""


def portions(each: Iterable[T], octets: Callable[[T], int], manufacturer: int = 0) -> list[tuple[T, ...]]:
    """``each`` in groups, in their order. ``octets`` is what one costs in the longer frame of request and answer."""
    room = MAX_PAYLOAD - (MANUFACTURER_HEADER_LENGTH if manufacturer else HEADER_LENGTH)
    found: list[list[T]] = []
    left = 0
    for one in each:
        size = octets(one)
        if not found or size > left:
            found.append([])
            left = room
        found[-1].append(one)
        left -= size
    return [tuple(group) for group in found]


def read_size(kind: ZclType) -> int:
    """Attribute, status, type and value in a Read Attributes Response (ZCL8, 2.5.2)."""
    return 4 + (kind.size or _TEXT)


def configure_size(kind: ZclType) -> int:
    """A record of Configure Reporting (ZCL8, 2.5.7); that of its answer is shorter."""
    return 8 + (kind.size if kind.analog else 0)


def check_size(kind: ZclType) -> int:
    """A record of a Read Reporting Configuration Response (ZCL8, 2.5.10)."""
    return 1 + configure_size(kind)
