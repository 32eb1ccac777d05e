"""A cast to a group beside one command to each of its members: ``python -m bench.group_cast``.

Real processes: gateway, Mosquitto, a virtual dongle with lamps. Timed from the publish to the moment when the last lamp
had its command, by the lamps' own clock, which is the machine's (CLOCK_MONOTONIC). Nothing of a radio's air time is in
it: over the air unicasts cost more than here, since each takes its own turn.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from demo.stack import Stack, running
from simulator.ctl import ask

USER = "home-assistant"
KIND = "dimmable-lamp"
SETTLE = 1.5
"""Seconds after each round: reports and reads are over."""


def policy(addresses: list[str]) -> str:
    lamps = "\n".join(f'  lamp-{n}: {{link: zigbee, eui64: "{each}"}}' for n, each in enumerate(addresses))
    names = ", ".join(f"lamp-{n}" for n in range(len(addresses)))
    return (
        f"layer: 1\npolicy-version: 1\nsubjects:\n  broker: {{link: mqtt, broker: 127.0.0.1}}\n{lamps}\n"
        f"rules:\n  - {{id: home, effect: permit, subject: broker, resource: [{names}],"
        " action: [read, observe, write, invoke]}\n"
    )


async def simulated(stack: Stack, do: str, **arguments: object) -> Any:
    return await asyncio.to_thread(ask, stack.attach_socket, {"do": do, **arguments})


async def lamps_of(stack: Stack) -> list[dict[str, Any]]:
    return [each for each in await simulated(stack, "devices") if each["kind"] == KIND]


async def measure(count: int, rounds: int, directory: Path) -> dict[str, list[float]]:
    """Seconds until all lamps have their command, of each round, by how they got it."""
    found: dict[str, list[float]] = {"unicasts": [], "cast": []}
    async with running(directory) as stack:
        stack.write_policy("layer: 1\npolicy-version: 1\n")
        await stack.start_simulator("--seed", "1")
        await stack.start_broker(["gateway", USER])
        stack.write_config(form="if-blank", extra="    devices: {}\n")
        await stack.start_gateway()
        await simulated(stack, "populate", kind=KIND, count=count)
        await stack.ask("permit-join", "--seconds", "254")
        while not all(each["on_air"] and each["reporting"] == 2 for each in await lamps_of(stack)):  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        addresses = [each["eui64"] for each in await lamps_of(stack)]
        stack.write_policy(policy(addresses))
        await stack.ask("reload")
        await stack.ask("groups", "add", "all")
        for number in range(count):
            await stack.ask("groups", "members", "add", "all", f"lamp-{number}")
        assert stack.broker is not None
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.username_pw_set(USER, stack.broker.passwords[USER].read_text().strip())
        client.connect("127.0.0.1", stack.broker.port)
        client.loop_start()
        await asyncio.sleep(3.0)
        for turn in range(2 * rounds):
            way = ("unicasts", "cast")[turn % 2]
            topics = [f"home/lamp-{n}/set" for n in range(count)] if way == "unicasts" else ["home/all/set"]
            level = 20 + turn % 200
            began = time.monotonic()
            for topic in topics:
                client.publish(topic, f'{{"brightness": {level}, "transition": 0}}')
            await asyncio.sleep(SETTLE)
            lamps = await lamps_of(stack)
            assert all(each["values"]["brightness"] == level for each in lamps), f"{way}: not all lamps changed"
            found[way].append(max(each["commanded"] for each in lamps) - began)
        client.loop_stop()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.group_cast", description=__doc__)
    parser.add_argument("--lamps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        found = asyncio.run(measure(chosen.lamps, chosen.rounds, Path(directory)))
    one, each = (statistics.median(found[way]) * 1000 for way in ("cast", "unicasts"))
    print(f"{chosen.lamps} lamps, median of {chosen.rounds} rounds, from the publish to the last lamp's command")
    print(f"one command to each: {each:.1f} ms; a cast to their group: {one:.1f} ms; ratio {one / each:.3f}")


if __name__ == "__main__":
    main()
