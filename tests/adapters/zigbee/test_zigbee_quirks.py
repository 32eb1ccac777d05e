"""The slow lane: which devices go by a quirk, both ways, and what a faulty quirk does to others."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from typing import Any

import pytest

from adapters.zigbee import quirk_packages
from adapters.zigbee.clusters import TABLE
from adapters.zigbee.config import ZigbeeConfig
from adapters.zigbee.device_view import Device, Endpoint
from adapters.zigbee.plugin import ZigbeePlugin
from adapters.zigbee.quirk_lane import understood
from adapters.zigbee.quirk_packages import PACKAGES, REMEDY, missing
from adapters.zigbee.radio_port import SendOutcome
from adapters.zigbee.transaction import Content, NoReply
from carriage.zigbee.zcl import ZclFrame
from gateway.api.errors import ConfigError
from gateway.api.identity import LinkRequirement
from gateway.api.model import Join, Outcome, ReadProperties, Reason, WriteProperties
from simulator.network.datatypes import BOOL, UINT8
from tests.adapters.zigbee.zigbee_world import came
from tests.harness.own_quirks import OWN, STATE, SWITCH, OwnOnOff, OwnRegistry
from tests.harness.zcl_asked import Asked, joined, server
from tests.harness.zcl_device import ZclDevice, settled, shown


async def odd_switch(world: Any, gateway: Any, **options: Any) -> tuple[ZclDevice, Asked]:
    """A device with a maker's cluster only, that goes by its quirk."""
    device, asked = await joined(world, gateway, server(OWN, {}), **options)
    await gateway.until(lambda: gateway.record(device.eui64).quirk)
    await settled(gateway, device)
    device.asked.clear()
    return device, asked


def tell(device: ZclDevice, state: int, number: int) -> None:
    device.say(OWN, ZclFrame(STATE, bytes((state,)), number, to_client=True, disable_default_response=True).encode())


async def test_what_a_device_sends_and_gets_goes_through_its_quirk(world: Any) -> None:
    registry = OwnRegistry()
    async with world.gateway(source=registry.source()) as gateway:
        device, asked = await odd_switch(world, gateway)
        assert [each.name for each in gateway.context.of(Join)[-1].properties] == ["state"]
        assert (await shown(gateway, device))["lane"] == "quirk"
        tell(device, 1, 1)
        await gateway.until(lambda: asked.reported().get("state") is True)
        receipt = await asked.does(WriteProperties, values={"state": False})
        assert receipt.outcome is Outcome.DELIVERED
        assert [frame.payload for at, frame in device.asked if at == OWN and frame.cluster_specific] == [b"\x00"]
        receipt = await asked.does(ReadProperties, names=("state",))
        assert (receipt.outcome, receipt.reason) == (Outcome.DROPPED, Reason.REJECTED)  # such a device can't be asked
        assert registry.loads == 1


async def test_what_rows_understand_never_comes_to_a_quirk(world: Any) -> None:
    registry = OwnRegistry()
    async with world.gateway(source=registry.source()) as gateway:
        device, _ = await joined(world, gateway, server(0x0006, {0x0000: (BOOL, 1)}), server(OWN, {}))
        assert (await shown(gateway, device))["lane"] == "standard"
        assert (registry.loads, registry.asked) == (0, [])


def test_a_device_that_carries_sessions_needs_no_quirk() -> None:
    endpoint = Endpoint(number=1, profile=0x0104, device_id=0, in_clusters=(0x0000, 0x0704), out_clusters=())
    device = Device(
        eui64="00:0d:6f:00:00:00:00:01", nwk=1, manufacturer="x", model="y", interviewed=True, sleepy=False,
        lqi=None, rssi=None, last_seen=None, endpoints=(endpoint,), tunnel_endpoints=(),
    )  # fmt: skip
    assert not understood(device, TABLE)
    assert understood(replace(device, tunnel_endpoints=(1,)), TABLE)


@pytest.mark.parametrize("wanted", [True, False])
async def test_the_config_has_the_last_word_for_a_device(world: Any, wanted: bool) -> None:
    registry = OwnRegistry()
    devices = {"00:0d:6f:00:00:00:00:22": {"quirk": wanted}}
    async with world.gateway(source=registry.source(), devices=devices) as gateway:
        has = server(0x0402, {}) if wanted else server(0x0001, {0x0021: (UINT8, 100)})
        device, _ = await joined(world, gateway, has, server(OWN, {}))
        if wanted:
            await gateway.until(lambda: gateway.record(device.eui64).quirk)
        assert (await shown(gateway, device))["lane"] == ("quirk" if wanted else "standard")
        assert registry.loads == wanted


async def test_never_is_never(world: Any) -> None:
    registry = OwnRegistry()
    async with world.gateway(source=registry.source(), quirks="never") as gateway:
        device, _ = await joined(world, gateway, server(OWN, {}))
        assert (await shown(gateway, device))["lane"] == "standard"
        assert registry.loads == 0


async def test_without_zha_quirks_the_administrator_reads_the_remedy(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "adapters.zigbee.quirk_lane")
    registry = OwnRegistry()
    async with world.gateway(source=registry.source("not here: do this")) as gateway:
        device, _ = await joined(world, gateway, server(OWN, {}))
        listed = await shown(gateway, device)
        assert (listed["lane"], listed["quirk"]) == ("standard", "not here: do this")
        assert "not here: do this" in caplog.text
        assert registry.loads == 0


async def test_quirks_that_cannot_be_loaded_are_a_trouble_of_those_devices_only(world: Any) -> None:
    def load() -> Any:
        raise ImportError("no module named x")

    source = quirk_packages.QuirkSource(lambda: "", load)
    async with world.gateway(source=source) as gateway:
        device, _ = await joined(world, gateway, server(OWN, {}))
        await gateway.until(lambda: "quirk" in gateway.semantics.shown(device.eui64))
        assert "no module named x" in (await shown(gateway, device))["quirk"]


def test_the_remedy_names_each_package_that_is_missing() -> None:
    assert all(f"'{name}=={of}.*'" in REMEDY for name, of in PACKAGES.items())
    text = missing()
    assert text == "" or "zha-quirks" in text  # in each Python that runs these tests


def test_a_config_that_requires_quirks_is_refused_without_them(tmp_path: Any) -> None:
    config = ZigbeeConfig.model_validate({"path": "/dev/ttyX", "quirks": "required"})
    if lack := missing():
        with pytest.raises(ConfigError, match="quirks") as refused:
            ZigbeePlugin().configure(config, tmp_path)
        assert lack in str(refused.value)
    else:
        ZigbeePlugin().configure(config, tmp_path)


async def test_a_quirk_that_raises_harms_its_device_only(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    registry = OwnRegistry()
    async with world.gateway(source=registry.source()) as gateway:
        device, asked = await odd_switch(world, gateway)
        for number in range(5):
            tell(device, 0xEE, number)
        await gateway.until(lambda: gateway.running.counters["quirk_faults"] == 5)
        assert caplog.text.count("a task for a quirk failed") == 0
        assert sum("raised RuntimeError" in each.getMessage() for each in caplog.records) == 1
        on_off = gateway.record(device.eui64).quirk._clusters[1, 0x0006]
        assert isinstance(on_off, OwnOnOff)
        on_off.faulty = True
        receipt = await asked.does(WriteProperties, values={"state": True})
        assert (receipt.outcome, receipt.reason) == (Outcome.DROPPED, Reason.REJECTED)
        tell(device, 1, 9)
        await gateway.until(lambda: asked.reported().get("state") is True)


async def test_a_quirk_that_cannot_be_made_leaves_the_device_to_the_rows(world: Any) -> None:
    def broken(device: Any) -> Any:
        raise RecursionError

    async with world.gateway(source=OwnRegistry(broken).source()) as gateway:
        device, _ = await joined(world, gateway, server(OWN, {}))
        await gateway.until(lambda: gateway.running.counters["quirk_faults"])
        assert (await shown(gateway, device))["lane"] == "standard"


async def test_any_octets_of_such_a_device_do_no_harm(world: Any) -> None:
    chance = random.Random(5)
    async with world.gateway(source=OwnRegistry().source()) as gateway:
        device, asked = await odd_switch(world, gateway)
        for number in range(500):
            cluster = chance.choice((0x0000, 0x0006, OWN, 0x7777))
            octets = chance.randbytes(chance.randrange(3, 30))
            gateway.takes(device.eui64, came(chance.choice((0, 1, 1, 9)), cluster, number & 0xFF, octets))
        tell(device, 1, 1)
        await gateway.until(lambda: asked.reported().get("state") is True)


async def test_a_copy_of_a_frame_is_read_once(world: Any) -> None:
    async with world.gateway(source=OwnRegistry().source()) as gateway:
        device, _ = await odd_switch(world, gateway)
        frame = came(1, OWN, 7, ZclFrame(STATE, b"\x01", 3, to_client=True, disable_default_response=True).encode())
        for _ in range(3):
            assert gateway.takes(device.eui64, frame)
        assert gateway.running.counters["reports_repeated"] == 2


async def test_a_quirk_does_not_send_what_must_go_under_a_link_key(world: Any) -> None:
    async with world.gateway(source=OwnRegistry().source()) as gateway:
        device, asked = await odd_switch(world, gateway)
        receipt = await asked.does(WriteProperties, require=LinkRequirement(link_key=True), values={"state": True})
        assert (receipt.outcome, receipt.reason) == (Outcome.DROPPED, Reason.LINK)
        assert not [frame for at, frame in device.asked if at == OWN and frame.command == SWITCH]


async def test_a_device_keeps_its_quirk_over_a_lost_link(world: Any) -> None:
    registry = OwnRegistry()
    async with world.gateway(source=registry.source()) as gateway:
        device, asked = await odd_switch(world, gateway)
        before = gateway.record(device.eui64).quirk
        world.port.unplug()
        await gateway.until(lambda: gateway.running.dongle.link is None)
        assert gateway.record(device.eui64).quirk is None
        receipt = await asked.does(WriteProperties, values={"state": True})
        assert receipt.reason is Reason.UNREACHABLE
        world.port.plug()
        await gateway.until(lambda: gateway.record(device.eui64).quirk not in (None, before))
        tell(device, 1, 1)
        await gateway.until(lambda: asked.reported().get("state") is True)
        assert registry.loads == 1


async def test_a_device_that_leaves_takes_its_quirk_along(world: Any) -> None:
    async with world.gateway(source=OwnRegistry().source()) as gateway:
        device, _ = await odd_switch(world, gateway)
        await gateway.adapter.command("remove", {"eui64": device.eui64})
        assert gateway.record(device.eui64).quirk is None


async def test_a_command_ends_if_its_quirk_is_closed_before_it_begins(world: Any) -> None:
    """Its quirk is closed in the same turn of the loop in which it was asked."""
    async with world.gateway(source=OwnRegistry().source()) as gateway:
        device, _ = await odd_switch(world, gateway)
        record, said = gateway.record(device.eui64), []
        content = Content(1, b"", cluster_specific=True)
        transactions = gateway.semantics._transactions
        transactions.ask(record, 1, 0x0006, content, said.append)
        record.quirk.close()
        await gateway.until(lambda: said)
        assert said == [NoReply(SendOutcome.FAILED)]
        assert record.transactions.open == {}
