"""Every reader of what a ZigBee device sends, against octets that are nearly right.

PeerError and nothing else; of a list of records those before the first that can't be read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carriage.zigbee import attributes, datatypes, foundation, zcl, zdo
from carriage.zigbee.datatypes import TYPES
from carriage.zigbee.events import TunnelLimits
from carriage.zigbee.foundation import ReadRecord
from carriage.zigbee.tunnel import TunnelEndpoint
from carriage.zigbee.zcl import ZclFrame
from layer.errors import PeerError

LISTS: dict[str, Callable[[bytes], tuple[Any, str]]] = {
    "report": foundation.reported,
    "read response": foundation.read_response,
    "write response": foundation.write_response,
    "configure reporting response": foundation.configure_reporting_response,
}
"""Readers of lists of records: they raise nothing."""
SINGLE: dict[str, Callable[[bytes], Any]] = {
    "default response": foundation.default_responded,
    "read reporting response": foundation.read_reporting_response,
    "bind response": zdo.bind_response,
    "simple descriptor response": zdo.simple_descriptor_response,
    "frame": zcl.decode,
    **{
        f"value of type {kind.name}": lambda octets, id=kind.id: datatypes.decode(id, octets, 0)
        for kind in TYPES.values()
    },
    "value of an unknown type": lambda octets: datatypes.decode(0x77, octets, 0),
}
VALID = [
    bytes.fromhex(text)
    for text in (
        "0000 29 6608  0300 21 3200  1000 42 04 6c6f6674",
        "0000 00 29 6608  9900 86  0300 00 21 3200",
        "02d0 48 20 0200 0a0b  0100 4c 0200 20 01 42 02 6869  0000 10 01",
        "0000 50 48 0100 20 0100 05  0001 39 0000a0c1  0002 f1 00112233445566778899aabbccddeeff",
        "86 0000 88 0100 8d 0200",
        "8c 00 0000  86 00 2100",
        "00",
        "0a00",
        "18 2a 0a 0000 10 01",
        "1c 5f11 2a 0a 0000 10 01",
        "0984",
        "00 00 0000 29 0a00 100e 0a00  86 00 2100  00 00 0600 10 0000 100e",
        "00 3412 0e 01 0401 0000 00 03 0000 0600 0204 01 1900",
    )
]
NEARLY = st.builds(
    lambda valid, at, kind, filler: (
        valid[:at] if kind == 0 else valid[:at] + filler + valid[at + (len(filler) if kind == 1 else 0) :]
    ),
    st.sampled_from(VALID),
    st.integers(0, 30),
    st.integers(0, 2),
    st.binary(max_size=4),
)
"""A valid payload cut short, with octets of it replaced, or with some put in between."""
OCTETS = st.one_of(NEARLY, st.binary(max_size=82))


@pytest.mark.parametrize("name", LISTS)
@given(payload=OCTETS)
def test_a_list_of_records_is_read_as_far_as_it_goes(name: str, payload: bytes) -> None:
    """Nothing is raised, and cutting off the end takes no record away that was before the cut."""
    records, fault = LISTS[name](payload)
    assert len(fault) < 80
    if name in ("report", "read response"):
        for end in range(len(payload)):
            fewer, why = LISTS[name](payload[:end])
            assert repr(fewer) == repr(records[: len(fewer)])  # not ==: a value may be NaN
            assert not why or len(fewer) <= len(records)


@pytest.mark.parametrize("name", SINGLE)
@settings(max_examples=40)
@given(octets=OCTETS)
def test_whatever_comes_is_read_or_refused(name: str, octets: bytes) -> None:
    try:
        SINGLE[name](octets)
    except PeerError as error:
        assert len(str(error)) < 80


RECORD = st.tuples(st.integers(0, 0xFFFF), st.sampled_from(sorted(TYPES)), st.binary(max_size=12))


@given(st.booleans(), st.lists(RECORD, max_size=6))
def test_records_of_every_type_that_are_nearly_right(answer: bool, records: list[tuple[int, int, bytes]]) -> None:
    status = b"\x00" if answer else b""
    payload = b"".join(
        attribute.to_bytes(2, "little") + status + bytes([kind]) + rest for attribute, kind, rest in records
    )
    (foundation.read_response if answer else foundation.reported)(payload)


@pytest.mark.parametrize(
    ("payload", "records"),
    [
        ("0000", []),
        ("0000 29 66", []),
        ("0000 29 6608 00", [(0, 0x29, 2150)]),
        ("0000 10 01  02d0 48 02 000a", [(0, 0x10, 1)]),  # an array cut short
        ("0000 10 01  0100 99 00  0200 10 00", [(0, 0x10, 1)]),  # where 0x0002 begins can't be known
    ],
)
def test_reports_cut_short_keep_the_records_before_it(payload: str, records: list[Any]) -> None:
    found, fault = foundation.reported(bytes.fromhex(payload))
    assert found == records and fault


def test_answers_cut_short_keep_the_records_before_it() -> None:
    found, fault = foundation.read_response(bytes.fromhex("0000 86  2000 00 20 1e  2100 00 48 20 0300 01"))
    assert found == [ReadRecord(0x0000, 0x86), ReadRecord(0x0020, 0, 0x20, 30)] and fault
    assert foundation.write_response(bytes.fromhex("88 0200 86")) == ({2: 0x88}, "a record ends early")
    assert foundation.write_response(b"") == ({}, "a record ends early")
    failed, fault = foundation.configure_reporting_response(bytes.fromhex("8c 00 0100  86 00"))
    assert failed == {1: 0x8C} and fault
    assert foundation.configure_reporting_response(b"")[1]


def calls(run: Callable[[], object]) -> int:
    count = 0

    def seen(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(seen)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "value",
    [
        "48 00 feff",  # elements without octets
        "48 48 feff 00 feff",
        "4c feff" + "00" * 76,
        "48 4c feff" + "0000" * 38,
        "50 51 feff" + "20 0000" * 25,
        "48 48 0100 48 0100 48 0100 48 0100 20 0000",  # deeper than we go
    ],
)
def test_the_cost_of_a_collection_is_bounded_by_its_octets(value: str) -> None:
    """Counts of 65,534 and collections in collections: at most as many steps as there are octets."""
    octets = bytes.fromhex(value)

    def run() -> None:
        try:
            datatypes.decode(octets[0], octets, 1)
        except PeerError:
            pass

    assert calls(run) <= 4 * len(octets)


@given(
    st.builds(
        ZclFrame,
        command=st.sampled_from([0x00, 0x02, 0x0C, 0xFF]),
        payload=OCTETS,
        sequence=st.integers(0, 255),
        cluster_specific=st.just(False),
        manufacturer=st.sampled_from([None, 0x115F]),
        to_client=st.booleans(),
    )
)
@example(ZclFrame(0x00, b"\x00\x00" * 39, 0, cluster_specific=False))
def test_attributes_of_the_tunnel_cluster_are_asked_for_in_any_way(frame: ZclFrame) -> None:
    core = TunnelEndpoint(limits=TunnelLimits())._core
    try:
        attributes.on_read(core, frame)
    except PeerError:
        pass
