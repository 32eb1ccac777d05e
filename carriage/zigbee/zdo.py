"""The one ZDO request that is ours to send: Bind (ZigBee specification r22, 2.4.3.2.2 and 2.4.4.2.2). Payloads only."""

from __future__ import annotations

from struct import Struct
from typing import Final

from layer.errors import PeerError, UsageError

PROFILE: Final = 0x0000
ENDPOINT: Final = 0
BIND_REQUEST: Final = 0x0021
BIND_RESPONSE: Final = 0x8021
_TO_ENDPOINT: Final = 0x03
_BIND: Final = Struct("<BQBHBQB")

_STATUS_NAMES: Final = {
    0x80: "INV_REQUESTTYPE",
    0x81: "DEVICE_NOT_FOUND",
    0x82: "INVALID_EP",
    0x84: "NOT_SUPPORTED",
    0x85: "TIMEOUT",
    0x8C: "TABLE_FULL",
    0x8D: "NOT_AUTHORIZED",
}


def status_name(code: int) -> str:
    """What people call a ZDP status (r22, table 2-131)."""
    return _STATUS_NAMES.get(code) or f"STATUS_0x{code:02X}"


def bind_request(
    sequence: int, source: int, source_endpoint: int, cluster: int, destination: int, destination_endpoint: int
) -> bytes:
    """Let ``source`` (an EUI64) send what the cluster of its endpoint reports to ``destination``'s endpoint."""
    if not 0 <= sequence <= 0xFF:
        raise UsageError("a ZDO sequence number is one octet")
    return _BIND.pack(sequence, source, source_endpoint, cluster, _TO_ENDPOINT, destination, destination_endpoint)


def bind_response(payload: bytes) -> tuple[int, int]:
    """(sequence, status) of a Bind response."""
    if len(payload) < 2:
        raise PeerError("a ZDO response ends early")
    return payload[0], payload[1]
