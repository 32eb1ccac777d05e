"""The Observe sequence number (RFC 7641 sections 3.4 and 4.4): 24 bits that wrap around. Nothing else."""

from __future__ import annotations

from typing import Final

REGISTER: Final = 0
DEREGISTER: Final = 1
SPACE: Final = 1 << 24
_HALF: Final = 1 << 23
_OLD: Final = 128.0  # seconds after which any number counts as newer


def is_newer(number: int, at: float, last: int, last_at: float) -> bool:
    """Whether a notification with ``number`` received ``at`` is newer than the last one."""
    return 0 < (number - last) % SPACE < _HALF or at > last_at + _OLD
