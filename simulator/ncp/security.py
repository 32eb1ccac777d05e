"""Security frames: keys in and out, the key table, transient keys, removing a device (UG100, 3.9)."""

from __future__ import annotations

from simulator.ezsp.codes import (
    BLANK_KEY,
    NULL_INDEX,
    ConfigId,
    EmberStatus,
    KeyFlag,
    KeyType,
    SlStatus,
)
from simulator.ezsp.layout import Values
from simulator.ncp.memory import TransientKey
from simulator.ncp.node import Handler, Node
from simulator.ncp.store import LinkKey

_SUCCESS: Values = {"status": EmberStatus.SUCCESS}
_COUNTERS_AND_PARTNER = (
    KeyFlag.HAS_OUTGOING_FRAME_COUNTER | KeyFlag.HAS_INCOMING_FRAME_COUNTER | KeyFlag.HAS_PARTNER_EUI64
)
_MAX_TTL = 0xFFFF


def set_initial_security_state(node: Node, arguments: Values) -> Values:
    if node.memory.up:
        return {"status": EmberStatus.INVALID_CALL}
    node.memory.initial_security = arguments
    return _SUCCESS


def get_current_security_state(node: Node, arguments: Values) -> Values:
    current = node.stack.current_security()
    bitmask, trust_center = current or (0, 0)
    return {
        "status": EmberStatus.SUCCESS if current and node.memory.up else EmberStatus.NOT_JOINED,
        "state_bitmask": bitmask,
        "state_trust_center": trust_center,
    }


# ---- the security manager's keys


_CONTEXT = ("type", "index", "derived", "eui64", "network", "flags", "algorithm")


def _context(arguments: Values) -> Values:
    """The context of the request, which answers from version 14 on repeat."""
    return {f"context_{name}": arguments[f"context_{name}"] for name in _CONTEXT}


def _context_of(kind: KeyType, index: int, eui64: int, flags: int = 0) -> Values:
    return {
        "context_type": kind,
        "context_index": index,
        "context_derived": 0,
        "context_eui64": eui64,
        "context_network": 0,
        "context_flags": flags,
        "context_algorithm": 0,
    }


def _find_key(node: Node, kind: int, index: int, eui64: int) -> bytes | None:
    security = node.stack.store.security
    if kind == KeyType.APP_LINK:
        entry = node.stack.store.key_table.get(index)
        return None if entry is None else entry.key
    if kind == KeyType.TC_LINK_WITH_TIMEOUT:
        transient = node.trust_center.transient_keys().get(eui64)
        return None if transient is None else transient.key
    if security is None:
        return None
    if kind == KeyType.NETWORK:
        return security.network_key if index == 0 else None
    return security.link_key if kind == KeyType.TC_LINK else None


def export_key(node: Node, arguments: Values) -> Values:
    key = _find_key(node, arguments["context_type"], arguments["context_index"], arguments["context_eui64"])
    status = SlStatus.NOT_FOUND if key is None else SlStatus.OK
    return {"key": key or BLANK_KEY, **_context(arguments), "status": status}


def import_key(node: Node, arguments: Values) -> Values:
    """Network and trust centre keys can be replaced while the network is down; others have their own commands."""
    return {**_context(arguments), "status": _import_key(node, arguments)}


def _import_key(node: Node, arguments: Values) -> SlStatus:
    security, kind = node.stack.store.security, arguments["context_type"]
    if security is None or node.memory.up:
        return SlStatus.INVALID_STATE
    if kind == KeyType.NETWORK and arguments["context_index"] == 0:
        security.network_key = arguments["key"]
    elif kind == KeyType.TC_LINK:
        security.link_key = arguments["key"]
    else:
        return SlStatus.INVALID_PARAMETER
    node.stack.save()
    return SlStatus.OK


def check_key_context(node: Node, arguments: Values) -> Values:
    return {"status": export_key(node, arguments)["status"]}


def get_network_key_info(node: Node, arguments: Values) -> Values:
    security = node.stack.store.security
    return {
        "status": SlStatus.OK,
        "info_set": security is not None,
        "info_alternate_set": False,
        "info_sequence": 0 if security is None else security.network_key_sequence,
        "info_alternate_sequence": 0,
        "info_frame_counter": node.stack.nwk_frame_counter,
    }


def _metadata(outgoing: int, incoming: int, ttl: int = 0, bitmask: int = _COUNTERS_AND_PARTNER) -> Values:
    return {
        "metadata_bitmask": bitmask,
        "metadata_outgoing_frame_counter": outgoing,
        "metadata_incoming_frame_counter": incoming,
        "metadata_ttl": ttl,
    }


_NO_METADATA = _metadata(0, 0, 0, 0)


def get_aps_key_info(node: Node, arguments: Values) -> Values:
    kind, index = arguments["context_type"], arguments["context_index"]
    security = node.stack.store.security
    if kind == KeyType.TC_LINK and security is not None:
        metadata = _metadata(node.stack.aps_frame_counter, 0)
        context = {**_context(arguments), "context_eui64": security.trust_center}
        return {"eui64": security.trust_center, **context, **metadata, "status": SlStatus.OK}
    entry = node.stack.store.key_table.get(index) if kind == KeyType.APP_LINK else None
    if entry is None:
        return {"eui64": 0, **_context(arguments), **_NO_METADATA, "status": SlStatus.NOT_FOUND}
    metadata = _metadata(entry.outgoing_frame_counter, entry.incoming_frame_counter)
    context = {**_context(arguments), "context_eui64": entry.eui64}
    return {"eui64": entry.eui64, **context, **metadata, "status": SlStatus.OK}


# ---- key table


def _index_of(node: Node, eui64: int) -> int | None:
    return next((index for index, entry in node.stack.store.key_table.items() if entry.eui64 == eui64), None)


def find_key_table_entry(node: Node, arguments: Values) -> Values:
    """All zeros looks for a free entry."""
    if arguments["eui64"]:
        index = _index_of(node, arguments["eui64"])
    else:
        size = node.memory.config[ConfigId.KEY_TABLE_SIZE]
        index = next((index for index in range(size) if index not in node.stack.store.key_table), None)
    return {"index": NULL_INDEX if index is None else index}


def erase_key_table_entry(node: Node, arguments: Values) -> Values:
    if arguments["index"] >= node.memory.config[ConfigId.KEY_TABLE_SIZE]:
        return {"status": EmberStatus.INDEX_OUT_OF_RANGE}
    if node.stack.store.key_table.pop(arguments["index"], None) is not None:
        node.stack.save()
    return _SUCCESS


def clear_key_table(node: Node, arguments: Values) -> Values:
    node.stack.store.key_table.clear()
    node.stack.save()
    return _SUCCESS


def import_link_key(node: Node, arguments: Values) -> Values:
    index = arguments["index"]
    if index >= node.memory.config[ConfigId.KEY_TABLE_SIZE]:
        return {"status": SlStatus.INVALID_INDEX}
    node.stack.store.key_table[index] = LinkKey(arguments["eui64"], arguments["key"])
    node.stack.save()
    return {"status": SlStatus.OK}


def export_link_key_by_index(node: Node, arguments: Values) -> Values:
    index = arguments["index"]
    entry = node.stack.store.key_table.get(index)
    if entry is None:
        known = index < node.memory.config[ConfigId.KEY_TABLE_SIZE]
        status = SlStatus.NOT_FOUND if known else SlStatus.INVALID_INDEX
        context = _context_of(KeyType.APP_LINK, index, 0)
        return {"eui64": 0, "key": BLANK_KEY, **context, **_NO_METADATA, "status": status}
    metadata = _metadata(entry.outgoing_frame_counter, entry.incoming_frame_counter)
    context = _context_of(KeyType.APP_LINK, index, entry.eui64)
    return {"eui64": entry.eui64, "key": entry.key, **context, **metadata, "status": SlStatus.OK}


def export_link_key_by_eui(node: Node, arguments: Values) -> Values:
    index = _index_of(node, arguments["eui64"])
    if index is None:
        context = _context_of(KeyType.APP_LINK, NULL_INDEX, arguments["eui64"])
        return {"key": BLANK_KEY, "index": NULL_INDEX, **context, **_NO_METADATA, "status": SlStatus.NOT_FOUND}
    return {**export_link_key_by_index(node, {"index": index}), "index": index}


# ---- transient keys


def import_transient_key(node: Node, arguments: Values) -> Values:
    kept = node.trust_center.add_transient_key(arguments["eui64"], arguments["key"], arguments.get("flags", 0))
    return {"status": SlStatus.OK if kept else SlStatus.FULL}


def _transient(node: Node, index: int, eui64: int, key: TransientKey | None) -> Values:
    ttl = 0 if key is None else min(int(key.expires_at - node.stack.clock()), _MAX_TTL)
    return {
        **_context_of(KeyType.TC_LINK_WITH_TIMEOUT, index, eui64, 0 if key is None else key.flags),
        "key": BLANK_KEY if key is None else key.key,
        **(_NO_METADATA if key is None else _metadata(0, 0, ttl, KeyFlag.HAS_PARTNER_EUI64)),
        "status": SlStatus.NOT_FOUND if key is None else SlStatus.OK,
    }


def export_transient_key_by_index(node: Node, arguments: Values) -> Values:
    keys = list(node.trust_center.transient_keys().items())
    index = arguments["index"]
    eui64, key = keys[index] if index < len(keys) else (0, None)
    return _transient(node, index, eui64, key)


def export_transient_key_by_eui(node: Node, arguments: Values) -> Values:
    keys, eui64 = node.trust_center.transient_keys(), arguments["eui64"]
    index = list(keys).index(eui64) if eui64 in keys else NULL_INDEX
    return _transient(node, index, eui64, keys.get(eui64))


def clear_transient_link_keys(node: Node, arguments: Values) -> Values:
    node.memory.transient_keys.clear()
    return {}


# ---- the trust centre acting on devices


def remove_device(node: Node, arguments: Values) -> Values:
    if not node.memory.up:
        return {"status": EmberStatus.NETWORK_DOWN}
    nwk = node.stack.nwk_of(arguments["target_eui64"])
    if nwk is None and arguments["target_eui64"] == arguments["destination_eui64"]:
        nwk = arguments["destination"]
    if not nwk:
        return {"status": EmberStatus.INVALID_CALL}
    node.stack.network.leave_request(nwk)
    return _SUCCESS


def update_network_key(node: Node, arguments: Values) -> Values:
    """Exchanging the network key of a running network is nothing the virtual devices take part in."""
    return {"status": EmberStatus.INVALID_CALL}


HANDLERS: dict[str, Handler] = {
    "setInitialSecurityState": set_initial_security_state,
    "getCurrentSecurityState": get_current_security_state,
    "exportKey": export_key,
    "importKey": import_key,
    "checkKeyContext": check_key_context,
    "getNetworkKeyInfo": get_network_key_info,
    "getApsKeyInfo": get_aps_key_info,
    "findKeyTableEntry": find_key_table_entry,
    "eraseKeyTableEntry": erase_key_table_entry,
    "clearKeyTable": clear_key_table,
    "importLinkKey": import_link_key,
    "exportLinkKeyByIndex": export_link_key_by_index,
    "exportLinkKeyByEui": export_link_key_by_eui,
    "importTransientKey": import_transient_key,
    "exportTransientKeyByIndex": export_transient_key_by_index,
    "exportTransientKeyByEui": export_transient_key_by_eui,
    "clearTransientLinkKeys": clear_transient_link_keys,
    "removeDevice": remove_device,
    "updateTcLinkKey": update_network_key,
    "requestLinkKey": update_network_key,
    "broadcastNextNetworkKey": update_network_key,
    "broadcastNetworkKeySwitch": update_network_key,
    "unicastNwkKeyUpdate": update_network_key,
    "sendTrustCenterLinkKey": update_network_key,
    "gpProxyTableRemoveEntry": lambda node, arguments: {},
    "gpClearProxyTable": lambda node, arguments: {},
    "gpSinkTableInit": lambda node, arguments: {},
    "gpSinkTableClearAll": lambda node, arguments: {},
    "gpSinkTableRemoveEntry": lambda node, arguments: {},
    "gpSinkTableGetNumberOfActiveEntries": lambda node, arguments: {"count": 0},
}
