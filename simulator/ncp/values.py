"""getValue, setValue and getExtendedValue: values that are kept, and those the NCP computes (UG100, EzspValueId)."""

from __future__ import annotations

from collections.abc import Callable

from simulator.ash.frame import MAX_DATA
from simulator.ezsp.codes import ConfigId, ExtendedValueId, EzspStatus, ValueId
from simulator.ezsp.layout import Values
from simulator.ncp.memory import COUNTERS
from simulator.ncp.messaging import MAX_PAYLOAD
from simulator.ncp.node import Handler, Node

#: packet buffers of 32 octets that one message in flight takes
_BUFFERS_PER_MESSAGE = 4


def _free_buffers(node: Node) -> bytes:
    used = node.messaging.in_flight * _BUFFERS_PER_MESSAGE
    return max(0, node.memory.config[ConfigId.PACKET_BUFFER_COUNT] - used).to_bytes(2, "little")


def _node_data(node: Node) -> bytes:
    network = node.stack.store.network
    return b"\xff\xff" if network is None else network.pan_id.to_bytes(2, "little")


_COMPUTED: dict[int, Callable[[Node], bytes]] = {
    ValueId.TOKEN_STACK_NODE_DATA: _node_data,
    ValueId.FREE_BUFFERS: _free_buffers,
    ValueId.MAXIMUM_INCOMING_TRANSFER_SIZE: lambda node: MAX_PAYLOAD.to_bytes(2, "little"),
    ValueId.MAXIMUM_OUTGOING_TRANSFER_SIZE: lambda node: MAX_PAYLOAD.to_bytes(2, "little"),
    ValueId.STACK_IS_PERFORMING_REJOIN: lambda node: b"\x00",
    ValueId.NODE_SHORT_ID: lambda node: b"\x00\x00" if node.memory.up else b"\xfe\xff",
    ValueId.VERSION_INFO: lambda node: _version_info(node),
    ValueId.LAST_REJOIN_REASON: lambda node: b"\x00",
    ValueId.NEXT_ZIGBEE_SEQUENCE_NUMBER: lambda node: bytes(((node.memory.aps_sequence + 1) & 0xFF,)),
    ValueId.NWK_FRAME_COUNTER: lambda node: node.stack.nwk_frame_counter.to_bytes(4, "little"),
    ValueId.APS_FRAME_COUNTER: lambda node: node.stack.aps_frame_counter.to_bytes(4, "little"),
    ValueId.TRANSIENT_KEY_TIMEOUT_S: lambda node: node.memory.config[ConfigId.TRANSIENT_KEY_TIMEOUT_S].to_bytes(
        2, "little"
    ),
    ValueId.KEY_STORAGE_VERSION: lambda node: b"\x01",
}


def _version_info(node: Node) -> bytes:
    """EmberVersion: build, major, minor, patch, special, type GA."""
    version = node.stack.version
    digits = (version >> 12 & 15, version >> 8 & 15, version >> 4 & 15, version & 15)
    return node.stack.options.build.to_bytes(2, "little") + bytes(digits) + b"\xaa"


def get_value(node: Node, arguments: Values) -> Values:
    number = arguments["id"]
    compute = _COMPUTED.get(number)
    value = compute(node) if compute is not None else node.memory.values.get(number)
    if value is None:
        return {"status": EzspStatus.ERROR_INVALID_ID, "value": b""}
    return {"status": EzspStatus.SUCCESS, "value": value}


def _set_counter(node: Node, number: int, value: bytes) -> EzspStatus:
    """Frame counters are for restoring a network: not while it is up (UG100)."""
    if len(value) != 4:
        return EzspStatus.ERROR_INVALID_VALUE
    if node.memory.up:
        return EzspStatus.ERROR_INVALID_CALL
    counter = int.from_bytes(value, "little")
    if number == ValueId.NWK_FRAME_COUNTER:
        node.stack.set_nwk_frame_counter(counter)
    else:
        node.stack.set_aps_frame_counter(counter)
    return EzspStatus.SUCCESS


def set_value(node: Node, arguments: Values) -> Values:
    number, value = arguments["id"], arguments["value"]
    if number in (ValueId.NWK_FRAME_COUNTER, ValueId.APS_FRAME_COUNTER):
        return {"status": _set_counter(node, number, value)}
    if number == ValueId.CLEAR_COUNTERS:
        node.memory.counters = [0] * COUNTERS
        return {"status": EzspStatus.SUCCESS}
    if number == ValueId.TRANSIENT_KEY_TIMEOUT_S:
        if len(value) != 2:
            return {"status": EzspStatus.ERROR_INVALID_VALUE}
        node.memory.config[ConfigId.TRANSIENT_KEY_TIMEOUT_S] = int.from_bytes(value, "little")
        return {"status": EzspStatus.SUCCESS}
    if number == ValueId.ENDPOINT_FLAGS:
        return {"status": _set_endpoint_flags(node, value)}
    kept = node.memory.values.get(number)
    if kept is None:
        return {"status": EzspStatus.ERROR_INVALID_ID}
    if not 0 < len(value) <= max(len(kept), 4) or len(value) > MAX_DATA:
        return {"status": EzspStatus.ERROR_INVALID_VALUE}
    node.memory.values[number] = value
    return {"status": EzspStatus.SUCCESS}


def _set_endpoint_flags(node: Node, value: bytes) -> EzspStatus:
    if len(value) != 3 or value[0] not in node.memory.endpoint_flags:
        return EzspStatus.ERROR_INVALID_VALUE
    node.memory.endpoint_flags[value[0]] = int.from_bytes(value[1:], "little")
    return EzspStatus.SUCCESS


def get_extended_value(node: Node, arguments: Values) -> Values:
    number, characteristics = arguments["id"], arguments["characteristics"]
    if number == ExtendedValueId.ENDPOINT_FLAGS:
        flags = node.memory.endpoint_flags.get(characteristics)
        if flags is None:
            # with a value all the same: hosts read two octets to find out whether an endpoint is there
            return {"status": EzspStatus.ERROR_INVALID_VALUE, "value": bytes(2)}
        value = flags.to_bytes(2, "little")
    elif number == ExtendedValueId.LAST_LEAVE_REASON:
        value = bytes(3)
    elif number == ExtendedValueId.GET_SOURCE_ROUTE_OVERHEAD:
        value = bytes((min(node.messaging.overhead(characteristics & 0xFFFF), 255),))
    else:
        return {"status": EzspStatus.ERROR_INVALID_ID, "value": b""}
    return {"status": EzspStatus.SUCCESS, "value": value}


HANDLERS: dict[str, Handler] = {
    "getValue": get_value,
    "setValue": set_value,
    "getExtendedValue": get_extended_value,
}
