"""Devices like makers' products, over real processes from the dongle to MQTT: what no standard has is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.stack import Stack
from tests.harness.mqtt_watcher import USER, config_topic, publish, watching
from tests.harness.virtual_devices import simulate

KINDS = ("aqara-climate", "aqara-contact", "aqara-button")
EUI64 = "00:0d:6f:00:00:00:00:0{}"
NETWORK = "devices:\n" + "".join(
    f'  - {{eui64: "{EUI64.format(n)}", kind: {kind}, name: {kind}, poll_interval: 0.5}}\n'
    for n, kind in enumerate(KINDS, 1)
)
POLICY = (
    "layer: 1\npolicy-version: 1\nsubjects:\n"
    + "".join(f'  {kind}: {{link: zigbee, eui64: "{EUI64.format(n)}"}}\n' for n, kind in enumerate(KINDS, 1))
    + "  broker: {link: mqtt, broker: 127.0.0.1}\nrules:\n"
    + f"  - {{id: home, effect: permit, subject: broker, resource: [{', '.join(KINDS)}], action: [read, observe]}}\n"
    + "  - {id: joining, effect: permit, subject: broker, resource: gateway, action: admin}\n"
)


@pytest.mark.process
async def test_sensors_and_a_button_of_lumi(stack: Stack, tmp_path: Path) -> None:
    network = tmp_path / "network.yaml"
    network.write_text(NETWORK)
    stack.write_policy(POLICY)
    await stack.start_simulator("--seed", "1", "--network", str(network))
    await stack.start_broker(["gateway", USER])
    stack.write_config(form="never", extra="    devices: {}\n")
    await stack.start_gateway()
    async with watching(stack) as seen:
        await seen.until(lambda: seen.last("home/bridge/state") == {"state": "online"})
        await publish(stack, "home/bridge/request/permit_join", '{"time": 200}')
        for n in range(1, len(KINDS) + 1):
            topic = config_topic(stack, f"000d6f000000000{n}")
            await seen.until(lambda topic=topic: seen.last(topic))
        parts = seen.last(config_topic(stack, "000d6f0000000001"))
        assert {"temperature", "humidity", "pressure", "battery", "voltage"} <= set(parts["cmps"])
        assert (parts["dev"]["mf"], parts["dev"]["mdl"]) == ("LUMI", "lumi.weather")

        for name, value in (("temperature", -7.25), ("humidity", 48.5), ("pressure", 998.6)):
            await simulate(stack, "set", device="aqara-climate", name=name, value=value)
            await seen.until(lambda name=name, value=value: seen.last("home/aqara-climate").get(name) == value)
        for kind in KINDS[:2]:
            await simulate(stack, "act", device=kind, what="list")
            await seen.until(lambda kind=kind: seen.last(f"home/{kind}").get("battery") == 100)
        for value, contact in ((1, False), (0, True)):
            await simulate(stack, "set", device="aqara-contact", name="on_off", value=value)
            await seen.until(lambda contact=contact: seen.last("home/aqara-contact").get("contact") is contact)
        for how in ("single", "double", "hold", "release"):
            await simulate(stack, "press", device="aqara-button", how=how)
            await seen.until(lambda how=how: seen.heard.get(f"home/aqara-button/event/{how}"))
        shown = await stack.ask("devices", "show", "aqara-button")
        assert shown["lane"] == "Aqara"
