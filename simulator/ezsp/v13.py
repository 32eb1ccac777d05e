"""EZSP protocol version 13 (EmberZNet 7.4): the rows that later versions have otherwise or not at all.

Source: UG100 for EmberZNet 7.4. The other rows are in ``simulator.ezsp.frames``.
"""

from __future__ import annotations

from simulator.ezsp.frame import Protocol
from simulator.ezsp.frames import CallbackRow, CommandRow, table

VERSION = 13

_COMMANDS: tuple[CommandRow, ...] = (
    ("readAndClearCounters", 0x0065, "", "values:u16[41]"),
    ("readCounters", 0x00F1, "", "values:u16[41]"),
    ("getTokenCount", 0x0100, "", "count:u8"),
    ("setManufacturerCode", 0x0015, "code:u16", ""),
    ("setPowerDescriptor", 0x0016, "descriptor:u16", ""),
    ("leaveNetwork", 0x0020, "", "status:status"),
    ("sendUnicast", 0x0034, "type:u8 destination:u16 aps:ApsFrame tag:u8 contents:data8", "status:status sequence:u8"),
    (
        "sendBroadcast",
        0x0036,
        "destination:u16 aps:ApsFrame radius:u8 tag:u8 contents:data8",
        "status:status sequence:u8",
    ),
    (
        "proxyBroadcast",
        0x0037,
        "source:u16 destination:u16 nwk_sequence:u8 aps:ApsFrame radius:u8 tag:u8 contents:data8",
        "status:status sequence:u8",
    ),
    (
        "sendMulticast",
        0x0038,
        "aps:ApsFrame radius:u8 nonmember_radius:u8 tag:u8 contents:data8",
        "status:status sequence:u8",
    ),
    (
        "sendMulticastWithAlias",
        0x003A,
        "aps:ApsFrame radius:u8 nonmember_radius:u8 alias:u16 nwk_sequence:u8 tag:u8 contents:data8",
        "status:status sequence:u8",
    ),
    ("setAddressTableRemoteEui64", 0x005C, "index:u8 eui64:eui64", "status:status"),
    ("setAddressTableRemoteNodeId", 0x005D, "index:u8 id:u16", ""),
    ("getAddressTableRemoteEui64", 0x005E, "index:u8", "eui64:eui64"),
    ("getAddressTableRemoteNodeId", 0x005F, "index:u8", "id:u16"),
    ("setExtendedTimeout", 0x007E, "eui64:eui64 extended:bool", ""),
    ("getExtendedTimeout", 0x007F, "eui64:eui64", "extended:bool"),
    ("lookupNodeIdByEui64", 0x0060, "eui64:eui64", "id:u16"),
    ("exportKey", 0x0114, "context:KeyContext", "key:key status:u32"),
    ("importKey", 0x0115, "context:KeyContext key:key", "status:u32"),
    ("getApsKeyInfo", 0x010C, "context:KeyContext", "eui64:eui64 metadata:KeyMetadata status:u32"),
    ("exportLinkKeyByIndex", 0x010F, "index:u8", "eui64:eui64 key:key metadata:KeyMetadata status:u32"),
    ("exportLinkKeyByEui", 0x010D, "eui64:eui64", "key:key index:u8 metadata:KeyMetadata status:u32"),
    ("importTransientKey", 0x0111, "eui64:eui64 key:key flags:u8", "status:u32"),
    ("exportTransientKeyByIndex", 0x0112, "index:u8", "context:KeyContext key:key metadata:KeyMetadata status:u32"),
    ("exportTransientKeyByEui", 0x0113, "eui64:eui64", "context:KeyContext key:key metadata:KeyMetadata status:u32"),
)

_CALLBACKS: tuple[CallbackRow, ...] = (
    ("invalidCommand", 0x0058, "reason:u8"),
    ("messageSentHandler", 0x003F, "type:u8 destination:u16 aps:ApsFrame tag:u8 status:status contents:data8"),
    (
        "incomingMessageHandler",
        0x0045,
        "type:u8 aps:ApsFrame lqi:u8 rssi:i8 sender:u16 binding_index:u8 address_index:u8 contents:data8",
    ),
    ("incomingSenderEui64Handler", 0x0062, "eui64:eui64"),
)


def protocol() -> Protocol:
    """The table, compiled."""
    return table(VERSION, "u8", _COMMANDS, _CALLBACKS)
