"""The NCP's tables: addresses, multicast groups, bindings, source routes (UG100, 3.7 and 3.8)."""

from __future__ import annotations

from simulator.ezsp.codes import (
    NULL_INDEX,
    NULL_NODE_ID,
    UNKNOWN_NODE_ID,
    ConfigId,
    EmberStatus,
)
from simulator.ezsp.layout import Values
from simulator.ncp.memory import AddressEntry
from simulator.ncp.node import Handler, Node

_SUCCESS: Values = {"status": EmberStatus.SUCCESS}
_BLANK_BINDING = {
    "value_type": 0,
    "value_local": 0,
    "value_cluster": 0,
    "value_remote": 0,
    "value_identifier": 0,
    "value_network": 0,
}
_MAX_RELAYS = 30


# ---- address table


def _fits(node: Node, index: int, size: ConfigId) -> bool:
    return index < node.memory.config[size]


def address_table_entry_is_active(node: Node, arguments: Values) -> Values:
    """Entries in use by a message can't be changed; here a message takes its address at once."""
    return {"active": False}


def set_address_table_remote_eui64(node: Node, arguments: Values) -> Values:
    index, eui64 = arguments["index"], arguments["eui64"]
    if not _fits(node, index, ConfigId.ADDRESS_TABLE_SIZE):
        return {"status": EmberStatus.ADDRESS_TABLE_INDEX_OUT_OF_RANGE}
    node.memory.addresses[index] = AddressEntry(eui64, UNKNOWN_NODE_ID)
    return _SUCCESS


def set_address_table_remote_node_id(node: Node, arguments: Values) -> Values:
    entry = node.memory.addresses.get(arguments["index"])
    if entry is not None:
        entry.id = arguments["id"]
    return {}


def get_address_table_remote_eui64(node: Node, arguments: Values) -> Values:
    entry = node.memory.addresses.get(arguments["index"])
    return {"eui64": 0 if entry is None else entry.eui64}


def get_address_table_remote_node_id(node: Node, arguments: Values) -> Values:
    entry = node.memory.addresses.get(arguments["index"])
    return {"id": NULL_NODE_ID if entry is None else entry.id}


def set_address_table_info(node: Node, arguments: Values) -> Values:
    index = arguments["index"]
    if not _fits(node, index, ConfigId.ADDRESS_TABLE_SIZE):
        return {"status": EmberStatus.ADDRESS_TABLE_INDEX_OUT_OF_RANGE}
    node.memory.addresses[index] = AddressEntry(arguments["eui64"], arguments["id"])
    return _SUCCESS


def get_address_table_info(node: Node, arguments: Values) -> Values:
    index = arguments["index"]
    known = _fits(node, index, ConfigId.ADDRESS_TABLE_SIZE)
    entry = node.memory.addresses.get(index, AddressEntry(0, NULL_NODE_ID))
    status = EmberStatus.SUCCESS if known else EmberStatus.ADDRESS_TABLE_INDEX_OUT_OF_RANGE
    return {"status": status, "id": entry.id, "eui64": entry.eui64}


def replace_address_table_entry(node: Node, arguments: Values) -> Values:
    index = arguments["index"]
    if not _fits(node, index, ConfigId.ADDRESS_TABLE_SIZE):
        status = EmberStatus.ADDRESS_TABLE_INDEX_OUT_OF_RANGE
        return {"status": status, "old_eui64": 0, "old_id": NULL_NODE_ID, "old_extended": False}
    old = node.memory.addresses.get(index, AddressEntry(0, NULL_NODE_ID))
    new = AddressEntry(arguments["eui64"], arguments["id"], arguments["extended"])
    if new.id == NULL_NODE_ID:
        node.memory.addresses.pop(index, None)
    else:
        node.memory.addresses[index] = new
    _keep_timeout(node, new.eui64, extended=new.extended)
    return {**_SUCCESS, "old_eui64": old.eui64, "old_id": old.id, "old_extended": old.extended}


def _keep_timeout(node: Node, eui64: int, *, extended: bool) -> None:
    timeouts = node.memory.extended_timeouts
    timeouts.pop(eui64, None)
    if extended:
        if len(timeouts) >= node.stack.options.extended_timeouts:
            timeouts.pop(next(iter(timeouts)))
        timeouts[eui64] = True


def set_extended_timeout(node: Node, arguments: Values) -> Values:
    _keep_timeout(node, arguments["eui64"], extended=arguments["extended"])
    return _SUCCESS


def get_extended_timeout(node: Node, arguments: Values) -> Values:
    """From version 14 on the status is the answer: OK for an extended one."""
    extended = node.memory.extended_timeouts.get(arguments["eui64"], False)
    return {"extended": extended, "status": EmberStatus.SUCCESS if extended else EmberStatus.ERR_FATAL}


def lookup_node_id_by_eui64(node: Node, arguments: Values) -> Values:
    eui64 = arguments["eui64"]
    nwk = node.stack.nwk_of(eui64)
    if nwk is None:
        nwk = next((entry.id for entry in node.memory.addresses.values() if entry.eui64 == eui64), NULL_NODE_ID)
    return {"id": nwk, "status": EmberStatus.NOT_FOUND if nwk == NULL_NODE_ID else EmberStatus.SUCCESS}


def lookup_eui64_by_node_id(node: Node, arguments: Values) -> Values:
    nwk = arguments["id"]
    eui64 = node.stack.eui64_of(nwk)
    if eui64 is None:
        eui64 = next((entry.eui64 for entry in node.memory.addresses.values() if entry.id == nwk), None)
    if eui64 is None:
        return {"status": EmberStatus.ERR_FATAL, "eui64": 0}
    return {"status": EmberStatus.SUCCESS, "eui64": eui64}


# ---- multicast table


def get_multicast_table_entry(node: Node, arguments: Values) -> Values:
    index = arguments["index"]
    known = _fits(node, index, ConfigId.MULTICAST_TABLE_SIZE)
    group, endpoint, network = node.memory.multicast.get(index, (0, 0, 0))
    return {
        "status": EmberStatus.SUCCESS if known else EmberStatus.INDEX_OUT_OF_RANGE,
        "value_group": group,
        "value_endpoint": endpoint,
        "value_network": network,
    }


def set_multicast_table_entry(node: Node, arguments: Values) -> Values:
    index = arguments["index"]
    if not _fits(node, index, ConfigId.MULTICAST_TABLE_SIZE):
        return {"status": EmberStatus.INDEX_OUT_OF_RANGE}
    node.memory.multicast[index] = (arguments["value_group"], arguments["value_endpoint"], 0)
    return _SUCCESS


# ---- binding table


def clear_binding_table(node: Node, arguments: Values) -> Values:
    node.memory.bindings.clear()
    node.memory.binding_ids.clear()
    return _SUCCESS


def set_binding(node: Node, arguments: Values) -> Values:
    index = arguments["index"]
    if not _fits(node, index, ConfigId.BINDING_TABLE_SIZE):
        return {"status": EmberStatus.BINDING_INDEX_OUT_OF_RANGE}
    node.memory.bindings[index] = {name: arguments[name] for name in _BLANK_BINDING}
    node.memory.binding_ids.pop(index, None)
    return _SUCCESS


def get_binding(node: Node, arguments: Values) -> Values:
    index = arguments["index"]
    if not _fits(node, index, ConfigId.BINDING_TABLE_SIZE):
        return {"status": EmberStatus.BINDING_INDEX_OUT_OF_RANGE, **_BLANK_BINDING}
    return {"status": EmberStatus.SUCCESS, **node.memory.bindings.get(index, _BLANK_BINDING)}


def delete_binding(node: Node, arguments: Values) -> Values:
    if not _fits(node, arguments["index"], ConfigId.BINDING_TABLE_SIZE):
        return {"status": EmberStatus.INVALID_BINDING_INDEX}
    node.memory.bindings.pop(arguments["index"], None)
    node.memory.binding_ids.pop(arguments["index"], None)
    return _SUCCESS


def binding_is_active(node: Node, arguments: Values) -> Values:
    return {"active": False}


def get_binding_remote_node_id(node: Node, arguments: Values) -> Values:
    return {"id": node.memory.binding_ids.get(arguments["index"], NULL_NODE_ID)}


def set_binding_remote_node_id(node: Node, arguments: Values) -> Values:
    if arguments["index"] in node.memory.bindings:
        node.memory.binding_ids[arguments["index"]] = arguments["id"]
    return {}


# ---- source routes


def set_source_route(node: Node, arguments: Values) -> Values:
    routes, destination = node.memory.source_routes, arguments["destination"]
    if len(arguments["relays"]) > _MAX_RELAYS:
        return {"status": EmberStatus.BAD_ARGUMENT}
    if not _fits(node, len(routes) - (destination in routes), ConfigId.SOURCE_ROUTE_TABLE_SIZE):
        return {"status": EmberStatus.TABLE_FULL}
    routes[destination] = arguments["relays"]
    return _SUCCESS


def set_source_route_discovery_mode(node: Node, arguments: Values) -> Values:
    node.memory.source_route_mode = arguments["mode"]
    return {"remaining_time": 0}


def get_source_route_table_total_size(node: Node, arguments: Values) -> Values:
    return {"size": node.memory.config[ConfigId.SOURCE_ROUTE_TABLE_SIZE]}


def get_source_route_table_filled_size(node: Node, arguments: Values) -> Values:
    return {"size": min(len(node.memory.source_routes), 255)}


def get_source_route_table_entry(node: Node, arguments: Values) -> Values:
    destinations = list(node.memory.source_routes)
    if arguments["index"] >= len(destinations):
        return {"status": EmberStatus.NOT_FOUND, "destination": NULL_NODE_ID, "closer_index": NULL_INDEX}
    destination = destinations[arguments["index"]]
    return {"status": EmberStatus.SUCCESS, "destination": destination, "closer_index": NULL_INDEX}


HANDLERS: dict[str, Handler] = {
    "addressTableEntryIsActive": address_table_entry_is_active,
    "setAddressTableRemoteEui64": set_address_table_remote_eui64,
    "setAddressTableRemoteNodeId": set_address_table_remote_node_id,
    "getAddressTableRemoteEui64": get_address_table_remote_eui64,
    "getAddressTableRemoteNodeId": get_address_table_remote_node_id,
    "setAddressTableInfo": set_address_table_info,
    "getAddressTableInfo": get_address_table_info,
    "replaceAddressTableEntry": replace_address_table_entry,
    "setExtendedTimeout": set_extended_timeout,
    "getExtendedTimeout": get_extended_timeout,
    "lookupNodeIdByEui64": lookup_node_id_by_eui64,
    "lookupEui64ByNodeId": lookup_eui64_by_node_id,
    "getMulticastTableEntry": get_multicast_table_entry,
    "setMulticastTableEntry": set_multicast_table_entry,
    "clearBindingTable": clear_binding_table,
    "setBinding": set_binding,
    "getBinding": get_binding,
    "deleteBinding": delete_binding,
    "bindingIsActive": binding_is_active,
    "getBindingRemoteNodeId": get_binding_remote_node_id,
    "setBindingRemoteNodeId": set_binding_remote_node_id,
    "setSourceRoute": set_source_route,
    "setSourceRouteDiscoveryMode": set_source_route_discovery_mode,
    "getSourceRouteTableTotalSize": get_source_route_table_total_size,
    "getSourceRouteTableFilledSize": get_source_route_table_filled_size,
    "getSourceRouteTableEntry": get_source_route_table_entry,
}
