"""Sleeping devices: Poll Control, 0x0020 (ZCL8, 3.16). A device that sleeps checks in once an hour, so that it
is known to be there; it polls fast for a while if something waits for it.
"""

from __future__ import annotations

from typing import Final

from adapters.zigbee.cluster_mappings import (
    ActionMapping,
    AttributeMapping,
    EventMapping,
    Particulars,
    SettingMapping,
    WriteMapping,
)
from carriage.zigbee.datatypes import UINT32

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
