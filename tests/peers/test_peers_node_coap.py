"""node-coap-client at the gateway: it labels every body application/json, and takes its DTLS from another library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from adapters.coap.plugin import CoapPlugin
from demo.node_packages import NODE, installed
from gateway.api.model import Outcome
from gateway.engine.limits import EngineLimits
from tests.harness.coap_devices import POLICY, Device
from tests.harness.coap_gateway import PSKS, Home
from tests.harness.gateway_in_loop import until
from tests.harness.interactions import wanted_of

HERE = Path(__file__).parent / "node-coap"

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


class Client:
    """One run of drive.js."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self._reading = asyncio.get_running_loop().create_task(self._read())
        self._last = 0

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def begin(self, method: str, path: str, **more: Any) -> int:
        assert self.process.stdin is not None
        self._last += 1
        self.process.stdin.write(
            json.dumps({"id": self._last, "method": method, "path": path, **more}).encode() + b"\n"
        )
        return self._last

    def answers(self, request: int) -> list[dict[str, Any]]:
        return [each for each in self.lines if each["id"] == request]

    async def ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        request = self.begin(method, path, **more)
        await until(lambda: self.answers(request), 20)
        return self.answers(request)[0]

    async def end(self) -> None:
        self.process.kill()
        await self.process.wait()
        await self._reading


@pytest.fixture(scope="session")
def modules() -> Path:
    return installed(HERE, "install", "--no-save")


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    home = Home(tmp_path, POLICY, EngineLimits(), {}, CoapPlugin())
    async with home.serving():
        home.far.takes = False
        yield home
    home.check_books()


@pytest.fixture
async def client(home: Home, modules: Path) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        argv = [str(NODE), str(HERE / "drive.js"), str(modules), f"coaps://127.0.0.1:{home.port}"]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*argv, "phone", PSKS["phone"].decode(), stdin=pipe, stdout=pipe)
        client = Client(process)
        stack.push_async_callback(client.end)
        yield client


@pytest.mark.parametrize(
    ("path", "payload", "value"),
    [("on", "true", True), ("on", '"off"', False), ("level", "21.5", 21.5), ("label", '{"value":"näh"}', "näh")],
)
async def test_it_sets_what_it_labels_as_json(
    home: Home, client: Client, path: str, payload: str, value: object
) -> None:
    lamp = Device(home.far)
    setting = client.begin("put", f"/d/lamp/{path}", payload=payload)
    command = await lamp.command()
    assert wanted_of(command) == (path, value)
    lamp.settle(command, Outcome.DELIVERED)
    await until(lambda: client.answers(setting), 20)
    assert client.answers(setting)[0]["code"] == "2.04"
    assert (await client.ask("put", f"/d/lamp/{path}", payload="[]"))["code"] == "4.00"


async def test_it_reads_and_observes(home: Home, client: Client) -> None:
    lamp = Device(home.far)
    lamp.tell(on=True, level=0, label="x" * 80)
    answer = await client.ask("get", "/d/lamp", blocks=16)
    assert {each.get("n") for each in json.loads(answer["payload"])} == {"on", "level", "label"}
    observation = client.begin("observe", "/d/lamp/level")
    await until(lambda: client.answers(observation), 20)
    for level in range(1, 50):
        lamp.tell(level=level)
        await asyncio.sleep(0.02)
    newest = lambda: json.loads(client.answers(observation)[-1]["payload"])[0]["v"]  # noqa: E731
    await until(lambda: newest() == 49, 20)
    await until(lambda: home.adapter.status()["notifications_acknowledged"] == 1, 20)
    assert home.adapter.status()["device_observers"] == 1
