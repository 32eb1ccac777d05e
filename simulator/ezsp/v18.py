"""EZSP protocol version 18 (EmberZNet 8.2): the rows that version 13 has otherwise or not at all.

Source: the command handlers that Silicon Labs publishes with EmberZNet 8 (simplicity_sdk,
``protocol/zigbee/app/em260``). Where drivers disagree they decide: ``importTransientKey`` reads no flags (octets behind
the key are ignored); ``lookupNodeIdByEui64`` and ``setManufacturerCode`` answer with a status.
"""

from __future__ import annotations

from simulator.ezsp.frame import Protocol
from simulator.ezsp.frames import CallbackRow, CommandRow, table

VERSION = 18

_CONTEXT_KEY = "status:u32 context:KeyContext key:key metadata:KeyMetadata"

_COMMANDS: tuple[CommandRow, ...] = (
    ("setManufacturerCode", 0x0015, "code:u16", "status:u32"),
    ("setPowerDescriptor", 0x0016, "descriptor:u16", "status:u32"),
    ("leaveNetwork", 0x0020, "options:u8", "status:u32"),
    (
        "sendUnicast",
        0x0034,
        "type:u8 destination:u16 aps:ApsFrame tag:u16 contents:data8",
        "status:u32 sequence:u8",
    ),
    (
        "sendBroadcast",
        0x0036,
        "alias:u16 destination:u16 nwk_sequence:u8 aps:ApsFrame radius:u8 tag:u16 contents:data8",
        "status:u32 sequence:u8",
    ),
    (
        "sendMulticast",
        0x0038,
        "aps:ApsFrame radius:u8 broadcast:u16 alias:u16 nwk_sequence:u8 tag:u16 contents:data8",
        "status:u32 sequence:u8",
    ),
    ("setAddressTableInfo", 0x005C, "index:u8 eui64:eui64 id:u16", "status:u32"),
    ("getAddressTableInfo", 0x005E, "index:u8", "status:u32 id:u16 eui64:eui64"),
    ("setExtendedTimeout", 0x007E, "eui64:eui64 extended:bool", "status:u32"),
    ("getExtendedTimeout", 0x007F, "eui64:eui64", "status:u32"),
    ("lookupNodeIdByEui64", 0x0060, "eui64:eui64", "status:u32 id:u16"),
    ("readAndClearCounters", 0x0065, "", "values:u16[42]"),
    ("readCounters", 0x00F1, "", "values:u16[42]"),
    ("getTokenCount", 0x0100, "", "count:u32"),
    ("exportKey", 0x0114, "context:KeyContext", "status:u32 key:key context:KeyContext"),
    ("importKey", 0x0115, "context:KeyContext key:key", "status:u32 context:KeyContext"),
    ("getApsKeyInfo", 0x010C, "context:KeyContext", "status:u32 metadata:KeyMetadata context:KeyContext"),
    ("exportLinkKeyByIndex", 0x010F, "index:u8", _CONTEXT_KEY),
    ("exportLinkKeyByEui", 0x010D, "eui64:eui64", _CONTEXT_KEY),
    ("importTransientKey", 0x0111, "eui64:eui64 key:key", "status:u32"),
    ("exportTransientKeyByIndex", 0x0112, "index:u8", _CONTEXT_KEY),
    ("exportTransientKeyByEui", 0x0113, "eui64:eui64", _CONTEXT_KEY),
    # green power proxy, kept empty
    ("gpProxyTableRemoveEntry", 0x005D, "index:u8", ""),
    ("gpClearProxyTable", 0x005F, "", ""),
)

_CALLBACKS: tuple[CallbackRow, ...] = (
    # hosts read the first octet as an EzspStatus
    ("invalidCommand", 0x0058, "reason:u32"),
    ("messageSentHandler", 0x003F, "status:u32 type:u8 destination:u16 aps:ApsFrame tag:u16 contents:data8"),
    (
        "incomingMessageHandler",
        0x0045,
        "type:u8 aps:ApsFrame sender:u16 sender_eui64:eui64 binding_index:u8 address_index:u8 lqi:u8 rssi:i8 "
        "timestamp:u32 contents:data8",
    ),
)


def protocol() -> Protocol:
    """The table, compiled."""
    return table(VERSION, "u32", _COMMANDS, _CALLBACKS)
