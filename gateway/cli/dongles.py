"""Dongles by their USB descriptors. Many share the bridge chip's ids, so a word of their names has to match, too.

Speeds and flow control are those of the firmware that the maker ships. Nothing is asked of the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Firmware(Enum):
    EZSP = "ezsp"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Dongle:
    """``words``: of these at least one is in its names (lower case); none: the ids say enough."""

    name: str
    ids: tuple[tuple[int, int], ...]
    words: tuple[str, ...] = ()
    firmware: Firmware = Firmware.EZSP
    baudrate: int = 115200
    flow_control: str = "software"


_CP210X, _CH9102, _FTDI = (0x10C4, 0xEA60), (0x1A86, 0x55D4), (0x0403, 0x6015)

# The first that fits counts: what is more special stands first.
_KNOWN = (
    Dongle("SONOFF ZigBee 3.0 Dongle Plus V2 (Dongle-E)", (_CP210X, _CH9102), ("dongle_plus_v2", "dongle plus v2")),
    Dongle("SONOFF Dongle Max (Dongle-M)", (_CP210X,), ("dongle_max", "dongle max")),
    Dongle("SONOFF ZigBee 3.0 Dongle Plus (Dongle-P)", (_CP210X,), ("dongle_plus", "dongle plus"), Firmware.OTHER),
    Dongle("SONOFF ZigBee 3.0 Dongle Plus V2 (Dongle-E)", (_CH9102,), ("sonoff", "itead")),
    Dongle("Home Assistant SkyConnect", (_CP210X,), ("skyconnect",), flow_control="hardware"),
    Dongle("Home Assistant Connect ZBT-1", (_CP210X,), ("zbt-1", "zbt_1"), flow_control="hardware"),
    Dongle(
        "Home Assistant Connect ZBT-2",
        ((0x303A, 0x4001), (0x303A, 0x831A)),
        ("zbt-2", "zbt_2"),
        baudrate=460800,
        flow_control="hardware",
    ),
    Dongle("SMLIGHT SLZB-07 or -06 with a TI radio", (_CP210X,), ("slzb-07p7", "slzb-06p"), Firmware.OTHER),
    Dongle("SMLIGHT SLZB-07", (_CP210X,), ("slzb-07",), flow_control="hardware"),
    Dongle("Nortek HUSBZB-1", ((0x10C4, 0x8A2A),), ("zigbee",), baudrate=57600),
    Dongle("dresden elektronik ConBee", ((0x1CF1, 0x0030), _FTDI), ("conbee",), Firmware.OTHER),
    Dongle("Electrolama zzh", (_FTDI,), ("electrolama", "zzh"), Firmware.OTHER),
    Dongle("slae.sh CC2652RB", (_CP210X,), ("cc2652",), Firmware.OTHER),
    Dongle("ZiGate", (_CP210X, _FTDI, (0x067B, 0x2303)), ("zigate",), Firmware.OTHER),
    Dongle("TubesZB or ZigStar with a TI radio", (_CP210X, (0x1A86, 0x7523)), ("tubeszb", "zigstar"), Firmware.OTHER),
    Dongle("Texas Instruments CC253x", ((0x0451, 0x16A8), (0x0451, 0x16C8)), (), Firmware.OTHER),
    Dongle("Texas Instruments LaunchPad", ((0x0451, 0xBEF3),), (), Firmware.OTHER),
)


def known(vid: int, pid: int, words: str) -> Dongle | None:
    """The dongle with these USB ids and names; None for one that we don't know."""
    text = words.lower()
    for dongle in _KNOWN:
        if (vid, pid) in dongle.ids and (not dongle.words or any(word in text for word in dongle.words)):
            return dongle
    return None
