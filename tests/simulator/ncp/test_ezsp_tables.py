"""The tables of all protocol versions: a handler for each command, and layouts as bellows reads and writes them."""

from __future__ import annotations

from typing import Any

import pytest
import zigpy.types
from bellows.ezsp.v13.commands import COMMANDS as BELLOWS_13
from bellows.ezsp.v18.commands import COMMANDS as BELLOWS_18
from hypothesis import given
from hypothesis import strategies as st

from layer.errors import PeerError
from simulator.ezsp.codes import EmberStatus, EzspStatus, NetworkState, SlStatus, sl_status
from simulator.ezsp.frame import Header
from simulator.ezsp.layout import Layout
from simulator.ncp.dongle import HANDLERS, PROTOCOLS

TABLES = {version: make() for version, make in PROTOCOLS.items()}
V18 = TABLES[18]
BELLOWS: dict[int, dict[str, Any]] = {13: BELLOWS_13, 18: BELLOWS_18}
VERSIONS = pytest.mark.parametrize("version", sorted(TABLES), ids="ezsp{}".format)
#: frames that bellows has otherwise: a status of one octet where four come, flags that not all hosts send
DIFFERENT = {13: {"startScan"}, 18: {"importTransientKey"}}
EUI64 = 0x0011223344556677
LITTLE_EUI64 = "7766554433221100"
KEY = bytes(range(16))
APS = {
    "aps_profile": 0x0104,
    "aps_cluster": 0x0006,
    "aps_source_endpoint": 1,
    "aps_destination_endpoint": 2,
    "aps_options": 0x0140,
    "aps_group": 0x0000,
    "aps_sequence": 0x99,
}
APS_OCTETS = "0401060001024001000099"
CONTEXT = {
    "context_type": 3,
    "context_index": 1,
    "context_derived": 0,
    "context_eui64": EUI64,
    "context_network": 0,
    "context_flags": 0,
    "context_algorithm": 0,
}
CONTEXT_OCTETS = "03010000" + LITTLE_EUI64 + "000000000000"
METADATA = {
    "metadata_bitmask": 0x000E,
    "metadata_outgoing_frame_counter": 1,
    "metadata_incoming_frame_counter": 2,
    "metadata_ttl": 3,
}
METADATA_OCTETS = "0e0001000000020000000300"


def test_every_command_has_a_handler_and_every_handler_a_command() -> None:
    assert {version: table.version for version, table in TABLES.items()} == {13: 13, 18: 18}
    assert set(HANDLERS) == {name for table in TABLES.values() for name in table.commands()}


def blank(layout: Layout) -> bytes:
    """Octets of the layout: every number nought, nothing behind a count."""
    for size in range(200):
        try:
            layout.read(bytes(size))
        except PeerError:
            continue
        return bytes(size)
    raise AssertionError(layout.text)


def reads_whole(schema: Any, data: bytes) -> bool:
    """Whether bellows takes ``data`` for such parameters, down to the last octet."""
    try:
        rest = (
            zigpy.types.deserialize(data, schema.values())[1]
            if isinstance(schema, dict)
            else schema.deserialize(data)[1]
        )
    except ValueError:
        return False
    return not rest


@VERSIONS
def test_every_frame_has_the_id_and_length_that_bellows_knows(version: int) -> None:
    table, different = TABLES[version], set()
    for name, (number, from_host, to_host) in BELLOWS[version].items():
        if name in table:
            row = table.row(name)
            same = row.id == number and reads_whole(to_host, blank(row.response))
            if not same or (row.request is not None and not reads_whole(from_host, blank(row.request))):
                different.add(name)
    assert different == DIFFERENT[version]


@VERSIONS
@given(st.data())
def test_arbitrary_parameters_read_back_as_written(version: int, data: st.DataObject) -> None:
    table = TABLES[version]
    row = table.row(data.draw(st.sampled_from(table.commands())))
    assert row.request is not None
    for layout in (row.request, row.response):
        parameters = data.draw(st.binary(max_size=120))
        try:
            values = layout.read(parameters)
        except PeerError:
            continue
        octets = layout.write(values)
        assert layout.read(octets) == values
        assert len(octets) <= len(parameters)


@pytest.mark.parametrize(
    ("name", "octets", "arguments"),
    [
        (
            "sendUnicast",
            "3400" "00" "3412" + APS_OCTETS + "0102" "02aabb",
            {"type": 0, "destination": 0x1234, **APS, "tag": 0x0201, "contents": b"\xaa\xbb"},
        ),
        (
            "sendBroadcast",
            "3600" "ffff" "fcff" "00" + APS_OCTETS + "1e" "0102" "00",
            {"alias": 65535, "destination": 65532, "nwk_sequence": 0, **APS, "radius": 30, "tag": 513, "contents": b""},
        ),
        ("leaveNetwork", "2000" "00", {"options": 0}),
        ("importTransientKey", "1101" + LITTLE_EUI64 + KEY.hex(), {"eui64": EUI64, "key": KEY}),
        ("importTransientKey", "1101" + LITTLE_EUI64 + KEY.hex() + "00", {"eui64": EUI64, "key": KEY}),
        ("setAddressTableInfo", "5c00" "05" + LITTLE_EUI64 + "3412", {"index": 5, "eui64": EUI64, "id": 0x1234}),
    ],
)  # fmt: skip
def test_commands_of_version_18(name: str, octets: str, arguments: dict[str, Any]) -> None:
    command = V18.read(bytes.fromhex("070001" + octets))
    assert (command.row.name, command.header, command.arguments) == (name, Header(7, True), arguments)


@pytest.mark.parametrize(
    ("name", "values", "octets"),
    [
        ("sendUnicast", {"status": EmberStatus.MAX_MESSAGE_LIMIT_REACHED, "sequence": 9}, "3400" "030c0000" "09"),
        ("getConfigurationValue", {"status": EzspStatus.SUCCESS, "value": 10}, "5200" "00000000" "0a00"),
        ("networkState", {"status": NetworkState.JOINED_NETWORK}, "1800" "02"),
        ("lookupNodeIdByEui64", {"status": 0, "id": 0x1234}, "6000" "00000000" "3412"),
        ("getAddressTableInfo", {"status": 0, "id": 0x1234, "eui64": EUI64}, "5e00" "00000000" "3412" + LITTLE_EUI64),
        ("exportKey", {"status": 0, "key": KEY, **CONTEXT}, "1401" "00000000" + KEY.hex() + CONTEXT_OCTETS),
        (
            "exportLinkKeyByIndex",
            {"status": 0, "key": KEY, **CONTEXT, **METADATA},
            "0f01" "00000000" + CONTEXT_OCTETS + KEY.hex() + METADATA_OCTETS,
        ),
        (
            "getApsKeyInfo",
            {"status": 0, **CONTEXT, **METADATA},
            "0c01" "00000000" + METADATA_OCTETS + CONTEXT_OCTETS,
        ),
    ],
)  # fmt: skip
def test_responses_of_version_18(name: str, values: dict[str, Any], octets: str) -> None:
    assert V18.response(Header(7, True), name, values).hex() == "078001" + octets


@pytest.mark.parametrize(
    ("name", "values", "octets"),
    [
        ("stackStatusHandler", {"status": EmberStatus.NETWORK_UP}, "1900" "15000000"),
        ("trustCenterJoinHandler", {"id": 0x1234, "eui64": EUI64, "status": 1, "decision": 0, "parent": 0},
         "2400" "3412" + LITTLE_EUI64 + "01000000"),
        (
            "messageSentHandler",
            {"status": EmberStatus.DELIVERY_FAILED, "type": 0, "destination": 4660, **APS, "tag": 513, "contents": b""},
            "3f00" "020c0000" "00" "3412" + APS_OCTETS + "0102" "00",
        ),
        (
            "incomingMessageHandler",
            {
                "type": 0,
                **APS,
                "sender": 0x1234,
                "sender_eui64": EUI64,
                "binding_index": 0xFF,
                "address_index": 0xFF,
                "lqi": 200,
                "rssi": -50,
                "timestamp": 0x01020304,
                "contents": b"\x18\x01\x0a",
            },
            "4500" "00" + APS_OCTETS + "3412" + LITTLE_EUI64 + "ffff" "c8ce" "04030201" "0318010a",
        ),
    ],
)  # fmt: skip
def test_callbacks_of_version_18(name: str, values: dict[str, Any], octets: str) -> None:
    assert V18.callback(7, name, values).hex() == "079001" + octets


def test_every_status_has_its_sl_status() -> None:
    """Nought stays nought, and nothing else becomes it."""
    for status in (*EmberStatus, *EzspStatus):
        assert isinstance(sl_status(status), SlStatus)
        assert (sl_status(status) == SlStatus.OK) is (status == 0)
    assert sl_status(SlStatus.NOT_FOUND) is SlStatus.NOT_FOUND
