"""Interviews over the virtual dongle that go wrong: endpoints without a descriptor, and some that are not listed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from adapters.zigbee import reporting_setup as steps
from adapters.zigbee.times import ZigbeeTimes
from gateway.api.model import Join, Leave, Reading
from simulator.network import zdo
from simulator.network.device_kinds import Identity, on_off, temperature
from tests.adapters.zigbee.zigbee_world import BOTH_EZSP
from tests.harness.zcl_device import ZclDevice, settled, shown

DEVICE = 0x000D6F0000000051
IDENTITY = Identity("ACME", "Z1", mains=True)
GOOD, BAD = 1, 2
NO_DESCRIPTOR = zdo.SUCCESS
"""And nothing in it."""


async def two_endpoints(world: Any, *, sleepy: bool = False) -> tuple[ZclDevice, ZclDevice]:
    pair = []
    for number, cluster in ((GOOD, on_off), (BAD, temperature)):
        device = ZclDevice(DEVICE, cluster(IDENTITY), endpoint=number)
        await device.attach(world.socket, sleepy=sleepy)
        world.devices.append(device)
        pair.append(device)
    return pair[0], pair[1]


def readings(gateway: Any) -> dict[str, Any]:
    return {name: value for reading in gateway.context.of(Reading) for name, value in reading.values}


async def until_it_spoke(gateway: Any, device: ZclDevice, condition: Callable[[], bool]) -> None:
    """What is to be asked again is asked when the device is heard."""
    async with asyncio.timeout(20):
        while not condition():
            device.report(0x0000, "0000 20 08")
            await asyncio.sleep(0.05)


def properties(gateway: Any) -> list[str]:
    return [one.name for one in gateway.context.of(Join)[-1].properties]


@BOTH_EZSP
@pytest.mark.parametrize("status", [zdo.INVALID_EP, NO_DESCRIPTOR])
@pytest.mark.parametrize("first", [False, True])
async def test_one_bad_endpoint_spoils_no_other(world: Any, status: int, first: bool) -> None:
    """What is known is used; the rest is asked for again, and shown as missing until the device tells."""
    async with world.gateway(times=ZigbeeTimes(first_describe=0.3)) as gateway:
        pair = await two_endpoints(world)
        good, bad = reversed(pair) if first else pair
        names = {GOOD: "state", BAD: "temperature"}
        device = world.network.station(DEVICE).device
        device.undescribed[bad.endpoint] = status
        join = await gateway.join(good)
        assert [one.name for one in join.properties] == [names[good.endpoint]]
        assert dict(join.facts)["model"] == "Z1"
        await gateway.until(lambda: names[good.endpoint] in readings(gateway))
        row = await shown(gateway, good)
        assert (row["interviewed"], row["endpoints_missing"]) == (True, [bad.endpoint])
        good.report(*((0x0006, "0000 10 01") if good.endpoint == GOOD else (0x0402, "0000 29 3408")))
        await gateway.until(lambda: readings(gateway)[names[good.endpoint]] in (True, 21.0))

        del device.undescribed[bad.endpoint]
        await until_it_spoke(gateway, good, lambda: not gateway.radio.device(good.eui64).missing)
        await gateway.until(lambda: set(readings(gateway)) == {"state", "temperature"})
        assert set(properties(gateway)) == {"state", "temperature"}
        row = await shown(gateway, good)
        assert row["endpoints_missing"] == [] and [each["id"] for each in row["endpoints"]] == [GOOD, BAD]
    async with world.gateway(times=ZigbeeTimes(first_describe=0.3)) as gateway:  # and it is in the database
        await gateway.until(lambda: set(readings(gateway)) == {"state", "temperature"})
        assert (await shown(gateway, good))["endpoints_missing"] == []


async def test_a_device_that_never_tells_is_asked_later_each_time_and_not_for_ever(world: Any) -> None:
    async with world.gateway(times=ZigbeeTimes(first_describe=0.0)) as gateway:
        good, _ = await two_endpoints(world)
        device = world.network.station(DEVICE).device
        device.undescribed[BAD] = zdo.INVALID_EP
        await gateway.join(good)
        await until_it_spoke(gateway, good, lambda: not gateway.semantics._setup.jobs)
        assert (await shown(gateway, good))["endpoints_missing"] == [BAD]
        assert set(readings(gateway)) == {"state"}
    del device.undescribed[BAD]
    async with world.gateway(times=ZigbeeTimes(first_describe=0.0)) as gateway:  # it was remembered
        await gateway.until(lambda: set(readings(gateway)) == {"state", "temperature"})


async def test_an_endpoint_about_which_a_device_is_mute_spoils_no_other(world: Any) -> None:
    """When the time for the interview is over what is known is used; the interview goes on when the device speaks."""
    async with world.gateway(limits={"interview": 1.0, "reconnect_first": 0.1}) as gateway:
        good, _ = await two_endpoints(world)
        world.network.station(DEVICE).device.undescribed[BAD] = None
        join = await gateway.join(good)
        assert [one.name for one in join.properties] == ["state"]
        assert (await shown(gateway, good))["endpoints_missing"] == [BAD]
        await until_it_spoke(gateway, good, lambda: dict(gateway.context.of(Join)[-1].facts)["model"] == "Z1")
    async with world.gateway() as gateway:
        (join,) = gateway.context.of(Join)
        assert dict(join.facts)["model"] == "Z1" and [one.name for one in join.properties] == ["state"]


def test_pauses_between_questions_for_a_descriptor_grow() -> None:
    tries = [min(ZigbeeTimes().first_describe * 2**number, steps.LAST_RETRY) for number in range(steps.DESCRIBED - 1)]
    assert tries == [60, 120, 240, 480, 960, 1920, 3600]


async def test_an_interview_that_keeps_failing_is_reported_once(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each report of it would set the device up again."""
    monkeypatch.setattr("adapters.zigbee.device_table.interview_on", lambda device: None)  # it gets no further here
    async with world.gateway(limits={"interview": 1.0, "reconnect_first": 0.1}) as gateway:
        good, _ = await two_endpoints(world)
        world.network.station(DEVICE).device.undescribed[BAD] = None
        await gateway.join(good)
        radio = gateway.radio
        device = radio._app.get_device(nwk=radio.device(good.eui64).nwk)
        assert len(gateway.context.of(Join)) == 1
        for _ in range(3):
            radio._hooks.device_init_failure(device)
        assert len(gateway.context.of(Join)) == 1
        await good.client.leave()
        await gateway.until(lambda: gateway.context.of(Leave))
        radio._hooks.device_init_failure(device)  # its last try ends afterwards
        assert len(gateway.context.of(Join)) == 1


async def test_a_device_without_any_good_endpoint_is_not_interviewed(world: Any) -> None:
    async with world.gateway() as gateway:
        good, _ = await two_endpoints(world)
        world.network.station(DEVICE).device.undescribed.update({GOOD: zdo.INVALID_EP, BAD: NO_DESCRIPTOR})
        join = await gateway.join(good)
        row = await shown(gateway, good)
        assert join.properties == () and not row["interviewed"]
        assert row["endpoints_missing"] == [GOOD, BAD]


@BOTH_EZSP
@pytest.mark.parametrize("sleepy", [False, True])
async def test_an_endpoint_that_is_not_listed_is_asked_what_it_is(world: Any, sleepy: bool) -> None:
    """It reports, so it is there; from then on its values count."""
    async with world.gateway() as gateway:
        good, hidden = await two_endpoints(world, sleepy=sleepy)
        device = world.network.station(DEVICE).device
        device.unlisted.add(BAD)
        await gateway.join(good)
        assert properties(gateway) == ["state"]
        hidden.report(0x0402, "0000 29 3408")
        await gateway.until(lambda: "temperature" in readings(gateway))
        assert properties(gateway) == ["state", "temperature"]
        hidden.report(0x0402, "0000 29 9808")
        await gateway.until(lambda: readings(gateway)["temperature"] == 22.0)
        assert [each["id"] for each in (await shown(gateway, good))["endpoints"]] == [GOOD, BAD]
    async with world.gateway() as gateway:
        await gateway.until(lambda: gateway.context.of(Join))
        assert properties(gateway) == ["state", "temperature"]


async def test_an_endpoint_that_does_not_exist_is_asked_once(world: Any) -> None:
    async with world.gateway() as gateway:
        good, hidden = await two_endpoints(world)
        device = world.network.station(DEVICE).device
        device.unlisted.add(BAD)
        device.undescribed[BAD] = zdo.NOT_ACTIVE
        await gateway.join(good)
        await settled(gateway, good)
        asked = []
        setup = gateway.semantics._setup
        look = setup.look
        setup.look = lambda model, endpoint: (asked.append(endpoint), look(model, endpoint))
        for number in range(5):
            hidden.report(0x0402, f"0000 29 {number:02x}08")
            hidden.report(0x0405, f"0000 21 {number:02x}13")
        good.report(0x0006, "0000 10 01")
        await gateway.until(lambda: readings(gateway).get("state") is True)
        await settled(gateway, good)
        assert asked == [BAD] and "temperature" not in readings(gateway)
