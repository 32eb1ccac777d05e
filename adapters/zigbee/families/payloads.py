"""Pieces of cluster commands' payloads that several families read or write."""

from __future__ import annotations

from typing import Final

from gateway.api.errors import PeerError

TENTHS: Final = 10
"""Of a second: the unit of transition times (ZCL8, 3.10.2.4.1)."""
INSTANT: Final = 0xFFFF
"""As a transition time: the device's own (ZCL8, 3.10.2.4.1)."""


def first(payload: bytes, size: int) -> bytes:
    """Devices may send more than the standard has, by a later one. PeerError: less."""
    if len(payload) < size:
        raise PeerError("a cluster command ends early")
    return payload[:size]


def word(octets: bytes, at: int = 0) -> int:
    """Two octets as a number."""
    return int.from_bytes(octets[at : at + 2], "little")


def transition(seconds: object) -> bytes:
    """A transition time in tenths; the device's own if it isn't a number."""
    tenths = round(seconds * TENTHS) if isinstance(seconds, int | float) else INSTANT
    return tenths.to_bytes(2, "little")
