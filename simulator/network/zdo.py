"""The ZDO server of a device: ZigBee r21, 2.4 (commands) and 2.3.2 (descriptors), written from that text.

Pure: one request's octets in, the response's octets out, plus what the network has to do afterwards.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from layer.errors import PeerError
from simulator.network.device import MAX_BINDINGS, Binding, Device, SimpleDescriptor

SUCCESS: Final = 0x00
INV_REQUESTTYPE: Final = 0x80
DEVICE_NOT_FOUND: Final = 0x81
INVALID_EP: Final = 0x82
NOT_ACTIVE: Final = 0x83
NOT_SUPPORTED: Final = 0x84
NO_ENTRY: Final = 0x88
TABLE_FULL: Final = 0x8C

NWK_ADDR_REQ: Final = 0x0000
IEEE_ADDR_REQ: Final = 0x0001
NODE_DESC_REQ: Final = 0x0002
POWER_DESC_REQ: Final = 0x0003
SIMPLE_DESC_REQ: Final = 0x0004
ACTIVE_EP_REQ: Final = 0x0005
MATCH_DESC_REQ: Final = 0x0006
DEVICE_ANNCE: Final = 0x0013
BIND_REQ: Final = 0x0021
UNBIND_REQ: Final = 0x0022
MGMT_LQI_REQ: Final = 0x0031
MGMT_BIND_REQ: Final = 0x0033
MGMT_LEAVE_REQ: Final = 0x0034
MGMT_PERMIT_JOINING_REQ: Final = 0x0036
RESPONSE: Final = 0x8000

#: server mask of the node descriptor: stack compliance revision 21 in its upper seven bits (2.3.2.3.10)
_SERVER_MASK: Final = 21 << 9
_BAND_2400_MHZ: Final = 0x08 << 3
_LIST_PAGE: Final = 3
_CAPACITY_FULL: Final = 0b1100


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One row of a neighbour table (2.4.4.3.2)."""

    extended_pan_id: int
    eui64: int
    nwk: int
    #: 0 coordinator, 1 router, 2 end device
    kind: int
    receiver_on: bool
    #: 0 parent, 1 child, 2 sibling
    relation: int
    depth: int
    lqi: int


@dataclass(frozen=True, slots=True)
class Answer:
    """``response`` goes back to the asker (None: nothing does); then ``afterwards`` is done, if it isn't None."""

    response: bytes | None
    afterwards: Leave | PermitJoining | None = None
    #: bindings have changed
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Leave:
    rejoin: bool


@dataclass(frozen=True, slots=True)
class PermitJoining:
    seconds: int


def node_descriptor(device: Device) -> bytes:
    """13 octets (2.3.2.3)."""
    return struct.pack(
        "<BBBHBHHHB",
        1 if device.router else 2,
        _BAND_2400_MHZ,
        device.capability,
        device.manufacturer_code,
        82,
        82,
        _SERVER_MASK,
        82,
        0,
    )


def power_descriptor(device: Device) -> bytes:
    """2 octets (2.3.2.4): mode, available sources, current source, level (full)."""
    source = 0x1 if device.mains else 0x4  # constant mains, disposable battery
    mode = 0x1 if device.sleepy else 0x0  # receiver comes on periodically, or with the idle setting
    return struct.pack("<H", mode | source << 4 | source << 8 | _CAPACITY_FULL << 12)


def simple_descriptor(row: SimpleDescriptor) -> bytes:
    """Without the length in front (2.3.2.5)."""
    head = struct.pack("<BHHB", row.endpoint, row.profile, row.device_id, row.device_version & 0x0F)
    return head + _cluster_list(row.input_clusters) + _cluster_list(row.output_clusters)


def device_annce(device: Device, sequence: int) -> bytes:
    """The octets of a device announcement (2.4.3.1.11), sequence first."""
    return struct.pack("<BHQB", sequence, device.nwk, device.eui64, device.capability)


def _cluster_list(clusters: Sequence[int]) -> bytes:
    return struct.pack(f"<B{len(clusters)}H", len(clusters), *clusters)


class _Reader:
    """Takes fields off a request. Raises PeerError when it ends early; octets left over are ignored."""

    __slots__ = ("_at", "_octets")

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def take(self, size: int) -> int:
        end = self._at + size
        if end > len(self._octets):
            raise PeerError("a ZDO request ends early")
        value = int.from_bytes(self._octets[self._at : end], "little")
        self._at = end
        return value

    def clusters(self) -> list[int]:
        return [self.take(2) for _ in range(self.take(1))]


class ZdoServer:
    """Answers for one device. ``neighbours`` gives its neighbour table."""

    __slots__ = ("_device", "_neighbours")

    def __init__(self, device: Device, neighbours: Callable[[], list[Neighbour]]) -> None:
        self._device = device
        self._neighbours = neighbours

    def answer(self, cluster: int, octets: bytes, *, broadcast: bool) -> Answer:
        """The answer to one ZDO frame. Responses and announcements get none, nor do broadcasts that miss us."""
        if cluster >= RESPONSE or cluster == DEVICE_ANNCE or not octets:
            return Answer(None)
        sequence = octets[:1]
        handler = _HANDLERS.get(cluster)
        if handler is None:
            return Answer(None if broadcast else sequence + bytes((NOT_SUPPORTED,)))
        try:
            answer = handler(self, _Reader(octets[1:]), broadcast)
        except PeerError:
            return Answer(None if broadcast else sequence + bytes((INV_REQUESTTYPE,)))
        if answer.response is None:
            return answer
        return Answer(sequence + answer.response, answer.afterwards, answer.changed)

    def _addresses(self, status: int, eui64: int, nwk: int) -> bytes:
        return struct.pack("<BQH", status, eui64, nwk)

    def _nwk_addr(self, request: _Reader, broadcast: bool) -> Answer:
        eui64, kind, _start = request.take(8), request.take(1), request.take(1)
        if eui64 != self._device.eui64:
            # 2.4.4.2.1.1: a broadcast that misses is discarded
            return Answer(None if broadcast else self._addresses(DEVICE_NOT_FOUND, eui64, 0xFFFF))
        return self._own_addresses(kind)

    def _ieee_addr(self, request: _Reader, broadcast: bool) -> Answer:
        nwk, kind, _start = request.take(2), request.take(1), request.take(1)
        if nwk != self._device.nwk:
            return Answer(None if broadcast else self._addresses(DEVICE_NOT_FOUND, 0xFFFF_FFFF_FFFF_FFFF, nwk))
        return self._own_addresses(kind)

    def _own_addresses(self, kind: int) -> Answer:
        device = self._device
        assert device.nwk is not None
        if kind > 1:
            return Answer(self._addresses(INV_REQUESTTYPE, device.eui64, device.nwk))
        found = self._addresses(SUCCESS, device.eui64, device.nwk)
        if kind == 1:  # extended: the list of associated devices, which starts with their number
            children = [row.nwk for row in self._neighbours() if row.relation == 1]
            found += bytes((len(children),))
            if children:
                found += struct.pack(f"<B{len(children)}H", 0, *children)
        return Answer(found)

    def _about_us(self, request: _Reader) -> tuple[int, bytes]:
        """The status for an address of interest, and that address again as octets."""
        nwk = request.take(2)
        status = SUCCESS if nwk == self._device.nwk else self._not_ours()
        return status, struct.pack("<H", nwk)

    def _not_ours(self) -> int:
        # a router would look among its children's cached descriptors; an end device has none
        return DEVICE_NOT_FOUND if self._device.router else INV_REQUESTTYPE

    def _descriptor(self, make: Callable[[Device], bytes], request: _Reader) -> Answer:
        status, nwk = self._about_us(request)
        return Answer(bytes((status,)) + nwk + (make(self._device) if status == SUCCESS else b""))

    def _node_desc(self, request: _Reader, _broadcast: bool) -> Answer:
        return self._descriptor(node_descriptor, request)

    def _power_desc(self, request: _Reader, _broadcast: bool) -> Answer:
        return self._descriptor(power_descriptor, request)

    def _simple_desc(self, request: _Reader, _broadcast: bool) -> Answer:
        status, nwk = self._about_us(request)
        endpoint = request.take(1)
        found = b""
        if status == SUCCESS:
            server = self._device.endpoints.get(endpoint)
            if endpoint in self._device.undescribed:
                fault = self._device.undescribed[endpoint]
                if fault is None:
                    return Answer(None)
                status = fault
            elif not 1 <= endpoint <= 240:
                status = INVALID_EP
            elif server is None:
                status = NOT_ACTIVE
            else:
                found = simple_descriptor(server.descriptor)
        return Answer(bytes((status,)) + nwk + bytes((len(found),)) + found)

    def _active_ep(self, request: _Reader, _broadcast: bool) -> Answer:
        status, nwk = self._about_us(request)
        device = self._device
        listed = {*device.endpoints, *device.undescribed} - device.unlisted
        endpoints = sorted(listed) if status == SUCCESS else []
        return Answer(bytes((status,)) + nwk + bytes((len(endpoints), *endpoints)))

    def _match_desc(self, request: _Reader, broadcast: bool) -> Answer:
        nwk, profile = request.take(2), request.take(2)
        inputs, outputs = request.clusters(), request.clusters()
        own = self._device.nwk
        if nwk != own and not (broadcast and nwk >= 0xFFFC):
            return Answer(None if broadcast else struct.pack("<BHB", self._not_ours(), nwk, 0))
        matching = [
            number
            for number, server in sorted(self._device.endpoints.items())
            if profile in (server.descriptor.profile, 0xFFFF)
            and (
                not set(inputs).isdisjoint(server.descriptor.input_clusters)
                or not set(outputs).isdisjoint(server.descriptor.output_clusters)
            )
        ]
        if broadcast and not matching:
            return Answer(None)
        return Answer(struct.pack("<BHB", SUCCESS, own, len(matching)) + bytes(matching))

    def _binding(self, request: _Reader) -> Binding:
        """The binding that a request names."""
        source, endpoint, cluster, mode = (request.take(8), request.take(1), request.take(2), request.take(1))
        if source != self._device.eui64 or mode not in (1, 3):
            raise PeerError("not a binding of this device")
        if mode == 1:
            return Binding(endpoint, cluster, 0, 0, request.take(2))
        return Binding(endpoint, cluster, request.take(8), request.take(1))

    def _bind(self, request: _Reader, _broadcast: bool) -> Answer:
        binding = self._binding(request)
        bindings = self._device.bindings
        if binding.source_endpoint not in self._device.endpoints:
            return Answer(bytes((INVALID_EP,)))
        if binding in bindings:
            return Answer(bytes((SUCCESS,)))
        if len(bindings) >= MAX_BINDINGS:
            return Answer(bytes((TABLE_FULL,)))
        bindings.append(binding)
        return Answer(bytes((SUCCESS,)), changed=True)

    def _unbind(self, request: _Reader, _broadcast: bool) -> Answer:
        binding = self._binding(request)
        if binding not in self._device.bindings:
            return Answer(bytes((NO_ENTRY,)))
        self._device.bindings.remove(binding)
        return Answer(bytes((SUCCESS,)), changed=True)

    def _mgmt_lqi(self, request: _Reader, _broadcast: bool) -> Answer:
        start = request.take(1)
        if not self._device.router:
            return Answer(bytes((NOT_SUPPORTED,)))
        rows = self._neighbours()
        page = rows[start : start + _LIST_PAGE]
        found = bytes((SUCCESS, len(rows), start, len(page)))
        for row in page:
            kinds = row.kind | row.receiver_on << 2 | row.relation << 4
            # permit joining 2: unknown
            found += struct.pack("<QQHBBBB", row.extended_pan_id, row.eui64, row.nwk, kinds, 2, row.depth, row.lqi)
        return Answer(found)

    def _mgmt_bind(self, request: _Reader, _broadcast: bool) -> Answer:
        start = request.take(1)
        rows = self._device.bindings
        page = rows[start : start + _LIST_PAGE]
        found = bytes((SUCCESS, len(rows), start, len(page)))
        for row in page:
            found += struct.pack("<QBH", self._device.eui64, row.source_endpoint, row.cluster)
            if row.group:
                found += struct.pack("<BH", 1, row.group)
            else:
                found += struct.pack("<BQB", 3, row.destination_eui64, row.destination_endpoint)
        return Answer(found)

    def _mgmt_leave(self, request: _Reader, broadcast: bool) -> Answer:
        eui64, flags = request.take(8), request.take(1)
        if eui64 not in (0, self._device.eui64):
            return Answer(None if broadcast else bytes((DEVICE_NOT_FOUND,)))
        return Answer(bytes((SUCCESS,)), Leave(rejoin=bool(flags & 0x80)))

    def _mgmt_permit_joining(self, request: _Reader, broadcast: bool) -> Answer:
        seconds, _significance = request.take(1), request.take(1)
        if not self._device.router:
            return Answer(None if broadcast else bytes((NOT_SUPPORTED,)))
        # 2.4.3.3.7.2: no response to a broadcast
        return Answer(None if broadcast else bytes((SUCCESS,)), PermitJoining(seconds))


_HANDLERS: Final[dict[int, Callable[[ZdoServer, _Reader, bool], Answer]]] = {
    NWK_ADDR_REQ: ZdoServer._nwk_addr,
    IEEE_ADDR_REQ: ZdoServer._ieee_addr,
    NODE_DESC_REQ: ZdoServer._node_desc,
    POWER_DESC_REQ: ZdoServer._power_desc,
    SIMPLE_DESC_REQ: ZdoServer._simple_desc,
    ACTIVE_EP_REQ: ZdoServer._active_ep,
    MATCH_DESC_REQ: ZdoServer._match_desc,
    BIND_REQ: ZdoServer._bind,
    UNBIND_REQ: ZdoServer._unbind,
    MGMT_LQI_REQ: ZdoServer._mgmt_lqi,
    MGMT_BIND_REQ: ZdoServer._mgmt_bind,
    MGMT_LEAVE_REQ: ZdoServer._mgmt_leave,
    MGMT_PERMIT_JOINING_REQ: ZdoServer._mgmt_permit_joining,
}
