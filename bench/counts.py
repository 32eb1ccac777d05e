"""``make counts``: Python calls, objects and turns of the loop that one message costs a real gateway process.

Counts depend on no clock, so that they say on any machine what a change did; what they cost in time is the business of
``make bench``. Prints the table of docs/bench.md, ``--write`` puts it there; ``--beside`` counts the gateway of
another checkout as well, under the same load; ``--modules`` says where the calls are. tests/counts reads the page.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import checkout
from bench.checkout import Checkout
from bench.coaps import LOOK, Client
from bench.messages import record
from bench.scenario import ROOT, quiet
from bench.scenarios import CLIENTS, POLICY_IP, UNIT
from bench.sensor_network_control import LAMP_NAME, NAME, Control
from carriage.coap import codes
from carriage.coap.exchange import Response
from carriage.mqtt.client import MqttClient
from carriage.mqtt.options import MqttOptions
from demo.credentials import make_psk_file
from demo.process import Process, ProcessFailedError
from demo.stack import PREFIX, Stack, running
from layer.credentials import Credentials, Psk, load_psk_file

PAGE = ROOT / "docs" / "bench.md"
HEAD = ("message", "calls", "objects", "turns", "publications")

FULL = "coaps to mqtt, 32 in flight"
ALONE = "coaps to mqtt, one by one"
REPORT = "zigbee report to mqtt, 20/s"
SET = "mqtt set, frame, answer"
ROWS = {"ip": (FULL, ALONE), "house": (REPORT, SET)}

UNITS = {FULL: 2000, ALONE: 200}
WARM = 320
"""Units before the count: every client has had some, and what is made at the first unit is made."""
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
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Count:
    """What one message costs. ``turns`` is None if batches of messages share them, ``publications`` (of the state of
    a device) if none is concerned."""

    calls: float
    objects: float
    turns: float | None = None
    publications: float | None = None

    def cells(self) -> list[str]:
        return [f"{self.calls:.0f}", *("" if n is None else f"{n:.1f}" for n in self.numbers()[1:])]

    def numbers(self) -> tuple[float, float, float | None, float | None]:
        return self.calls, self.objects, self.turns, self.publications


@dataclass(slots=True)
class CountingGateway:
    """A gateway of the checkout ``root`` that counts its calls, started by ``stack``."""

    stack: Stack
    root: Path
    modules: dict[str, Mapping[str, float]]

    async def start(self) -> None:
        program = [sys.executable, str(ROOT / "bench" / "counting_gateway.py")]
        environment = {**os.environ, "PYTHONPATH": str(self.root), "COUNT_FILE": str(self._file)}
        await self.stack.start_gateway(environment, program=program)

    @property
    def _file(self) -> Path:
        return self.stack.directory / "count"

    async def count(self, name: str, load: Callable[[], Awaitable[int]]) -> tuple[dict[str, float], int]:
        """What the gateway does while ``load`` carries through as many messages as it returns, for each of them."""
        assert self.stack.gateway is not None
        self._file.unlink(missing_ok=True)
        os.kill(self.stack.gateway.pid, signal.SIGUSR1)
        await _until(self._file.exists)
        messages = await load()
        os.kill(self.stack.gateway.pid, signal.SIGUSR2)
        await _until(lambda: self._file.stat().st_size > 0)
        found = json.loads(self._file.read_text())
        self.modules[name] = {module: calls / messages for module, calls in found["modules"].items()}
        return {key: found[key] / messages for key in ("calls", "objects", "turns")}, messages


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - another process makes it so
            await asyncio.sleep(0.01)


# CoAP over DTLS to MQTT


async def over_ip(stack: Stack, gateway: CountingGateway) -> dict[str, Count]:
    """Units of 32 clients, each in order, and of one client alone."""
    stack.write_policy(POLICY_IP)
    stack.link_psks = make_psk_file(stack.directory / "link.psk", *(f"c{n}" for n in range(CLIENTS)))
    broker = await stack.start_broker(["gateway", "app"])
    password = broker.passwords["app"].read_text().strip()
    login = ["-h", "127.0.0.1", "-p", str(broker.port), "-u", "app", "-P", password]
    listening = await Process.start("app", ["mosquitto_sub", *login, "-t", f"{PREFIX}/app/#"], stack.directory)
    stack.processes.append(listening)
    quiet(stack.write_config(zigbee=False))
    await gateway.start()
    async with _clients(stack) as clients:
        await _send(clients, WARM)
        full, _ = await gateway.count(FULL, lambda: _send(clients, UNITS[FULL]))
        alone, _ = await gateway.count(ALONE, lambda: _send(clients[:1], UNITS[ALONE]))
    return {
        FULL: Count(full["calls"], full["objects"]),
        ALONE: Count(alone["calls"], alone["objects"], alone["turns"]),
    }


@asynccontextmanager
async def _clients(stack: Stack) -> AsyncIterator[list[Client]]:
    assert stack.link_psks is not None
    loop = asyncio.get_running_loop()
    clients = []
    timer: asyncio.TimerHandle | None = None
    for identity, key in load_psk_file(stack.link_psks.path).items():
        client = Client(stack.coaps_port, Credentials(psk=Psk(identity, key)))
        await client.start()
        await client.open("app")
        clients.append(client)

    def look() -> None:
        nonlocal timer
        for client in clients:
            client.look()
        timer = loop.call_later(LOOK, look)

    look()
    try:
        yield clients
    finally:
        assert timer is not None
        timer.cancel()
        for client in clients:
            client.close()


async def _send(clients: list[Client], units: int) -> int:
    """So many units, one of each client under way; returns when all are answered."""
    unit = record(UNIT)
    left, waiting = units, 0
    all_answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    free = deque(clients)

    def begin() -> None:
        nonlocal left, waiting
        while left and free:
            client = free.popleft()
            left, waiting = left - 1, waiting + 1
            client.post(unit, partial(answered, client))

    def answered(client: Client, response: Response) -> None:
        nonlocal waiting
        if response.code != codes.CHANGED:
            all_answered.set_exception(ProcessFailedError(f"a unit was answered {response}"))
            return
        waiting -= 1
        free.append(client)
        begin()
        if not waiting:
            all_answered.set_result(None)

    begin()
    async with asyncio.timeout(PATIENCE):
        await all_answered
    return units


# ZigBee and MQTT


async def over_house(stack: Stack, gateway: CountingGateway) -> dict[str, Count]:
    """Reports of a thermometer, and a lamp that is switched: its answer and its own report come back."""
    stack.write_policy(POLICY_HOUSE)
    broker = await stack.start_broker(["gateway", USER])
    network = stack.directory / "network.yaml"
    network.write_text(NETWORK)
    await stack.start_simulator("--seed", "1", "--scan-pace", "0", "--network", str(network))
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
        of_report, _ = await gateway.count(REPORT, report)
        before = listener.states
        of_set, sets = await gateway.count(SET, switch)
        states = listener.states - before
        await client.stop(drain=0.1)
    control.close()
    return {
        REPORT: Count(of_report["calls"], of_report["objects"], of_report["turns"]),
        SET: Count(of_set["calls"], of_set["objects"], of_set["turns"], states / sets),
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


PARTS = {"ip": over_ip, "house": over_house}


async def count(
    part: str, directory: Path, root: Path = ROOT, modules: dict[str, Mapping[str, float]] | None = None
) -> dict[str, Count]:
    """Start everything of a part (``ip``, ``house``) below ``directory``; what each kind of message costs the gateway
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
        if len(cells) == len(HEAD) and cells[0] in {FULL, ALONE, REPORT, SET}:
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
