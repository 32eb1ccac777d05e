"""Another make's driver at the virtual dongle: zigbee-herdsman's ``ember``, which zigbee2mqtt uses, over TCP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from demo.node_packages import NODE, installed
from demo.process import Process
from demo.stack import Stack, running
from simulator.ctl import ask

HERE = Path(__file__).parent / "herdsman"
LAMP, SENSOR = "00:0d:6f:00:0f:00:00:01", "00:0d:6f:00:0f:00:00:02"
NETWORK = f"""\
devices:
  - {{eui64: "{LAMP}", kind: lamp, name: lamp}}
  - {{eui64: "{SENSOR}", kind: thermometer, name: sensor, poll_interval: 0.3}}
"""

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


@pytest.fixture(scope="session")
def modules() -> Path:
    return installed(HERE)


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(tmp_path / "s") as stack:
        (stack.directory / "network.yaml").write_text(NETWORK)
        yield stack


async def drive(stack: Stack, modules: Path, what: str) -> Process:
    port = stack.dongle.rpartition(":")[2]
    argv = [str(NODE), str(HERE / "drive.js"), str(modules), port, str(stack.directory / "herdsman.db"), what]
    process = await Process.start(f"herdsman-{what}", argv, stack.directory)
    stack.processes.append(process)
    return process


def lamp(stack: Stack) -> dict[str, Any]:
    return next(each for each in ask(stack.attach_socket, {"do": "devices"}) if each["name"] == "lamp")


@pytest.mark.parametrize("version", [13, 18])
async def test_ember_forms_joins_commands_receives_and_resumes(stack: Stack, modules: Path, version: int) -> None:
    network = str(stack.directory / "network.yaml")
    await stack.start_simulator("--seed", "1", "--ezsp", str(version), "--network", network, tcp=True)
    driver = await drive(stack, modules, "join")
    started = await driver.expect_event("started", seconds=60)
    assert (started["ezsp"], started["result"]) == (version, "reset")
    found = await driver.expect(lambda event: event.get("status") == "successful", count=2, seconds=60)
    assert {event["model"] for event in found} == {"virtual-lamp", "virtual-thermometer"}

    driver.tell(do="on", eui64=LAMP)
    await driver.expect_event("done", seconds=30)
    assert lamp(stack)["values"]["on_off"] == 1.0
    ask(stack.attach_socket, {"do": "report", "device": "sensor", "name": "temperature", "value": 21.5})
    (report,) = await driver.expect(lambda event: event.get("type") == "attributeReport", what="a report")
    assert (report["cluster"], report["data"]) == ("msTemperatureMeasurement", {"measuredValue": 2150})
    driver.tell(do="stop")
    await driver.expect_event("stopped", seconds=30)

    again = await drive(stack, modules, "resume")
    started = await again.expect_event("started", seconds=60)
    assert started["result"] == "resumed" and len(started["devices"]) == 3
    again.tell(do="read", eui64=LAMP, cluster="genOnOff")
    assert (await again.expect_event("done", seconds=30))["value"] == {"onOff": 1}
    again.tell(do="stop")
    await again.expect_event("stopped", seconds=30)
