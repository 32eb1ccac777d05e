"""Virtual sensors of LUMI in the whole way to the gateway: they report unasked and unbound."""

from __future__ import annotations

from typing import Any

from gateway.api.model import Event
from tests.harness.hosted_kinds import HostedKinds


async def test_a_climate_sensor(world: Any) -> None:
    kinds = HostedKinds(world)
    async with world.gateway() as gateway:
        device, asked = await kinds.join(gateway, "aqara-climate")
        assert not device.does("devices")[0]["reporting"]  # it would leave the network
        for name, value in (("temperature", 23.5), ("humidity", 48.25), ("pressure", 998.6)):
            device.does("set", name=name, value=value)
            await gateway.until(lambda name=name, value=value: asked.reported().get(name) == value)
        device.does("act", what="list")
        await gateway.until(lambda: asked.reported().get("battery") == 100)
        assert asked.reported()["temperature"] == 23.5
        assert gateway.adapter.status()["counters"]["reports_malformed"] == 0


async def test_a_contact(world: Any) -> None:
    kinds = HostedKinds(world)
    async with world.gateway() as gateway:
        device, asked = await kinds.join(gateway, "aqara-contact")
        device.does("set", name="on_off", value=1)
        await gateway.until(lambda: asked.reported().get("contact") is False)
        device.does("set", name="on_off", value=0)
        await gateway.until(lambda: asked.reported().get("contact") is True)


async def test_a_button(world: Any) -> None:
    kinds = HostedKinds(world)
    async with world.gateway() as gateway:
        device, _ = await kinds.join(gateway, "aqara-button")
        for how in ("single", "double", "hold", "release"):
            device.does("press", how=how)
        await gateway.until(lambda: len(gateway.context.of(Event)) == 4)
        assert [each.name for each in gateway.context.of(Event)] == ["single", "double", "hold", "release"]
