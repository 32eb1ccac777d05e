"""Utilities frames: tokens, counters, random numbers, the NCP's identity (UG100, 3.5)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from simulator.ezsp.codes import EmberStatus, MfgTokenId, NodeType
from simulator.ezsp.layout import Values
from simulator.ncp.memory import COUNTERS
from simulator.ncp.node import Handler, Node
from simulator.ncp.store import APPLICATION_TOKENS, MANUFACTURING_SIZES, StoredNetwork, StoredSecurity

_TOKEN_SIZE = 8
#: libraries of a stock NCP: ZigBee PRO, binding, security core, security link keys
_LIBRARIES = frozenset((0x01, 0x02, 0x04, 0x05))
_LIBRARY_PRESENT = 0x80
_NO_EUI64 = 0xFFFFFFFFFFFFFFFF


def _nothing(node: Node, arguments: Values) -> Values:
    return {}


def echo(node: Node, arguments: Values) -> Values:
    return {"data": arguments["data"]}


# ---- tokens of eight octets for the application


def set_token(node: Node, arguments: Values) -> Values:
    if arguments["id"] >= APPLICATION_TOKENS:
        return {"status": EmberStatus.ERR_FATAL}
    node.stack.store.tokens[arguments["id"]] = arguments["data"]
    node.stack.save()
    return {"status": EmberStatus.SUCCESS}


def get_token(node: Node, arguments: Values) -> Values:
    if arguments["id"] >= APPLICATION_TOKENS:
        return {"status": EmberStatus.ERR_FATAL, "data": bytes(_TOKEN_SIZE)}
    blank = b"\xff" * _TOKEN_SIZE
    return {"status": EmberStatus.SUCCESS, "data": node.stack.store.tokens.get(arguments["id"], blank)}


# ---- manufacturing tokens: written once


def get_mfg_token(node: Node, arguments: Values) -> Values:
    number = arguments["id"]
    size = MANUFACTURING_SIZES.get(number)
    if size is None:
        return {"data": b""}
    text = {MfgTokenId.STRING: node.stack.options.manufacturer, MfgTokenId.BOARD_NAME: node.stack.options.board}
    value = node.stack.store.manufacturing.get(number, text.get(number, "").encode())
    return {"data": value[:size].ljust(size, b"\xff")}


def set_mfg_token(node: Node, arguments: Values) -> Values:
    number, data = arguments["id"], arguments["data"]
    if len(data) != MANUFACTURING_SIZES.get(number) or number in node.stack.store.manufacturing:
        return {"status": EmberStatus.INVALID_CALL}
    node.stack.store.manufacturing[number] = data
    node.stack.save()
    return {"status": EmberStatus.SUCCESS}


# ---- stack tokens (NVM3)


@dataclass(frozen=True, slots=True)
class _StackToken:
    key: int
    size: int
    read: Callable[[Node], bytes | None]
    write: Callable[[Node, bytes], None]


_NODE_DATA = struct.Struct("<HbBBBHQ")
_TRUST_CENTER = struct.Struct("<HQ16s")
_MANAGEMENT = struct.Struct("<IHBB")
_STACK_PROFILE = 2


def _read_node_data(node: Node) -> bytes | None:
    network = node.stack.store.network
    if network is None:
        return None
    return _NODE_DATA.pack(
        network.pan_id,
        network.tx_power,
        network.channel,
        _STACK_PROFILE,
        NodeType.COORDINATOR,
        0,
        network.extended_pan_id,
    )


def _write_node_data(node: Node, data: bytes) -> None:
    pan_id, tx_power, channel, _, _, _, extended_pan_id = _NODE_DATA.unpack(data)
    old = node.stack.store.network
    update_id, manager, channels = (old.update_id, old.manager, old.channels) if old else (0, 0, 0x07FFF800)
    node.stack.store.network = StoredNetwork(pan_id, extended_pan_id, channel, tx_power, update_id, manager, channels)


def _read_trust_center(node: Node) -> bytes | None:
    security = node.stack.store.security
    if security is None:
        return None
    return _TRUST_CENTER.pack(security.bitmask, security.trust_center, security.link_key)


def _write_trust_center(node: Node, data: bytes) -> None:
    bitmask, trust_center, key = _TRUST_CENTER.unpack(data)
    old = node.stack.store.security
    network_key, sequence = (old.network_key, old.network_key_sequence) if old else (bytes(16), 0)
    node.stack.store.security = StoredSecurity(bitmask, network_key, sequence, key, trust_center)


def _read_management(node: Node) -> bytes | None:
    network = node.stack.store.network
    return None if network is None else _MANAGEMENT.pack(network.channels, network.manager, network.update_id, 0)


def _write_management(node: Node, data: bytes) -> None:
    network = node.stack.store.network
    if network is not None:
        network.channels, network.manager, network.update_id, _ = _MANAGEMENT.unpack(data)


def _read_boot_counter(node: Node) -> bytes:
    return node.stack.store.boot_counter.to_bytes(4, "little")


def _write_boot_counter(node: Node, data: bytes) -> None:
    node.stack.store.boot_counter = int.from_bytes(data, "little")


def _read_restored_eui64(node: Node) -> bytes | None:
    if not node.stack.options.rewritable:
        return None
    restored = node.stack.store.restored_eui64
    return (_NO_EUI64 if restored is None else restored).to_bytes(8, "little")


def _write_restored_eui64(node: Node, data: bytes) -> None:
    value = int.from_bytes(data, "little")
    node.stack.store.restored_eui64 = None if value == _NO_EUI64 else value


#: What NVM3 holds of the stack, by the keys of EmberZNet 7; the restored EUI64 is read under its token code too.
_STACK_TOKENS = (
    _StackToken(0x1E263, 4, _read_boot_counter, _write_boot_counter),
    _StackToken(0x1EE64, _NODE_DATA.size, _read_node_data, _write_node_data),
    _StackToken(0x1E124, _TRUST_CENTER.size, _read_trust_center, _write_trust_center),
    _StackToken(0x1E125, _MANAGEMENT.size, _read_management, _write_management),
    _StackToken(0x1E12A, 8, _read_restored_eui64, _write_restored_eui64),
)
_RESTORED_EUI64_CODE = 0xE12A
_BY_KEY = {token.key: token for token in _STACK_TOKENS}
_BY_KEY[_RESTORED_EUI64_CODE] = _BY_KEY[0x1E12A]


def get_token_count(node: Node, arguments: Values) -> Values:
    return {"count": len(_STACK_TOKENS)}


def get_token_info(node: Node, arguments: Values) -> Values:
    index = arguments["index"]
    known = index < len(_STACK_TOKENS)
    token = _STACK_TOKENS[index if known else 0]
    return {
        "status": EmberStatus.SUCCESS if known else EmberStatus.INDEX_OUT_OF_RANGE,
        "token_key": token.key if known else 0,
        "token_counter": False,
        "token_indexed": False,
        "token_size": token.size if known else 0,
        "token_array_size": 1 if known else 0,
    }


def get_token_data(node: Node, arguments: Values) -> Values:
    token = _BY_KEY.get(arguments["token"])
    data = token.read(node) if token is not None and arguments["index"] == 0 else None
    if data is None:
        return {"status": EmberStatus.NOT_FOUND, "data": b""}
    return {"status": EmberStatus.SUCCESS, "data": data}


def set_token_data(node: Node, arguments: Values) -> Values:
    """A change to the network takes effect on the air when it is next started."""
    token, data = _BY_KEY.get(arguments["token"]), arguments["data"]
    if token is None or arguments["index"] != 0:
        return {"status": EmberStatus.NOT_FOUND}
    if len(data) != token.size:
        return {"status": EmberStatus.BAD_ARGUMENT}
    token.write(node, data)
    node.stack.save()
    return {"status": EmberStatus.SUCCESS}


def token_factory_reset(node: Node, arguments: Values) -> Values:
    store = node.stack.store
    node.stack.forget_network()
    store.tokens.clear()
    store.restored_eui64 = None
    if not arguments["exclude_boot_counter"]:
        store.boot_counter = 0
    if not arguments["exclude_outgoing_fc"]:
        node.stack.set_nwk_frame_counter(0)
        node.stack.set_aps_frame_counter(0)
    node.stack.save()
    return {}


def reset_node(node: Node, arguments: Values) -> Values:
    node.restart()
    return {}


# ---- counters, random numbers, identity


def read_counters(node: Node, arguments: Values) -> Values:
    return {"values": tuple(node.memory.counters)}


def read_and_clear_counters(node: Node, arguments: Values) -> Values:
    values = tuple(node.memory.counters)
    node.memory.counters = [0] * COUNTERS
    return {"values": values}


def get_random_number(node: Node, arguments: Values) -> Values:
    return {"status": EmberStatus.SUCCESS, "value": node.stack.random.getrandbits(16)}


def get_library_status(node: Node, arguments: Values) -> Values:
    return {"status": _LIBRARY_PRESENT if arguments["id"] in _LIBRARIES else 0}


def get_xncp_info(node: Node, arguments: Values) -> Values:
    """No XNCP library: a stock NCP."""
    return {"status": EmberStatus.INVALID_CALL, "manufacturer": 0, "version": 0}


def custom_frame(node: Node, arguments: Values) -> Values:
    return {"status": EmberStatus.INVALID_CALL, "reply": b""}


def get_eui64(node: Node, arguments: Values) -> Values:
    return {"eui64": node.stack.eui64}


def get_node_id(node: Node, arguments: Values) -> Values:
    return {"id": 0x0000 if node.memory.up else 0xFFFE}


HANDLERS: dict[str, Handler] = {
    "nop": _nothing,
    "callback": _nothing,
    "echo": echo,
    "setToken": set_token,
    "getToken": get_token,
    "getMfgToken": get_mfg_token,
    "setMfgToken": set_mfg_token,
    "getTokenCount": get_token_count,
    "getTokenInfo": get_token_info,
    "getTokenData": get_token_data,
    "setTokenData": set_token_data,
    "tokenFactoryReset": token_factory_reset,
    "resetNode": reset_node,
    "getRandomNumber": get_random_number,
    "debugWrite": lambda node, arguments: {"status": EmberStatus.SUCCESS},
    "readCounters": read_counters,
    "readAndClearCounters": read_and_clear_counters,
    "getLibraryStatus": get_library_status,
    "getXncpInfo": get_xncp_info,
    "customFrame": custom_frame,
    "getEui64": get_eui64,
    "getNodeId": get_node_id,
    "getPhyInterfaceCount": lambda node, arguments: {"count": 1},
    "getTrueRandomEntropySource": lambda node, arguments: {"source": 1},
}
