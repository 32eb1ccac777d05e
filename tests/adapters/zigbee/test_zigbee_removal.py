"""A device is asked to leave and forgotten: the whole adapter over the virtual dongle."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.zigbee.members import FILE
from adapters.zigbee.reporting_memory import MEMORY
from adapters.zigbee.times import ZigbeeTimes
from gateway.api.errors import PeerError
from gateway.api.model import Join, Leave
from simulator.network import zdo
from simulator.network.device_kinds import Identity, on_off
from tests.adapters.zigbee.member_rows import rows
from tests.harness.zcl_device import ZclDevice, settled

DEVICE = 0x000D6F0000000081
TEXT = "00:0d:6f:00:00:00:00:81"
IDENTITY = Identity("ACME", "Z1", mains=True)


async def joined(world: Any, gateway: Any, **options: Any) -> ZclDevice:
    device = await ZclDevice(DEVICE, on_off(IDENTITY)).attach(world.socket, **options)
    world.devices.append(device)
    await gateway.join(device)
    await settled(gateway, device)
    return device


async def listed(gateway: Any) -> list[str]:
    return [each["eui64"] for each in (await gateway.adapter.command("devices", {}))["devices"]]


@pytest.mark.parametrize("sleepy", [False, True])
async def test_remove_makes_a_device_leave_and_forgets_it(world: Any, sleepy: bool) -> None:
    async with world.gateway() as gateway:
        await joined(world, gateway, sleepy=sleepy)
        assert TEXT in (world.state_dir / MEMORY).read_text()
        assert await gateway.adapter.command("remove", {"eui64": TEXT}) == {"known": True, "left": True}
        assert (await listed(gateway), len(gateway.context.of(Leave))) == ([], 1)
        assert world.network.station(DEVICE).device.membership.value == "left"
        assert TEXT not in (world.state_dir / MEMORY).read_text()
        assert await gateway.adapter.command("remove", {"eui64": TEXT}) == {"known": False, "left": False}
    assert TEXT not in rows(world)
    async with world.gateway() as gateway:
        assert gateway.context.of(Join) == []


async def test_a_device_that_refuses_to_leave_stays_unless_forced(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = zdo.Answer(bytes((0x8D,)))
    monkeypatch.setitem(zdo._HANDLERS, zdo.MGMT_LEAVE_REQ, lambda server, request, broadcast: refusal)
    async with world.gateway() as gateway:
        await joined(world, gateway)
        with pytest.raises(PeerError, match=f"{TEXT} is still in the network: it refuses to leave: NOT_AUTHORIZED"):
            await gateway.adapter.command("remove", {"eui64": TEXT})
        assert (await listed(gateway), gateway.context.of(Leave)) == ([TEXT], [])
        answer = await gateway.adapter.command("remove", {"eui64": TEXT, "force": True})
        assert (answer, await listed(gateway)) == ({"known": True, "left": False}, [])


async def test_remove_says_that_a_silent_device_sleeps(world: Any) -> None:
    async with world.gateway(times=ZigbeeTimes(leave=0.2)) as gateway:
        device = await joined(world, gateway, sleepy=True)
        world.network.station(DEVICE).device.poll_interval = 3600.0
        device.close()
        with pytest.raises(PeerError, match=r"it sleeps, and was not heard meanwhile .*; with force it is forgotten"):
            await gateway.adapter.command("remove", {"eui64": TEXT})
        assert await listed(gateway) == [TEXT]


async def test_without_the_dongle_only_force_forgets_and_the_table_follows(world: Any) -> None:
    async with world.gateway() as gateway:
        await joined(world, gateway)
        world.port.unplug()
        await gateway.until(lambda: gateway.adapter.status()["link"] == "down")
        with pytest.raises(
            PeerError, match=r"the dongle can't be used now: .*(no such device|disconnected|Input/output error)"
        ):
            await gateway.adapter.command("remove", {"eui64": TEXT})
        answer = await gateway.adapter.command("remove", {"eui64": TEXT, "force": True})
        assert (answer, len(gateway.context.of(Leave))) == ({"known": True, "left": False}, 1)
        assert json.loads((world.state_dir / FILE).read_text())["gone"] == [TEXT]
        world.port.plug()
        await gateway.until(lambda: gateway.adapter.status()["link"] == "up")
        assert await listed(gateway) == []
    assert TEXT not in rows(world)


async def test_the_dongle_itself_is_no_device_that_can_be_forgotten(world: Any) -> None:
    """Without it zigpy's table lacks the one that all bindings and answers are for."""
    async with world.gateway() as gateway:
        app = gateway.radio._app
        own = app.state.node_info.ieee
        answer = await gateway.adapter.command("remove", {"eui64": str(own), "force": True})
        assert (answer, own in app.devices) == ({"known": False, "left": False}, True)
        assert gateway.context.of(Leave) == []


@pytest.mark.parametrize("wrong", [{}, {"eui64": 1}, {"eui64": TEXT, "force": 1}, {"eui64": TEXT, "rejoin": True}])
async def test_what_remove_takes(world: Any, wrong: dict[str, Any]) -> None:
    async with world.gateway() as gateway:
        with pytest.raises(PeerError, match="remove takes `eui64`"):
            await gateway.adapter.command("remove", wrong)
