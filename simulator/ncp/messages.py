"""Messaging frames: the send commands and the payload limit (UG100, 3.8)."""

from __future__ import annotations

from simulator.ezsp.codes import NULL_NODE_ID, OutgoingType
from simulator.ezsp.layout import Values
from simulator.ncp.messaging import MAX_PAYLOAD, Answer
from simulator.ncp.node import Handler, Node

#: multicasts travel as broadcasts to all devices whose receiver is on
_RX_ON_WHEN_IDLE = 0xFFFD


def _answer(answer: Answer) -> Values:
    status, sequence = answer
    return {"status": status, "sequence": sequence}


def maximum_payload_length(node: Node, arguments: Values) -> Values:
    return {"length": MAX_PAYLOAD}


def send_unicast(node: Node, arguments: Values) -> Values:
    return _answer(node.messaging.unicast(arguments))


def send_broadcast(node: Node, arguments: Values) -> Values:
    """From version 14 on also in another node's name: the air shows the coordinator as the sender."""
    destination = arguments["destination"]
    kind = OutgoingType.BROADCAST if _own_name(arguments) else OutgoingType.BROADCAST_WITH_ALIAS
    return _answer(node.messaging.broadcast(arguments, kind, destination, destination))


def _own_name(arguments: Values) -> bool:
    return bool(arguments.get("alias", NULL_NODE_ID) == NULL_NODE_ID)


def proxy_broadcast(node: Node, arguments: Values) -> Values:
    """In another node's name: the air shows the coordinator as the sender."""
    destination = arguments["destination"]
    return _answer(node.messaging.broadcast(arguments, OutgoingType.BROADCAST_WITH_ALIAS, destination, destination))


def send_multicast(node: Node, arguments: Values) -> Values:
    group, kind = arguments["aps_group"], OutgoingType.MULTICAST
    if not _own_name(arguments):
        kind = OutgoingType.MULTICAST_WITH_ALIAS
    return _answer(node.messaging.broadcast(arguments, kind, arguments.get("broadcast", _RX_ON_WHEN_IDLE), group))


def send_multicast_with_alias(node: Node, arguments: Values) -> Values:
    group = arguments["aps_group"]
    return _answer(node.messaging.broadcast(arguments, OutgoingType.MULTICAST_WITH_ALIAS, _RX_ON_WHEN_IDLE, group))


def send_reply(node: Node, arguments: Values) -> Values:
    return {"status": node.messaging.reply(arguments)}


HANDLERS: dict[str, Handler] = {
    "maximumPayloadLength": maximum_payload_length,
    "sendUnicast": send_unicast,
    "sendBroadcast": send_broadcast,
    "proxyBroadcast": proxy_broadcast,
    "sendMulticast": send_multicast,
    "sendMulticastWithAlias": send_multicast_with_alias,
    "sendReply": send_reply,
}
