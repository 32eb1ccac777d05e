"""A device set up again, its reporting configured and read by hand, and the network opened at one router: the whole
adapter over the virtual dongle."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.zigbee.times import ZigbeeTimes
from gateway.api.errors import PeerError
from simulator.network import zdo
from simulator.network.device_kinds import Identity, on_off
from tests.harness.zcl_device import ZclDevice, settled

DEVICE = 0x000D6F0000000091
TEXT = "00:0d:6f:00:00:00:00:91"
OTHER = 0x000D6F0000000092
OTHER_TEXT = "00:0d:6f:00:00:00:00:92"


async def joined(world: Any, gateway: Any, **options: Any) -> ZclDevice:
    device = await ZclDevice(DEVICE, on_off(Identity("ACME", "Z1", mains=True))).attach(world.socket, **options)
    world.devices.append(device)
    await gateway.join(device)
    await settled(gateway, device)
    return device


async def test_reporting_is_configured_read_and_set_up_again(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world.gateway() as gateway:
        await joined(world, gateway)
        command = gateway.adapter.command
        place = {"eui64": TEXT, "cluster": "genOnOff"}
        usual = await command("read-reporting", {**place, "attributes": [0]})
        (one,) = usual["configs"]
        wanted = {"minimum": 7, "maximum": 77, "change": 0}
        assert one == {"attribute": 0, "minimum": 0, "maximum": 3600, "change": 0}
        assert await command("configure-reporting", {"eui64": TEXT, "attribute": "state", **wanted}) == wanted
        assert (await command("read-reporting", {**place, "attributes": ["0x0000"]}))["configs"] == [
            {"attribute": 0, **wanted}
        ]
        assert await command("configure", {"eui64": TEXT}) == {"steps_left": 0}
        assert await command("read-reporting", {**place, "attributes": ["state"], "endpoint": "1"}) == usual
        for name, arguments, error in (
            ("configure", {"eui64": "00:00:00:00:00:00:00:01"}, "not in the network"),
            ("configure", {"eui64": TEXT, "x": 1}, "unknown: x"),
            ("read-reporting", {**place, "attributes": []}, "one to 4"),
            ("read-reporting", {**place, "attributes": [77]}, "the name of a property: state"),
            ("read-reporting", {"eui64": TEXT, "cluster": "genNothing", "attributes": [0]}, "cluster: expected"),
            ("read-reporting", {**place, "attributes": [0], "endpoint": 300}, "endpoint: expected"),
            ("read-reporting", {**place, "attributes": [0], "endpoint": "1" * 5000}, "endpoint: expected"),
            ("read-reporting", {**place, "attributes": ["1" * 5000]}, "the name of a property: state"),
            ("configure-reporting", {**place, "attribute": 0, "minimum": -1}, "minimum: expected"),
            ("configure-reporting", {**place, "attribute": 0, "minimum": 9, "maximum": 3}, "no more than the maximum"),
            ("permit-join", {"seconds": 60, "eui64": "00:00:00:00:00:00:00:01"}, "always on and in the network"),
        ):
            with pytest.raises(PeerError, match=error):
                await command(name, arguments)
        assert await command("permit-join", {"seconds": 60, "eui64": "coordinator"}) == {"seconds": 60}
        assert await command("permit-join", {"seconds": 60, "eui64": TEXT}) == {"seconds": 60}
        monkeypatch.setitem(zdo._HANDLERS, zdo.MGMT_PERMIT_JOINING_REQ, lambda *_: zdo.Answer(bytes((0x84,))))
        with pytest.raises(PeerError, match="refuses: NOT_SUPPORTED"):
            await command("permit-join", {"seconds": 60, "eui64": TEXT})


async def test_a_sleeper_says_what_is_left_and_that_it_sleeps(world: Any) -> None:
    async with world.gateway(times=ZigbeeTimes(by_hand=0.2)) as gateway:
        device = await joined(world, gateway, sleepy=True)
        world.network.station(DEVICE).device.poll_interval = 3600.0
        device.close()
        with pytest.raises(PeerError, match="it sleeps, and was not heard"):
            await gateway.adapter.command("read-reporting", {"eui64": TEXT, "cluster": 6, "attributes": [0]})
        assert (await gateway.adapter.command("configure", {"eui64": TEXT}))["steps_left"] > 0


async def test_the_map_has_the_links_that_routers_tell(world: Any) -> None:
    async with world.gateway(times=ZigbeeTimes(look_around=3.0)) as gateway:
        await joined(world, gateway)
        other = await ZclDevice(OTHER, on_off(Identity("ACME", "Z2", mains=True))).attach(world.socket)
        world.devices.append(other)
        await gateway.join(other)
        await settled(gateway, other)
        found = await gateway.adapter.command("network-map", {})
        assert {each["eui64"]: (each["type"], each["asked"]) for each in found["nodes"]} == {
            TEXT: ("Router", True),
            OTHER_TEXT: ("Router", True),
        }
        pairs = {(each["source"], each["target"]) for each in found["links"]}
        assert (found["coordinator"], TEXT) in pairs and len(pairs) == len(found["links"])
        with pytest.raises(PeerError, match="no arguments"):
            await gateway.adapter.command("network-map", {"x": 1})
