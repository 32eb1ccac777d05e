"""Rows of makers' devices: which devices have them, and what such rows can say that a standard's don't."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adapters.zigbee.cluster_mappings import (
    AttributeMapping,
    Happening,
    Particulars,
    ReportedEventMapping,
    SettingMapping,
)
from adapters.zigbee.clusters import MAKERS, TABLE, ClusterTable
from adapters.zigbee.device_model import Notes, place
from adapters.zigbee.device_view import Device, Endpoint
from adapters.zigbee.maker_devices import MakerDevices
from adapters.zigbee.model_builder import model_of
from adapters.zigbee.reports import reported, told
from carriage.zigbee.datatypes import SINGLE, STRING, UINT8, Value
from gateway.api.errors import PeerError
from gateway.api.model import DataType, Event, EventAffordance, PropertyAffordance, Reading
from simulator.network.cluster_server import make_cluster
from tests.harness.cluster_models import model_with
from tests.harness.cluster_rows import mistakes
from tests.harness.zcl_asked import joined, server
from tests.harness.zcl_device import shown

CODE, OWN, BASIC, BATTERY, ON_OFF, OCCUPANCY, ANALOG = 0x115F, 0xFCC0, 0x0000, 0x0001, 0x0006, 0x0406, 0x000C


def tag(octets: bytes) -> Value:
    """The octet behind the first one, of two."""
    if len(octets) != 2:
        raise PeerError("not two octets")
    return octets[1] if octets[0] == 7 else None


def pressed(value: Value) -> Happening | None:
    return ("action_single", None) if value == 0x80 else None


def whole_percent(row: AttributeMapping) -> AttributeMapping:
    """As devices before some firmware have it."""
    if (row.cluster, row.attribute) != (BATTERY, 0x0021):
        return row
    return replace(row, needs_basic=(0x4000,), adapt=_by_firmware)


def _by_firmware(row: AttributeMapping, known: Particulars) -> AttributeMapping:
    return row if known.basic.get(0x4000) == "2.4" else replace(row, scale=1, range=(0, 100))


ODD = MakerDevices(
    maker="Odd",
    manufacturers=("ACME",),
    models=("odd.1", "odd.2"),
    rows=(
        AttributeMapping(
            cluster=BASIC,
            attribute=0xFF01,
            type=STRING,
            part=tag,
            unasked=True,
            property=PropertyAffordance(name="level_of_odd", type=DataType.INTEGER),
        ),
        AttributeMapping(
            cluster=OCCUPANCY,
            attribute=0x0000,
            type=UINT8,
            mask=1,
            unasked=True,
            ends=0.3,
            property=PropertyAffordance(name="occupancy", type=DataType.BOOLEAN),
        ),
    ),
    without=frozenset((ON_OFF, OCCUPANCY)),
    reported_events=(
        ReportedEventMapping(
            cluster=ON_OFF, attribute=0x0000, events=(EventAffordance(name="action_single"),), read=pressed
        ),
    ),
    settings=(
        SettingMapping(cluster=OWN, attribute=0x0009, type=UINT8, value=lambda known: 1, manufacturer=CODE),
    ),
    changed=whole_percent,
    codes=frozenset((CODE,)),
)  # fmt: skip
ODDS = ClusterTable(makers=(ODD,))


def test_the_devices_of_a_maker_have_its_rows_and_no_others_have() -> None:
    ours = ODDS.for_device("ACME", "odd.2")
    assert ours.maker == "Odd"
    assert ours is ODDS.for_device("ACME", "odd.1")  # one table for all of them
    for manufacturer, model in (("ACME", "odd.3"), ("Other", "odd.1"), ("", "")):
        assert ODDS.for_device(manufacturer, model) is ODDS
    model = model_with(BASIC, BATTERY, ON_OFF, OCCUPANCY, table=ODDS, manufacturer="ACME", model="odd.1")
    assert "state" not in model.slots
    assert not model.actions
    assert model.maker == "Odd"
    assert model.ends == {"occupancy": 0.3}
    plain = model_with(BASIC, BATTERY, ON_OFF, OCCUPANCY, table=ODDS)
    assert {"state", "battery", "occupancy"} <= set(plain.slots)
    assert (plain.maker, plain.ends) == ("", {})


def test_one_of_both_strings_can_decide() -> None:
    by_model, by_maker = MakerDevices(maker="A", models=("m",)), MakerDevices(maker="B", manufacturers=("x",))
    table = ClusterTable(makers=(by_model, by_maker))
    assert [table.for_device(*each).maker for each in (("x", "m"), ("x", "n"), ("y", "m"), ("y", "n"))] == [
        "A",
        "B",
        "A",
        "",
    ]


def test_a_row_by_firmware_waits_until_the_device_said_it() -> None:
    asked = model_with(BASIC, BATTERY, table=ODDS, manufacturer="ACME", model="odd.1")
    assert asked.constants == {place(1, BASIC): (0x4000,)}
    payload = bytes.fromhex("2100 20 32")
    for firmware, percent in (("2.3", 50), ("2.4", 25), (None, 50)):
        model = model_with(
            BASIC,
            BATTERY,
            constants={BASIC: {0x4000: firmware}},
            table=ODDS,
            manufacturer="ACME",
            model="odd.1",
        )
        assert reported(model, place(1, BATTERY), payload) == ((("battery", percent),), "")


def test_a_part_gets_the_octets_and_may_find_them_malformed() -> None:
    model = model_with(BASIC, table=ODDS, manufacturer="ACME", model="odd.1")
    at = place(1, BASIC)
    assert reported(model, at, bytes.fromhex("01ff 42 02 07fe")) == ((("level_of_odd", 0xFE),), "")
    assert reported(model, at, bytes.fromhex("01ff 42 02 08fe")) == ((), "")  # not there
    assert reported(model, at, bytes.fromhex("01ff 42 01 07")) == ((), "not two octets")
    assert reported(model, at, bytes.fromhex("01ff 41 02 07fe")) == ((("level_of_odd", 0xFE),), "")  # a string too
    assert reported(model, at, bytes.fromhex("01ff 43 0200 07fe")) == ((), "")  # another type


def test_a_report_can_be_an_event() -> None:
    model = model_with(BASIC, ON_OFF, table=ODDS, manufacturer="ACME", model="odd.1")
    at = place(1, ON_OFF)
    ((event, data),) = told(model, at, bytes.fromhex("0000 10 80"))
    assert (event.name, data) == ("action_single", None)
    assert told(model, at, bytes.fromhex("0000 10 01")) == []
    assert [each.name for each in model.offered_events] == ["action_single"]


SOME = MakerDevices(
    maker="Some",
    models=("some.1",),
    rows=(
        AttributeMapping(
            cluster=ANALOG,
            attribute=0x0055,
            type=SINGLE,
            endpoints=(2,),
            property=PropertyAffordance(name="power", type=DataType.NUMBER, unit="W"),
        ),
        *(
            AttributeMapping(
                cluster=OWN,
                attribute=attribute,
                type=UINT8,
                unasked=True,
                property=PropertyAffordance(name="smoke", type=DataType.BOOLEAN),
            )
            for attribute in (0x00A0, 0x013A)
        ),
    ),
    without=frozenset((ANALOG, ON_OFF)),
    reported_events=tuple(
        ReportedEventMapping(
            cluster=ON_OFF,
            attribute=attribute,
            events=(EventAffordance(name="single"),),
            read=lambda value: ("single", None),
            endpoints=endpoints,
        )
        for attribute, endpoints in ((0x0000, {1: "_left", 2: "_right"}), (0x8000, {1: "button_1_"}))
    ),
    unlisted={1: (OWN, ON_OFF), 4: (ON_OFF,)},
)


def test_what_a_device_does_not_list_and_rows_of_some_endpoints() -> None:
    endpoints = tuple(
        Endpoint(number=number, profile=0x0104, device_id=0, in_clusters=clusters, out_clusters=())
        for number, clusters in ((1, (ANALOG,)), (2, (ANALOG, ON_OFF)), (3, (ANALOG, ON_OFF)))
    )
    device = Device(
        eui64="00:0d:6f:00:00:00:00:01", nwk=1, manufacturer="x", model="some.1", interviewed=True, sleepy=True,
        lqi=None, rssi=None, last_seen=None, endpoints=endpoints, tunnel_endpoints=(),
    )  # fmt: skip
    model = model_of(device, ClusterTable(makers=(SOME,)), Notes())
    assert set(model.slots) == {"power", "smoke"}
    assert model.slots["power"].endpoint == 2
    assert {place(1, OWN), place(4, ON_OFF)} <= model.clusters  # endpoint 4 is in no descriptor
    for attribute in ("a000", "3a01"):  # two attributes of a cluster, of which each tells the property
        assert reported(model, place(1, OWN), bytes.fromhex(attribute + "20 01")) == ((("smoke", True),), "")
    assert [each.name for each in model.offered_events] == ["single_left", "button_1_single", "single_right"]
    assert [event.name for event, _ in told(model, place(2, ON_OFF), bytes.fromhex("0000 10 01"))] == ["single_right"]
    assert told(model, place(3, ON_OFF), bytes.fromhex("0000 10 01")) == []


@pytest.mark.parametrize("devices", MAKERS, ids=lambda devices: "-".join((devices.maker, *devices.models[:1])))
def test_a_row_of_a_maker_is_as_good_as_one_of_a_family(devices: MakerDevices) -> None:
    found = [(row.property.name, text) for row in devices.rows for text in mistakes(row) if not _of_tuya(row, text)]
    assert found == []


def _of_tuya(row: AttributeMapping, text: str) -> bool:
    """A datapoint has no number that says that there is no value, and some words are for commands only."""
    return row.cluster == 0xEF00 and text.startswith(("invalid:", "words:"))


def test_no_device_is_named_twice() -> None:
    named = [name for devices in MAKERS for name in devices.names()]
    assert len(named) == len(set(named))
    assert all(devices.manufacturers or devices.models for devices in MAKERS)
    assert TABLE.maker == ""


def test_their_rows_are_whole() -> None:
    """As the standard's, but that many have no number for "no value", and that a write knows its own words."""
    found = []
    for devices in MAKERS:
        written = {name for write in devices.writes for name in write.properties}
        for row in devices.rows:
            usual = ("invalid: expected the number", *(("words:",) if row.property.name in written else ()))
            found += [(row.property.name, each) for each in mistakes(row) if not each.startswith(usual)]
    assert found == []


async def test_an_odd_device_over_the_dongle(world: Any) -> None:
    """Its own attributes under a code or without, a press that comes as a report, a motion without an end."""
    clusters = (
        make_cluster(BASIC, []),
        server(ON_OFF, {}),
        server(OCCUPANCY, {}),
        server(OWN, {}),
    )
    async with world.gateway(table=ODDS) as gateway:
        device, asked = await joined(world, gateway, *clusters, model="odd.1")
        assert (await shown(gateway, device))["lane"] == "Odd"
        assert not any(cluster in (ON_OFF, OCCUPANCY) for cluster, _ in device.asked)  # neither read nor configured
        device.report(BASIC, "01ff 42 02 0705", manufacturer=CODE)
        await gateway.until(lambda: asked.reported().get("level_of_odd") == 5)
        device.report(BASIC, "01ff 42 02 0706")
        await gateway.until(lambda: asked.reported().get("level_of_odd") == 6)
        device.report(ON_OFF, "0000 10 80")
        await gateway.until(lambda: gateway.context.of(Event))
        assert [(each.name, each.data) for each in gateway.context.of(Event)] == [("action_single", None)]
        unknown = gateway.adapter.status()["counters"]["reports_unknown"]
        await gateway.until(
            lambda: ("occupancy", False) in [each for one in gateway.context.of(Reading) for each in one.values]
        )
        device.report(OCCUPANCY, "0000 18 01")
        await gateway.until(lambda: asked.reported().get("occupancy") is True)
        await gateway.until(lambda: asked.reported().get("occupancy") is False)  # it never said so
        assert gateway.adapter.status()["counters"]["reports_unknown"] == unknown
        malformed = gateway.adapter.status()["counters"]["reports_malformed"]
        device.report(BASIC, "01ff 42 01 07", manufacturer=CODE)
        await gateway.until(lambda: gateway.adapter.status()["counters"]["reports_malformed"] == malformed + 1)
    # What had begun when the gateway stopped ends after the next start.
    async with world.gateway(table=ODDS) as gateway:
        await gateway.until(
            lambda: ("occupancy", False) in [each for one in gateway.context.of(Reading) for each in one.values]
        )
