"""The NCP's own ZigBee device object: what it answers without the host (ZigBee r21, 2.4).

Requests and responses are octets here: a transaction sequence number and little-endian fields.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from simulator.air import ApsFrame
from simulator.ezsp.codes import ConfigId
from simulator.ncp.stack import Stack

RESPONSE = 0x8000
_SUCCESS, _INV_REQUESTTYPE, _DEVICE_NOT_FOUND, _INVALID_EP, _NOT_ACTIVE, _NOT_SUPPORTED = (
    0,
    0x80,
    0x81,
    0x82,
    0x83,
    0x84,
)
_DEVICE_ANNCE, _PARENT_ANNCE = 0x0013, 0x001F

#: bits of the configuration value APPLICATION_ZDO_FLAGS
_HOST_HEARS_SUPPORTED = 0x01
_HOST_ANSWERS_UNSUPPORTED = 0x02
#: coordinator and its MAC capability: alternate coordinator, full function, mains, receiver on, address allocated
_LOGICAL_TYPE_AND_FLAGS = b"\x00\x40"
_MAC_CAPABILITY = 0x8F
_BUFFER_SIZE, _TRANSFER_SIZE = 82, 82
#: server mask: primary trust centre, stack compliance revision 22
_SERVER_MASK = 0x2C41
_MAX_LIST = 24
_NEIGHBORS_PER_ANSWER = 3


def is_request(aps: ApsFrame) -> bool:
    """Announcements are reports, not requests."""
    return aps.cluster < RESPONSE and aps.cluster not in (_DEVICE_ANNCE, _PARENT_ANNCE)


def host_hears(stack: Stack, aps: ApsFrame) -> bool:
    """Whether a request is passed to the host as well."""
    flag = _HOST_HEARS_SUPPORTED if aps.cluster in _ANSWERS else _HOST_ANSWERS_UNSUPPORTED
    return bool(stack.memory.config[ConfigId.APPLICATION_ZDO_FLAGS] & flag)


def answer(stack: Stack, aps: ApsFrame) -> tuple[int, bytes] | None:
    """Cluster and payload of the response; None when there is none to give."""
    if not aps.payload or not is_request(aps):
        return None
    sequence, request = aps.payload[:1], aps.payload[1:]
    handler = _ANSWERS.get(aps.cluster)
    if handler is None:
        if stack.memory.config[ConfigId.APPLICATION_ZDO_FLAGS] & _HOST_ANSWERS_UNSUPPORTED:
            return None
        body: bytes | None = bytes((_NOT_SUPPORTED,))
    else:
        try:
            body = handler(stack, request)
        except (struct.error, IndexError):
            body = bytes((_INV_REQUESTTYPE,))
    return None if body is None else (aps.cluster | RESPONSE, sequence + body)


def _about_us(request: bytes) -> bool:
    nwk: int = struct.unpack_from("<H", request)[0]
    return nwk == 0


def _nwk_address(stack: Stack, request: bytes) -> bytes | None:
    (eui64,) = struct.unpack_from("<Q", request)
    return struct.pack("<BQH", _SUCCESS, eui64, 0) if eui64 == stack.eui64 else None


def _ieee_address(stack: Stack, request: bytes) -> bytes:
    (nwk,) = struct.unpack_from("<H", request)
    if nwk:
        return struct.pack("<BQH", _DEVICE_NOT_FOUND, 0, nwk)
    return struct.pack("<BQH", _SUCCESS, stack.eui64, 0)


def _node_descriptor(stack: Stack, request: bytes) -> bytes:
    if not _about_us(request):
        return bytes((_DEVICE_NOT_FOUND,)) + request[:2]
    fields = struct.pack(
        "<BHBHHHB",
        _MAC_CAPABILITY,
        stack.memory.manufacturer_code,
        _BUFFER_SIZE,
        _TRANSFER_SIZE,
        _SERVER_MASK,
        _TRANSFER_SIZE,
        0,
    )
    return bytes((_SUCCESS, 0, 0)) + _LOGICAL_TYPE_AND_FLAGS + fields


def _power_descriptor(stack: Stack, request: bytes) -> bytes:
    if not _about_us(request):
        return bytes((_DEVICE_NOT_FOUND,)) + request[:2]
    return struct.pack("<BHH", _SUCCESS, 0, stack.memory.power_descriptor)


def _simple_descriptor(stack: Stack, request: bytes) -> bytes:
    if not _about_us(request):
        return bytes((_DEVICE_NOT_FOUND,)) + request[:2] + b"\x00"
    number = request[2]
    if not 1 <= number <= 254:
        return bytes((_INVALID_EP, 0, 0, 0))
    endpoint = stack.memory.endpoints.get(number)
    if endpoint is None:
        return bytes((_NOT_ACTIVE, 0, 0, 0))
    inputs, outputs = endpoint.inputs[:_MAX_LIST], endpoint.outputs[:_MAX_LIST]
    body = struct.pack("<BHHBB", number, endpoint.profile, endpoint.device, endpoint.version, len(inputs))
    body += struct.pack(f"<{len(inputs)}HB{len(outputs)}H", *inputs, len(outputs), *outputs)
    return bytes((_SUCCESS, 0, 0, len(body))) + body


def _active_endpoints(stack: Stack, request: bytes) -> bytes:
    if not _about_us(request):
        return bytes((_DEVICE_NOT_FOUND,)) + request[:2] + b"\x00"
    numbers = bytes(sorted(stack.memory.endpoints))
    return bytes((_SUCCESS, 0, 0, len(numbers))) + numbers


def _match_descriptor(stack: Stack, request: bytes) -> bytes | None:
    _, profile, count = struct.unpack_from("<HHB", request)
    wanted_inputs = struct.unpack_from(f"<{count}H", request, 5)
    at = 5 + 2 * count
    wanted_outputs = struct.unpack_from(f"<{request[at]}H", request, at + 1)
    numbers = bytes(
        number
        for number, endpoint in sorted(stack.memory.endpoints.items())
        if endpoint.profile == profile
        and (set(wanted_inputs) & set(endpoint.inputs) or set(wanted_outputs) & set(endpoint.outputs))
    )
    return bytes((_SUCCESS, 0, 0, len(numbers))) + numbers if numbers else None


def _neighbors(stack: Stack, request: bytes) -> bytes:
    """Mgmt_Lqi: the children are the neighbours this NCP knows."""
    start = request[0]
    children = stack.network.children()
    network = stack.store.network
    extended = network.extended_pan_id if network is not None else 0
    entries = [
        # end device, receiver on or off; child; joining unknown; depth 1
        struct.pack("<QQHBBBB", extended, eui64, nwk, 0x02 | (0x00 if sleepy else 0x04) | 0x10, 0x02, 1, 255)
        for nwk, eui64, sleepy in children[start : start + _NEIGHBORS_PER_ANSWER]
    ]
    return bytes((_SUCCESS, min(len(children), 255), start, len(entries))) + b"".join(entries)


def _routes(stack: Stack, request: bytes) -> bytes:
    return bytes((_SUCCESS, 0, request[0], 0))


def _bindings(stack: Stack, request: bytes) -> bytes:
    return bytes((_SUCCESS, 0, request[0], 0))


def _permit_joining(stack: Stack, request: bytes) -> bytes:
    stack.permit_joining(request[0])
    return bytes((_SUCCESS,))


_ANSWERS: dict[int, Callable[[Stack, bytes], bytes | None]] = {
    0x0000: _nwk_address,
    0x0001: _ieee_address,
    0x0002: _node_descriptor,
    0x0003: _power_descriptor,
    0x0004: _simple_descriptor,
    0x0005: _active_endpoints,
    0x0006: _match_descriptor,
    0x0031: _neighbors,
    0x0032: _routes,
    0x0033: _bindings,
    0x0036: _permit_joining,
}
