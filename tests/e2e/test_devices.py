"""Ordinary devices through the whole gateway: virtual sensors and lamps, Mosquitto's own clients and libcoap's.

One house serves all tests: a lamp, a switch of two relays, and a thermometer that sleeps.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from demo.credentials import write_psk_file
from demo.process import Process, ProcessFailedError
from demo.stack import Stack, command, running
from tests.e2e.shared_hub import STATE
from tests.harness.attackers import until
from tests.harness.libcoap_client import coap, coap_command

pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="module")]

LAMP, SWITCH, SENSOR, FOREIGN = (f"00:0d:6f:00:0e:00:00:0{number}" for number in range(1, 5))
NETWORK = f"""\
devices:
  - {{eui64: "{LAMP}", kind: lamp, name: lamp}}
  - {{eui64: "{SWITCH}", kind: switch, name: switch}}
  - {{eui64: "{SENSOR}", kind: thermometer, name: sensor, poll_interval: 0.2}}
  - {{eui64: "{FOREIGN}", kind: lamp, name: foreign}}
"""
POLICY = f"""\
layer: 1
policy-version: 1
subjects:
  lamp: {{link: zigbee, eui64: "{LAMP}"}}
  switch: {{link: zigbee, eui64: "{SWITCH}"}}
  sensor: {{link: zigbee, eui64: "{SENSOR}"}}
  broker: {{link: mqtt, broker: 127.0.0.1}}
  phone: {{link: coap, psk_identity: phone}}
  guest: {{link: coap, psk_identity: guest}}
groups:
  house: [lamp, switch, sensor]
rules:
  - {{id: home, effect: permit, subject: [broker, phone], resource: "group:house", action: [read, observe, write]}}
  - {{id: guests-see, effect: permit, subject: guest, resource: sensor, action: [read]}}
  - {{id: joining, effect: permit, subject: broker, resource: gateway, action: admin}}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory, formed: Path) -> AsyncIterator[Stack]:
    """Everything up, the devices joined and interviewed."""
    async with running(tmp_path_factory.mktemp("house") / "s") as stack:
        for name in STATE:
            shutil.copytree(formed / name, stack.directory / name)
        (stack.directory / "network.yaml").write_text(NETWORK)
        stack.write_policy(POLICY)
        stack.link_psks = write_psk_file(
            stack.directory / "link.psk", {name: secrets.token_urlsafe(24).encode() for name in ("phone", "guest")}
        )
        await stack.start_simulator("--seed", "1", "--network", str(stack.directory / "network.yaml"))
        await stack.start_broker(["gateway", "home-assistant", "other"])
        stack.write_config(form="never", devices=True)
        await stack.start_gateway()
        await publish(stack, "home/bridge/request/permit_join", '{"time": 254, "transaction": "t1"}')

        async with asyncio.timeout(120):
            while True:
                found = (await stack.ask("devices"))["devices"]
                if sum(bool(each["interviewed"] and each["properties"]) for each in found) == 4:
                    break
                await asyncio.sleep(0.2)
        yield stack


async def publish(stack: Stack, topic: str, payload: str, *options: str, user: str = "home-assistant") -> None:
    """With Mosquitto's own client."""
    process = await asyncio.create_subprocess_exec(
        *_mosquitto(stack, "pub", user), "-t", topic, "-m", payload, *options
    )
    assert await process.wait() == 0


def _mosquitto(stack: Stack, what: str, user: str) -> list[str]:
    assert stack.broker is not None
    password = stack.broker.passwords[user].read_text().strip()
    return [f"mosquitto_{what}", "-V", "5", "-p", str(stack.broker.port), "-u", user, "-P", password, "-q", "1"]


async def subscribe(stack: Stack, *topics: str) -> Process:
    """A subscriber that prints what comes as JSON objects ``topic``, ``payload``, ``retain``."""
    filters = [part for topic in topics for part in ("-t", topic)]
    options = ["-F", '{"topic":"%t","retain":%r,"payload":%p}']
    process = await Process.start(
        "subscriber", [*_mosquitto(stack, "sub", "home-assistant"), *options, *filters], stack.directory
    )
    stack.processes.append(process)
    return process


async def ctl(stack: Stack, *arguments: str) -> Any:
    """One order to the simulator."""
    process = await asyncio.create_subprocess_exec(
        command("atls-simulator"), "ctl", str(stack.attach_socket), *arguments, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(printed)


async def value(stack: Stack, device: str, name: str) -> float:
    """What a device itself holds."""
    found = next(each for each in await ctl(stack, "devices") if each["name"] == device)
    return float(found["values"][name])


def states(process: Process, topic: str) -> list[dict[str, Any]]:
    return [event["payload"] for event in process.events if event.get("topic") == topic]


async def test_a_report_reaches_mqtt_and_an_observer(house: Stack) -> None:
    subscriber = await subscribe(house, "home/sensor")
    observer = await Process.start(
        "observer", coap_command(house, "phone", "d/sensor/temperature", "-s", "20", "-w"), house.directory
    )
    house.processes.append(observer)
    await ctl(house, "report", "sensor", "temperature", "19.25")
    await until(lambda: any(state["temperature"] == 19.25 for state in states(subscriber, "home/sensor")), 30)
    await observer.expect(lambda event: '"v":19.25' in str(event.get("text")), what="19.25", seconds=30)
    assert '"u":"Cel"' in str(observer.events[-1]["text"])


async def test_set_by_mqtt_switches_the_lamp_and_answers(house: Stack) -> None:
    subscriber = await subscribe(house, "home/lamp", "home/lamp/answer")
    await until(lambda: bool(states(subscriber, "home/lamp")))
    await _switched(house, subscriber, "ON", 1.0, answers=1)
    await _switched(house, subscriber, "OFF", 0.0, answers=2)


async def _switched(house: Stack, subscriber: Process, word: str, expected: float, *, answers: int) -> None:
    await publish(house, "home/lamp/set", json.dumps({"state": word, "transaction": f"set-{answers}"}))
    await until(lambda: len(states(subscriber, "home/lamp/answer")) == answers, 30)
    answer = states(subscriber, "home/lamp/answer")[-1]
    assert answer == {"property": "state", "status": "delivered", "transaction": f"set-{answers}"}
    assert await value(house, "lamp", "on_off") == expected
    await until(lambda: bool(states(subscriber, "home/lamp")[-1]["state"] == word))


async def test_a_lamp_that_lost_power_shows_its_new_state_and_reports_again(house: Stack) -> None:
    """It comes back under its old address, in the other state, and has forgotten its reporting configuration."""
    subscriber = await subscribe(house, "home/lamp")
    observer = await Process.start(
        "lamp-observer", coap_command(house, "phone", "d/lamp/state", "-s", "20", "-w"), house.directory
    )
    house.processes.append(observer)

    def shown() -> tuple[list[bool], list[bool]]:
        """The last that MQTT has, and the last notification of the observer."""
        observed = [event["text"] for event in observer.events if '"vb":' in str(event.get("text"))]
        return (
            [state["state"] == "ON" for state in states(subscriber, "home/lamp")][-1:],
            ['"vb":true' in text for text in observed][-1:],
        )

    before = bool(await value(house, "lamp", "on_off"))
    await until(lambda: shown() == ([before], [before]), 30)
    nwk = (await house.ask("devices", "show", "lamp"))["nwk"]
    await ctl(house, "radio", "lamp", "--loss", "1")
    await ctl(house, "restart", "lamp", "--forget")
    await ctl(house, "set", "lamp", "on_off", str(int(not before)))
    await ctl(house, "radio", "lamp", "--loss", "0")
    assert shown() == ([before], [before])
    await ctl(house, "restart", "lamp")
    await until(lambda: shown() == ([not before], [not before]), 30)

    async with asyncio.timeout(30):
        while (found := await house.ask("devices", "show", "lamp"))["setup_steps_left"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert (found["nwk"], found["reporting"]) == (nwk, {"1/0006": "configured"})
    await ctl(house, "press", "lamp")
    await until(lambda: shown() == ([before], [before]), 30)


async def test_put_switches_one_relay_of_two(house: Stack) -> None:
    assert await coap(house, "phone", "d/switch/state_2", "-m", "put", "-t", "0", "-e", "on") == ""
    assert await coap(house, "phone", "d/switch/state_2", "-A", "0") == "true"
    assert await coap(house, "phone", "d/switch/state", "-A", "0") == "false"
    assert (await value(house, "switch", "on_off"), await value(house, "switch", "on_off.2")) == (0.0, 1.0)


async def test_each_client_sees_only_its_devices(house: Stack) -> None:
    assert "</d/lamp/state>" in await coap(house, "phone", "d")
    guest = await coap(house, "guest", "d")
    assert "</d/sensor/temperature>" in guest and "lamp" not in guest and "foreign" not in guest
    assert (await coap(house, "guest", "d/lamp/state")).startswith("4.04")
    assert (await coap(house, "guest", "d/sensor/temperature", "-m", "put", "-t", "0", "-e", "1")).startswith("4.0")


async def test_a_sleeper_is_asked_when_it_wakes(house: Stack) -> None:
    subscriber = await subscribe(house, "home/sensor", "home/sensor/answer")
    await ctl(house, "set", "sensor", "humidity", "41.5")
    await publish(house, "home/sensor/get", '{"humidity": "", "transaction": 7}')
    await until(lambda: len(states(subscriber, "home/sensor/answer")) == 2, 60)
    assert [each["status"] for each in states(subscriber, "home/sensor/answer")] == ["queued", "delivered"]
    assert states(subscriber, "home/sensor")[-1]["humidity"] == 41.5


async def test_one_device_is_calibrated(house: Stack) -> None:
    """By the command line and over MQTT: its next report is right everywhere."""
    subscriber = await subscribe(house, "home/sensor", "home/bridge/response/device/options")
    assert "temperature_calibration" in (await house.ask("devices", "options", "sensor"))["possible"]
    answer = await house.ask("devices", "options", "sensor", "temperature_calibration=-0.5")
    assert answer == {"from": {}, "to": {"temperature_calibration": -0.5}}
    wanted = '{"id": "sensor", "options": {"temperature_precision": 1}, "transaction": 9}'
    await publish(house, "home/bridge/request/device/options", wanted)
    await until(lambda: bool(states(subscriber, "home/bridge/response/device/options")), 30)
    response = states(subscriber, "home/bridge/response/device/options")[-1]
    both = {"temperature_calibration": -0.5, "temperature_precision": 1}
    assert response["data"] == {
        "id": "sensor", "from": {"temperature_calibration": -0.5}, "to": both, "restart_required": False,
    }  # fmt: skip
    await ctl(house, "report", "sensor", "temperature", "22.14")
    await until(lambda: any(state["temperature"] == 21.6 for state in states(subscriber, "home/sensor")), 30)
    assert await coap(house, "phone", "d/sensor/temperature", "-A", "0") == "21.6"
    with pytest.raises(ProcessFailedError, match="warmth: no option of this device; it has availability_timeout"):
        await house.ask("devices", "options", "sensor", "warmth=1")
    answer = await house.ask("devices", "options", "sensor", "temperature_calibration=", "temperature_precision=")
    assert answer == {"from": both, "to": {}}


async def test_home_assistant_finds_them(house: Stack) -> None:
    subscriber = await subscribe(house, "homeassistant/device/+/config", "home/bridge/state")
    await until(lambda: sum("config" in str(event.get("topic")) for event in subscriber.events) == 4)  # and the gateway
    configs = [event["payload"] for event in subscriber.events if "config" in str(event["topic"])]
    components = {component["p"] for config in configs for component in config["cmps"].values()}
    assert {"sensor"} < components and components & {"switch", "light"}
    assert all(event["retain"] == 1 for event in subscriber.events)


async def test_values_outlive_a_restart(house: Stack) -> None:
    await ctl(house, "report", "sensor", "temperature", "17.5")
    subscriber = await subscribe(house, "home/sensor")
    await until(lambda: any(state["temperature"] == 17.5 for state in states(subscriber, "home/sensor")), 30)
    assert house.gateway is not None
    await house.gateway.stop()
    await house.start_gateway()
    assert await coap(house, "phone", "d/sensor/temperature", "-A", "0") == "17.5"
