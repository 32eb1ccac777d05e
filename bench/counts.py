"""``make counts``: Python calls, objects and turns of the loop that one message costs a real gateway process.

Counts depend on no clock, so that they say on any machine what a change did; what they cost in time is the business of
``make bench``. Prints the table of docs/bench.md, ``--write`` puts it there; ``--beside`` counts the gateway of
another checkout as well, under the same load; ``--modules`` says where the calls are. tests/counts reads the page.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench import checkout
from bench.checkout import Checkout
from bench.counting import PATIENCE, Count, CountingGateway
from bench.counts_ip import (
    ALONE,
    BARE_HANDLER,
    BARE_POST,
    FROM_CLIENTS,
    FROM_CLIENTS_ALONE,
    FULL,
    TO_SERVICE,
    TO_SERVICE_ALONE,
    bare,
    over_http,
    over_ip,
)
from bench.scenario import ROOT, quiet
from bench.sensor_network_control import LAMP_NAME, NAME, Control
from carriage.mqtt.client import MqttClient
from carriage.mqtt.options import MqttOptions
from demo.process import ProcessFailedError
from demo.stack import Stack, running

PAGE = ROOT / "docs" / "bench.md"
HEAD = ("message", "calls", "objects", "turns", "publications")

REPORT = "zigbee report to mqtt, 20/s"
SET = "mqtt set, frame, answer"
ROWS = {
    "ip": (FULL, ALONE),
    "http": (TO_SERVICE, TO_SERVICE_ALONE, FROM_CLIENTS, FROM_CLIENTS_ALONE),
    "house": (REPORT, SET),
    "bare": (BARE_POST, BARE_HANDLER),
}
"""The last are programs that are no gateway."""
NAMES = {name for rows in ROWS.values() for name in rows}

REPORTS_A_SECOND = 20
REPORT_SECONDS = 2
SETS = 20
AFTER_SET = 0.25
"""Seconds from one set to the next: the lamp's answer and its own report are through, and published."""
SENSOR = "sensor-1"
DEVICES = {LAMP_NAME: "00:0d:6f:00:0c:00:00:00", SENSOR: "00:0d:6f:00:0c:00:01:01"}
USER = "home-assistant"
NETWORK = f"""\
devices:
  - {{eui64: "{DEVICES[LAMP_NAME]}", name: {LAMP_NAME}, kind: lamp}}
  - {{eui64: "{DEVICES[SENSOR]}", name: {SENSOR}, kind: thermometer, poll_interval: 0.5}}
"""
POLICY_HOUSE = f"""\
layer: 1
policy-version: 1
subjects:
  broker: {{link: mqtt, broker: 127.0.0.1}}
  {LAMP_NAME}: {{link: zigbee, eui64: "{DEVICES[LAMP_NAME]}"}}
  {SENSOR}: {{link: zigbee, eui64: "{DEVICES[SENSOR]}"}}
rules:
  - {{id: home, effect: permit, subject: broker, resource: "*", action: [read, observe, write]}}
"""


# ZigBee and MQTT


async def over_house(stack: Stack, gateway: CountingGateway) -> dict[str, Count]:
    """Reports of a thermometer, and a lamp that is switched: its answer and its own report come back."""
    stack.write_policy(POLICY_HOUSE)
    broker = await stack.start_broker(["gateway", USER])
    network = stack.directory / "network.yaml"
    network.write_text(NETWORK)
    await stack.start_simulator("--seed", "1", "--network", str(network))
    quiet(stack.write_config(devices=True))
    await gateway.start()
    await stack.ask("permit-join", "--seconds", "254")
    control = await Control.connect(str(stack.attach_socket))
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        listener = _StateListener()
        password = broker.passwords[USER].read_text().strip()
        options = MqttOptions(
            host="127.0.0.1", port=broker.port, client_id="counts", username=USER, password=password, tls=None
        )
        client = MqttClient(options, listener)
        client.start(tasks)
        await listener.up.wait()
        client.subscribe([f"home/{LAMP_NAME}"])

        async def report(seconds: float = REPORT_SECONDS) -> int:
            rate = {"rate": REPORTS_A_SECOND, "devices": 1, "ack": False}
            totals = await control.ask("load", name=NAME, seconds=seconds, **rate)
            await asyncio.sleep(AFTER_SET)
            return int(totals["sent"])

        async def switch(sets: int = SETS) -> int:
            for number in range(sets):
                client.publish(f"home/{LAMP_NAME}/set", b'{"state":"%s"}' % (b"ON", b"OFF")[number % 2], qos=0)
                await asyncio.sleep(AFTER_SET)
            return sets

        while not await _set_up(stack):
            await control.ask("load", name=NAME, seconds=0.5, rate=2, devices=1, ack=False)
        await switch(2)
        await report(0.5)
        of_report = await gateway.count(REPORT, report)
        before = listener.states
        of_set = await gateway.count(SET, switch)
        states = (listener.states - before) / SETS
        await client.stop(drain=0.1)
    control.close()
    return {
        REPORT: Count(of_report["calls"], of_report["objects"], of_report["turns"]),
        SET: Count(of_set["calls"], of_set["objects"], of_set["turns"], states),
    }


async def _set_up(stack: Stack) -> bool:
    """Whether both devices have joined and all their reporting is configured."""
    found = {each["address"]: each["reporting"] for each in (await stack.ask("devices"))["devices"]}
    return all(found.get(eui64) and set(found[eui64].values()) == {"configured"} for eui64 in DEVICES.values())


class _StateListener:
    """The handler of a client that counts the publications of the lamp's state."""

    def __init__(self) -> None:
        self.up = asyncio.Event()
        self.states = 0

    def connected(self, session_present: bool) -> None:
        self.up.set()

    def message(self, message: object) -> None:
        self.states += 1

    def refused(self, code: int, reason: str) -> None: ...
    def disconnected(self, reason: str) -> None: ...
    def subscribed(self, topic_filter: str, code: int) -> None: ...
    def published(self, token: object, code: int) -> None: ...
    def dropped(self, token: object, reason: object) -> None: ...


# The whole


PARTS = {"ip": over_ip, "http": over_http, "house": over_house, "bare": bare}


async def count(
    part: str, directory: Path, root: Path = ROOT, modules: dict[str, Mapping[str, float]] | None = None
) -> dict[str, Count]:
    """Start everything of a part (of ``ROWS``) below ``directory``; what each kind of message costs the gateway
    of the checkout ``root``. ``modules`` is filled with the calls by module."""
    async with running(directory) as stack:
        return await PARTS[part](stack, CountingGateway(stack, root, {} if modules is None else modules))


def lines(counts: Mapping[str, Count]) -> list[str]:
    """The table as it stands in the page."""
    rows = [[*HEAD], ["---"] * len(HEAD), *([name, *found.cells()] for name, found in counts.items())]
    return ["|" + "".join(f" {cell} |" if cell else " |" for cell in row) for row in rows]


def read_page(text: str) -> dict[str, Count]:
    """The counts that the page names."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == len(HEAD) and cells[0] in NAMES:
            calls, objects, turns, publications = (float(cell) if cell else None for cell in cells[1:])
            assert calls is not None and objects is not None
            found[cells[0]] = Count(calls, objects, turns, publications)
    return found


def write_page(text: str, counts: Mapping[str, Count]) -> str:
    """The page with the rows of ``counts`` as they are now."""
    _, _, *new = lines(counts)
    rows = {line.split("|")[1].strip(): line for line in new}
    kept = text.split("\n")
    return "\n".join(rows.get(line.split("|")[1].strip(), line) if line.startswith("|") else line for line in kept)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.counts", description=__doc__)
    parser.add_argument("--part", action="append", choices=tuple(PARTS), help="only these loads; may be repeated")
    checkout.add_option(parser, checkout.NONE)
    parser.add_argument(
        "--modules", type=int, default=0, metavar="N", help="the N modules with the most calls, each row"
    )
    parser.add_argument("--write", action="store_true", help="put the counts into docs/bench.md")
    chosen = parser.parse_args(argv)
    try:
        with checkout.opened(chosen.beside or checkout.NONE) as other:
            for each in (checkout.HERE, *([other] if other else [])):
                found = _count_all(chosen, each)
                if chosen.write and each is checkout.HERE:
                    PAGE.write_text(write_page(PAGE.read_text(), found))
    except checkout.NoSuchCheckoutError as error:
        sys.stderr.write(f"--beside: {error}\n")
        return 2
    except ProcessFailedError as error:
        sys.stderr.write(f"\ncounting failed: {error}\n")
        return 1
    return 0


def _count_all(chosen: argparse.Namespace, of: Checkout) -> dict[str, Count]:
    found: dict[str, Count] = {}
    modules: dict[str, Mapping[str, float]] = {}
    for part in chosen.part or PARTS:
        sys.stderr.write(f"\rcounting {', '.join(ROWS[part])} of {of.name}".ljust(100))
        with tempfile.TemporaryDirectory(prefix="counts-") as directory:
            found |= asyncio.run(count(part, Path(directory), of.root, modules))
    sys.stderr.write("\r".ljust(100) + "\r")
    print(f"{of.name}:\n" + "\n".join(lines(found)))
    for name, by_module in modules.items() if chosen.modules else ():
        print(f"\n{name}:")
        for module, calls in sorted(by_module.items(), key=lambda pair: -pair[1])[: chosen.modules]:
            print(f"{calls:8.1f}  {module}")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
