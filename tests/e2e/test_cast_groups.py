"""Groups as people use them, over real processes: each command of docs/groups.md, MQTT, CoAP, a restart after kill -9.

Three dimmable lamps and a remote of the simulator; the policy changes in between.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shlex
from pathlib import Path
from typing import Any

import pytest

from demo.credentials import write_psk_file
from demo.stack import Stack
from tests.harness.docs_page import read
from tests.harness.libcoap_client import coap
from tests.harness.mqtt_watcher import USER, Watcher, publish, watching
from tests.harness.virtual_devices import simulate

NETWORK = """\
devices:
  - {eui64: "00:0d:6f:00:00:00:00:01", kind: dimmable-lamp, name: desk}
  - {eui64: "00:0d:6f:00:00:00:00:02", kind: dimmable-lamp, name: shelf}
  - {eui64: "00:0d:6f:00:00:00:00:03", kind: dimmable-lamp, name: floor}
  - {eui64: "00:0d:6f:00:00:00:00:04", kind: dimmer-remote, name: remote, poll_interval: 0.3}
"""
POLICY = """\
layer: 1
policy-version: 1
subjects:
  desk: {link: zigbee, eui64: "00:0d:6f:00:00:00:00:01"}
  shelf: {link: zigbee, eui64: "00:0d:6f:00:00:00:00:02"}
  floor: {link: zigbee, eui64: "00:0d:6f:00:00:00:00:03"}
  remote: {link: zigbee, eui64: "00:0d:6f:00:00:00:00:04"}
  broker: {link: mqtt, broker: 127.0.0.1}
  phone: {link: coap, psk_identity: phone}
  tablet: {link: coap, psk_identity: tablet}
groups: {lights: [desk, shelf, floor]}
rules:
  - {id: home, effect: permit, subject: broker, resource: "group:lights", action: [read, observe, write, invoke]}
  - {id: phones, effect: permit, subject: phone, resource: "group:lights", action: [read, observe, write, invoke]}
  - {id: tablets, effect: permit, subject: tablet, resource: [desk], action: [read, observe, write, invoke]}
  - {id: joining, effect: permit, subject: broker, resource: gateway, action: admin}
"""
NO_DESK = POLICY + "  - {id: not-the-desk, effect: deny, subject: broker, resource: desk, action: write}\n"


async def typed(stack: Stack, line: str) -> str:
    """A line of the page, run as a person does; its output."""
    program, *words = shlex.split(line)
    assert program == "atls-gateway"
    config = ["-c", str(stack.directory / "gateway.yaml")]
    process = await asyncio.create_subprocess_exec(
        *stack.asking(), words[0], *config, *words[1:],
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, (line, output.decode())
    return output.decode()


async def run_block(stack: Stack, name: str) -> list[str]:
    return [await typed(stack, line) for line in read("groups.md").block("sh", name).splitlines()]


async def levels(stack: Stack) -> dict[str, Any]:
    """The brightness of each lamp, by the lamps themselves."""
    devices = await simulate(stack, "devices")
    return {each["name"]: each["values"]["brightness"] for each in devices if each["name"] != "remote"}


async def asked(stack: Stack, seen: Watcher, request: str, body: dict[str, Any]) -> dict[str, Any]:
    topic = f"home/bridge/response/{request}"
    before = len(seen.heard.get(topic, ()))
    await publish(stack, f"home/bridge/request/{request}", json.dumps(body))
    await seen.until(lambda: len(seen.heard.get(topic, ())) > before)
    found: dict[str, Any] = seen.last(topic)
    return found


def named(seen: Watcher) -> list[str]:
    return [each["friendly_name"] for each in seen.last("home/bridge/groups")]


def members(seen: Watcher) -> list[int]:
    """How many there are in each group."""
    return [len(each["members"]) for each in seen.last("home/bridge/groups")]


def set_to(seen: Watcher, brightness: int, *names: str) -> bool:
    return all(seen.last(f"home/{name}").get("brightness") == brightness for name in names)


@pytest.mark.process
async def test_groups_from_the_first_command_to_a_restart(stack: Stack, tmp_path: Path) -> None:
    network = tmp_path / "network.yaml"
    network.write_text(NETWORK)
    stack.write_policy(POLICY)
    keys = {name: secrets.token_urlsafe(24).encode() for name in ("phone", "tablet")}
    stack.link_psks = write_psk_file(stack.directory / "link.psk", keys)
    await stack.start_simulator("--seed", "1", "--network", str(network))
    await stack.start_broker(["gateway", USER])
    stack.write_config(form="never", extra="    devices: {}\n")
    gateway = await stack.start_gateway()
    async with watching(stack) as seen:
        await stack.ask("permit-join", "--seconds", "254")
        for name in ("desk", "shelf", "floor"):
            await seen.until(lambda name=name: "brightness" in seen.last(f"home/{name}"))

        # As the page has it.
        made, first, second, listed, shown = await run_block(stack, "groups-make")
        assert made.startswith("living is group 1\n")
        assert (first, second) == ("desk (endpoint 1) is in living\n", "shelf (endpoint 1) is in living\n")
        assert "living" in listed and shown.count(" in\n") == 2
        await seen.until(lambda: members(seen) == [2])
        await seen.until(lambda: seen.last("home/living/availability") == {"state": "online"})
        await publish(stack, "home/living/set", '{"state": "ON", "brightness": 90, "transaction": 1}')
        await seen.until(lambda: seen.last("home/living/answer").get("status") == "sent")
        await seen.until(lambda: set_to(seen, 90, "living", "desk", "shelf"))

        stored, added, scenes, recalled, renamed, removed = await run_block(stack, "groups-scenes")
        assert stored == "living: scene evening (1) is stored\n"
        assert added == "living: scene reading (2) is stored\n"
        assert "evening" in scenes and "reading" in scenes
        assert recalled == "sent to living: scene evening\n"
        assert (renamed, removed) == ("scene 1 of living is night\n", "living: scene reading is removed\n")
        await publish(stack, "home/living/set", '{"brightness": 10}')
        await seen.until(lambda: set_to(seen, 10, "living", "desk", "shelf"))
        await publish(stack, "home/living/set", '{"scene_recall": "night"}')
        await seen.until(lambda: set_to(seen, 90, "living", "desk", "shelf"))

        # Over CoAP: what a device is, and what only a client sees that may use each member.
        assert "</d/living>" in await coap(stack, "phone", "d")
        assert "living" not in await coap(stack, "tablet", "d")
        await coap(stack, "phone", "d/living/brightness", "-m", "put", "-t", "0", "-e", "20")
        await seen.until(lambda: set_to(seen, 20, "living", "desk", "shelf"))
        await coap(stack, "phone", "d/living/scene_recall", "-m", "post", "-t", "50", "-e", '{"scene": "night"}')
        await seen.until(lambda: set_to(seen, 90, "living", "desk", "shelf"))
        refused, unknown = [
            await coap(stack, "tablet", f"d/{name}/brightness", "-m", "put", "-t", "0", "-e", "5")
            for name in ("living", "nothing")
        ]
        assert refused == unknown

        bound, *_, unbound = await run_block(stack, "groups-bindings")
        assert "remote: on_off is bound to living\n" in bound
        assert "remote: on_off is no longer bound to desk\n" in unbound

        # Over MQTT.
        answer = await asked(stack, seen, "group/add", {"friendly_name": "all", "id": 7, "transaction": "x"})
        assert answer == {"data": {"friendly_name": "all", "id": 7}, "status": "ok", "transaction": "x"}
        for name in ("desk", "floor"):
            answer = await asked(stack, seen, "group/members/add", {"group": "all", "device": name})
            assert answer["data"] == {"group": "all", "device": name, "endpoint": "default"}
        answer = await asked(stack, seen, "group/rename", {"from": "all", "to": "evening"})
        assert answer["status"] == "ok"
        await seen.until(lambda: named(seen) == ["living", "evening"])
        await publish(stack, "home/evening/set", '{"brightness": 33}')
        await seen.until(lambda: set_to(seen, 33, "evening", "desk", "floor"))
        await publish(stack, "home/evening/set", '{"scene_store": {"ID": 3, "name": "dim"}}')
        await seen.until(lambda: seen.last("home/evening/answer").get("property") == "scene_store")
        assert seen.last("home/evening/answer")["status"] == "delivered"
        await seen.until(lambda: seen.last("home/bridge/groups")[1]["scenes"] == [{"id": 3, "name": "dim"}])
        answer = await asked(stack, seen, "device/bind", {"from": "remote", "to": "floor", "clusters": ["genOnOff"]})
        assert answer["data"]["clusters"] == ["on_off"]
        answer = await asked(stack, seen, "device/unbind", {"from": "remote", "to": "floor", "clusters": ["genOnOff"]})
        assert answer["status"] == "ok"
        answer = await asked(stack, seen, "group/members/remove", {"group": "evening", "device": "floor"})
        assert answer["status"] == "ok"
        answer = await asked(stack, seen, "group/members/remove_all", {"device": "shelf"})
        assert answer["status"] == "ok"
        await seen.until(lambda: members(seen)[0] == 1)
        answer = await asked(stack, seen, "group/members/add", {"group": "living", "device": "shelf"})
        answer = await asked(stack, seen, "group/members/add", {"group": "living", "device": "nothing"})
        assert "no device has this name" in answer["error"]

        # One denied member denies, from the reload on.
        stack.write_policy(NO_DESK)
        await stack.ask("reload")
        before = await levels(stack)
        heard = len(seen.heard["home/living/answer"])
        await publish(stack, "home/living/set", '{"brightness": 200}')
        await seen.until(lambda: len(seen.heard["home/living/answer"]) > heard)
        assert seen.last("home/living/answer") | {"property": ""} == {
            "property": "", "status": "failed", "reason": "denied"
        }  # fmt: skip
        assert await levels(stack) == before
        stack.write_policy(POLICY)
        await stack.ask("reload")

        # A restart after a kill knows the groups.
        await gateway.kill()
        await stack.start_gateway()
        await seen.until(lambda: seen.last("home/living/availability") == {"state": "online"})
        await publish(stack, "home/living/set", '{"brightness": 44}')
        await seen.until(lambda: set_to(seen, 44, "living", "desk", "shelf"))
        assert [each["name"] for each in (await stack.ask("groups"))["groups"]] == ["living", "evening"]

        # What is left to type.
        assert (await typed(stack, "atls-gateway groups rename evening late")) == "group 7 is late\n"
        assert (await typed(stack, "atls-gateway groups members remove late desk")).startswith(
            "taken out: desk in late"
        )
        assert (await typed(stack, "atls-gateway groups members clear living")).startswith("taken out: all devices")
        assert (await typed(stack, "atls-gateway groups members clear --device floor")).startswith("taken out: floor")
        assert (await typed(stack, "atls-gateway scenes remove late --all")).startswith("late: all scenes are removed")
        assert json.loads(await typed(stack, "atls-gateway groups list --json"))["groups"][0]["members"] == []
        assert (await typed(stack, "atls-gateway groups remove late")) == "late is removed\n"
        answer = await asked(stack, seen, "group/remove", {"id": "living"})
        assert answer["status"] == "ok"
        await seen.until(lambda: seen.last("home/bridge/groups") == [])
        await seen.until(lambda: seen.last("home/living") is None)
