"""What requests of ATLS name on every carriage that has requests: session ids, aliases, nonces, unit numbers.

Every one has exactly one spelling, so that what a peer sends can be compared as it came.
"""

from __future__ import annotations

from typing import Final

MAX_N: Final = (1 << 64) - 1
"""The highest number that a unit can have."""

_HEX: Final = "0123456789abcdef"
_ALIAS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"


def is_session(text: str) -> bool:
    """32 lower-case hexadecimal digits."""
    return len(text) == 32 and not text.strip(_HEX)


def is_alias(text: str) -> bool:
    """1 to 64 of ``A-Z a-z 0-9 . _ -``."""
    return 1 <= len(text) <= 64 and not text.strip(_ALIAS)


def is_nonce(text: str) -> bool:
    """8 to 32 octets in lower-case hexadecimal."""
    return 16 <= len(text) <= 64 and not len(text) & 1 and not text.strip(_HEX)


def parse_number(text: str) -> int | None:
    """A unit number: decimal, no leading zeros, below 2**64; ``None`` otherwise."""
    if not 1 <= len(text) <= 20 or text.strip("0123456789") or (text[0] == "0" and len(text) > 1):
        return None
    number = int(text)
    return number if number <= MAX_N else None
