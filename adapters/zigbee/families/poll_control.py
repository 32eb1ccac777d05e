"""Sleeping devices: Poll Control, 0x0020 (ZCL8, 3.16). A device that sleeps checks in once an hour, so that it
is known to be there; it polls fast for a while if something waits for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from adapters.zigbee.cluster_mappings import (
    ActionMapping,
    AttributeMapping,
    EventMapping,
    Particulars,
    SettingMapping,
    WriteMapping,
)
from carriage.zigbee.datatypes import UINT32, Value

CLUSTER: Final = 0x0020
_INTERVAL, _LONG_POLL, _LEAST = 0x0000, 0x0001, 0x0004
HOUR: Final = 4 * 3600
"""In quarters of a second, as all times of this cluster: the standard's default."""
_RESPONSE: Final = 0x00
_POLL_FAST: Final = b"\x01\x00\x00"
"""For as long as the device does by itself (ZCL8, 3.16.5.4.2)."""
_GO_ON: Final = b"\x00\x00\x00"


def _interval(known: Particulars) -> int | None:
    """Once an hour, or as often as the device may; one that checks in more often already stays as it is."""
    given = {number: value for number, value in known.constants.items() if isinstance(value, int)}
    least = max(given.get(_LEAST, 0), given.get(_LONG_POLL, 0))
    now, wanted = given.get(_INTERVAL), max(HOUR, least)
    return None if now is None or 0 < now <= wanted else wanted


_OFTEN: Final = 30
"""The longest of long polls with which a device gets what waits for it: its parent keeps it for 7.68 s (IEEE 802.15.4,
5.1.1.6.3)."""
_TAKES_ORDERS: Final = frozenset({0x0101, 0x0102, 0x0201})
"""Locks, covers, thermostats: without ears they would be of no use, so they poll every few seconds."""


def polls_often(clusters: Collection[int], constants: Mapping[int, Value]) -> bool:
    """Whether a sleeping device polls so often that it can be sent to at any time: by what its Poll Control cluster
    says, else by what it is."""
    said = constants.get(_LONG_POLL)
    return 0 < said <= _OFTEN if isinstance(said, int) else not _TAKES_ORDERS.isdisjoint(clusters)


ROWS: Final[tuple[AttributeMapping, ...]] = ()
WRITES: Final[tuple[WriteMapping, ...]] = ()
ACTIONS: Final[tuple[ActionMapping, ...]] = ()
EVENTS: Final = (
    EventMapping(
        cluster=CLUSTER,
        command=0x00,
        by_client=False,
        reply=lambda payload, waits: (_RESPONSE, _POLL_FAST if waits else _GO_ON),
    ),
)
SETTINGS: Final = (
    SettingMapping(
        cluster=CLUSTER,
        attribute=_INTERVAL,
        type=UINT32,
        value=_interval,
        needs=(_INTERVAL, _LONG_POLL, _LEAST),
    ),
)
