"""The frames that EZSP protocol versions 13 to 18 have in common, and how a version's table is put together.

Source: UG100 for EmberZNet 7.4 and, from version 14 on, the frames' own command handlers that Silicon Labs publishes
with EmberZNet 8 (simplicity_sdk, ``protocol/zigbee/app/em260``). Layouts in the notation of ``simulator.ezsp.layout``,
and one more kind: ``status`` is the status of its version, an octet (EmberStatus or EzspStatus) up to 13, an
sl_status_t of 32 bits from 14 on.
"""

from __future__ import annotations

from collections.abc import Sequence

from simulator.ezsp.frame import Protocol, Row
from simulator.ezsp.layout import Layout

#: name, id, parameters from the host, parameters to the host
CommandRow = tuple[str, int, str, str]
#: name, id, parameters to the host
CallbackRow = tuple[str, int, str]

STRUCTURES = {
    "ApsFrame": "profile:u16 cluster:u16 source_endpoint:u8 destination_endpoint:u8 options:u16 group:u16 sequence:u8",
    "NetworkParameters": (
        "extended_pan_id:eui64 pan_id:u16 tx_power:i8 channel:u8 join_method:u8 manager:u16 update_id:u8 channels:u32"
    ),
    "ZigbeeNetwork": "channel:u8 pan_id:u16 extended_pan_id:eui64 allowing_join:bool stack_profile:u8 update_id:u8",
    "InitialSecurityState": "bitmask:u16 preconfigured_key:key network_key:key sequence:u8 trust_center:eui64",
    "CurrentSecurityState": "bitmask:u16 trust_center:eui64",
    "ChildData": "eui64:eui64 type:u8 id:u16 phy:u8 power:u8 timeout:u8 remaining_timeout:u32",
    "NeighborEntry": "id:u16 average_lqi:u8 in_cost:u8 out_cost:u8 age:u8 eui64:eui64",
    "RouteEntry": "destination:u16 next_hop:u16 status:u8 age:u8 concentrator:u8 record_state:u8",
    "BindingEntry": "type:u8 local:u8 cluster:u16 remote:u8 identifier:eui64 network:u8",
    "MulticastEntry": "group:u16 endpoint:u8 network:u8",
    "KeyContext": "type:u8 index:u8 derived:u16 eui64:eui64 network:u8 flags:u8 algorithm:u32",
    "KeyMetadata": "bitmask:u16 outgoing_frame_counter:u32 incoming_frame_counter:u32 ttl:u16",
    "NetworkKeyInfo": "set:bool alternate_set:bool sequence:u8 alternate_sequence:u8 frame_counter:u32",
    "TokenInfo": "key:u32 counter:bool indexed:bool size:u8 array_size:u8",
    "RadioParameters": "tx_power:i8 page:u8 channel:u8",
}

# (name, id, parameters from the host, parameters to the host)
COMMANDS: tuple[CommandRow, ...] = (
    # configuration
    ("version", 0x0000, "desired:u8", "protocol:u8 stack_type:u8 stack_version:u16"),
    ("getConfigurationValue", 0x0052, "id:u8", "status:status value:u16"),
    ("setConfigurationValue", 0x0053, "id:u8 value:u16", "status:status"),
    (
        "addEndpoint",
        0x0002,
        "endpoint:u8 profile:u16 device:u16 version:u8 input_count:u8 output_count:u8 inputs:u16[input_count] "
        "outputs:u16[output_count]",
        "status:status",
    ),
    ("setPolicy", 0x0055, "id:u8 decision:u8", "status:status"),
    ("getPolicy", 0x0056, "id:u8", "status:status decision:u8"),
    ("getValue", 0x00AA, "id:u8", "status:status value:data8"),
    ("getExtendedValue", 0x0003, "id:u8 characteristics:u32", "status:status value:data8"),
    ("setValue", 0x00AB, "id:u8 value:data8", "status:status"),
    ("setPassiveAckConfig", 0x0105, "config:u8 min_acks:u8", "status:status"),
    # utilities
    ("nop", 0x0005, "", ""),
    ("echo", 0x0081, "data:data8", "data:data8"),
    ("callback", 0x0006, "", ""),
    ("setToken", 0x0009, "id:u8 data:u8[8]", "status:status"),
    ("getToken", 0x000A, "id:u8", "status:status data:u8[8]"),
    ("getMfgToken", 0x000B, "id:u8", "data:data8"),
    ("setMfgToken", 0x000C, "id:u8 data:data8", "status:status"),
    ("getRandomNumber", 0x0049, "", "status:status value:u16"),
    ("debugWrite", 0x0012, "binary:bool data:data8", "status:status"),
    ("getLibraryStatus", 0x0001, "id:u8", "status:u8"),
    ("getXncpInfo", 0x0013, "", "status:status manufacturer:u16 version:u16"),
    ("customFrame", 0x0047, "payload:data8", "status:status reply:data8"),
    ("getEui64", 0x0026, "", "eui64:eui64"),
    ("getNodeId", 0x0027, "", "id:u16"),
    ("getPhyInterfaceCount", 0x00FC, "", "count:u8"),
    ("getTrueRandomEntropySource", 0x004F, "", "source:u8"),
    ("getTokenInfo", 0x0101, "index:u8", "status:status token:TokenInfo"),
    ("getTokenData", 0x0102, "token:u32 index:u32", "status:status data:data32"),
    ("setTokenData", 0x0103, "token:u32 index:u32 data:data32", "status:status"),
    ("resetNode", 0x0104, "", ""),
    ("tokenFactoryReset", 0x0077, "exclude_outgoing_fc:bool exclude_boot_counter:bool", ""),
    # networking
    ("networkInit", 0x0017, "bitmask:u16", "status:status"),
    ("networkState", 0x0018, "", "status:u8"),
    ("startScan", 0x001A, "type:u8 mask:u32 duration:u8", "status:u32"),
    ("stopScan", 0x001D, "", "status:status"),
    ("formNetwork", 0x001E, "parameters:NetworkParameters", "status:status"),
    ("permitJoining", 0x0022, "duration:u8", "status:status"),
    ("energyScanRequest", 0x009C, "target:u16 channels:u32 duration:u8 count:u16", "status:status"),
    ("getNetworkParameters", 0x0028, "", "status:status node_type:u8 parameters:NetworkParameters"),
    ("getRadioParameters", 0x00FD, "phy:u8", "status:status parameters:RadioParameters"),
    ("getParentChildParameters", 0x0029, "", "child_count:u8 parent_eui64:eui64 parent_id:u16"),
    ("getChildData", 0x004A, "index:u8", "status:status child:ChildData"),
    ("setChildData", 0x00AC, "index:u8 child:ChildData", "status:status"),
    ("childId", 0x0106, "index:u8", "id:u16"),
    ("getSourceRouteTableTotalSize", 0x00C3, "", "size:u8"),
    ("getSourceRouteTableFilledSize", 0x00C2, "", "size:u8"),
    ("getSourceRouteTableEntry", 0x00C1, "index:u8", "status:status destination:u16 closer_index:u8"),
    ("getNeighbor", 0x0079, "index:u8", "status:status value:NeighborEntry"),
    ("getNeighborFrameCounter", 0x003E, "eui64:eui64", "status:status counter:u32"),
    ("setNeighborFrameCounter", 0x00AD, "eui64:eui64 counter:u32", "status:status"),
    ("neighborCount", 0x007A, "", "value:u8"),
    ("getRouteTableEntry", 0x007B, "index:u8", "status:status value:RouteEntry"),
    ("setRoutingShortcutThreshold", 0x00D0, "threshold:u8", "status:status"),
    ("getRoutingShortcutThreshold", 0x00D1, "", "threshold:u8"),
    ("setRadioPower", 0x0099, "power:i8", "status:status"),
    ("setRadioChannel", 0x009A, "channel:u8", "status:status"),
    ("getRadioChannel", 0x00FF, "", "channel:u8"),
    ("setRadioIeee802154CcaMode", 0x0095, "mode:u8", "status:status"),
    ("setLogicalAndRadioChannel", 0x00B9, "channel:u8", "status:status"),
    ("getLogicalChannel", 0x00BA, "", "channel:u8"),
    (
        "setConcentrator",
        0x0010,
        "on:bool type:u16 min_time:u16 max_time:u16 route_error_threshold:u8 delivery_failure_threshold:u8 max_hops:u8",
        "status:status",
    ),
    ("setBrokenRouteErrorCode", 0x0011, "code:u8", "status:status"),
    # binding table
    ("clearBindingTable", 0x002A, "", "status:status"),
    ("setBinding", 0x002B, "index:u8 value:BindingEntry", "status:status"),
    ("getBinding", 0x002C, "index:u8", "status:status value:BindingEntry"),
    ("deleteBinding", 0x002D, "index:u8", "status:status"),
    ("bindingIsActive", 0x002E, "index:u8", "active:bool"),
    ("getBindingRemoteNodeId", 0x002F, "index:u8", "id:u16"),
    ("setBindingRemoteNodeId", 0x0030, "index:u8 id:u16", ""),
    # messaging
    ("maximumPayloadLength", 0x0033, "", "length:u8"),
    ("sendReply", 0x0039, "destination:u16 aps:ApsFrame contents:data8", "status:status"),
    ("sendManyToOneRouteRequest", 0x0041, "type:u16 radius:u8", "status:status"),
    ("setSourceRouteDiscoveryMode", 0x005A, "mode:u8", "remaining_time:u32"),
    ("setSourceRoute", 0x00AE, "destination:u16 relays:list16", "status:status"),
    ("addressTableEntryIsActive", 0x005B, "index:u8", "active:bool"),
    (
        "replaceAddressTableEntry",
        0x0082,
        "index:u8 eui64:eui64 id:u16 extended:bool",
        "status:status old_eui64:eui64 old_id:u16 old_extended:bool",
    ),
    ("lookupEui64ByNodeId", 0x0061, "id:u16", "status:status eui64:eui64"),
    ("getMulticastTableEntry", 0x0063, "index:u8", "status:status value:MulticastEntry"),
    ("setMulticastTableEntry", 0x0064, "index:u8 value:MulticastEntry", "status:status"),
    # security
    ("setInitialSecurityState", 0x0068, "state:InitialSecurityState", "status:status"),
    ("getCurrentSecurityState", 0x0069, "", "status:status state:CurrentSecurityState"),
    ("findKeyTableEntry", 0x0075, "eui64:eui64 link_key:bool", "index:u8"),
    ("eraseKeyTableEntry", 0x0076, "index:u8", "status:status"),
    ("clearKeyTable", 0x00B1, "", "status:status"),
    ("clearTransientLinkKeys", 0x006B, "", ""),
    ("getNetworkKeyInfo", 0x0116, "", "status:u32 info:NetworkKeyInfo"),
    ("importLinkKey", 0x010E, "index:u8 eui64:eui64 key:key", "status:u32"),
    ("checkKeyContext", 0x0110, "context:KeyContext", "status:u32"),
    ("updateTcLinkKey", 0x006C, "max_attempts:u8", "status:status"),
    ("requestLinkKey", 0x0014, "partner:eui64", "status:status"),
    ("broadcastNextNetworkKey", 0x0073, "key:key", "status:status"),
    ("broadcastNetworkKeySwitch", 0x0074, "", "status:status"),
    ("removeDevice", 0x00A8, "destination:u16 destination_eui64:eui64 target_eui64:eui64", "status:status"),
    ("unicastNwkKeyUpdate", 0x00A9, "destination:u16 destination_eui64:eui64 key:key", "status:status"),
    ("sendTrustCenterLinkKey", 0x0067, "destination:u16 destination_eui64:eui64", "status:status"),
    # green power sink, kept empty
    ("gpSinkTableInit", 0x0070, "", ""),
    ("gpSinkTableClearAll", 0x00E2, "", ""),
    ("gpSinkTableGetNumberOfActiveEntries", 0x0118, "", "count:u8"),
    ("gpSinkTableRemoveEntry", 0x00E0, "index:u8", ""),
)

CALLBACKS: tuple[CallbackRow, ...] = (
    ("noCallbacks", 0x0007, ""),
    ("stackTokenChangedHandler", 0x000D, "address:u16"),
    ("counterRolloverHandler", 0x00F2, "type:u8"),
    ("customFrameHandler", 0x0054, "payload:data8"),
    ("stackStatusHandler", 0x0019, "status:status"),
    ("energyScanResultHandler", 0x0048, "channel:u8 rssi:i8"),
    ("networkFoundHandler", 0x001B, "network:ZigbeeNetwork lqi:u8 rssi:i8"),
    ("scanCompleteHandler", 0x001C, "channel:u8 status:status"),
    ("childJoinHandler", 0x0023, "index:u8 joining:bool id:u16 eui64:eui64 type:u8"),
    ("trustCenterJoinHandler", 0x0024, "id:u16 eui64:eui64 status:u8 decision:u8 parent:u16"),
    ("incomingRouteRecordHandler", 0x0059, "source:u16 source_eui64:eui64 lqi:u8 rssi:i8 relays:list16"),
    ("incomingManyToOneRouteRequestHandler", 0x007D, "source:u16 eui64:eui64 cost:u8"),
    ("incomingRouteErrorHandler", 0x0080, "status:status target:u16"),
    ("incomingNetworkStatusHandler", 0x00C4, "code:u8 target:u16"),
    ("idConflictHandler", 0x007C, "id:u16"),
    ("switchNetworkKeyHandler", 0x006E, "sequence:u8"),
    ("zigbeeKeyEstablishmentHandler", 0x009B, "partner:eui64 status:u8"),
)


def table(version: int, status: str, commands: Sequence[CommandRow], callbacks: Sequence[CallbackRow]) -> Protocol:
    """The table of a version: the common rows, and its own. ``status`` is the kind of its statuses."""

    def layout(text: str) -> Layout:
        return Layout(text.replace(":status", f":{status}"), STRUCTURES)

    rows = [Row(name, number, layout(request), layout(response)) for name, number, request, response in COMMANDS]
    rows += [Row(name, number, layout(request), layout(response)) for name, number, request, response in commands]
    rows += [Row(name, number, None, layout(response)) for name, number, response in (*CALLBACKS, *callbacks)]
    return Protocol(version, rows)
