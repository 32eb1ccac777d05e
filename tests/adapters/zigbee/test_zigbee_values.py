"""Values as real devices send them: out of range, of another type, booleans that are none, attributes that are missing.

Over the virtual dongle. What a row makes of a number alone is in ``test_zigbee_clusters``.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from adapters.zigbee.reporting_memory import MEMORY
from adapters.zigbee.times import ZigbeeTimes
from carriage.zigbee.zcl import ZclFrame
from gateway.api.model import Join, Reading
from simulator.network import datatypes as simulated
from simulator.network.cluster_server import Attribute, ClusterServer, make_cluster
from simulator.network.device_kinds import Identity, humidity, on_off, temperature
from tests.harness.zcl_device import ZclDevice, settled, shown

DEVICE = 0x000D6F0000000051
IDENTITY = Identity("ACME", "Z1", mains=True)


def power(_identity: Identity) -> ClusterServer:
    """A battery's percentage, and nothing else."""
    return make_cluster(0x0001, [Attribute(0x0021, simulated.UINT8, 200, reportable=True)])


READ, CONFIGURE = 0x00, 0x06


async def joined(world: Any, gateway: Any, *clusters: Any, endpoint: int = 1, **options: Any) -> ZclDevice:
    device = ZclDevice(DEVICE, *(make(IDENTITY) for make in clusters), endpoint=endpoint)
    await device.attach(world.socket, **options)
    world.devices.append(device)
    await gateway.join(device)
    await settled(gateway, device)
    return device


def readings(gateway: Any) -> list[tuple[str, Any]]:
    return [value for reading in gateway.context.of(Reading) for value in reading.values]


def properties(gateway: Any) -> list[list[str]]:
    """Of each Join."""
    return [[each.name for each in join.properties] for join in gateway.context.of(Join)]


def counters(gateway: Any) -> dict[str, int]:
    return {name: count for name, count in gateway.adapter.status()["counters"].items() if name.startswith("values")}


async def reported(gateway: Any, device: ZclDevice, *reports: tuple[int, str]) -> list[tuple[str, Any]]:
    """The readings of these reports. A new temperature goes behind them, so that the test knows their end."""
    before = len(readings(gateway))
    for cluster, payload in reports:
        device.report(cluster, payload)
    device.report(0x0402, b"\x00\x00\x29" + (5000 + before).to_bytes(2, "little"))
    await gateway.until(lambda: readings(gateway)[-1] == ("temperature", (5000 + before) / 100))
    return readings(gateway)[before:-1]


async def test_what_is_out_of_range_is_no_value(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Frames of an Aqara sensor that failed, and of others: 654.36 %RH, -100 degrees, 116 % of a battery."""
    caplog.set_level(logging.INFO, "adapters.zigbee")
    reports: list[tuple[int, str, Any]] = [
        (0x0001, "2100 20 c8", 100.0),
        (0x0001, "2100 20 e8", None),
        (0x0001, "2100 20 fe", None),
        (0x0001, "2100 20 ff", None),  # invalid, by the standard
        (0x0405, "0000 21 1027", 100.0),
        (0x0405, "0000 21 e02e", None),  # 12000
        (0x0405, "0000 21 feff", None),
        (0x0405, "0000 21 9cff", None),  # 65436
        (0x0402, "0000 29 0180", None),  # -32767
        (0x0402, "0000 29 f0d8", None),  # -10000
        (0x0402, "0000 29 0080", None),  # invalid, by the standard
        (0x0402, "0000 29 d8dc", -90.0),
    ]
    async with world.gateway() as gateway:
        device = await joined(world, gateway, temperature, humidity, power)
        found = await reported(gateway, device, *((cluster, payload) for cluster, payload, _ in reports))
        assert [value for _, value in found] == [value for _, _, value in reports]
        assert counters(gateway)["values_out_of_range"] == 7
        assert counters(gateway)["values_of_another_type"] == 0
        # in a read response as well
        device.clusters[0x0001].attributes[0x0021].value = 0xE8
        gateway.semantics._setup.read(gateway.record(device.eui64))
        await settled(gateway, device)
        assert ("battery", None) in readings(gateway)[-3:]
        assert counters(gateway)["values_out_of_range"] == 8
    lines = [record.getMessage() for record in caplog.records if "can't be" in record.getMessage()]
    assert lines == [
        f"{device.eui64}: battery is sent as 232, which can't be: it counts as no value (further ones are only counted)"
    ]


async def test_a_value_is_taken_whatever_integer_type_carried_it(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Tuya's TS0201 tells humidity as int16, a Sonoff relay On/Off as int8, others what is below."""
    caplog.set_level(logging.INFO, "adapters.zigbee")
    reports: list[tuple[int, str, Any]] = [
        (0x0405, "0000 29 8813", 50.0),  # int16
        (0x0405, "0000 29 9cff", None),  # -100 as int16: as uint16 it is out of range too
        (0x0405, "0000 23 88130000", 50.0),  # uint32
        (0x0405, "0000 25 881300000000", 50.0),  # uint48
        (0x0001, "2100 28 64", 50.0),  # int8
        (0x0001, "2100 28 c8", 100.0),  # -56 as int8, but the octet is 200
        (0x0001, "2100 28 ff", None),  # and this one is "invalid"
        (0x0001, "2100 21 6400", 50.0),  # uint16
        (0x0001, "2100 18 64", 50.0),  # map8
        (0x0001, "2100 30 64", 50.0),  # enum8
        (0x0001, "2100 31 6400", 50.0),  # enum16
        (0x0402, "0000 21 6608", 21.5),  # uint16
        (0x0402, "0000 21 9cff", -1.0),  # the octets of -100: 655.36 degrees can't be
        (0x0402, "0000 23 9cff0000", None),  # 65436 in four octets is no -100
        (0x0402, "0000 2b 9cffffff", -1.0),  # int32
        (0x0402, "0000 28 f6", -0.1),  # int8
        (0x0006, "0000 30 01", True),  # enum8
        (0x0006, "0000 28 00", False),  # int8
        (0x0006, "0000 20 01", True),  # uint8
        (0x0006, "0000 21 0000", False),  # uint16
        (0x0006, "0000 18 01", True),  # map8
        (0x0006, "0000 28 ff", None),  # invalid
    ]
    async with world.gateway() as gateway:
        device = await joined(world, gateway, temperature, humidity, power, on_off)
        found = await reported(gateway, device, *((cluster, payload) for cluster, payload, _ in reports))
        assert [value for _, value in found] == [value for _, _, value in reports]
        assert counters(gateway)["values_of_another_type"] == len(reports)
        # a boolean is no number, and neither are a text, octets, a float (its unit is unknown), a time
        wrong = [
            *((0x0001, payload) for payload in ("2100 10 01", "2100 42 0135", "2100 41 0164", "2100 39 0000c842")),
            *((0x0006, payload) for payload in ("0000 42 0131", "0000 39 0000803f", "0000 48 20 0100 01")),
            *((0x0402, payload) for payload in ("0000 e2 66080000", "0000 08 66", "0000 ff", "0000 00")),
        ]
        assert await reported(gateway, device, *wrong) == []
        assert counters(gateway)["values_of_a_wrong_type"] == len(wrong)
    lines = [record.getMessage() for record in caplog.records if " came as " in record.getMessage()]
    assert lines == [
        f"{device.eui64}: humidity came as int16, not uint16: it is taken (further ones are only counted)",
        f"{device.eui64}: battery came as bool, not uint8, which can't carry it: it is left out"
        " (further ones are only counted)",
    ]


@pytest.mark.parametrize("octet", [0x02, 0x80, 0x81, 0x82, 0xFE])
async def test_only_0_and_1_are_states(world: Any, octet: int) -> None:
    """The Aqara wall button tells 2, the Konke button 0x80 to 0x82: no state, and never ON."""
    async with world.gateway() as gateway:
        device = await joined(world, gateway, on_off, temperature)
        found = await reported(
            gateway, device, (0x0006, "0000 10 00"), (0x0006, f"0000 10 {octet:02x}"), (0x0006, "0000 10 01")
        )
        assert found == [("state", False), ("state", None), ("state", True)]
        assert counters(gateway)["values_out_of_range"] == 1


def without(attribute: int, *, also: int = CONFIGURE) -> Any:
    """A device that doesn't have an attribute, by its answers to reads and to ``also``."""

    def answer(cluster: int, request: ZclFrame, own: ZclFrame | None) -> ZclFrame | None:
        if cluster == 0x0001 and request.command == READ:
            payload = attribute.to_bytes(2, "little") + b"\x86"
            return ZclFrame(0x01, payload, request.sequence, cluster_specific=False, to_client=True)
        if cluster == 0x0001 and request.command == also:
            payload = b"\x86\x00" + attribute.to_bytes(2, "little")
            return ZclFrame(0x07, payload, request.sequence, cluster_specific=False, to_client=True)
        return own

    return answer


@pytest.mark.parametrize("sleepy", [False, True])
async def test_an_unsupported_attribute_is_no_property(world: Any, sleepy: bool) -> None:
    """An answer UNSUPPORTED_ATTRIBUTE: gone, after a restart too; back when the device reports it after all."""
    async with world.gateway() as gateway:
        device = ZclDevice(DEVICE, *(make(IDENTITY) for make in (temperature, power)))
        device.answer = without(0x0021)
        await device.attach(world.socket, sleepy=sleepy)
        world.devices.append(device)
        await gateway.join(device)
        await settled(gateway, device)
        assert properties(gateway) == [["temperature", "battery"], ["temperature"]]
        assert [one["name"] for one in (await shown(gateway, device))["properties"]] == ["temperature"]
        assert readings(gateway) == [("temperature", 20.0)]
    async with world.gateway() as gateway:
        await gateway.until(lambda: gateway.context.of(Join))
        await settled(gateway, device)
        assert properties(gateway) == [["temperature"]]
        device.report(0x0001, "2100 20 64")
        await gateway.until(lambda: ("battery", 50.0) in readings(gateway))
        assert properties(gateway) == [["temperature"], ["temperature", "battery"]]
        kinds = [type(each) for each in gateway.context.submitted]
        assert kinds.index(Join, kinds.index(Join) + 1) < len(kinds) - 1 - kinds[::-1].index(Reading)
        device.answer = lambda cluster, request, own: own
    async with world.gateway() as gateway:
        await gateway.until(lambda: gateway.context.of(Join))
        assert properties(gateway)[0] == ["temperature", "battery"]


async def test_one_that_says_so_while_it_starts_is_read_once_more(world: Any) -> None:
    """It took the reporting of the attribute, so it may have it."""
    async with world.gateway(times=ZigbeeTimes(read_again=0.2)) as gateway:
        device = ZclDevice(DEVICE, *(make(IDENTITY) for make in (temperature, power)))
        device.answer = without(0x0021, also=READ)
        await device.attach(world.socket)
        world.devices.append(device)
        await gateway.join(device)
        await settled(gateway, device)
        assert properties(gateway) == [["temperature", "battery"], ["temperature"]]
        device.answer = lambda cluster, request, own: own
        await asyncio.sleep(0.2)
        device.report(0x0402, "0000 29 d007")  # it is heard
        await gateway.until(lambda: ("battery", 100.0) in readings(gateway))
        assert properties(gateway)[-1] == ["temperature", "battery"]


async def test_a_device_that_joins_again_may_have_the_attribute_now(world: Any) -> None:
    async with world.gateway() as gateway:
        device = ZclDevice(DEVICE, *(make(IDENTITY) for make in (temperature, power)))
        device.answer = without(0x0021)
        await device.attach(world.socket)
        world.devices.append(device)
        await gateway.join(device)
        await settled(gateway, device)
        await device.client.leave()
        device.answer = lambda cluster, request, own: own
        join = await gateway.join(device)
        assert [each.name for each in join.properties] == ["temperature", "battery"]
        await gateway.until(lambda: ("battery", 100.0) in readings(gateway))


async def test_one_that_can_not_report_it_has_it_all_the_same(world: Any) -> None:
    """Some devices say UNSUPPORTED_ATTRIBUTE to what they can't report: their answer to a read counts more."""

    def answer(cluster: int, request: ZclFrame, own: ZclFrame | None) -> ZclFrame | None:
        return without(0x0021)(cluster, request, own) if request.command == CONFIGURE else own

    async with world.gateway() as gateway:
        device = ZclDevice(DEVICE, power(IDENTITY))
        device.answer = answer
        await device.attach(world.socket)
        world.devices.append(device)
        await gateway.join(device)
        await settled(gateway, device)
        assert readings(gateway) == [("battery", 100.0)]
        assert properties(gateway) == [["battery"]]
        assert (await shown(gateway, device))["reporting"] == {"1/0001": "0021 UNSUPPORTED_ATTRIBUTE"}


async def test_the_word_on_reporting_counts_where_the_read_tells_nothing(world: Any) -> None:
    def answer(cluster: int, request: ZclFrame, own: ZclFrame | None) -> ZclFrame | None:
        if cluster == 0x0001 and request.command == READ:
            return ZclFrame(0x0B, b"\x00\x82", request.sequence, cluster_specific=False, to_client=True)
        return without(0x0021)(cluster, request, own)

    async with world.gateway() as gateway:
        device = ZclDevice(DEVICE, temperature(IDENTITY), power(IDENTITY))
        device.answer = answer
        await device.attach(world.socket)
        world.devices.append(device)
        await gateway.join(device)
        await settled(gateway, device)
        assert properties(gateway)[-1] == ["temperature"]


async def test_the_memory_of_a_sleeper_of_an_earlier_version_is_used(world: Any) -> None:
    """Its file has the device's answers, but no list of what is missing."""
    async with world.gateway() as gateway:
        device = await joined(world, gateway, temperature, power, sleepy=True)
    path = world.state_dir / MEMORY
    memory = json.loads(path.read_text())
    memory[device.eui64]["1/0001"]["reports"]["0021"] = "UNSUPPORTED_ATTRIBUTE"
    path.write_text(json.dumps(memory))
    async with world.gateway() as gateway:
        await gateway.until(lambda: gateway.context.of(Join))
        assert properties(gateway) == [["temperature"]]


@pytest.mark.parametrize("absent", ['"0021"', "5", "null", "{}"])
async def test_a_memory_of_nonsense_takes_no_property_away(world: Any, absent: str) -> None:
    async with world.gateway() as gateway:
        device = await joined(world, gateway, power)
    entry = f'{{"absent": {absent}, "types": {{"0021": {absent}}}, "reports": 7}}'
    (world.state_dir / MEMORY).write_text(f'{{"{device.eui64}": {{"1/0001": {entry}}}}}')
    async with world.gateway() as gateway:
        await gateway.until(lambda: gateway.context.of(Join))
        assert properties(gateway) == [["battery"]]


async def test_good_records_of_an_answer_count(world: Any) -> None:
    """A read response, and one to configure reporting, that end in the middle of a record."""

    def answer(cluster: int, request: ZclFrame, own: ZclFrame | None) -> ZclFrame | None:
        assert own is not None
        if request.command == READ:
            payload = own.payload + bytes.fromhex("02d0 00 48 02 000a")
        elif request.command == CONFIGURE and cluster == 0x0405:
            payload = bytes.fromhex("8c 00 0000  86 00")
        else:
            return own
        return ZclFrame(own.command, payload, request.sequence, cluster_specific=False, to_client=True)

    async with world.gateway() as gateway:
        device = ZclDevice(DEVICE, temperature(IDENTITY), humidity(IDENTITY))
        device.answer = answer
        await device.attach(world.socket)
        world.devices.append(device)
        await gateway.join(device)
        await settled(gateway, device)
        assert readings(gateway) == [("temperature", 20.0), ("humidity", 50.0)]
        reporting = (await shown(gateway, device))["reporting"]
        assert reporting == {"1/0402": "configured", "1/0405": "0000 UNREPORTABLE_ATTRIBUTE"}


async def test_reports_are_configured_with_the_type_that_the_device_has(world: Any) -> None:
    """One whose attribute is of another type answers INVALID_DATA_TYPE: it is asked again as it wants, and so ever."""
    relay = make_cluster(0x0006, [Attribute(0x0000, simulated.UINT8, 1, reportable=True)])
    battery = make_cluster(0x0001, [Attribute(0x0021, simulated.UINT16, 120, reportable=True)])
    async with world.gateway() as gateway:
        device = ZclDevice(DEVICE, relay, battery, temperature(IDENTITY))
        await device.attach(world.socket)
        world.devices.append(device)
        await gateway.join(device)
        await settled(gateway, device)
        assert readings(gateway) == [("state", True), ("battery", 60.0), ("temperature", 20.0)]
        assert (relay.reporting[0].maximum, battery.reporting[0x0021].change) == (3600, 2)
        assert set((await shown(gateway, device))["reporting"].values()) == {"configured"}
        assert [cluster for cluster, frame in device.asked if frame.command == CONFIGURE].count(0x0402) == 1
        device.asked.clear()
    async with world.gateway() as gateway:
        await gateway.until(lambda: gateway.context.of(Join))
        await settled(gateway, device)
        assert [cluster for cluster, frame in device.asked if frame.command == CONFIGURE] == []


async def test_a_type_that_is_refused_in_any_case_is_asked_for_once(world: Any) -> None:
    def answer(cluster: int, request: ZclFrame, own: ZclFrame | None) -> ZclFrame | None:
        if request.command == CONFIGURE:
            return ZclFrame(0x07, b"\x8d\x00\x21\x00", request.sequence, cluster_specific=False, to_client=True)
        return own

    async with world.gateway() as gateway:
        device = ZclDevice(DEVICE, make_cluster(0x0001, [Attribute(0x0021, simulated.UINT16, 120, reportable=True)]))
        device.answer = answer
        await device.attach(world.socket)
        world.devices.append(device)
        await gateway.join(device)
        await settled(gateway, device)
        semantics = gateway.semantics
        semantics._setup.read(semantics._records.of(device.eui64))
        await settled(gateway, device)
        assert len([frame for _, frame in device.asked if frame.command == CONFIGURE]) == 1
        assert (await shown(gateway, device))["reporting"] == {"1/0001": "0021 INVALID_DATA_TYPE"}
        assert readings(gateway) == [("battery", 60.0)] * 2
