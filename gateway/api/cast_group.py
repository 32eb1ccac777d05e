"""The numbers of ZigBee groups, as people write them and as claims have them."""

from __future__ import annotations

import re
from typing import Final

FIRST: Final = 0x0001
LAST: Final = 0xFFF7
"""The last eight of 16 bits are reserved (ZigBee specification r22)."""
_WRITTEN: Final = re.compile(r"0[xX][0-9A-Fa-f]{1,4}|[0-9]{1,5}")


def parse_group(value: object) -> str:
    """``0x0001`` of ``1``, ``"1"`` or ``"0x1"``. ValueError says what was expected."""
    number = value if isinstance(value, int) and not isinstance(value, bool) else 0
    if isinstance(value, str) and _WRITTEN.fullmatch(value.strip()):
        number = int(value.strip(), 16 if value.strip()[:2].lower() == "0x" else 10)
    if not FIRST <= number <= LAST:
        raise ValueError(f"expected the number of a group, from {FIRST} to {LAST}, such as 0x{FIRST:04x}")
    return f"0x{number:04x}"
