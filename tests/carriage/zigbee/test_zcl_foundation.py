"""The general commands of ZCL and their values: octets written out by hand from ZCL8, the simulator's own codec as the
other side, and whatever a peer may send."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriage.zigbee import datatypes, foundation, zdo
from carriage.zigbee.datatypes import BOOL, INT16, STRING, TYPES, UINT8, UINT16
from carriage.zigbee.foundation import ReadRecord, ReportingRecord
from carriage.zigbee.zcl import ZclFrame
from layer.errors import PeerError, UsageError
from simulator.network import foundation as server_side
from simulator.network.datatypes import UINT16 as SERVED_UINT16
from simulator.network.device_kinds import Identity, on_off, temperature


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


def test_a_report() -> None:
    # temperature 21.5, its tolerance, and a location description that we don't read
    payload = octets("0000 29 6608  0300 21 3200  1000 42 04 6c6f6674")
    assert foundation.reported(payload) == ([(0, 0x29, 2150), (3, 0x21, 50), (0x10, 0x42, "loft")], "")
    assert foundation.report([(0, INT16, 2150), (3, UINT16, 50), (0x10, STRING, "loft")]) == payload


@pytest.mark.parametrize(
    ("type_id", "text", "value"),
    [
        (0x00, "", None),
        (0x0B, "01020304", 0x04030201),
        (0x10, "01", 1),
        (0x10, "ff", 255),
        (0x18, "80", 128),
        (0x1A, "010203", 0x030201),
        (0x20, "ff", 255),
        (0x22, "ffffff", 0xFFFFFF),
        (0x25, "010000000080", 0x800000000001),
        (0x28, "80", -128),
        (0x29, "0080", -0x8000),
        (0x2A, "ffffff", -1),
        (0x2F, "feffffffffffffff", -2),
        (0x30, "03", 3),
        (0x38, "003c", 1.0),
        (0x39, "0000a0c1", -20.0),
        (0x3A, "000000000000f83f", 1.5),
        (0x41, "02 beef", b"\xbe\xef"),
        (0x41, "ff", None),
        (0x42, "00", ""),
        (0x42, "01 e9", "�"),
        (0x43, "0200 beef", b"\xbe\xef"),
        (0x44, "ffff", None),
        (0x48, "20 0300 010203", None),
        (0x48, "00 feff", None),
        (0x4C, "0200 20 01 42 02 6869", None),
        (0x50, "21 ffff", None),
        (0xE2, "00000000", 0),
        (0xF0, "b6e35d0b006f0d00", 0x000D6F000B5DE3B6),
        (0xF1, "00112233445566778899aabbccddeeff", octets("00112233445566778899aabbccddeeff")),
        (0xFF, "", None),
    ],
)
def test_values(type_id: int, text: str, value: object) -> None:
    found = octets(text)
    assert datatypes.decode(type_id, b"\x55" + found + b"\x55", 1) == (value, 1 + len(found))
    if found and type_id not in (0x48, 0x50):
        with pytest.raises(PeerError):
            datatypes.decode(type_id, found[:-1], 0)


def test_collections_in_collections_have_an_end() -> None:
    for opening in (octets("48 0100"), octets("0100 4c")):
        with pytest.raises(PeerError):
            datatypes.decode(0x48 if opening[0] == 0x48 else 0x4C, opening * 40, 0)


@given(st.sampled_from(sorted(kind.id for kind in TYPES.values() if kind.size)), st.data())
def test_what_is_encoded_is_decoded(type_id: int, data: st.DataObject) -> None:
    kind = TYPES[type_id]
    if kind.name in ("semi", "single", "double"):
        width = {"semi": 16, "single": 32, "double": 64}[kind.name]
        value: Any = data.draw(st.floats(width=width, allow_nan=False))
    elif kind.name.startswith("int"):
        bits = 8 * kind.size - 1
        value = data.draw(st.integers(-(1 << bits), (1 << bits) - 1))
    elif kind.name == "key128":
        return
    else:
        value = data.draw(st.integers(0, (1 << 8 * kind.size) - 1))
    found = datatypes.encode(kind, value)
    assert len(found) == kind.size
    assert datatypes.decode(type_id, found, 0) == (value, kind.size)


@pytest.mark.parametrize(
    ("type_id", "value"),
    [
        (0x20, 256),
        (0x20, -1),
        (0x29, 0x8000),
        (0x2A, 1 << 23),
        (0x20, "1"),
        (0x21, math.pi),
        (0x42, "x" * 255),
        (0x48, b""),
    ],
)
def test_values_that_do_not_fit(type_id: int, value: Any) -> None:
    with pytest.raises(UsageError):
        datatypes.encode(TYPES[type_id], value)


def served(server: server_side.ClusterServer, command: int, payload: bytes) -> tuple[int, bytes]:
    """What the simulator's server answers: it was written on its own."""
    answer = server_side.respond(server, ZclFrame(command, payload, 7, cluster_specific=False), 0.0)
    assert answer is not None
    return answer.command, answer.payload


IDENTITY = Identity("ACME", "T1", mains=True)


def test_read() -> None:
    command, payload = served(temperature(IDENTITY), 0x00, foundation.read([0x0000, 0x0099, 0x0003]))
    assert command == foundation.General.READ_RESPONSE
    assert foundation.read_response(payload) == (
        [ReadRecord(0x0000, 0, 0x29, 2000), ReadRecord(0x0099, 0x86), ReadRecord(0x0003, 0, 0x21, 50)],
        "",
    )


def test_write() -> None:
    server = server_side.make_cluster(
        0xFC00,
        [
            server_side.Attribute(1, SERVED_UINT16, 5, writable=True),
            server_side.Attribute(2, SERVED_UINT16, 6),
        ],
    )
    assert foundation.write([(1, UINT16, 500)]) == octets("0100 21 f401")
    command, payload = served(server, 0x02, foundation.write([(1, UINT16, 500)]))
    assert (command, foundation.write_response(payload)) == (0x04, ({}, ""))
    assert server.attributes[1].value == 500
    _, payload = served(server, 0x02, foundation.write([(1, UINT16, 7), (2, UINT16, 7), (3, UINT8, 7)]))
    assert foundation.write_response(payload) == ({2: 0x88, 3: 0x86}, "")


def test_configure_reporting() -> None:
    record = ReportingRecord(attribute=0, type=INT16, minimum=10, maximum=3600, change=10)
    assert foundation.configure_reporting([record]) == octets("00 0000 29 0a00 100e 0a00")
    server = temperature(IDENTITY)
    _, payload = served(server, 0x06, foundation.configure_reporting([record]))
    assert foundation.configure_reporting_response(payload) == ({}, "")
    assert (server.reporting[0].minimum, server.reporting[0].maximum, server.reporting[0].change) == (10, 3600, 10)
    # a discrete type has no change
    discrete = ReportingRecord(attribute=0, type=BOOL, minimum=0, maximum=3600)
    assert foundation.configure_reporting([discrete]) == octets("00 0000 10 0000 100e")
    assert served(on_off(IDENTITY), 0x06, foundation.configure_reporting([discrete])) == (0x07, b"\x00")
    _, payload = served(
        server,
        0x06,
        foundation.configure_reporting([record, ReportingRecord(attribute=1, type=INT16, minimum=1, maximum=2)]),
    )
    assert foundation.configure_reporting_response(payload) == ({1: 0x8C}, "")
    assert foundation.configure_reporting_response(b"\x8d") == ({-1: 0x8D}, "")
    with pytest.raises(UsageError):
        foundation.configure_reporting([ReportingRecord(attribute=0, type=INT16, minimum=0, maximum=0x10000)])


def test_default_response() -> None:
    assert foundation.default_response(0x0A, 0x00) == octets("0a00")
    assert foundation.default_responded(octets("0186")) == (1, 0x86)


def test_names_of_statuses() -> None:
    assert foundation.status_name(0x86) == "UNSUPPORTED_ATTRIBUTE"
    assert foundation.status_name(0xD7) == "STATUS_0xD7"
    assert zdo.status_name(0x84) == "NOT_SUPPORTED"
    assert zdo.status_name(0x01) == "STATUS_0x01"


def test_bind() -> None:
    found = zdo.bind_request(9, 0x000D6F000B5DE3B6, 1, 0x0402, 0x00124B0001020304, 1)
    assert found == octets("09 b6e35d0b006f0d00 01 0204 03 04030201004b1200 01")
    assert zdo.bind_response(octets("0984")) == (9, 0x84)


def test_a_string_of_octets_that_says_too_much_ends_with_the_frame() -> None:
    """As some devices count an octet too many. It is so only where the octets themselves are wanted."""
    payload = bytes.fromhex("05004201 61 01ff4204 0121b3")
    assert foundation.reported(payload, frozenset((0xFF01,))) == (
        [(0x0005, 0x42, "a"), (0xFF01, 0x42, bytes.fromhex("0121b3"))],
        "",
    )
    records, fault = foundation.reported(payload)
    assert records == [(0x0005, 0x42, "a")]
    assert fault
    # One too few: a 0 is left.
    assert foundation.reported(bytes.fromhex("01ff42 03 0a2805 00"), frozenset((0xFF01,))) == (
        [(0xFF01, 0x42, bytes.fromhex("0a2805"))],
        "",
    )
    assert foundation.reported(bytes.fromhex("01ff42"), frozenset((0xFF01,))) == ([], "a ZCL value ends early")
    assert foundation.reported(bytes.fromhex("01ff42ff"), frozenset((0xFF01,))) == ([(0xFF01, 0x42, b"")], "")
