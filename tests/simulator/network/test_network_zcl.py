"""The hosted clusters: ZCL8 general commands against byte vectors written by hand, on/off, and attribute reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriage.zigbee import zcl
from layer.errors import PeerError
from simulator.network.datatypes import BOOL, BY_ID, INT16, OCTETS, STRING, UINT8
from simulator.network.device import Binding
from simulator.network.device_kinds import (
    BASIC,
    CLUSTERS,
    KINDS,
    ON_OFF,
    POWER,
    TEMPERATURE,
    Identity,
    basic,
    on_off,
    power,
    temperature,
)
from simulator.network.foundation import ClusterServer, Reporting, respond
from simulator.network.measures import find, measured

if TYPE_CHECKING:
    World = Any

LAMP, THERMOMETER = 0x000D6F0000000001, 0x000D6F0000000002
COORDINATOR = 0x000D6F0000000000
IDENTITY = Identity("ACME", "L1", True)


def ask(server: ClusterServer | None, text: str, *, unicast: bool = True) -> str | None:
    """One frame in, one frame out, as hexadecimal."""
    found = respond(server, zcl.decode(bytes.fromhex(text)), 0.0, unicast=unicast)
    return None if found is None else found.encode().hex(" ")


# frame control 00: global, to server, default response wanted; 18: global, to client, none wanted
VECTORS: dict[str, tuple[Any, str, str]] = {
    "read": (
        basic,
        "00 01 00 0400 0500",
        "18 01 01 04 00 00 42 04 41 43 4d 45 05 00 00 42 02 4c 31",
    ),
    "read what is not there": (on_off, "00 02 00 0000 3412", "18 02 01 00 00 00 10 00 34 12 86"),
    "read negative": (temperature, "00 02 00 0100", "18 02 01 01 00 00 29 60 f0"),
    "read revision": (on_off, "10 02 00 fdff", "18 02 01 fd ff 00 21 02 00"),
    "half an id": (on_off, "00 03 00 00", "18 03 0b 00 80"),
    "write": (basic, "00 04 02 1000 42 03 616263", "18 04 04 00"),
    "write a constant": (basic, "00 04 02 0400 42 01 61", "18 04 04 88 04 00"),
    "write the wrong type": (basic, "00 04 02 1000 20 01", "18 04 04 8d 10 00"),
    "write an unknown type": (basic, "00 04 02 1000 ff 01", "18 04 04 8d 10 00"),
    "write what is not there": (basic, "00 04 02 9900 20 01", "18 04 04 86 99 00"),
    "write undivided, one bad": (basic, "00 04 03 1000 42 01 61 0400 42 01 61", "18 04 04 88 04 00"),
    "write cut short": (basic, "00 04 02 1000 42 05 61", "18 04 0b 02 80"),
    "configure reporting": (temperature, "00 05 06 00 0000 29 0a00 2c01 3200", "18 05 07 00"),
    "configure a constant": (temperature, "00 05 06 00 0100 29 0a00 2c01 3200", "18 05 07 8c 00 01 00"),
    "configure the wrong type": (temperature, "00 05 06 00 0000 20 0a00 2c01 32", "18 05 07 8d 00 00 00"),
    "configure minimum above maximum": (temperature, "00 05 06 00 0000 29 2c01 0a00 3200", "18 05 07 87 00 00 00"),
    "configure what is not there": (on_off, "00 05 06 00 9900 10 0000 3c00", "18 05 07 86 00 99 00"),
    "configure to receive": (on_off, "00 05 06 01 0000 3c00", "18 05 07 86 01 00 00"),
    "configure cut short": (on_off, "00 05 06 00 0000 10", "18 05 0b 06 80"),
    "discover after the end": (on_off, "00 07 0c ffff 0a", "18 07 0d 01"),
    "read reporting, none": (on_off, "00 06 08 00 0000", "18 06 09 8b 00 00 00"),
    "discover": (power, "00 07 0c 0000 0a", "18 07 0d 01 20 00 20 21 00 20 35 00 18 fd ff 21"),
    "discover, not all": (power, "00 07 0c 0000 01", "18 07 0d 00 20 00 20"),
    "discover the rest": (power, "00 07 0c 3500 0a", "18 07 0d 01 35 00 18 fd ff 21"),
    "unknown general command": (on_off, "00 08 20", "18 08 0b 20 81"),
    "unknown cluster command": (on_off, "01 09 77", "18 09 0b 77 81"),
    "on": (on_off, "01 0a 01", "18 0a 0b 01 00"),
    "manufacturer's command": (on_off, "05 3710 0b 01", "1c 37 10 0b 0b 01 83"),
    "manufacturer's general command": (on_off, "04 3710 0b 00 0000", "1c 37 10 0b 0b 00 84"),
    "no such cluster": (None, "01 0c 01", "18 0c 0b 01 c3"),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name: str) -> None:
    make, request, response = VECTORS[name]
    server = None if make is None else make(IDENTITY)
    assert ask(server, request) == response


@pytest.mark.parametrize(
    "text",
    [
        "18 01 0b 00 00",  # a default response
        "18 01 0a 0000 10 01",  # a report
        "18 01 01 0000 00 10 01",  # a read response
        "11 01 01",  # success, and no default response wanted
        "00 04 05 1000 42 01 61",  # write without response
    ],
)
def test_nothing_to_answer(text: str) -> None:
    assert ask(on_off(IDENTITY), text) is None


def test_broadcasts_are_carried_out_and_not_answered() -> None:
    server = on_off(IDENTITY)
    assert ask(server, "01 01 01", unicast=False) is None
    assert server.attributes[0].value == 1
    assert ask(server, "00 01 00 0000", unicast=False) is None
    assert ask(server, "01 01 77", unicast=False) is None
    assert ask(None, "01 01 77", unicast=False) is None


def test_on_off_toggle() -> None:
    server = on_off(IDENTITY)
    states = []
    for command in ("01", "01", "00", "02", "02"):
        ask(server, f"11 01 {command}")
        states.append(server.attributes[0].value)
    assert states == [1, 1, 0, 1, 0]


def test_writes_take_effect() -> None:
    server = basic(IDENTITY)
    ask(server, "00 04 02 1000 42 03 616263")
    assert server.attributes[0x10].value == "abc"
    ask(server, "00 04 03 1000 42 01 78 0400 42 01 61")  # undivided: all or nothing
    assert server.attributes[0x10].value == "abc"
    ask(server, "00 04 05 1000 42 01 79")
    assert server.attributes[0x10].value == "y"


def test_reporting_table() -> None:
    server = temperature(IDENTITY)
    ask(server, "00 05 06 00 0000 29 0a00 2c01 3200")
    assert server.reporting[0] == Reporting(0, 10, 300, 50, 2000, 0.0)
    assert ask(server, "00 06 08 00 0000 01 0000 00 0100 00 9900") == (
        "18 06 09 00 00 00 00 29 0a 00 2c 01 32 00 8b 01 00 00 8c 00 01 00 86 00 99 00"
    )
    ask(server, "00 05 06 00 0000 29 0a00 ffff 3200")  # maximum ffff: no reports
    assert server.reporting == {}


@pytest.mark.parametrize(
    ("value", "now", "due"),
    [
        (2000, 5.0, 400.0),  # nothing changed: at the maximum interval
        (2049, 5.0, 400.0),  # not by enough
        (2050, 5.0, 110.0),  # at the minimum interval
        (1950, 500.0, 500.0),  # at once
    ],
)
def test_when_a_report_is_due(value: int, now: float, due: float) -> None:
    row = Reporting(0, 10, 300, 50, 2000, 100.0)
    assert row.due(value, now) == due


def test_no_maximum_means_only_changes() -> None:
    row = Reporting(0, 0, 0, 0, 1, 100.0)
    assert row.due(1, 200.0) is None
    assert row.due(0, 200.0) == 200.0


@given(
    st.sampled_from([None, *CLUSTERS]),
    st.binary(max_size=82),
    st.booleans(),
)
def test_any_frame(cluster: int | None, octets: bytes, unicast: bool) -> None:
    server = None if cluster is None else CLUSTERS[cluster](IDENTITY)
    try:
        frame = zcl.decode(octets)
    except PeerError:
        return
    found = respond(server, frame, 0.0, unicast=unicast)
    if found is not None:
        assert unicast and len(found.encode()) <= 84
        assert found.sequence == frame.sequence and found.to_client is not frame.to_client


@given(st.sampled_from(sorted(BY_ID)), st.binary(max_size=20))
def test_any_value(type_id: int, octets: bytes) -> None:
    kind = BY_ID[type_id]
    try:
        value, end = kind.decode(octets, 0)
    except PeerError:
        return
    assert end <= len(octets)
    if not (kind in (OCTETS, STRING) and octets[0] == 0xFF):  # no value, as an empty one
        assert kind.encode(value) == octets[:end]


def test_values_that_do_not_fit() -> None:
    for kind, value in (
        (BOOL, 2),
        (UINT8, 256),
        (UINT8, -1),
        (INT16, 40000),
        (STRING, 5),
        (UINT8, "x"),
        (STRING, "x" * 255),
    ):
        with pytest.raises(PeerError):
            kind.encode(value)
    server = temperature(IDENTITY)
    with pytest.raises(PeerError):
        find("colour")
    with pytest.raises(PeerError):
        measured(server, find("temperature"), float("nan"))
    assert measured(server, find("temperature"), -3.25) == -325


def test_every_kind_has_its_rows() -> None:
    assert {kind.name for kind in KINDS.values()} == set(KINDS)
    for kind in KINDS.values():
        assert not (kind.sleepy and kind.router)
        assert not kind.endpoints or BASIC in kind.endpoints[0].clusters
    assert power(IDENTITY).id == POWER and CLUSTERS[ON_OFF] is on_off


# on the air


def zcl_frames(world: World, cluster: int) -> list[zcl.ZclFrame]:
    return [zcl.decode(aps.payload) for aps in world.coordinator.take() if aps.cluster == cluster]


def test_a_command_is_obeyed_and_answered(world: World) -> None:
    world.coordinator.take()
    fate = world.send(LAMP, bytes.fromhex("01 21 01"))
    world.run(0.1)
    assert fate == [True]
    answer, *rest = zcl_frames(world, ON_OFF)
    assert answer.encode() == bytes.fromhex("18 21 0b 01 00") and rest == []
    endpoint = world.station(LAMP).device.endpoints[1]
    assert endpoint.clusters[ON_OFF].attributes[0].value == 1


def test_octets_that_are_no_zcl_frame_are_dropped(world: World) -> None:
    world.coordinator.take()
    assert world.send(LAMP, b"\x01") == []
    world.run(0.1)
    assert world.coordinator.take() == []


def test_the_link_key_answers_the_link_key(world: World) -> None:
    world.coordinator.take()
    world.send(LAMP, bytes.fromhex("00 21 00 0000"), link_key=True)
    world.run(0.1)
    (answer,) = world.coordinator.take()
    assert answer.link_key


def test_reports_follow_the_configuration(world: World) -> None:
    station = world.station(THERMOMETER)
    endpoint = station.device.endpoints[1]
    world.send(THERMOMETER, bytes.fromhex("00 05 06 00 0000 29 0a00 3c00 3200"), cluster=TEMPERATURE)
    world.run(3)
    world.coordinator.take()
    endpoint.set(TEMPERATURE, 0, 2100)
    world.run(70)
    assert zcl_frames(world, TEMPERATURE) == []  # not bound
    station.device.bindings.append(Binding(1, TEMPERATURE, COORDINATOR, 1))
    endpoint.set(TEMPERATURE, 0, 2049)
    world.run(9)
    world.coordinator.take()
    endpoint.set(TEMPERATURE, 0, 2200)
    endpoint.set(TEMPERATURE, 0, 2300)
    world.run(75)
    reports = zcl_frames(world, TEMPERATURE)
    assert [report.payload for report in reports] == [bytes.fromhex("0000 29 fc08")] * 2  # changed, then periodic
    assert all(report.encode()[0] == 0x18 and report.command == 0x0A for report in reports)
    assert reports[0].sequence != reports[1].sequence


def test_a_report_by_hand_needs_no_binding(world: World) -> None:
    world.coordinator.take()
    fate: list[bool] = []
    endpoint = world.station(THERMOMETER).device.endpoints[1]
    endpoint.set(TEMPERATURE, 0, 2150)
    endpoint.report_now(TEMPERATURE, 0, fate.append)
    world.run(1)
    assert fate == [True]
    (report,) = zcl_frames(world, TEMPERATURE)
    assert report.payload == bytes.fromhex("0000 29 6608")
    with pytest.raises(PeerError):
        endpoint.report_now(TEMPERATURE, 0x99, fate.append)
    with pytest.raises(PeerError):
        endpoint.set(0x0500, 0, 1)
