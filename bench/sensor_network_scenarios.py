"""The scenarios of ``bench.sensor_network``: 200 sensors that report, and a lamp that is switched, here and at peers.

The house is formed and interviewed once, by bellows; every process under test gets a copy of that network, behind a
separate virtual dongle, and of zigpy's database of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from bench.checkout import HERE, Checkout, CheckoutStack
from bench.cpu import memory
from bench.scenario import Level, Scenario, Site, quiet
from bench.sensor_network_control import LAMP_NAME, NAME, Control
from demo.process import Process
from demo.stack import Stack, running

SENSORS = 200
POLL, REST = 0.5, 3600.0
"""Seconds between two polls of a sensor: interviewing must not take all day; later they would be most of the load."""
REPORT = 8
"""Octets of a report."""
COMMAND = 3

LEVELS = (
    Level("10 devices, full", devices=10),
    Level("200 devices, full", devices=SENSORS),
    Level("50/s", rate=50, devices=10),
    Level("200/s", rate=200, devices=10),
)
SET_UP_LIMIT = 120.0
"""Seconds for the gateway to have one sensor's reporting configured."""
CLUSTERS = 3
"""Of a sensor that report: temperature, humidity, battery."""
REPORTS = 20_000
"""How many a gateway must have taken before it is looked at what memory it holds."""
USER = "home-assistant"
ONE_BY_ONE = (Level("one by one"), Level("closed loop", in_flight=1))


async def over_house(
    site: Site,
    exits: contextlib.AsyncExitStack,
    directory: Path,
    sensors: int = SENSORS,
    beside: Checkout | None = None,
    here: Checkout = HERE,
) -> list[Scenario]:
    """Reports in, MQTT out; MQTT in, a command out; and the same of bellows with and without zigpy's path."""
    model = directory / "h"
    named = await _model(site, model, sensors)
    checkouts = {"hg": here, "hh": here, "ha": here, "hc": here} | ({"hb": beside} if beside else {})
    places = {}
    for name, checkout in checkouts.items():
        stack = places[name] = await exits.enter_async_context(CheckoutStack(directory / name, checkout=checkout))
        shutil.copytree(model / "simulator", stack.directory / "simulator")
        shutil.copy(model / "zigbee.db", stack.directory / "zigbee.db")
    gateway, hook, attributes, call, *there = places.values()
    for stack in (gateway, *there):
        await _set_up(stack, model, named)
    _network(model / "network.yaml", REST, sensors)
    for stack in places.values():
        await stack.start_simulator("--seed", "1", "--network", str(model / "network.yaml"))
    bare, whole, caller, *_ = await asyncio.gather(
        _bellows(site, "hook", hook),
        _bellows(site, "attributes", attributes),
        _bellows(site, "call", call, call.attach_socket),
        *(stack.start_gateway() for stack in (gateway, *there)),
    )
    reports, sets = await _of_gateway(site, gateway)
    if there:
        reports.beside, sets.beside = await _of_gateway(site, there[0])
    return [
        reports,
        await _of_reports(site, "bellows, bare hook", "packet_received decodes it", bare, hook),
        await _of_reports(site, "zigpy, attribute", "attribute_report event, database", whole, attributes),
        sets,
        Scenario("bellows, call to frame", "send_packet, On/Off at the lamp", COMMAND, caller, caller.pid, ONE_BY_ONE),
    ]


async def _of_gateway(site: Site, stack: Stack) -> tuple[Scenario, Scenario]:
    """Reports in, and sets in."""
    broker, process = stack.broker, stack.gateway
    assert broker is not None and process is not None
    what = "a temperature in, PUBLISH of the state out"
    reports = await _of_reports(site, "gateway, report to mqtt", what, process, stack)
    name, password = f"set {stack.directory.name}", broker.passwords[USER]
    load = await site.start(
        name, "bench.sensor_network", "set", stack.attach_socket, broker.port, USER, password, f"home/{LAMP_NAME}/set"
    )
    what = "PUBLISH in, On/Off at the lamp"
    return reports, Scenario("gateway, mqtt set to frame", what, COMMAND, load, process.pid, ONE_BY_ONE)


async def _of_reports(site: Site, name: str, what: str, process: Process, stack: Stack) -> Scenario:
    load = await site.start(f"reports {stack.directory.name}", "bench.sensor_network", "reports", stack.attach_socket)
    return Scenario(name, what, REPORT, load, process.pid, LEVELS)


async def held(row: Scenario) -> dict[str, float]:
    """Octets of private memory that the process of a row of reports holds, idle and after ``REPORTS`` of them; how
    many there were."""
    idle = memory(row.pid)["private"]
    reports = 0.0
    while reports < REPORTS:
        reports += (await row.measure(LEVELS[1], warm=0.1, seconds=3.0))["messages"]
    return {"idle": idle, "after": memory(row.pid)["private"], "reports": reports}


def _network(path: Path, poll_interval: float, sensors: int) -> dict[str, str]:
    """The network file of the house, written; names and addresses."""
    named = {LAMP_NAME: "00:0d:6f:00:0c:00:00:00"}
    named |= {f"sensor-{number}": f"00:0d:6f:00:0c:00:01:{number:02x}" for number in range(1, sensors + 1)}
    lines = ["devices:"]
    for name, eui64 in named.items():
        kind = "kind: lamp" if name == LAMP_NAME else f"kind: thermometer, poll_interval: {poll_interval}"
        lines.append(f'  - {{eui64: "{eui64}", name: {name}, {kind}}}')
    path.write_text("\n".join(lines) + "\n")
    return named


async def _model(site: Site, directory: Path, sensors: int) -> dict[str, str]:
    """A network of sensors and a lamp that bellows knows, in ``directory``; names and addresses."""
    async with running(directory) as stack:
        named = _network(directory / "network.yaml", POLL, sensors)
        await stack.start_simulator("--seed", "1", "--network", str(directory / "network.yaml"))
        forming = await site.start("interviews", "bench.sensor_network", "prepare", stack.dongle, directory, len(named))
        await forming.stop()
    return named


async def _set_up(stack: Stack, model: Path, named: Mapping[str, str]) -> None:
    """Config, policy and broker; and one run of the gateway, in which it sets a sensor up."""
    lines = ["layer: 1", "policy-version: 1", "subjects:", "  broker: {link: mqtt, broker: 127.0.0.1}"]
    lines += [f'  {name}: {{link: zigbee, eui64: "{eui64}"}}' for name, eui64 in named.items()]
    rule = '{id: home, effect: permit, subject: broker, resource: "*", action: [read, observe, write]}'
    lines += ["rules:", f"  - {rule}"]
    stack.write_policy("\n".join(lines) + "\n")
    await stack.start_broker(["gateway", USER])
    state = stack.directory / "state" / "zigbee"
    state.mkdir(parents=True, mode=0o700)
    state.parent.chmod(0o700)
    shutil.copy(model / "zigbee.db", state / "zigbee.db")

    simulator = await stack.start_simulator("--seed", "1", "--network", str(model / "network.yaml"))
    quiet(stack.write_config(form="never", devices=True))
    running_gateway = await stack.start_gateway()
    control = await Control.connect(str(stack.attach_socket))
    async with asyncio.timeout(SET_UP_LIMIT):
        while not (done := await _configured(stack, [each for each in named if each != LAMP_NAME], named)):
            await control.ask("load", name=NAME, seconds=1, devices=1, rate=2, ack=False)  # only who is heard is asked
    control.close()
    await running_gateway.stop()
    await simulator.stop()
    # The sensors are alike: what was set up at one is written down for all.
    written = state / "reporting.json"
    devices = json.loads(written.read_text())
    devices |= {eui64: devices[done] for name, eui64 in named.items() if name != LAMP_NAME}
    written.write_text(json.dumps(devices))


async def _configured(stack: Stack, sensors: list[str], named: Mapping[str, str]) -> str:
    """A sensor whose reporting is all configured; empty while there is none."""
    wanted = {named[name] for name in sensors}
    for each in (await stack.ask("devices"))["devices"]:
        states = each["reporting"]
        if each["address"] in wanted and len(states) == CLUSTERS and set(states.values()) == {"configured"}:
            return str(each["address"])
    return ""


async def _bellows(site: Site, what: str, stack: Stack, *more: object) -> Process:
    return await site.start(what, "bench.sensor_network", what, stack.dongle, stack.directory, *more)
