"""Tuya's datapoints: their octets, and the devices that have nothing else."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.zigbee.clusters import MAKERS
from adapters.zigbee.device_model import Model, Values, place
from adapters.zigbee.makers.tuya_datapoints import CLUSTER, UNIX, YEAR_2000, clock, datapoints, setting
from adapters.zigbee.reports import happened
from carriage.zigbee.datatypes import BOOL, ENUM8, INT32
from gateway.api.errors import PeerError
from gateway.api.model import InvokeAction, Outcome, ReadProperties, Reason, WriteProperties
from tests.harness.cluster_models import model_with
from tests.harness.hosted_kinds import HostedKinds
from tests.harness.zcl_asked import joined, server

BASIC, REPORT = 0x0000, 0x02


def tuya(manufacturer: str) -> Model:
    return model_with(BASIC, CLUSTER, manufacturer=manufacturer, model="TS0601")


def told(model: Model, octets: str, command: int = REPORT) -> Values:
    """The values in a command with datapoints."""
    found = happened(model, place(1, CLUSTER), command, False, bytes.fromhex(octets))
    assert found is not None
    return found[2]


# Values of public recordings, as the commands of these devices carry them.
RECORDED = (
    ("_TZE200_cirvgep4", "0200 01 02 0004 000000fc", {"temperature": 25.2}),
    ("_TZE200_cirvgep4", "0300 02 02 0004 00000025", {"humidity": 37}),
    ("_TZE200_cirvgep4", "0400 03 04 0001 02", {"battery_state": "high"}),
    ("_TZE200_2aaelwxk", "00e9 01 04 0001 01", {"occupancy": True}),
    ("_TZE204_qasjif9e", "0200 04 02 0004 00000258", {"maximum_range": 6.0}),
    ("_TZE204_qasjif9e", "0300 02 02 0004 00000002", {"radar_sensitivity": 2}),
    ("_TZE204_qasjif9e", "001e 09 02 0004 0000004e", {"target_distance": 0.78}),
)


@pytest.mark.parametrize(("manufacturer", "octets", "values"), RECORDED)
def test_what_was_recorded(manufacturer: str, octets: str, values: dict[str, Any]) -> None:
    assert dict(told(tuya(manufacturer), octets)) == pytest.approx(values)


@pytest.mark.parametrize(
    ("manufacturer", "octets", "values"),
    [
        ("_TZE200_vs0skpuc", "0001 01 02 0004 0000ffce", {"temperature": -5.0}),  # the lower half of a negative number
        ("_TZE200_a8sdabtg", "0001 01 02 0004 ffffffce", {"temperature": -5.0}),
        ("_TZE284_9ern5sfh", "0001 02 02 0004 000001ef", {"humidity": 49.5}),
        ("_TZE200_myd45weu", "0001 05 02 0004 00000013", {"temperature": 19}),
        (
            "_TZE284_sgabhwa6",
            "0001 05 02 0004 000000c3 03 02 0004 0000001f",
            {"temperature": 19.5, "soil_moisture": 31},
        ),
        ("_TZE284_rccxox8p", "0001 01 04 0001 00", {"smoke": True}),
        ("_TZE284_rccxox8p", "0001 01 04 0001 01", {"smoke": False}),
        ("_TZE200_ggev5fsl", "0001 01 04 0001 00", {"gas": True}),
        ("_TZE200_n8dljorx", "0001 01 01 0001 01 02 02 0004 00000064", {"contact": False, "battery": 100}),
        ("_TZE200_3towulqd", "0001 01 04 0001 00", {"occupancy": True}),
        ("_TZE200_rxntag7i", "0001 04 02 0004 000000d2", {"occupied_heating_setpoint": 21.0}),
        ("_TZE200_rxntag7i", "0001 02 04 0001 02 03 04 0001 00", {"system_mode": "off", "running_state": "heat"}),
        ("_TZE204_lzriup1j", "0001 01 01 0001 01 65 04 0001 00", {"system_mode": "heat", "running_state": "idle"}),
        ("_TZE204_lzriup1j", "0001 13 02 0004 fffffff1", {"local_temperature_calibration": -1.5}),
        ("_TZE200_aqnazj70", "0001 01 01 0001 01 04 01 0001 00", {"state": True, "state_4": False}),
        ("_TZE200_3p5ydos3", "0001 02 02 0004 000001f4", {"brightness": 127}),
        ("_TZE200_nueqqe6k", "0001 03 02 0004 00000000", {"state": "CLOSE", "position": 0}),
        ("_TZE200_nogaemzt", "0001 03 02 0004 00000000", {"state": "OPEN", "position": 100}),
    ],
)
def test_what_the_ids_mean(manufacturer: str, octets: str, values: dict[str, Any]) -> None:
    assert dict(told(tuya(manufacturer), octets)) == pytest.approx(values)


@pytest.mark.parametrize("command", [0x01, 0x02, 0x05, 0x06])
def test_each_command_that_tells(command: int) -> None:
    assert told(tuya("_TZE200_yjjdcqsq"), "0001 01 02 0004 000000d7", command) == (("temperature", 21.5),)


def test_an_id_that_no_row_has_is_no_value() -> None:
    assert told(tuya("_TZE200_yjjdcqsq"), "0001 77 02 0004 000000d7") == ()


def test_of_each_type() -> None:
    payload = bytes.fromhex("0007 01 00 0003 010203 02 01 0001 01 03 02 0004 fffffff6 04 03 0002 6869 05 04 0001 09")
    payload += bytes.fromhex("06 05 0001 81 07 05 0002 8001 08 05 0004 80000001 09 02 0002 fff6")
    assert datapoints(payload) == [
        (1, 0x41, b"\x01\x02\x03"), (2, 0x10, 1), (3, 0x2B, -10), (4, 0x42, "hi"), (5, 0x30, 9),
        (6, 0x18, 0x81), (7, 0x19, 0x8001), (8, 0x1B, 0x8000_0001), (9, 0x29, -10),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "octets",
    ["", "00", "0001", "0001 01", "0001 01 02 00", "0001 01 02 0004 000000", "0001 01 01 0000", "0001 01 09 0001 00",
     "0001 01 01 0001 01 02"],
)  # fmt: skip
def test_malformed(octets: str) -> None:
    with pytest.raises(PeerError):
        datapoints(bytes.fromhex(octets))


@given(st.binary(max_size=80))
def test_anything_is_datapoints_or_a_fault(octets: bytes) -> None:
    try:
        found = datapoints(octets)
    except PeerError:
        return
    assert found
    for manufacturer in ("_TZE200_rxntag7i", "_TZE200_yjjdcqsq", "_TZE200_3p5ydos3"):
        told(tuya(manufacturer), octets.hex())


@given(
    st.integers(1, 255), st.sampled_from([(BOOL, 0, 1), (ENUM8, 0, 255), (INT32, -(1 << 31), (1 << 31) - 1)]), st.data()
)
def test_what_is_set_can_be_read(number: int, kind: tuple[Any, int, int], data: st.DataObject) -> None:
    own, low, high = kind
    value = data.draw(st.integers(low, high))
    assert datapoints(setting(number, own, value)) == [(number, own.id, value)]


def test_numbers_count_up() -> None:
    one, other = (int.from_bytes(setting(1, BOOL, 1)[:2], "big") for _ in range(2))
    assert other == (one + 1) & 0xFFFF


@pytest.mark.parametrize(("since", "first"), [(UNIX, 1_700_000_000), (YEAR_2000, 1_700_000_000 - 946_684_800)])
def test_the_time(since: int, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        reply = clock(since, now=lambda: 1_700_000_000.9).reply
        assert reply is not None
        command, payload = reply(b"\x00\x08", False) or (0, b"")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert command == 0x24
    assert payload[:2] == b"\x08\x00"
    assert [int.from_bytes(payload[at : at + 4], "big") for at in (2, 6)] == [first, first + 3600]


@pytest.mark.parametrize("since", [UNIX, YEAR_2000])
@pytest.mark.parametrize("now", [0.0, 1_000.0, YEAR_2000 + 1.0])
def test_a_computer_that_does_not_know_the_time_yet_tells_none(since: int, now: float) -> None:
    reply = clock(since, now=lambda: now).reply
    assert reply is not None
    assert reply(b"\x00\x08", False) is None


def test_every_row_that_can_be_set_has_its_command() -> None:
    for devices in MAKERS:
        names = {name for write in devices.writes for name in write.properties}
        for row in devices.rows:
            if row.cluster == CLUSTER and row.property.writable:
                assert row.property.name in names, (devices.manufacturers, row.property.name)


# Over the radio -------------------------------------------------------------------------------------------------------


async def test_a_sensor_tells(world: Any) -> None:
    async with world.gateway() as gateway:
        device, asked = await HostedKinds(world).join(gateway, "tuya-climate")
        asked.heard = 0
        want = {"temperature": 21.5, "humidity": 47, "battery_state": "high", "temperature_unit": "celsius"}
        await gateway.until(lambda: asked.reported() == want)  # it was asked for all
        device.does("set", name="tuya_temperature", value=-3.5)
        await gateway.until(lambda: asked.reported()["temperature"] == -3.5)


async def test_a_valve_is_set_and_knows_the_time(world: Any) -> None:
    async with world.gateway() as gateway:
        device, asked = await HostedKinds(world).join(gateway, "tuya-valve")
        receipt = await asked.does(WriteProperties, values={"occupied_heating_setpoint": 22.5})
        assert receipt.outcome is Outcome.SENT  # nothing but its report says that it was set
        await gateway.until(lambda: asked.reported().get("occupied_heating_setpoint") == 22.5)
        assert device.has("tuya_setpoint") == 22.5
        receipt = await asked.does(WriteProperties, values={"system_mode": "heat", "child_lock": True})
        assert {each.name: each.outcome for each in receipt.properties} == {
            "system_mode": Outcome.SENT,
            "child_lock": Outcome.SENT,
        }
        await gateway.until(lambda: asked.reported().get("child_lock") is True)
        assert asked.reported()["system_mode"] == "heat"
        for values in ({"occupied_heating_setpoint": "warm"}, {"system_mode": "cool"}):
            refused = await asked.does(WriteProperties, values=values)
            assert (refused.outcome, refused.reason) == (Outcome.DROPPED, Reason.CONTENT)


async def test_a_cover_is_opened_moved_and_stopped(world: Any) -> None:
    async with world.gateway() as gateway:
        options = {"manufacturer": "_TZE200_nueqqe6k", "model": "TS0601"}
        device, asked = await joined(
            world, gateway, server(BASIC, {}), server(CLUSTER, {}),
            answer=lambda at, frame, own: None if at == CLUSTER else own, **options,
        )  # fmt: skip
        for values, octets in (
            ({"state": "OPEN"}, "01 04 0001 00"),
            ({"state": "CLOSE"}, "01 04 0001 02"),
            ({"position": 40}, "02 02 0004 00000028"),
        ):
            device.asked.clear()
            assert (await asked.does(WriteProperties, values=values)).outcome is Outcome.SENT
            await gateway.until(lambda: device.asked)
            ((_, frame),) = device.asked
            assert frame.disable_default_response
            assert frame.payload[2:] == bytes.fromhex(octets)
        device.asked.clear()
        assert (await asked.does(InvokeAction, name="stop", input=None)).outcome is Outcome.SENT
        await gateway.until(lambda: device.asked)
        assert device.asked[0][1].payload[2:] == bytes.fromhex("01 04 0001 01")
        assert (await asked.does(WriteProperties, values={"position": 101})).reason is Reason.CONTENT
        read = await asked.does(ReadProperties, names=("position",))
        assert read.outcome is Outcome.DROPPED  # nothing can be read


async def test_malformed_datapoints_are_counted(world: Any) -> None:
    async with world.gateway() as gateway:
        options = {"manufacturer": "_TZE200_a8sdabtg", "model": "TS0601"}
        device, asked = await joined(world, gateway, server(BASIC, {}), server(CLUSTER, {}), **options)
        for octets in ("0001 01 02 0004 0000", "0001 01 02 0004 000000d7"):
            device.say(CLUSTER, bytes((0x09, 0x31, REPORT)) + bytes.fromhex(octets))
        await gateway.until(lambda: asked.reported().get("temperature") == 21.5)
        assert gateway.adapter.status()["counters"]["events_malformed"] == 1


async def test_the_clock_of_a_valve(world: Any) -> None:
    async with world.gateway() as gateway:
        device, _ = await HostedKinds(world).join(gateway, "tuya-valve")
        await gateway.until(lambda: abs(time.time() - YEAR_2000 - device.has("tuya_clock")) < 600, 10)
