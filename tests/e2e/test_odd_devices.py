"""Remotes of makers from the air to MQTT, and one that the gateway doesn't know, looked at from the command line: the
real daemon, a virtual dongle and Mosquitto."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from demo.stack import Stack, command, running
from tests.e2e.shared_hub import STATE
from tests.harness.mqtt_watcher import USER, Watcher, watching
from tests.harness.virtual_devices import simulate

pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="module")]

REMOTES = {"remote": "ikea-remote", "dimmer": "hue-dimmer", "stranger": "ikea-remote"}
ADDRESSES = {name: f"00:0d:6f:00:0e:00:00:2{number}" for number, name in enumerate(REMOTES, 1)}
ROWS = "".join(
    f'  - {{eui64: "{ADDRESSES[name]}", kind: {kind}, name: {name}, poll_interval: 0.2'
    + (", model: TRADFRI remote 2030}\n" if name == "stranger" else "}\n")
    for name, kind in REMOTES.items()
)
SUBJECTS = "".join(f'  {name}: {{link: zigbee, eui64: "{ADDRESSES[name]}"}}\n' for name in REMOTES)
POLICY = f"""\
layer: 1
policy-version: 1
subjects:
  broker: {{link: mqtt, broker: 127.0.0.1}}
{SUBJECTS}rules:
  - {{id: home, effect: permit, subject: broker, resource: [remote, dimmer, stranger], action: [read, observe]}}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory, formed: Path) -> AsyncIterator[tuple[Stack, Watcher]]:
    """Everything up, the remotes joined and set up; and a client that reads all topics."""
    async with running(tmp_path_factory.mktemp("odd") / "s") as stack:
        for name in STATE:
            shutil.copytree(formed / name, stack.directory / name)
        (stack.directory / "network.yaml").write_text("devices:\n" + ROWS)
        stack.write_policy(POLICY)
        await stack.start_simulator("--seed", "1", "--network", str(stack.directory / "network.yaml"))
        await stack.start_broker(["gateway", USER])
        stack.write_config(form="never", devices=True)
        await stack.start_gateway()
        await stack.ask("permit-join", "--seconds", "254")
        async with watching(stack) as seen:
            async with asyncio.timeout(90):
                while not await _set_up(stack):  # noqa: ASYNC110 - it happens in another process
                    await asyncio.sleep(0.2)
            yield stack, seen


async def _set_up(stack: Stack) -> bool:
    listed = [each for each in (await stack.ask("devices"))["devices"] if each.get("interviewed")]
    return len(listed) == len(REMOTES) and not any(each["setup_steps_left"] for each in listed)


async def cli(stack: Stack, *arguments: str) -> asyncio.subprocess.Process:
    """A command as a user types it."""
    words = [*arguments, "-c", str(stack.directory / "gateway.yaml")]
    return await asyncio.create_subprocess_exec(
        command("atls-gateway"), *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )


async def printed(process: asyncio.subprocess.Process, until: str) -> str:
    """What it prints up to a line that has this in it."""
    assert process.stdout is not None
    text = ""
    async with asyncio.timeout(30):
        while until not in text:
            line = (await process.stdout.readline()).decode()
            assert line, text
            text += line
    return text


@pytest.mark.parametrize(
    ("name", "button", "how", "action"),
    [
        ("remote", "left", "single", "arrow_left_click"),
        ("remote", "toggle", "single", "toggle"),
        ("dimmer", "on", "single", "on_press"),
        ("dimmer", "down", "release", "down_hold_release"),
    ],
)
async def test_a_press_is_an_action_of_zigbee2mqtts_name(
    home: tuple[Stack, Watcher], name: str, button: str, how: str, action: str
) -> None:
    stack, seen = home
    await simulate(stack, "press", device=name, button=button, how=how)
    await seen.until(lambda: any((state or {}).get("action") == action for state in seen.heard.get(f"home/{name}", ())))


async def test_a_device_shows_its_lane(home: tuple[Stack, Watcher]) -> None:
    stack, _ = home
    for name, lane in (("remote", "rows of IKEA"), ("dimmer", "rows of Hue"), ("stranger", "standard")):
        process = await cli(stack, "devices", "show", name)
        said = (await process.communicate())[0].decode()
        assert f"  lane: {lane}" in said, said


async def test_what_a_stranger_sends_is_shown_as_it_comes(home: tuple[Stack, Watcher]) -> None:
    stack, _ = home
    process = await cli(stack, "devices", "sniff", "stranger", "--for", "60")
    head = await printed(process, "press a button")
    assert head.startswith("manufacturer: IKEA of Sweden\nmodel: TRADFRI remote 2030\nlane: standard\nendpoint 1: ")
    await simulate(stack, "press", device="stranger", button="left")
    line = (await printed(process, "0x0005")).splitlines()[-1]
    assert line.split(maxsplit=4)[1:] == [
        "1",
        "0x0005",
        "0x117c",
        f"{'command 0x07':24}  -         -             01 01 0d 00",
    ]
    process.send_signal(signal.SIGINT)
    end = (await process.communicate())[0].decode()
    assert process.returncode == 0
    assert end.strip() == "1 that the gateway doesn't read"
    assert not any(address in head + line + end for address in ADDRESSES.values())


async def test_for_programs_it_is_json(home: tuple[Stack, Watcher]) -> None:
    stack, _ = home
    process = await cli(stack, "devices", "sniff", ADDRESSES["stranger"], "--for", "3", "--json")
    presses = asyncio.create_task(_press_until_over(stack, process))
    found = json.loads((await process.communicate())[0])
    presses.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await presses
    (frame,) = found["frames"]
    assert (frame["cluster"], frame["manufacturer"], frame["id"], frame["hex"]) == (
        "0x0005", "0x117c", "0x08", "00 0d 00",
    )  # fmt: skip


async def _press_until_over(stack: Stack, process: asyncio.subprocess.Process) -> None:
    while process.returncode is None:
        await simulate(stack, "press", device="stranger", button="right", how="hold")
        await asyncio.sleep(0.3)


async def test_who_cannot_be_looked_at_is_said(home: tuple[Stack, Watcher]) -> None:
    stack, _ = home
    process = await cli(stack, "devices", "sniff", "00:00:00:00:00:00:00:01")
    said = (await process.communicate())[0].decode()
    assert process.returncode and "not in the network" in said
