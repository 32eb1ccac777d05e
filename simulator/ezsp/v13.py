"""The frames of EZSP protocol version 13 (EmberZNet 7.4): one row each.

Source: UG100 for EmberZNet 7.4; layouts in the notation of ``simulator.ezsp.layout``. A later version is a table of
its own beside this one. Status items: ``u8`` is an EmberStatus or EzspStatus, ``u32`` an sl_status_t.
"""

from __future__ import annotations

from simulator.ezsp.frame import Protocol, Row
from simulator.ezsp.layout import Layout

VERSION = 13

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
_COMMANDS: tuple[tuple[str, int, str, str], ...] = (
    # configuration
    ("version", 0x0000, "desired:u8", "protocol:u8 stack_type:u8 stack_version:u16"),
    ("getConfigurationValue", 0x0052, "id:u8", "status:u8 value:u16"),
    ("setConfigurationValue", 0x0053, "id:u8 value:u16", "status:u8"),
    (
        "addEndpoint",
        0x0002,
        "endpoint:u8 profile:u16 device:u16 version:u8 input_count:u8 output_count:u8 "
        "inputs:u16[input_count] outputs:u16[output_count]",
        "status:u8",
    ),
    ("setPolicy", 0x0055, "id:u8 decision:u8", "status:u8"),
    ("getPolicy", 0x0056, "id:u8", "status:u8 decision:u8"),
    ("getValue", 0x00AA, "id:u8", "status:u8 value:data8"),
    ("getExtendedValue", 0x0003, "id:u8 characteristics:u32", "status:u8 value:data8"),
    ("setValue", 0x00AB, "id:u8 value:data8", "status:u8"),
    ("setPassiveAckConfig", 0x0105, "config:u8 min_acks:u8", "status:u8"),
    # utilities
    ("nop", 0x0005, "", ""),
    ("echo", 0x0081, "data:data8", "data:data8"),
    ("callback", 0x0006, "", ""),
    ("setToken", 0x0009, "id:u8 data:u8[8]", "status:u8"),
    ("getToken", 0x000A, "id:u8", "status:u8 data:u8[8]"),
    ("getMfgToken", 0x000B, "id:u8", "data:data8"),
    ("setMfgToken", 0x000C, "id:u8 data:data8", "status:u8"),
    ("getRandomNumber", 0x0049, "", "status:u8 value:u16"),
    ("debugWrite", 0x0012, "binary:bool data:data8", "status:u8"),
    ("readAndClearCounters", 0x0065, "", "values:u16[41]"),
    ("readCounters", 0x00F1, "", "values:u16[41]"),
    ("getLibraryStatus", 0x0001, "id:u8", "status:u8"),
    ("getXncpInfo", 0x0013, "", "status:u8 manufacturer:u16 version:u16"),
    ("customFrame", 0x0047, "payload:data8", "status:u8 reply:data8"),
    ("getEui64", 0x0026, "", "eui64:eui64"),
    ("getNodeId", 0x0027, "", "id:u16"),
    ("getPhyInterfaceCount", 0x00FC, "", "count:u8"),
    ("getTrueRandomEntropySource", 0x004F, "", "source:u8"),
    ("getTokenCount", 0x0100, "", "count:u8"),
    ("getTokenInfo", 0x0101, "index:u8", "status:u8 token:TokenInfo"),
    ("getTokenData", 0x0102, "token:u32 index:u32", "status:u8 data:data32"),
    ("setTokenData", 0x0103, "token:u32 index:u32 data:data32", "status:u8"),
    ("resetNode", 0x0104, "", ""),
    ("tokenFactoryReset", 0x0077, "exclude_outgoing_fc:bool exclude_boot_counter:bool", ""),
    # networking
    ("setManufacturerCode", 0x0015, "code:u16", ""),
    ("setPowerDescriptor", 0x0016, "descriptor:u16", ""),
    ("networkInit", 0x0017, "bitmask:u16", "status:u8"),
    ("networkState", 0x0018, "", "status:u8"),
    ("startScan", 0x001A, "type:u8 mask:u32 duration:u8", "status:u32"),
    ("stopScan", 0x001D, "", "status:u8"),
    ("formNetwork", 0x001E, "parameters:NetworkParameters", "status:u8"),
    ("leaveNetwork", 0x0020, "", "status:u8"),
    ("permitJoining", 0x0022, "duration:u8", "status:u8"),
    ("energyScanRequest", 0x009C, "target:u16 channels:u32 duration:u8 count:u16", "status:u8"),
    ("getNetworkParameters", 0x0028, "", "status:u8 node_type:u8 parameters:NetworkParameters"),
    ("getRadioParameters", 0x00FD, "phy:u8", "status:u8 parameters:RadioParameters"),
    ("getParentChildParameters", 0x0029, "", "child_count:u8 parent_eui64:eui64 parent_id:u16"),
    ("getChildData", 0x004A, "index:u8", "status:u8 child:ChildData"),
    ("setChildData", 0x00AC, "index:u8 child:ChildData", "status:u8"),
    ("childId", 0x0106, "index:u8", "id:u16"),
    ("getSourceRouteTableTotalSize", 0x00C3, "", "size:u8"),
    ("getSourceRouteTableFilledSize", 0x00C2, "", "size:u8"),
    ("getSourceRouteTableEntry", 0x00C1, "index:u8", "status:u8 destination:u16 closer_index:u8"),
    ("getNeighbor", 0x0079, "index:u8", "status:u8 value:NeighborEntry"),
    ("getNeighborFrameCounter", 0x003E, "eui64:eui64", "status:u8 counter:u32"),
    ("setNeighborFrameCounter", 0x00AD, "eui64:eui64 counter:u32", "status:u8"),
    ("neighborCount", 0x007A, "", "value:u8"),
    ("getRouteTableEntry", 0x007B, "index:u8", "status:u8 value:RouteEntry"),
    ("setRoutingShortcutThreshold", 0x00D0, "threshold:u8", "status:u8"),
    ("getRoutingShortcutThreshold", 0x00D1, "", "threshold:u8"),
    ("setRadioPower", 0x0099, "power:i8", "status:u8"),
    ("setRadioChannel", 0x009A, "channel:u8", "status:u8"),
    ("getRadioChannel", 0x00FF, "", "channel:u8"),
    ("setRadioIeee802154CcaMode", 0x0095, "mode:u8", "status:u8"),
    ("setLogicalAndRadioChannel", 0x00B9, "channel:u8", "status:u8"),
    ("getLogicalChannel", 0x00BA, "", "channel:u8"),
    (
        "setConcentrator",
        0x0010,
        "on:bool type:u16 min_time:u16 max_time:u16 route_error_threshold:u8 delivery_failure_threshold:u8 max_hops:u8",
        "status:u8",
    ),
    ("setBrokenRouteErrorCode", 0x0011, "code:u8", "status:u8"),
    # binding table
    ("clearBindingTable", 0x002A, "", "status:u8"),
    ("setBinding", 0x002B, "index:u8 value:BindingEntry", "status:u8"),
    ("getBinding", 0x002C, "index:u8", "status:u8 value:BindingEntry"),
    ("deleteBinding", 0x002D, "index:u8", "status:u8"),
    ("bindingIsActive", 0x002E, "index:u8", "active:bool"),
    ("getBindingRemoteNodeId", 0x002F, "index:u8", "id:u16"),
    ("setBindingRemoteNodeId", 0x0030, "index:u8 id:u16", ""),
    # messaging
    ("maximumPayloadLength", 0x0033, "", "length:u8"),
    ("sendUnicast", 0x0034, "type:u8 destination:u16 aps:ApsFrame tag:u8 contents:data8", "status:u8 sequence:u8"),
    ("sendBroadcast", 0x0036, "destination:u16 aps:ApsFrame radius:u8 tag:u8 contents:data8", "status:u8 sequence:u8"),
    (
        "proxyBroadcast",
        0x0037,
        "source:u16 destination:u16 nwk_sequence:u8 aps:ApsFrame radius:u8 tag:u8 contents:data8",
        "status:u8 sequence:u8",
    ),
    (
        "sendMulticast",
        0x0038,
        "aps:ApsFrame radius:u8 nonmember_radius:u8 tag:u8 contents:data8",
        "status:u8 sequence:u8",
    ),
    (
        "sendMulticastWithAlias",
        0x003A,
        "aps:ApsFrame radius:u8 nonmember_radius:u8 alias:u16 nwk_sequence:u8 tag:u8 contents:data8",
        "status:u8 sequence:u8",
    ),
    ("sendReply", 0x0039, "destination:u16 aps:ApsFrame contents:data8", "status:u8"),
    ("sendManyToOneRouteRequest", 0x0041, "type:u16 radius:u8", "status:u8"),
    ("setSourceRouteDiscoveryMode", 0x005A, "mode:u8", "remaining_time:u32"),
    ("setSourceRoute", 0x00AE, "destination:u16 relays:list16", "status:u8"),
    ("addressTableEntryIsActive", 0x005B, "index:u8", "active:bool"),
    ("setAddressTableRemoteEui64", 0x005C, "index:u8 eui64:eui64", "status:u8"),
    ("setAddressTableRemoteNodeId", 0x005D, "index:u8 id:u16", ""),
    ("getAddressTableRemoteEui64", 0x005E, "index:u8", "eui64:eui64"),
    ("getAddressTableRemoteNodeId", 0x005F, "index:u8", "id:u16"),
    ("setExtendedTimeout", 0x007E, "eui64:eui64 extended:bool", ""),
    ("getExtendedTimeout", 0x007F, "eui64:eui64", "extended:bool"),
    (
        "replaceAddressTableEntry",
        0x0082,
        "index:u8 eui64:eui64 id:u16 extended:bool",
        "status:u8 old_eui64:eui64 old_id:u16 old_extended:bool",
    ),
    ("lookupNodeIdByEui64", 0x0060, "eui64:eui64", "id:u16"),
    ("lookupEui64ByNodeId", 0x0061, "id:u16", "status:u8 eui64:eui64"),
    ("getMulticastTableEntry", 0x0063, "index:u8", "status:u8 value:MulticastEntry"),
    ("setMulticastTableEntry", 0x0064, "index:u8 value:MulticastEntry", "status:u8"),
    # security
    ("setInitialSecurityState", 0x0068, "state:InitialSecurityState", "status:u8"),
    ("getCurrentSecurityState", 0x0069, "", "status:u8 state:CurrentSecurityState"),
    ("exportKey", 0x0114, "context:KeyContext", "key:key status:u32"),
    ("importKey", 0x0115, "context:KeyContext key:key", "status:u32"),
    ("findKeyTableEntry", 0x0075, "eui64:eui64 link_key:bool", "index:u8"),
    ("eraseKeyTableEntry", 0x0076, "index:u8", "status:u8"),
    ("clearKeyTable", 0x00B1, "", "status:u8"),
    ("clearTransientLinkKeys", 0x006B, "", ""),
    ("getNetworkKeyInfo", 0x0116, "", "status:u32 info:NetworkKeyInfo"),
    ("getApsKeyInfo", 0x010C, "context:KeyContext", "eui64:eui64 metadata:KeyMetadata status:u32"),
    ("importLinkKey", 0x010E, "index:u8 eui64:eui64 key:key", "status:u32"),
    ("exportLinkKeyByIndex", 0x010F, "index:u8", "eui64:eui64 key:key metadata:KeyMetadata status:u32"),
    ("exportLinkKeyByEui", 0x010D, "eui64:eui64", "key:key index:u8 metadata:KeyMetadata status:u32"),
    ("checkKeyContext", 0x0110, "context:KeyContext", "status:u32"),
    ("importTransientKey", 0x0111, "eui64:eui64 key:key flags:u8", "status:u32"),
    ("exportTransientKeyByIndex", 0x0112, "index:u8", "context:KeyContext key:key metadata:KeyMetadata status:u32"),
    ("exportTransientKeyByEui", 0x0113, "eui64:eui64", "context:KeyContext key:key metadata:KeyMetadata status:u32"),
    ("updateTcLinkKey", 0x006C, "max_attempts:u8", "status:u8"),
    ("requestLinkKey", 0x0014, "partner:eui64", "status:u8"),
    ("broadcastNextNetworkKey", 0x0073, "key:key", "status:u8"),
    ("broadcastNetworkKeySwitch", 0x0074, "", "status:u8"),
    ("removeDevice", 0x00A8, "destination:u16 destination_eui64:eui64 target_eui64:eui64", "status:u8"),
    ("unicastNwkKeyUpdate", 0x00A9, "destination:u16 destination_eui64:eui64 key:key", "status:u8"),
    ("sendTrustCenterLinkKey", 0x0067, "destination:u16 destination_eui64:eui64", "status:u8"),
    # green power sink, kept empty
    ("gpSinkTableInit", 0x0070, "", ""),
    ("gpSinkTableClearAll", 0x00E2, "", ""),
    ("gpSinkTableGetNumberOfActiveEntries", 0x0118, "", "count:u8"),
    ("gpSinkTableRemoveEntry", 0x00E0, "index:u8", ""),
)

# (name, id, parameters to the host)
_CALLBACKS: tuple[tuple[str, int, str], ...] = (
    ("noCallbacks", 0x0007, ""),
    ("invalidCommand", 0x0058, "reason:u8"),
    ("stackTokenChangedHandler", 0x000D, "address:u16"),
    ("counterRolloverHandler", 0x00F2, "type:u8"),
    ("customFrameHandler", 0x0054, "payload:data8"),
    ("stackStatusHandler", 0x0019, "status:u8"),
    ("energyScanResultHandler", 0x0048, "channel:u8 rssi:i8"),
    ("networkFoundHandler", 0x001B, "network:ZigbeeNetwork lqi:u8 rssi:i8"),
    ("scanCompleteHandler", 0x001C, "channel:u8 status:u8"),
    ("childJoinHandler", 0x0023, "index:u8 joining:bool id:u16 eui64:eui64 type:u8"),
    ("trustCenterJoinHandler", 0x0024, "id:u16 eui64:eui64 status:u8 decision:u8 parent:u16"),
    ("messageSentHandler", 0x003F, "type:u8 destination:u16 aps:ApsFrame tag:u8 status:u8 contents:data8"),
    (
        "incomingMessageHandler",
        0x0045,
        "type:u8 aps:ApsFrame lqi:u8 rssi:i8 sender:u16 binding_index:u8 address_index:u8 contents:data8",
    ),
    ("incomingSenderEui64Handler", 0x0062, "eui64:eui64"),
    ("incomingRouteRecordHandler", 0x0059, "source:u16 source_eui64:eui64 lqi:u8 rssi:i8 relays:list16"),
    ("incomingManyToOneRouteRequestHandler", 0x007D, "source:u16 eui64:eui64 cost:u8"),
    ("incomingRouteErrorHandler", 0x0080, "status:u8 target:u16"),
    ("incomingNetworkStatusHandler", 0x00C4, "code:u8 target:u16"),
    ("idConflictHandler", 0x007C, "id:u16"),
    ("switchNetworkKeyHandler", 0x006E, "sequence:u8"),
    ("zigbeeKeyEstablishmentHandler", 0x009B, "partner:eui64 status:u8"),
)


def protocol() -> Protocol:
    """The table, compiled."""
    rows = [
        Row(name, number, Layout(request, STRUCTURES), Layout(response, STRUCTURES))
        for name, number, request, response in _COMMANDS
    ]
    rows += [Row(name, number, None, Layout(response, STRUCTURES)) for name, number, response in _CALLBACKS]
    return Protocol(VERSION, rows)
