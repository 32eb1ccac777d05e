"""EZSP headers, layouts and the version 13 table, against octets written by hand from UG100."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer.errors import PeerError, UsageError
from simulator.ezsp import v13
from simulator.ezsp.codes import EzspStatus
from simulator.ezsp.frame import CommandError, Header, Protocol, Row, read_header
from simulator.ezsp.layout import Layout

PROTOCOL = v13.protocol()
EUI64 = 0x0011223344556677
LITTLE_EUI64 = "7766554433221100"
KEY = bytes(range(16))
APS_FRAME: dict[str, Any] = {
    "aps_profile": 0x0104,
    "aps_cluster": 0x0006,
    "aps_source_endpoint": 1,
    "aps_destination_endpoint": 2,
    "aps_options": 0x0140,
    "aps_group": 0x0000,
    "aps_sequence": 0x99,
}
APS_OCTETS = "0401060001024001000099"

COMMANDS: list[tuple[str, str, dict[str, Any]]] = [
    ("version", "00000d", {"desired": 13}),
    ("getConfigurationValue", "52000d", {"id": 0x0D}),
    ("setConfigurationValue", "530012001e", {"id": 0x12, "value": 7680}),
    (
        "addEndpoint",
        "02000104010500000201000006002000",
        {
            "endpoint": 1,
            "profile": 0x0104,
            "device": 5,
            "version": 0,
            "input_count": 2,
            "output_count": 1,
            "inputs": (0x0000, 0x0006),
            "outputs": (0x0020,),
        },
    ),
    ("setPolicy", "55000003", {"id": 0, "decision": 3}),
    ("getExtendedValue", "03000234120000", {"id": 2, "characteristics": 0x1234}),
    ("setValue", "ab00230478563412", {"id": 0x23, "value": bytes.fromhex("78563412")}),
    ("networkInit", "17000300", {"bitmask": 3}),
    ("startScan", "1a000000f8ff0704", {"type": 0, "mask": 0x07FFF800, "duration": 4}),
    (
        "formNetwork",
        "1e00" + LITTLE_EUI64 + "3412f80f0000000500f8ff07",
        {
            "parameters_extended_pan_id": EUI64,
            "parameters_pan_id": 0x1234,
            "parameters_tx_power": -8,
            "parameters_channel": 15,
            "parameters_join_method": 0,
            "parameters_manager": 0,
            "parameters_update_id": 5,
            "parameters_channels": 0x07FFF800,
        },
    ),
    (
        "sendUnicast",
        "3400003412" + APS_OCTETS + "2a03010203",
        {"type": 0, "destination": 0x1234, **APS_FRAME, "tag": 42, "contents": b"\x01\x02\x03"},
    ),
    (
        "sendBroadcast",
        "3600fcff" + APS_OCTETS + "1e2a00",
        {"destination": 0xFFFC, **APS_FRAME, "radius": 30, "tag": 42, "contents": b""},
    ),
    (
        "sendMulticast",
        "3800" + APS_OCTETS + "1e032a01ff",
        {**APS_FRAME, "radius": 30, "nonmember_radius": 3, "tag": 42, "contents": b"\xff"},
    ),
    (
        "setInitialSecurityState",
        "6800840b" + KEY.hex() + "22" * 16 + "01" + LITTLE_EUI64,
        {
            "state_bitmask": 0x0B84,
            "state_preconfigured_key": KEY,
            "state_network_key": b"\x22" * 16,
            "state_sequence": 1,
            "state_trust_center": EUI64,
        },
    ),
    (
        "exportKey",
        "140101000000" + LITTLE_EUI64 + "000000000000",
        {
            "context_type": 1,
            "context_index": 0,
            "context_derived": 0,
            "context_eui64": EUI64,
            "context_network": 0,
            "context_flags": 0,
            "context_algorithm": 0,
        },
    ),
    ("importTransientKey", "1101" + LITTLE_EUI64 + KEY.hex() + "00", {"eui64": EUI64, "key": KEY, "flags": 0}),
    ("importLinkKey", "0e0103" + LITTLE_EUI64 + KEY.hex(), {"index": 3, "eui64": EUI64, "key": KEY}),
    (
        "setMulticastTableEntry",
        "64000201100100",
        {"index": 2, "value_group": 0x1001, "value_endpoint": 1, "value_network": 0},
    ),
    (
        "replaceAddressTableEntry",
        "820005" + LITTLE_EUI64 + "341201",
        {"index": 5, "eui64": EUI64, "id": 0x1234, "extended": True},
    ),
    ("setSourceRoute", "ae0034120211112222", {"destination": 0x1234, "relays": (0x1111, 0x2222)}),
    (
        "setConcentrator",
        "100001f9ff0a003c00030100",
        {
            "on": True,
            "type": 0xFFF9,
            "min_time": 10,
            "max_time": 60,
            "route_error_threshold": 3,
            "delivery_failure_threshold": 1,
            "max_hops": 0,
        },
    ),
    (
        "setTokenData",
        "03012ae101000000000002000000abcd",
        {"token": 0x1E12A, "index": 0, "data": b"\xab\xcd"},
    ),
    ("customFrame", "4700020102", {"payload": b"\x01\x02"}),
    (
        "removeDevice",
        "a8003412" + LITTLE_EUI64 + LITTLE_EUI64,
        {"destination": 0x1234, "destination_eui64": EUI64, "target_eui64": EUI64},
    ),
]

METADATA = {
    "metadata_bitmask": 0x0E,
    "metadata_outgoing_frame_counter": 1,
    "metadata_incoming_frame_counter": 2,
    "metadata_ttl": 3,
}
RESPONSES: list[tuple[str, dict[str, Any], str]] = [
    ("version", {"protocol": 13, "stack_type": 2, "stack_version": 0x7440}, "0000" "0d" "02" "4074"),
    ("getConfigurationValue", {"status": 0, "value": 0x1234}, "5200" "00" "3412"),
    ("getValue", {"status": 0, "value": b"\x01\x02"}, "aa00" "00" "02" "0102"),
    ("startScan", {"status": 0x4D}, "1a00" "4d000000"),
    ("setSourceRouteDiscoveryMode", {"remaining_time": 1}, "5a00" "01000000"),
    ("sendUnicast", {"status": 0x72, "sequence": 9}, "3400" "72" "09"),
    ("getEui64", {"eui64": EUI64}, "2600" + LITTLE_EUI64),
    ("exportKey", {"key": KEY, "status": 0x2D}, "1401" + KEY.hex() + "2d000000"),
    (
        "exportLinkKeyByIndex",
        {"eui64": EUI64, "key": KEY, **METADATA, "status": 0},
        "0f01" + LITTLE_EUI64 + KEY.hex() + "0e00" "01000000" "02000000" "0300" "00000000",
    ),
    (
        "exportLinkKeyByEui",
        {"key": KEY, "index": 7, **METADATA, "status": 0},
        "0d01" + KEY.hex() + "07" "0e00" "01000000" "02000000" "0300" "00000000",
    ),
    (
        "getNetworkKeyInfo",
        {
            "status": 0,
            "info_set": True,
            "info_alternate_set": False,
            "info_sequence": 5,
            "info_alternate_sequence": 0,
            "info_frame_counter": 0x01020304,
        },
        "1601" "00000000" "01" "00" "05" "00" "04030201",
    ),
    ("getCurrentSecurityState", {"status": 0, "state_bitmask": 0x94, "state_trust_center": EUI64},
     "6900" "00" "9400" + LITTLE_EUI64),
    (
        "getChildData",
        {
            "status": 0,
            "child_eui64": EUI64,
            "child_type": 4,
            "child_id": 0x1234,
            "child_phy": 0,
            "child_power": 0,
            "child_timeout": 8,
            "child_remaining_timeout": 0x01020304,
        },
        "4a00" "00" + LITTLE_EUI64 + "04" "3412" "00" "00" "08" "04030201",
    ),
    ("readCounters", {"values": tuple(range(41))}, "f100" + "".join(f"{n:02x}00" for n in range(41))),
    ("getTokenData", {"status": 0, "data": b"\xaa"}, "0201" "00" "01000000" "aa"),
    ("lookupEui64ByNodeId", {"status": 0, "eui64": EUI64}, "6100" "00" + LITTLE_EUI64),
]  # fmt: skip

CALLBACKS: list[tuple[str, dict[str, Any], str]] = [
    ("stackStatusHandler", {"status": 0x90}, "190090"),
    (
        "messageSentHandler",
        {"type": 0, "destination": 0x1234, **APS_FRAME, "tag": 42, "status": 0x66, "contents": b""},
        "3f00003412" + APS_OCTETS + "2a6600",
    ),
    (
        "incomingMessageHandler",
        {
            "type": 0,
            **APS_FRAME,
            "lqi": 200,
            "rssi": -50,
            "sender": 0x1234,
            "binding_index": 0xFF,
            "address_index": 0xFF,
            "contents": b"\x18\x01\x0a",
        },
        "450000" + APS_OCTETS + "c8ce3412ffff0318010a",
    ),
    (
        "trustCenterJoinHandler",
        {"id": 0x1234, "eui64": EUI64, "status": 1, "decision": 0, "parent": 0},
        "24003412" + LITTLE_EUI64 + "01000000",
    ),
    (
        "childJoinHandler",
        {"index": 1, "joining": True, "id": 0x1234, "eui64": EUI64, "type": 4},
        "230001013412" + LITTLE_EUI64 + "04",
    ),
    ("energyScanResultHandler", {"channel": 11, "rssi": -85}, "48000bab"),
    ("scanCompleteHandler", {"channel": 0, "status": 0}, "1c000000"),
    (
        "networkFoundHandler",
        {
            "network_channel": 20,
            "network_pan_id": 0x1234,
            "network_extended_pan_id": EUI64,
            "network_allowing_join": True,
            "network_stack_profile": 2,
            "network_update_id": 1,
            "lqi": 255,
            "rssi": -40,
        },
        "1b00143412" + LITTLE_EUI64 + "010201ffd8",
    ),
    (
        "incomingRouteRecordHandler",
        {"source": 0x1234, "source_eui64": EUI64, "lqi": 255, "rssi": -40, "relays": (0x1111,)},
        "59003412" + LITTLE_EUI64 + "ffd8011111",
    ),
    ("incomingSenderEui64Handler", {"eui64": EUI64}, "6200" + LITTLE_EUI64),
    ("incomingRouteErrorHandler", {"status": 0xA9, "target": 0x1234}, "8000a93412"),
    ("idConflictHandler", {"id": 0x1234}, "7c003412"),
    ("invalidCommand", {"reason": 0x31}, "580031"),
]


@pytest.mark.parametrize(("name", "octets", "arguments"), COMMANDS, ids=[row[0] for row in COMMANDS])
def test_commands(name: str, octets: str, arguments: dict[str, Any]) -> None:
    command = PROTOCOL.read(bytes.fromhex("070001" + octets))
    assert command.row.name == name
    assert command.header == Header(7, True)
    assert command.arguments == arguments


@pytest.mark.parametrize(("name", "values", "octets"), RESPONSES, ids=[row[0] for row in RESPONSES])
def test_responses(name: str, values: dict[str, Any], octets: str) -> None:
    assert PROTOCOL.response(Header(7, True), name, values).hex() == "078001" + octets


@pytest.mark.parametrize(("name", "values", "octets"), CALLBACKS, ids=[row[0] for row in CALLBACKS])
def test_callbacks(name: str, values: dict[str, Any], octets: str) -> None:
    assert PROTOCOL.callback(7, name, values).hex() == "079001" + octets


def test_legacy_version() -> None:
    """The first command of every host, as in the worked example of UG100: sequence, control, id, desired version."""
    command = PROTOCOL.read(bytes.fromhex("00 00 00 04"))
    assert (command.row.name, command.header, command.arguments) == ("version", Header(0, False), {"desired": 4})
    values = {"protocol": 13, "stack_type": 2, "stack_version": 0x7440}
    assert PROTOCOL.response(command.header, "version", values).hex() == "0080000d024074"


def test_flags_go_to_the_first_octet_of_the_frame_control() -> None:
    assert PROTOCOL.response(Header(1, True), "nop", {}, 0x05).hex() == "0185010500"


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("00", EzspStatus.ERROR_TRUNCATED),
        ("00 00 01 26", EzspStatus.ERROR_TRUNCATED),
        ("00 00 01 52 00", EzspStatus.ERROR_TRUNCATED),
        ("00 00 01 34 00 00 34 12", EzspStatus.ERROR_TRUNCATED),
        ("00 00 01 47 00 05 01", EzspStatus.ERROR_TRUNCATED),
        ("00 00 01 ae 00 34 12 02 11 11", EzspStatus.ERROR_TRUNCATED),
        ("00 00 01 fe fe", EzspStatus.ERROR_INVALID_FRAME_ID),
        ("00 00 01 19 00 90", EzspStatus.ERROR_INVALID_FRAME_ID),  # a callback is no command
        ("00 80 01 05 00", EzspStatus.ERROR_WRONG_DIRECTION),
        ("00 00 05 05 00", EzspStatus.ERROR_UNSUPPORTED_CONTROL),
        ("00 00 81 05 00", EzspStatus.ERROR_UNSUPPORTED_CONTROL),  # secure EZSP
    ],
)
def test_refusals(frame: str, reason: EzspStatus) -> None:
    with pytest.raises(CommandError) as refusal:
        PROTOCOL.read(bytes.fromhex(frame))
    assert refusal.value.reason is reason


def test_octets_behind_the_parameters_are_ignored() -> None:
    assert PROTOCOL.read(bytes.fromhex("00 00 01 05 00 de ad")).arguments == {}


@given(st.binary(max_size=140))
def test_arbitrary_octets_are_a_command_or_refused(data: bytes) -> None:
    try:
        PROTOCOL.read(data)
    except CommandError as error:
        assert isinstance(error, PeerError)


@given(st.binary(max_size=10))
def test_headers(data: bytes) -> None:
    try:
        header, frame_id, parameters = read_header(data)
    except CommandError:
        return
    size = 5 if header.extended else 3
    assert parameters == data[size:]
    assert 0 <= frame_id <= 0xFFFF


@pytest.mark.parametrize("values", [{}, {"value": 256}, {"value": "x"}, {"value": None}])
def test_values_that_do_not_fit(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Layout("value:u8").write(values)


@pytest.mark.parametrize("text", ["a:u24", "a:u8[", "a:i8[3]", "a"])
def test_unknown_kinds(text: str) -> None:
    with pytest.raises(UsageError):
        Layout(text)


def test_tables_hold_each_frame_once() -> None:
    row = Row("a", 1, Layout(""), Layout(""))
    with pytest.raises(UsageError):
        Protocol(99, [row, Row("b", 1, Layout(""), Layout(""))])
    with pytest.raises(UsageError):
        Protocol(99, [row]).row("b")
