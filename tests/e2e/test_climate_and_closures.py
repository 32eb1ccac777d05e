"""A thermostat, a cover, a valve that sleeps, and a lock that asks for a code, over real processes: Mosquitto's own
clients and libcoap's."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import pytest

from demo.credentials import write_psk_file
from demo.stack import Stack
from simulator.network.cluster_server import ClusterServer
from simulator.network.clusters.closures import NEEDS_PIN, door_lock
from simulator.network.clusters.ids import Identity
from tests.harness.mqtt_watcher import USER, Watcher, publish, watching
from tests.harness.virtual_devices import simulate
from tests.harness.zcl_device import ZclDevice

PIN = "73914062"
DOOR = 0x000D6F0000000005
NETWORK = """\
devices:
  - {eui64: "00:0d:6f:00:00:00:00:01", kind: thermostat, name: hall}
  - {eui64: "00:0d:6f:00:00:00:00:02", kind: cover, name: blind}
  - {eui64: "00:0d:6f:00:00:00:00:03", kind: radiator-valve, name: valve, poll_interval: 0.5}
"""
POLICY = """\
layer: 1
policy-version: 1
subjects:
  hall: {link: zigbee, eui64: "00:0d:6f:00:00:00:00:01"}
  blind: {link: zigbee, eui64: "00:0d:6f:00:00:00:00:02"}
  valve: {link: zigbee, eui64: "00:0d:6f:00:00:00:00:03"}
  door: {link: zigbee, eui64: "00:0d:6f:00:00:00:00:05"}
  broker: {link: mqtt, broker: 127.0.0.1}
  phone: {link: coap, psk_identity: phone}
groups:
  house: [hall, blind, valve, door]
rules:
  - id: home
    effect: permit
    subject: [broker, phone]
    resource: "group:house"
    action: [read, observe, write, invoke]
"""


async def coap(stack: Stack, path: str, *options: str) -> str:
    """libcoap's client as the phone; the payload that it printed, or the code of a refusal."""
    assert stack.link_psks is not None
    key, url = stack.link_psks.keys["phone"].decode(), f"coaps://127.0.0.1:{stack.coaps_port}/{path}"
    process = await asyncio.create_subprocess_exec(
        "coap-client-openssl", "-B", "20", "-u", "phone", "-k", key, *options, url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    printed, _ = await process.communicate()
    return printed.decode("utf-8", "replace").strip()


async def value(stack: Stack, device: str, name: str) -> float:
    """What a device itself holds."""
    found = next(each for each in await simulate(stack, "devices") if each["name"] == device)
    return float(found["values"][name])


async def answered(stack: Stack, seen: Watcher, device: str, body: str, *properties: str) -> None:
    """A set, and the answer for each property that it is delivered."""
    before = len(seen.heard.get(f"home/{device}/answer", []))
    await publish(stack, f"home/{device}/set", body)

    def delivered() -> set[str]:
        answers = seen.heard.get(f"home/{device}/answer", [])[before:]
        assert "failed" not in [each["status"] for each in answers], answers
        return {each["property"] for each in answers if each["status"] == "delivered"}

    await seen.until(lambda: delivered() == set(properties))


@pytest.mark.process
async def test_heat_a_blind_and_a_door(stack: Stack, tmp_path: Path) -> None:
    network = tmp_path / "network.yaml"
    network.write_text(NETWORK)
    stack.write_policy(POLICY)
    stack.link_psks = write_psk_file(stack.directory / "link.psk", {"phone": secrets.token_urlsafe(24).encode()})
    await stack.start_simulator("--seed", "1", "--network", str(network))
    await stack.start_broker(["gateway", USER])
    stack.write_config(form="never", extra="    devices: {}\n")
    await stack.start_gateway()
    lock = door_lock(Identity("ACME", "L1", mains=False))
    lock.attributes[NEEDS_PIN].value = 1
    lock.memory["3"] = PIN.encode().hex()
    door = ZclDevice(DOOR, lock)
    await door.attach(stack.attach_socket, sleepy=True, poll=0.2)
    try:
        async with watching(stack) as seen:
            await stack.ask("permit-join", "--seconds", "254")
            await door.client.join(30)
            await a_thermostat(stack, seen)
            await a_cover(stack, seen)
            await a_valve(stack, seen)
            await a_lock(stack, seen, lock)
    finally:
        door.close()


async def a_thermostat(stack: Stack, seen: Watcher) -> None:
    await seen.until(lambda: seen.last("home/hall").get("local_temperature") == 20.0)
    assert seen.last("home/hall")["system_mode"] == "heat"
    await answered(
        stack, seen, "hall", '{"occupied_heating_setpoint": 22.5, "system_mode": "auto"}',
        "occupied_heating_setpoint", "system_mode",
    )  # fmt: skip
    await seen.until(
        lambda: (
            {"occupied_heating_setpoint": 22.5, "system_mode": "auto", "running_state": "heat"}.items()
            <= seen.last("home/hall").items()
        )
    )
    assert await value(stack, "hall", "heating_setpoint") == 22.5
    await publish(stack, "home/hall/set", '{"occupied_heating_setpoint": 31}')
    await seen.until(lambda: seen.last("home/hall/answer").get("reason") == "content")
    await publish(stack, "home/hall/action/setpoint_raise_lower", '{"input": {"amount": -1}, "transaction": 1}')
    await seen.until(lambda: seen.last("home/hall")["occupied_heating_setpoint"] == 21.5)

    assert await coap(stack, "d/hall/occupied_heating_setpoint", "-A", "0") == "21.5"
    assert await coap(stack, "d/hall/keypad_lockout", "-m", "put", "-t", "0", "-e", "lock1") == ""
    await seen.until(lambda: seen.last("home/hall")["keypad_lockout"] == "lock1")
    refused = await coap(stack, "d/hall/system_mode", "-m", "put", "-t", "0", "-e", "warm")
    assert refused.startswith("4.00")


async def a_cover(stack: Stack, seen: Watcher) -> None:
    await seen.until(lambda: seen.last("home/blind").get("position") == 100)
    await simulate(stack, "set", device="blind", name="lift", value=85)
    await seen.until(lambda: seen.last("home/blind").get("position") == 15)
    await answered(stack, seen, "blind", '{"state": "CLOSE"}', "state")
    await seen.until(lambda: seen.last("home/blind")["position"] == 0)
    states = {(each["position"], each["state"]) for each in seen.heard["home/blind"] if "state" in each}
    on_its_way = {each for each in states if each[0] and 0 < each[0] < 100}
    assert on_its_way and {state for _, state in on_its_way} == {"OPEN"}
    assert (seen.last("home/blind")["state"], seen.last("home/blind")["tilt"]) == ("CLOSE", 0)

    assert await coap(stack, "d/blind/position", "-m", "put", "-t", "0", "-e", "70") == ""
    await seen.until(lambda: seen.last("home/blind")["position"] > 0)
    assert await coap(stack, "d/blind/stop", "-m", "post") == ""
    await seen.until(lambda: 0 < seen.last("home/blind")["position"] < 70)
    assert await coap(stack, "d/blind/state", "-A", "0") == "OPEN"


async def a_valve(stack: Stack, seen: Watcher) -> None:
    """It sleeps, and polls often: nothing that it says has to come first. It checks in, and is answered."""
    await seen.until(lambda: seen.last("home/valve").get("occupied_heating_setpoint") is not None)
    assert await value(stack, "valve", "check_in_interval") == 3600
    await answered(stack, seen, "valve", '{"occupied_heating_setpoint": 18}', "occupied_heating_setpoint")
    assert await value(stack, "valve", "heating_setpoint") == 18
    await simulate(stack, "set", device="valve", name="check_in_interval", value=1)
    async with asyncio.timeout(30):
        while not (await stack.ask("status"))["adapters"]["zigbee"]["detail"]["counters"]["replies"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def a_lock(stack: Stack, seen: Watcher, lock: ClusterServer) -> None:
    """The code goes to the lock, and is nowhere else, whether the lock is heard in time or not."""
    await seen.until(lambda: seen.last("home/door").get("lock_state") == "unlocked")
    await publish(stack, "home/door/set", '{"state": "LOCK"}')
    await seen.until(lambda: seen.last("home/door/answer").get("detail") == "FAILURE")
    await answered(stack, seen, "door", f'{{"state": "LOCK", "code": "{PIN}"}}', "state", "code")
    assert lock.whole(0x0000) == 1
    assert "code" not in seen.last("home/door")
    assert not [topic for topic, messages in seen.heard.items() if topic != "home/door/set" and PIN in str(messages)]
    for path in stack.directory.rglob("*"):
        if path.is_file() and "mosquitto" not in path.name:
            assert PIN.encode() not in path.read_bytes(), path
