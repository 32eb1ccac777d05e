"""From permit-join to a lamp that is switched, renamed and removed, without an editor: the real daemon, a virtual
dongle and Mosquitto, as a user would do it. The policy names no device; one group of it is assignable."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from demo.stack import Stack, command, running
from tests.e2e.shared_hub import STATE
from tests.harness.mqtt_watcher import USER, Watcher, config_topic, publish, watching
from tests.harness.virtual_devices import simulate

pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="module")]

LAMP, SENSOR, SILENT = (f"00:0d:6f:00:0e:00:00:1{number}" for number in range(1, 4))
NETWORK = f"""\
devices:
  - {{eui64: "{LAMP}", kind: lamp, name: lamp, join: manual}}
  - {{eui64: "{SENSOR}", kind: thermometer, name: sensor, join: manual, poll_interval: 0.2}}
  - {{eui64: "{SILENT}", kind: lamp, name: silent, join: manual}}
"""
POLICY = """\
layer: 1
policy-version: 1
subjects:
  broker: {link: mqtt, broker: 127.0.0.1}
  phone: {link: coap, psk_identity: phone}
groups:
  devices: {assignable: true}
  people: [phone]
rules:
  - {id: home, effect: permit, subject: [broker, phone], resource: "group:devices", action: [read, observe, write]}
  - {id: boss, effect: permit, subject: broker, resource: gateway, action: admin}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory, formed: Path) -> AsyncIterator[tuple[Stack, Watcher]]:
    """Everything up, no device joined; and a client that reads all topics."""
    async with running(tmp_path_factory.mktemp("pairing") / "s") as stack:
        for name in STATE:
            shutil.copytree(formed / name, stack.directory / name)
        (stack.directory / "network.yaml").write_text(NETWORK)
        stack.write_policy(POLICY)
        await stack.start_simulator("--seed", "1", "--network", str(stack.directory / "network.yaml"))
        await stack.start_broker(["gateway", USER])
        stack.write_config(form="never", devices=True)
        await stack.start_gateway()
        await stack.ask("permit-join", "--seconds", "254")
        async with watching(stack) as seen:
            yield stack, seen


def bare(eui64: str) -> str:
    return eui64.replace(":", "")


async def cli(stack: Stack, *arguments: str) -> tuple[int, str]:
    """A command as a user types it: its exit code and what it printed."""
    words = [*arguments, "-c", str(stack.directory / "gateway.yaml")]
    process = await asyncio.create_subprocess_exec(
        command("atls-gateway"), *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    printed, _ = await process.communicate()
    return process.returncode or 0, printed.decode()


async def log(stack: Stack, text: str) -> None:
    """Until the gateway has logged it."""
    assert stack.gateway is not None
    async with asyncio.timeout(60):
        while text not in stack.gateway.log.read_text():  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.05)


async def device(stack: Stack, eui64: str, holds: Callable[[Any], object]) -> Any:
    """A device of the list, once that is so."""
    async with asyncio.timeout(60):
        while True:
            listed = (await stack.ask("devices"))["devices"]
            found = next((each for each in listed if each["address"] == eui64), None)
            if holds(found):
                return found
            await asyncio.sleep(0.1)


def names(stack: Stack) -> str:
    return (stack.directory / "state/devices.yaml").read_text()


async def test_a_lamp_is_paired_switched_renamed_and_removed(home: tuple[Stack, Watcher]) -> None:
    stack, seen = home
    await simulate(stack, "join", device="lamp")
    await log(stack, f"{LAMP} joined, asking what it is")
    await log(stack, f"{LAMP} is virtual-lamp of atls-simulator")
    found = await device(stack, LAMP, lambda found: found and found["interviewed"])
    assert (found["name"], found["interviewing"]) == (None, False)
    _, shown = await cli(stack, "devices", "show", LAMP.upper())
    assert f"\n  atls-gateway devices name {LAMP} NAME\n  atls-gateway devices show NAME\n" in shown

    code, said = await cli(stack, "devices", "name", "0x" + LAMP.replace(":", ""), "attic")
    assert code == 0, said
    assert said.splitlines() == [
        f"{LAMP} is attic in the group devices",
        "  broker, phone may read, observe, write: attic (rule home)",
    ]
    assert f'\n  attic: {{eui64: "{LAMP}", groups: [devices]}}\n' in names(stack)
    await seen.until(lambda: seen.last("home/attic").get("state") == "OFF")  # read, not waited for
    await publish(stack, "home/attic/set", "ON")
    await seen.until(lambda: seen.last("home/attic").get("state") == "ON")

    code, said = await cli(stack, "devices", "rename", "attic", "bedroom")
    assert (code, said.splitlines()[0]) == (0, f"{LAMP} is bedroom in the group devices")
    await seen.until(lambda: seen.last("home/attic") is None and seen.last("home/attic/availability") is None)
    await seen.until(lambda: seen.last("home/bedroom/availability") == {"state": "online"})
    assert [state["state"] for state in seen.heard["home/bedroom"]] == ["ON"]

    assert stack.gateway is not None
    await stack.gateway.kill()
    await stack.start_gateway()
    code, said = await cli(stack, "devices", "remove", "bedroom")
    assert (code, said) == (0, "bedroom left the network and is forgotten\n")
    await seen.until(lambda: seen.last("home/bedroom") is None and seen.last("home/bedroom/availability") is None)
    assert names(stack).endswith("devices: {}\n")
    await device(stack, LAMP, lambda found: found is None)
    simulated = {each["name"]: each for each in await simulate(stack, "devices")}
    assert simulated["lamp"]["state"] == "left"


async def request(home: tuple[Stack, Watcher], what: str, **values: Any) -> Any:
    """Ask the gateway over MQTT, as the broker's side; its answer to this one."""
    stack, seen = home
    topic, before = f"home/bridge/response/{what}", len(seen.heard.get(f"home/bridge/response/{what}", ()))
    await publish(stack, f"home/bridge/request/{what}", json.dumps(values) if values else "")
    await seen.until(lambda: len(seen.heard.get(topic, ())) > before)
    return seen.last(topic)


async def test_the_same_over_mqtt_with_a_device_that_sleeps(home: tuple[Stack, Watcher]) -> None:
    stack, seen = home
    assert (await request(home, "permit_join", time=200))["data"] == {"time": 200}
    left = (await request(home, "permit_join"))["data"]["time"]
    assert 0 < left <= 200
    await simulate(stack, "join", device="sensor")
    await device(stack, SENSOR, lambda found: found and found["interviewed"] and not found["interviewing"])
    address = "0x" + SENSOR.replace(":", "")
    listed = (await request(home, "devices"))["data"]["devices"]
    (sensor,) = (each for each in listed if each["ieee_address"] == address)
    assert (sensor["friendly_name"], sensor["named"], sensor["interviewing"]) == (address, False, False)
    assert sensor["linkquality"] > 0

    answer = await request(home, "device/rename", **{"from": address, "to": "cellar", "transaction": 7})
    data = {"from": address, "to": "cellar", "groups": ["devices"]}
    assert answer == {"data": data, "status": "ok", "transaction": 7}
    await seen.until(lambda: (seen.last("home/cellar") or {}).get("temperature") is not None)
    answer = await request(home, "device/rename", **{"from": "cellar", "to": "larder"})
    assert answer["status"] == "ok", answer
    await seen.until(lambda: seen.last("home/cellar") is None and seen.last("home/larder"))
    configs = [(each["dev"]["name"], each["dev"]["ids"]) for each in seen.heard[config_topic(stack, bare(SENSOR))]]
    assert configs[-2:] == [("cellar", configs[-1][1]), ("larder", configs[-1][1])], (
        "to Home Assistant it is the same device"
    )
    listed = (await request(home, "devices"))["data"]["devices"]
    (sensor,) = (each for each in listed if each["friendly_name"] == "larder")
    assert sensor["state"]["temperature"] == seen.last("home/larder")["temperature"]
    assert (sensor["properties"]["temperature"]["unit"], sensor["may"]) == ("Cel", ["observe", "read", "write"])
    answer = await request(home, "device/configure", id="larder")
    assert (answer["status"], answer["data"]["id"]) == ("ok", "larder"), answer
    reporting = await request(home, "device/reporting/read", id="larder", attribute="nothing")
    assert reporting["error"].startswith("attribute: expected a number of an attribute that the gateway reads")
    assert (await request(home, "permit_join", time=100, device="coordinator"))["status"] == "ok"
    assert (await request(home, "permit_join", time=100, device="larder"))["error"].endswith("or coordinator")
    assert (await request(home, "status"))["data"]["joining"] > 0
    assert (await request(home, "sessions"))["data"] == {"sessions": []}
    for wrong, error in (
        ({"from": "larder", "to": "a/b"}, "a/b: expected a name of"),
        ({"from": "larder", "to": "phone"}, "phone: the policy has this name ("),
        ({"from": "shed", "to": "x"}, "shed: no device has this name"),
        ({"from": "larder"}, "expected from (a name or an address) and to (a name)"),
    ):
        answer = await request(home, "device/rename", **wrong)
        assert (answer["status"], answer["error"].startswith(error)) == ("error", True), answer

    answer = await request(home, "device/remove", id="larder")
    assert answer["data"] == {"id": "larder", "force": False, "left": True}, answer
    await seen.until(lambda: seen.last("home/larder") is None)
    await seen.until(lambda: seen.last(config_topic(stack, bare(SENSOR))) is None)
    await device(stack, SENSOR, lambda found: found is None)


async def test_on_a_terminal_who_joins_is_shown_and_ctrl_c_closes_the_network(home: tuple[Stack, Watcher]) -> None:
    stack, _ = home
    own, theirs = pty.openpty()
    config = str(stack.directory / "gateway.yaml")
    process = await asyncio.create_subprocess_exec(
        command("atls-gateway"), "permit-join", "--seconds", "120", "-c", config, stdin=theirs, stdout=theirs
    )
    os.close(theirs)
    os.set_blocking(own, False)
    shown = ""

    async def shows(text: str) -> None:
        nonlocal shown
        async with asyncio.timeout(60):
            while text not in shown:
                with contextlib.suppress(BlockingIOError):
                    shown += os.read(own, 65536).decode()
                await asyncio.sleep(0.02)

    try:
        await shows("Ctrl-C closes the network.")
        await shows("open for 1 min ")
        await simulate(stack, "radio", device="silent", delay_min=0.4, delay_max=0.4)
        await simulate(stack, "join", device="silent")
        found = await device(stack, SILENT, lambda found: found)
        assert (found["interviewing"], found["interviewed"]) == (True, False)
        await shows(f"{SILENT} joined, asking what it is")
        await shows(f"{SILENT} is virtual-lamp of atls-simulator")
        await shows(f"atls-gateway devices name {SILENT} NAME")
        process.send_signal(signal.SIGINT)
        await shows("closed\r\n")
        assert await process.wait() == 0
    finally:
        os.close(own)
    await simulate(stack, "radio", device="silent", delay_min=0.005, delay_max=0.005)
    assert (await stack.ask("status"))["joining"] == 0


async def test_a_device_that_does_not_answer_stays_unless_forced_and_may_come_back(
    home: tuple[Stack, Watcher],
) -> None:
    stack, _ = home
    await stack.ask("permit-join", "--seconds", "254")
    assert (await cli(stack, "devices", "name", SILENT, "garage"))[0] == 0
    # A press is heard only because the lamp was bound and configured to report.
    await device(stack, SILENT, lambda found: found and found["setup_steps_left"] == 0)
    await simulate(stack, "radio", device="silent", loss=1.0)
    code, said = await cli(stack, "devices", "remove", "garage")
    assert (code, said.startswith(f"{SILENT} is still in the network: it doesn't answer")) == (1, True), said
    assert "garage" in names(stack)
    code, said = await cli(stack, "devices", "remove", "--force", "garage")
    assert (code, said.startswith("garage is forgotten. It did not say that it leaves")) == (0, True), said
    assert "garage" not in names(stack)
    await device(stack, SILENT, lambda found: found is None)
    await simulate(stack, "radio", device="silent", loss=0.0)
    await simulate(stack, "press", device="silent")  # a member that the gateway doesn't know is heard, and interviewed
    found = await device(stack, SILENT, lambda found: found and found["interviewed"])
    assert found["name"] is None
