"""The whole simulator as a process: unmodified zigpy and bellows, its command line, and attached clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bellows.zigbee.application import ControllerApplication
from click.testing import CliRunner

from carriage.zigbee import attach
from carriage.zigbee.attach_client import AttachClient
from simulator.cli import main
from simulator.ctl import ask

ROOT = Path(__file__).resolve().parents[3]
LAMP, ATTIC, CELLAR, METER = (f"00:0d:6f:00:00:00:00:{last}" for last in ("01", "02", "03", "10"))
NETWORK = f"""
devices:
  - {{eui64: "{LAMP}", kind: lamp, name: kitchen, manufacturer: ACME, model: L1}}
  - {{eui64: "{ATTIC}", kind: thermometer, name: attic, poll_interval: 3600}}
  - {{eui64: "{CELLAR}", kind: thermometer, name: cellar, poll_interval: 0.5, model: T2}}
"""
TUNNELING = 0x0704
pytestmark = pytest.mark.process


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "simulator.cli", *map(str, arguments)]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@dataclass
class Simulator:
    process: asyncio.subprocess.Process
    places: dict[str, str]
    socket: Path

    async def ctl(self, *arguments: object, fails: bool = False) -> Any:
        """An order by command line; its answer, or its complaint."""
        process = await asyncio.create_subprocess_exec(
            *command("ctl", self.socket, *arguments),
            env=ENVIRONMENT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 30)
        assert (process.returncode != 0) is fails, err.decode()
        return err.decode() if fails else json.loads(out)

    async def order(self, do: str, **arguments: object) -> Any:
        """The same without a process of its own."""
        return await asyncio.to_thread(ask, self.socket, {"do": do, **arguments})

    async def device(self, name: str) -> dict[str, Any]:
        return next(row for row in await self.order("devices") if row["name"] == name)


@contextlib.asynccontextmanager
async def simulator(directory: Path, *options: object, stop: int = signal.SIGTERM) -> AsyncIterator[Simulator]:
    path = directory / "air"
    process = await asyncio.create_subprocess_exec(
        *command("run", "--attach-socket", path, "--scan-pace", 0, "--log-level", "warning", *options),
        env=ENVIRONMENT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        word, *places = line.split()
        assert word == "ready"
        yield Simulator(process, dict(place.split("=", 1) for place in places), path)
    finally:
        if process.returncode is None:
            process.send_signal(stop)
            await asyncio.wait_for(process.wait(), 10)
    assert process.returncode == 0
    assert not path.exists()


@contextlib.asynccontextmanager
async def host(directory: Path, port: str, *, form: bool = False) -> AsyncIterator[ControllerApplication]:
    """Unmodified zigpy with bellows at the virtual dongle."""
    config = {
        "database_path": str(directory / "zigbee.db"),
        "device": {"path": port, "baudrate": 115200},
        "backup_enabled": False,
        "topology_scan_enabled": False,
        "ota": {"enabled": False},
    }
    if form:
        # as after any forming: an application made anew
        forming = await ControllerApplication.new(config, auto_form=True)
        await forming.shutdown()
    app = await ControllerApplication.new(config, auto_form=False)
    try:
        yield app
    finally:
        await app.shutdown()


async def until(check: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def find(app: ControllerApplication, eui64: str) -> Any:
    return next(device for device in app.devices.values() if str(device.ieee) == eui64)


def interviewed(app: ControllerApplication, count: int) -> bool:
    devices = [device for device in app.devices.values() if device.nwk != 0]
    return len(devices) == count and all(device.is_initialized and device.model for device in devices)


def listen(cluster: Any) -> list[Any]:
    reports: list[Any] = []
    cluster.on_event("attribute_report", reports.append)
    return reports


async def meter(socket: Path, on_received: Callable[[attach.Received], None]) -> AttachClient:
    request = attach.Attach(
        eui64=attach.parse_eui64(METER),
        endpoint=1,
        input_clusters=(TUNNELING,),
        manufacturer="ACME",
        model="meter",
    )
    return await AttachClient.connect(str(socket), request, on_received=on_received)


async def first_run(directory: Path, sim: Simulator, dongle: str) -> dict[str, int]:
    """Form, join, interview, command, report, sleep; the addresses that everybody got."""
    received: list[attach.Received] = []
    async with host(directory, dongle, form=True) as app:
        assert [row["state"] for row in await sim.order("devices")] == ["blank"] * 3
        client = await meter(sim.socket, received.append)
        await app.permit(60)
        assert await client.join(10) == client.nwk
        await until(lambda: interviewed(app, 4))
        lamp, attic, cellar, tunnel = (find(app, eui64) for eui64 in (LAMP, ATTIC, CELLAR, METER))
        assert (lamp.manufacturer, lamp.model) == ("ACME", "L1")
        assert (attic.manufacturer, attic.model, cellar.model) == ("atls-simulator", "virtual-thermometer", "T2")
        assert (tunnel.manufacturer, tunnel.model) == ("ACME", "meter")
        assert set(tunnel.endpoints[1].in_clusters) == {0x0000, TUNNELING}
        assert lamp.node_desc.is_router and not lamp.node_desc.is_end_device
        assert attic.node_desc.is_end_device and not attic.node_desc.is_receiver_on_when_idle

        switch = lamp.endpoints[1].on_off
        await switch.on()
        assert (await sim.device("kitchen"))["values"] == {"on_off": 1.0}
        await switch.bind()
        await switch.configure_reporting("on_off", 0, 3600, 1)
        reports = listen(switch)
        await sim.ctl("press", "kitchen")
        await until(lambda: len(reports) == 1)
        assert not reports[0].value

        warmth = listen(attic.endpoints[1].temperature)
        assert await sim.ctl("report", "attic", "temperature", "-3.5") == {"delivered": True}
        await until(lambda: len(warmth) == 1)
        assert warmth[0].value == -350

        # asleep for an hour: the request waits at the parent until the device polls
        await asyncio.sleep(0.4)
        reading = asyncio.ensure_future(attic.endpoints[1].temperature.read_attributes(["measured_value"]))
        async with asyncio.timeout(5):
            while (await sim.device("attic"))["waiting"] == 0:
                pass
        assert not reading.done()
        await sim.order("poll", device="attic")
        assert (await reading)[0] == {"measured_value": -350}
        # this one polls by itself
        assert (await cellar.endpoints[1].humidity.read_attributes(["measured_value"]))[0] == {"measured_value": 5000}

        await tunnel.request(
            profile=0x0104,
            cluster=TUNNELING,
            src_ep=1,
            dst_ep=1,
            sequence=1,
            data=b"\x01\x01\x00opaque",
            expect_reply=False,
        )
        await until(lambda: bool(received))
        assert (received[0].payload, received[0].cluster) == (b"\x01\x01\x00opaque", TUNNELING)
        assert await client.send(b"\x09\x02\x00answer", cluster=TUNNELING)
        client.close()
        await client.wait_closed()
        await switch.on()
        return {str(device.ieee): device.nwk for device in app.devices.values()}


async def second_run(directory: Path, sim: Simulator, dongle: str, addresses: dict[str, int]) -> None:
    """Nobody joins or is interviewed again, and everything still works."""
    async with host(directory, dongle) as app:
        assert {str(device.ieee): device.nwk for device in app.devices.values()} == addresses
        assert interviewed(app, 4)
        switch = find(app, LAMP).endpoints[1].on_off
        assert (await switch.read_attributes(["on_off"]))[0] == {"on_off": True}
        reports = listen(switch)
        await sim.order("press", device="kitchen")  # binding and reporting were kept
        await until(lambda: len(reports) == 1)
        client = await meter(sim.socket, lambda _: None)
        assert client.nwk == addresses[METER]
        assert await client.send(b"\x09\x02\x00answer", cluster=TUNNELING)
        client.close()
        await client.wait_closed()


async def test_life_of_a_network(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(NETWORK)
    tty = tmp_path / "dongle"
    files = ("--pty", tty, "--state", tmp_path / "state", "--network", tmp_path / "net.yaml")
    options = (*files, "--awake", "0.3", "--indirect-expiry", "25")
    async with simulator(tmp_path, *options, "--seed", 7) as sim:
        assert sim.places == {"pty": str(tty), "attach": str(sim.socket), "seed": "7"}
        addresses = await first_run(tmp_path, sim, str(tty))
    async with simulator(tmp_path, *options, "--seed", 8, stop=signal.SIGINT) as sim:
        await second_run(tmp_path, sim, str(tty), addresses)


async def test_a_bad_radio_and_a_pulled_dongle(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(NETWORK)
    tty = tmp_path / "dongle"
    options = ("--pty", tty, "--network", tmp_path / "net.yaml", "--delay", "1-5", "--seed", 3)
    async with simulator(tmp_path, *options) as sim:
        async with host(tmp_path, str(tty), form=True) as app:
            await app.permit(60)
            await until(lambda: interviewed(app, 3))
            radio = await sim.ctl("radio", "--loss", 0.3, "--duplicate", 0.2, "--reorder", 0.2)
            assert (radio["loss"], radio["delay_min"], radio["delay_max"]) == (0.3, 0.001, 0.005)
            warmth = listen(find(app, ATTIC).endpoints[1].temperature)
            # a lost acknowledgement leaves a report delivered that its sender takes for lost
            delivered = 0
            for degrees in range(8):
                report = await sim.order("report", device="attic", name="temperature", value=degrees)
                delivered += report["delivered"]
            await until(lambda: len(warmth) >= delivered)
            values = [report.value for report in warmth]
            assert delivered >= 4 and len(set(values)) == len(values) <= 8
            link = (await sim.order("counters", device="attic"))["attic"]["up"]
            assert all(link[name] > 0 for name in ("transmitted", "lost", "duplicated", "retries", "delivered"))
            await sim.order("radio", loss=0, duplicate=0, reorder=0)
            await find(app, LAMP).endpoints[1].on_off.on()
            lost = asyncio.Event()
            app.add_listener(type("Listener", (), {"connection_lost": lambda _self, _error: lost.set()})())
            assert (await sim.ctl("dongle", "fail"))["network_up"] == 0
            await asyncio.wait_for(lost.wait(), 20)
        await sim.ctl("dongle", "unplug")
        await until(lambda: not tty.exists())
        assert "unplugged" in await sim.ctl("dongle", "fail", fails=True)
        await sim.order("dongle", action="replug")
        await until(tty.exists)


def test_what_cannot_run_says_why(tmp_path: Path) -> None:
    runner = CliRunner()

    def refused(*options: object) -> str:
        result = runner.invoke(main, ["run", *map(str, options)])
        assert result.exit_code not in (0, None) and "Traceback" not in result.stderr
        return result.stderr

    state = tmp_path / "state"
    state.mkdir()
    broken = state / "devices.json"
    broken.write_text("{")
    assert str(broken) in refused("--tcp", "127.0.0.1:0", "--state", state)
    assert broken.read_text() == "{"
    (tmp_path / "net.yaml").write_text("devices: [{kind: lamp}]")
    assert "devices.0.eui64" in refused("--tcp", "127.0.0.1:0", "--network", tmp_path / "net.yaml")
    assert "--tcp" in refused()
    assert "HOST:PORT" in refused("--tcp", "40123")
    assert "milliseconds" in refused("--delay", "fast")
    assert "can't be served" in refused("--pty", tmp_path / "nowhere" / "tty")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert "can't be served" in refused("--tcp", address, "--attach-socket", tmp_path / "air")
    assert not (tmp_path / "air").exists()
    for words in (["--help"], ["run", "--help"], ["ctl", "x", "--help"]):
        assert "Usage" in runner.invoke(main, words).stdout
    assert "No such file" in runner.invoke(main, ["ctl", str(tmp_path / "air"), "devices"]).stderr


def test_the_error_without_pseudo_terminals_says_what_to_mount(tmp_path: Path) -> None:
    """As a bare chroot is: /dev/pts hidden in a mount namespace of its own."""
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    command = f"mount -t tmpfs none /dev/pts && exec {sys.executable} -m simulator.cli run --pty {tmp_path / 'tty'}"
    found = subprocess.run([*namespace, "sh", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert found.returncode == 1
    assert found.stderr == "Error: the dongle can't be served: no pseudo-terminals: is /dev/pts mounted?\n"


async def test_tcp_and_orders_that_fail(tmp_path: Path) -> None:
    async with simulator(tmp_path, "--tcp", "127.0.0.1:0") as sim:
        host_name, port = sim.places["tcp"].split(":")
        _, writer = await asyncio.open_connection(host_name, int(port))
        writer.close()
        await writer.wait_closed()
        assert "no such device" in await sim.ctl("press", "00:00:00:00:00:00:00:01", fails=True)
