"""Networking frames: forming, leaving, joining window, scans, radio, concentrator (UG100, 3.6)."""

from __future__ import annotations

from simulator.ezsp.codes import (
    NULL_NODE_ID,
    ConfigId,
    EmberStatus,
    NetworkState,
    NodeType,
)
from simulator.ezsp.layout import Values
from simulator.ncp.node import Handler, Node
from simulator.ncp.stack import FIRST_CHANNEL, LAST_CHANNEL, MAX_TX_POWER, MIN_TX_POWER
from simulator.ncp.store import StoredNetwork

_SUCCESS: Values = {"status": EmberStatus.SUCCESS}
_JOIN_METHOD_MAC_ASSOCIATION = 0
_CHILD_POLL_TIMEOUT = 8
_GOOD_LINK_COST = 1


def set_manufacturer_code(node: Node, arguments: Values) -> Values:
    node.memory.manufacturer_code = arguments["code"]
    return _SUCCESS


def set_power_descriptor(node: Node, arguments: Values) -> Values:
    node.memory.power_descriptor = arguments["descriptor"]
    return _SUCCESS


def network_init(node: Node, arguments: Values) -> Values:
    return {"status": node.stack.init()}


def network_state(node: Node, arguments: Values) -> Values:
    return {"status": NetworkState.JOINED_NETWORK if node.memory.up else NetworkState.NO_NETWORK}


def start_scan(node: Node, arguments: Values) -> Values:
    return {"status": node.scanner.start(arguments["type"], arguments["mask"], arguments["duration"])}


def stop_scan(node: Node, arguments: Values) -> Values:
    node.scanner.stop()
    return _SUCCESS


def form_network(node: Node, arguments: Values) -> Values:
    network = StoredNetwork(
        arguments["parameters_pan_id"],
        arguments["parameters_extended_pan_id"],
        arguments["parameters_channel"],
        arguments["parameters_tx_power"],
        arguments["parameters_update_id"],
        arguments["parameters_manager"],
        arguments["parameters_channels"],
    )
    return {"status": node.stack.form(network)}


def leave_network(node: Node, arguments: Values) -> Values:
    return {"status": node.stack.leave()}


def permit_joining(node: Node, arguments: Values) -> Values:
    return {"status": node.stack.permit_joining(arguments["duration"])}


def _parameters(network: StoredNetwork) -> Values:
    return {
        "parameters_extended_pan_id": network.extended_pan_id,
        "parameters_pan_id": network.pan_id,
        "parameters_tx_power": network.tx_power,
        "parameters_channel": network.channel,
        "parameters_join_method": _JOIN_METHOD_MAC_ASSOCIATION,
        "parameters_manager": network.manager,
        "parameters_update_id": network.update_id,
        "parameters_channels": network.channels,
    }


def get_network_parameters(node: Node, arguments: Values) -> Values:
    network = node.stack.store.network
    if network is None or not node.memory.up:
        blank = _parameters(StoredNetwork(0xFFFF, 0, 0xFF, 0, 0, 0, 0))
        return {"status": EmberStatus.NOT_JOINED, "node_type": NodeType.UNKNOWN_DEVICE, **blank}
    return {"status": EmberStatus.SUCCESS, "node_type": NodeType.COORDINATOR, **_parameters(network)}


def get_radio_parameters(node: Node, arguments: Values) -> Values:
    network = node.stack.store.network
    known = network is not None and arguments["phy"] == 0
    return {
        "status": EmberStatus.SUCCESS if known else EmberStatus.INVALID_CALL,
        "parameters_tx_power": network.tx_power if network is not None and known else 0,
        "parameters_page": 0,
        "parameters_channel": network.channel if network is not None and known else 0,
    }


def get_parent_child_parameters(node: Node, arguments: Values) -> Values:
    return {
        "child_count": min(len(node.stack.network.children()), 255) if node.memory.up else 0,
        "parent_eui64": 0,
        "parent_id": NULL_NODE_ID,
    }


def _child(node: Node, index: int) -> tuple[int, int, bool] | None:
    children = node.stack.network.children() if node.memory.up else []
    return children[index] if index < len(children) else None


def get_child_data(node: Node, arguments: Values) -> Values:
    child = _child(node, arguments["index"])
    nwk, eui64, sleepy = child or (NULL_NODE_ID, 0, False)
    kind = NodeType.SLEEPY_END_DEVICE if sleepy else NodeType.END_DEVICE
    return {
        "status": EmberStatus.SUCCESS if child else EmberStatus.NOT_JOINED,
        "child_eui64": eui64,
        "child_type": kind if child else NodeType.UNKNOWN_DEVICE,
        "child_id": nwk,
        "child_phy": 0,
        "child_power": 0,
        "child_timeout": _CHILD_POLL_TIMEOUT if child else 0,
        "child_remaining_timeout": 0,
    }


def set_child_data(node: Node, arguments: Values) -> Values:
    """Children belong to the air: a restored entry is one the network has, or will report when it joins."""
    if arguments["index"] >= node.memory.config[ConfigId.MAX_END_DEVICE_CHILDREN]:
        return {"status": EmberStatus.INDEX_OUT_OF_RANGE}
    return _SUCCESS


def child_id(node: Node, arguments: Values) -> Values:
    child = _child(node, arguments["index"])
    return {"id": NULL_NODE_ID if child is None else child[0]}


def get_neighbor(node: Node, arguments: Values) -> Values:
    """The neighbours this NCP knows are its children."""
    child = _child(node, arguments["index"])
    nwk, eui64, _ = child or (NULL_NODE_ID, 0, False)
    return {
        "status": EmberStatus.SUCCESS if child else EmberStatus.ERR_FATAL,
        "value_id": nwk,
        "value_average_lqi": 255 if child else 0,
        "value_in_cost": _GOOD_LINK_COST,
        "value_out_cost": _GOOD_LINK_COST,
        "value_age": 3,
        "value_eui64": eui64,
    }


def neighbor_count(node: Node, arguments: Values) -> Values:
    return {"value": get_parent_child_parameters(node, arguments)["child_count"]}


def get_neighbor_frame_counter(node: Node, arguments: Values) -> Values:
    return {"status": EmberStatus.NOT_FOUND, "counter": 0}


def set_neighbor_frame_counter(node: Node, arguments: Values) -> Values:
    return {"status": EmberStatus.NOT_FOUND}


def get_route_table_entry(node: Node, arguments: Values) -> Values:
    """The air needs no routes: every entry is there and unused."""
    known = arguments["index"] < node.memory.config[ConfigId.ROUTE_TABLE_SIZE]
    return {
        "status": EmberStatus.SUCCESS if known else EmberStatus.INDEX_OUT_OF_RANGE,
        "value_destination": NULL_NODE_ID,
        "value_next_hop": NULL_NODE_ID,
        "value_status": 3,
        "value_age": 0,
        "value_concentrator": 0,
        "value_record_state": 0,
    }


def set_radio_power(node: Node, arguments: Values) -> Values:
    if not MIN_TX_POWER <= arguments["power"] <= MAX_TX_POWER:
        return {"status": EmberStatus.ERR_FATAL}
    network = node.stack.store.network
    if network is not None:
        network.tx_power = arguments["power"]
        node.stack.save()
    return _SUCCESS


def set_channel(node: Node, arguments: Values) -> Values:
    channel, network = arguments["channel"], node.stack.store.network
    if not FIRST_CHANNEL <= channel <= LAST_CHANNEL:
        return {"status": EmberStatus.PHY_INVALID_CHANNEL}
    if network is not None and network.channel != channel:
        network.channel = channel
        node.stack.save()
        node.stack.status(EmberStatus.CHANNEL_CHANGED)
    return _SUCCESS


def get_channel(node: Node, arguments: Values) -> Values:
    network = node.stack.store.network
    return {"channel": 0xFF if network is None else network.channel}


def set_routing_shortcut_threshold(node: Node, arguments: Values) -> Values:
    node.memory.shortcut_threshold = arguments["threshold"]
    return _SUCCESS


def get_routing_shortcut_threshold(node: Node, arguments: Values) -> Values:
    return {"threshold": node.memory.shortcut_threshold}


def accepted(node: Node, arguments: Values) -> Values:
    """A setting that means nothing to the virtual air."""
    return _SUCCESS


def only_when_up(node: Node, arguments: Values) -> Values:
    """A request to the air that has no effect there."""
    return {"status": EmberStatus.SUCCESS if node.memory.up else EmberStatus.NETWORK_DOWN}


HANDLERS: dict[str, Handler] = {
    "setManufacturerCode": set_manufacturer_code,
    "setPowerDescriptor": set_power_descriptor,
    "networkInit": network_init,
    "networkState": network_state,
    "startScan": start_scan,
    "stopScan": stop_scan,
    "formNetwork": form_network,
    "leaveNetwork": leave_network,
    "permitJoining": permit_joining,
    "energyScanRequest": only_when_up,
    "getNetworkParameters": get_network_parameters,
    "getRadioParameters": get_radio_parameters,
    "getParentChildParameters": get_parent_child_parameters,
    "getChildData": get_child_data,
    "setChildData": set_child_data,
    "childId": child_id,
    "getNeighbor": get_neighbor,
    "neighborCount": neighbor_count,
    "getNeighborFrameCounter": get_neighbor_frame_counter,
    "setNeighborFrameCounter": set_neighbor_frame_counter,
    "getRouteTableEntry": get_route_table_entry,
    "setRoutingShortcutThreshold": set_routing_shortcut_threshold,
    "getRoutingShortcutThreshold": get_routing_shortcut_threshold,
    "setRadioPower": set_radio_power,
    "setRadioChannel": set_channel,
    "setLogicalAndRadioChannel": set_channel,
    "getRadioChannel": get_channel,
    "getLogicalChannel": get_channel,
    "setRadioIeee802154CcaMode": accepted,
    "setConcentrator": accepted,
    "setBrokenRouteErrorCode": accepted,
    "sendManyToOneRouteRequest": only_when_up,
}
