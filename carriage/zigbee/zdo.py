"""The ZDO requests that are ours to send (ZigBee specification r22, 2.4.3 and 2.4.4). Payloads only.

Bind and unbind, the question for one endpoint's simple descriptor, and leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct, unpack_from
from typing import Final

from layer.errors import PeerError, UsageError

PROFILE: Final = 0x0000
ENDPOINT: Final = 0
SIMPLE_DESCRIPTOR_REQUEST: Final = 0x0004
SIMPLE_DESCRIPTOR_RESPONSE: Final = 0x8004
BIND_REQUEST: Final = 0x0021
BIND_RESPONSE: Final = 0x8021
UNBIND_REQUEST: Final = 0x0022
UNBIND_RESPONSE: Final = 0x8022
NEIGHBOURS_REQUEST: Final = 0x0031
NEIGHBOURS_RESPONSE: Final = 0x8031
LEAVE_REQUEST: Final = 0x0034
LEAVE_RESPONSE: Final = 0x8034
_TO_GROUP: Final = 0x01
_TO_ENDPOINT: Final = 0x03
_BIND_GROUP: Final = Struct("<BQBHBH")
NO_ENTRY: Final = 0x88
_BIND: Final = Struct("<BQBHBQB")
_LEAVE: Final = Struct("<BQB")
_NEIGHBOUR: Final = Struct("<QQHBBBB")
_DESCRIPTOR_REQUEST: Final = Struct("<BHB")
_DESCRIPTOR_HEAD: Final = Struct("<BHB")
_DESCRIPTOR: Final = Struct("<BHHBB")

_STATUS_NAMES: Final = {
    0x80: "INV_REQUESTTYPE",
    0x81: "DEVICE_NOT_FOUND",
    0x82: "INVALID_EP",
    0x83: "NOT_ACTIVE",
    0x84: "NOT_SUPPORTED",
    0x85: "TIMEOUT",
    0x88: "NO_ENTRY",
    0x8C: "TABLE_FULL",
    0x8D: "NOT_AUTHORIZED",
}


def status_name(code: int) -> str:
    """The name of a ZDP status (r22, table 2-131)."""
    return _STATUS_NAMES.get(code) or f"STATUS_0x{code:02X}"


def bind_request(
    sequence: int, source: int, source_endpoint: int, cluster: int, destination: int, destination_endpoint: int
) -> bytes:
    """Let ``source`` (an EUI64) send what the cluster of its endpoint reports to ``destination``'s endpoint."""
    if not 0 <= sequence <= 0xFF:
        raise UsageError("a ZDO sequence number is one octet")
    return _BIND.pack(sequence, source, source_endpoint, cluster, _TO_ENDPOINT, destination, destination_endpoint)


def bind_group_request(sequence: int, source: int, source_endpoint: int, cluster: int, group: int) -> bytes:
    """The same to a group (r22, 2.4.3.2.2). An Unbind request has the layout of the Bind request that it undoes."""
    if not 0 <= sequence <= 0xFF:
        raise UsageError("a ZDO sequence number is one octet")
    return _BIND_GROUP.pack(sequence, source, source_endpoint, cluster, _TO_GROUP, group)


def bind_response(payload: bytes) -> tuple[int, int]:
    """(sequence, status) of a Bind response."""
    if len(payload) < 2:
        raise PeerError("a ZDO response ends early")
    return payload[0], payload[1]


def leave_request(sequence: int, eui64: int) -> bytes:
    """Have the device with this EUI64 leave for good: its children stay, and it doesn't come back by itself (r22,
    2.4.3.3.5)."""
    if not 0 <= sequence <= 0xFF:
        raise UsageError("a ZDO sequence number is one octet")
    return _LEAVE.pack(sequence, eui64, 0)


def leave_response(payload: bytes) -> int:
    """The status of a Mgmt_Leave_rsp without its sequence number (r22, 2.4.4.4.5)."""
    if not payload:
        raise PeerError("a ZDO response ends early")
    return payload[0]


@dataclass(frozen=True, slots=True)
class SimpleDescriptor:
    """The simple descriptor of an endpoint (r22, 2.3.2.5). ``inputs``: the clusters whose server it is."""

    endpoint: int
    profile: int
    device_id: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def simple_descriptor_request(sequence: int, nwk: int, endpoint: int) -> bytes:
    """Ask what an endpoint of the device with this network address is (r22, 2.4.3.1.5)."""
    if not (0 <= sequence <= 0xFF and 1 <= endpoint <= 0xFF):
        raise UsageError("a sequence number and an endpoint are one octet each")
    return _DESCRIPTOR_REQUEST.pack(sequence, nwk, endpoint)


def simple_descriptor_response(payload: bytes) -> SimpleDescriptor:
    """The descriptor in a Simple_Desc_rsp without its sequence number (r22, 2.4.4.1.5).

    PeerError: another status than success, no descriptor, or one that is cut short.
    """
    if not payload:
        raise PeerError("a ZDO response ends early")
    if payload[0]:
        raise PeerError(f"the endpoint is not described: {status_name(payload[0])}")
    head = _DESCRIPTOR_HEAD.size
    if len(payload) < head + _DESCRIPTOR.size or payload[head - 1] < _DESCRIPTOR.size:
        raise PeerError("the endpoint is not described: there is no descriptor")
    found = payload[head : head + payload[head - 1]]
    endpoint, profile, device_id, _, count = _DESCRIPTOR.unpack_from(found)
    inputs, at = _clusters(found, _DESCRIPTOR.size, count)
    if at >= len(found):
        raise PeerError("a simple descriptor ends early")
    outputs, _ = _clusters(found, at + 1, found[at])
    return SimpleDescriptor(endpoint, profile, device_id, inputs, outputs)


def _clusters(found: bytes, at: int, count: int) -> tuple[tuple[int, ...], int]:
    end = at + 2 * count
    if end > len(found):
        raise PeerError("a simple descriptor ends early")
    return unpack_from(f"<{count}H", found, at), end


@dataclass(frozen=True, slots=True)
class NeighbourEntry:
    """An entry of a router's neighbour table (r22, table 2-127). ``kind``: 0 coordinator, 1 router, 2 end device;
    ``relation``: 0 parent, 1 child, 2 sibling, 3 none, 4 a child earlier; 3 and 7 of them: unknown."""

    eui64: int
    nwk: int
    kind: int
    relation: int
    depth: int
    lqi: int


def neighbours_request(sequence: int, start: int) -> bytes:
    """Ask a router for its neighbours from this index on (r22, 2.4.3.3.2)."""
    if not (0 <= sequence <= 0xFF and 0 <= start <= 0xFF):
        raise UsageError("a sequence number and an index are one octet each")
    return bytes((sequence, start))


def neighbours_response(payload: bytes) -> tuple[int, list[NeighbourEntry]]:
    """How many there are, and the next of them, of a Mgmt_Lqi_rsp without its sequence number (r22, 2.4.4.3.2).

    PeerError: another status than success, or cut short.
    """
    if not payload:
        raise PeerError("a ZDO response ends early")
    if payload[0]:
        raise PeerError(status_name(payload[0]))
    if len(payload) < 4 or len(payload) < 4 + payload[3] * _NEIGHBOUR.size:
        raise PeerError("a list of neighbours ends early")
    found = []
    for index in range(payload[3]):
        _, eui64, nwk, kinds, _, depth, lqi = _NEIGHBOUR.unpack_from(payload, 4 + index * _NEIGHBOUR.size)
        found.append(NeighbourEntry(eui64, nwk, kinds & 3, kinds >> 4 & 7, depth, lqi))
    return payload[1], found
