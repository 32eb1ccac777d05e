"""Configuration frames: configuration values, policies, endpoints (UG100, 3.4)."""

from __future__ import annotations

from simulator.ezsp.codes import ConfigId, EzspStatus
from simulator.ezsp.layout import Values
from simulator.ncp.memory import CONFIGURATION, Endpoint
from simulator.ncp.node import Handler, Node

#: sizes of tables can't change any longer once the network is up
_SIZES = frozenset(
    (
        ConfigId.PACKET_BUFFER_COUNT,
        ConfigId.NEIGHBOR_TABLE_SIZE,
        ConfigId.APS_UNICAST_MESSAGE_COUNT,
        ConfigId.BINDING_TABLE_SIZE,
        ConfigId.ADDRESS_TABLE_SIZE,
        ConfigId.MULTICAST_TABLE_SIZE,
        ConfigId.ROUTE_TABLE_SIZE,
        ConfigId.DISCOVERY_TABLE_SIZE,
        ConfigId.SOURCE_ROUTE_TABLE_SIZE,
        ConfigId.KEY_TABLE_SIZE,
        ConfigId.BROADCAST_TABLE_SIZE,
        ConfigId.MAX_END_DEVICE_CHILDREN,
    )
)


def version(node: Node, arguments: Values) -> Values:
    """The protocol's number is put in by the dongle, which knows which table is in use."""
    return {"stack_type": 2, "stack_version": node.stack.version}


def get_configuration_value(node: Node, arguments: Values) -> Values:
    value = node.memory.config.get(arguments["id"])
    if value is None:
        return {"status": EzspStatus.ERROR_INVALID_ID, "value": 0}
    return {"status": EzspStatus.SUCCESS, "value": value}


def set_configuration_value(node: Node, arguments: Values) -> Values:
    number, value = arguments["id"], arguments["value"]
    if number not in node.memory.config:
        return {"status": EzspStatus.ERROR_INVALID_ID}
    if node.memory.up and number in _SIZES:
        return {"status": EzspStatus.ERROR_INVALID_CALL}
    if value > CONFIGURATION[number][1]:
        return {"status": EzspStatus.ERROR_INVALID_VALUE}
    node.memory.config[number] = value
    return {"status": EzspStatus.SUCCESS}


def set_policy(node: Node, arguments: Values) -> Values:
    number, decision = arguments["id"], arguments["decision"]
    if number not in node.memory.policies:
        return {"status": EzspStatus.ERROR_INVALID_ID}
    node.memory.policies[number] = decision
    return {"status": EzspStatus.SUCCESS}


def get_policy(node: Node, arguments: Values) -> Values:
    decision = node.memory.policies.get(arguments["id"])
    if decision is None:
        return {"status": EzspStatus.ERROR_INVALID_ID, "decision": 0}
    return {"status": EzspStatus.SUCCESS, "decision": decision}


def add_endpoint(node: Node, arguments: Values) -> Values:
    """Only before the network is up, and each number once."""
    number = arguments["endpoint"]
    endpoints, options = node.memory.endpoints, node.stack.options
    if node.memory.up or number in endpoints:
        return {"status": EzspStatus.ERROR_INVALID_CALL}
    if not 1 <= number <= 254:
        return {"status": EzspStatus.ERROR_INVALID_VALUE}
    inputs, outputs = arguments["inputs"], arguments["outputs"]
    if len(endpoints) >= options.endpoints or len(inputs) + len(outputs) > options.clusters_per_endpoint:
        return {"status": EzspStatus.ERROR_OUT_OF_MEMORY}
    endpoints[number] = Endpoint(
        arguments["profile"], arguments["device"], arguments["version"], tuple(inputs), tuple(outputs)
    )
    node.memory.endpoint_flags[number] = 1
    return {"status": EzspStatus.SUCCESS}


def set_passive_ack_config(node: Node, arguments: Values) -> Values:
    return {"status": EzspStatus.SUCCESS}


HANDLERS: dict[str, Handler] = {
    "version": version,
    "getConfigurationValue": get_configuration_value,
    "setConfigurationValue": set_configuration_value,
    "setPolicy": set_policy,
    "getPolicy": get_policy,
    "addEndpoint": add_endpoint,
    "setPassiveAckConfig": set_passive_ack_config,
}
