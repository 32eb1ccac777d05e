"""Devices and ordinary MQTT tools, over real processes: a plug, a sleeping thermometer, one with the faults of several
real ones, mosquitto_sub and mosquitto_pub, the broker's list as it is shipped. The gateway is killed in between."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from carriage.zigbee.foundation import General
from carriage.zigbee.zcl import ZclFrame
from demo.stack import Stack
from simulator.network.device_kinds import Identity, humidity, on_off, power, temperature
from tests.harness.mqtt_watcher import USER, Watcher, config_topic, gateway_id, publish, watching
from tests.harness.virtual_devices import simulate
from tests.harness.zcl_device import ZclDevice

IDENTITY = Identity("ACME", "Z1", mains=True)
NETWORK = """\
devices:
  - {eui64: "00:0d:6f:00:00:00:00:01", kind: plug, name: plug}
  - {eui64: "00:0d:6f:00:00:00:00:02", kind: thermometer, name: thermometer, poll_interval: 0.5}
"""
POLICY = """\
layer: 1
policy-version: 1
subjects:
  plug: {link: zigbee, eui64: "00:0d:6f:00:00:00:00:01"}
  thermometer: {link: zigbee, eui64: "00:0d:6f:00:00:00:00:02"}
  odd: {link: zigbee, eui64: "00:0d:6f:00:00:00:00:03"}
  broker: {link: mqtt, broker: 127.0.0.1}
rules:
  - {id: home, effect: permit, subject: broker, resource: [plug, thermometer, odd], action: [read, observe, write]}
  - {id: joining, effect: permit, subject: broker, resource: gateway, action: admin}
"""


def lacks_its_battery(cluster: int, request: ZclFrame, own: ZclFrame | None) -> ZclFrame | None:
    if cluster == 0x0001 and request.command == General.READ:
        return ZclFrame(0x01, b"\x21\x00\x86", request.sequence, cluster_specific=False, to_client=True)
    return own


async def be_odd(stack: Stack, seen: Watcher) -> None:
    """A device that announces a battery and has none, sends a report that can't be read, and tells what can't be."""
    device = ZclDevice(0x000D6F0000000003, *(make(IDENTITY) for make in (on_off, temperature, humidity, power)))
    device.answer = lacks_its_battery
    await device.attach(stack.attach_socket)
    try:
        await device.client.join(20)
        config = config_topic(stack, "000d6f0000000003")
        await seen.until(lambda: seen.last(config).get("cmps", {}).get("battery") == {"p": "sensor"})
        assert {name for name, each in seen.last(config)["cmps"].items() if "uniq_id" in each} == {
            "state",
            "temperature",
            "humidity",
            "last_seen",
        }
        for cluster, report, name, value in (
            (0x0402, "0000 21 9cff", "temperature", -1.0),  # -100 as uint16
            (0x0405, "0000 29 8813", "humidity", 50.0),  # 5000 as int16
            (0x0405, "0000 21 e02e", "humidity", None),  # 120 %
            (0x0006, "0000 30 01", "state", "ON"),  # an enumeration
            (0x0006, "0000 10 80", "state", None),  # a press
            (0x0006, "0000 10 01  02d0 48 02 000a", "state", "ON"),  # and an array that ends early
        ):
            device.report(cluster, report)
            await seen.until(lambda name=name, value=value: seen.last("home/odd").get(name, "") == value)
        async with asyncio.timeout(20):
            while not any(frame.payload == b"\x0a\x80" for _, frame in device.asked):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert "battery" not in seen.last("home/odd")
    finally:
        device.close()


@pytest.mark.process
async def test_a_plug_and_a_thermometer(stack: Stack, tmp_path: Path) -> None:
    network = tmp_path / "network.yaml"
    network.write_text(NETWORK)
    stack.write_policy(POLICY)
    await stack.start_simulator("--seed", "1", "--network", str(network))
    await stack.start_broker(["gateway", USER])
    stack.write_config(form="never", extra="    devices: {}\n")
    gateway = await stack.start_gateway()
    async with watching(stack) as seen:
        await seen.until(lambda: seen.last("home/bridge/state") == {"state": "online"})
        await publish(stack, "home/bridge/request/permit_join", '{"time": 200, "transaction": "j"}')
        response = {"data": {"time": 200}, "status": "ok", "transaction": "j"}
        await seen.until(lambda: seen.last("home/bridge/response/permit_join") == response)
        await seen.until(lambda: seen.last("home/bridge/info").get("permit_join"))
        plug, thermometer = [config_topic(stack, f"000d6f000000000{n}") for n in (1, 2)]
        for topic in (plug, thermometer):
            await seen.until(lambda topic=topic: seen.last(topic))
        state = seen.last(plug)["cmps"]["state"]
        assert (state["p"], state["dev_cla"], state["name"]) == ("switch", "outlet", None)
        assert seen.last(plug)["dev"] | {"ids": []} == {
            "ids": [], "name": "plug", "mf": "atls-simulator", "mdl": "virtual-plug", "sn": "00:0d:6f:00:00:00:00:01",
            "via_device": gateway_id(stack),
        }  # fmt: skip
        await seen.until(lambda: seen.last("home/plug/availability") == {"state": "online"})

        await publish(stack, "home/plug/set", '{"state": "ON", "transaction": 1}')
        answer = {"property": "state", "status": "delivered", "transaction": 1}
        await seen.until(lambda: seen.last("home/plug/answer") == answer)
        await seen.until(lambda: seen.last("home/plug").get("state") == "ON")
        await simulate(stack, "press", device="plug")
        await seen.until(lambda: seen.last("home/plug")["state"] == "OFF")
        await publish(stack, "home/thermometer/get", '{"temperature": ""}')
        await seen.until(lambda: seen.last("home/thermometer/answer").get("status") == "delivered")
        await simulate(stack, "report", device="thermometer", name="temperature", value=-7.25)
        await seen.until(lambda: seen.last("home/thermometer").get("temperature") == -7.25)
        await be_odd(stack, seen)

        await gateway.kill()
        await seen.until(lambda: seen.last("home/bridge/state") == {"state": "offline"})
        before = len(seen.heard["home/plug/answer"])
        await publish(stack, "home/plug/set", "ON")  # the broker keeps it
        await stack.start_gateway()
        await seen.until(lambda: seen.last("home/bridge/state") == {"state": "online"})
        await seen.until(lambda: len(seen.heard["home/plug/answer"]) > before)
        assert seen.last("home/plug/answer") == {"property": "state", "status": "delivered"}
        await seen.until(lambda: seen.last("home/plug")["state"] == "ON")
        # Values are stored every 10 s.
        assert seen.last("home/thermometer")["temperature"] in (20.0, -7.25, None)
        before = await stack.ask("status")
        assert before["adapters"]["mqtt"]["detail"]["devices"]["malformed"] == 0
        own = f"homeassistant/device/{gateway_id(stack)}/config"
        for policy, allowed in (("\n".join(POLICY.splitlines()[:-1]) + "\n", False), (POLICY, True)):
            stack.write_policy(policy)
            await stack.ask("reload")
            await seen.until(lambda allowed=allowed: ("cmd_t" in seen.last(own)["cmps"]["restart"]) is allowed)

        states = seen.heard["home/bridge/state"]
        states_before = len(states)
        await publish(stack, "home/bridge/request/restart", "{}")
        await seen.until(lambda: [each["state"] for each in states[states_before:]] == ["offline", "online"])
        assert seen.last("home/bridge/response/restart") == {"data": {}, "status": "ok"}
        await stack.wait_ready()
        after = await stack.ask("status")
        assert (after["pid"], after["id"]) == (before["pid"], before["id"])  # run by hand, it starts itself
