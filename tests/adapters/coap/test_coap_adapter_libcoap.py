"""Devices as clients of another make use them: libcoap with OpenSSL and with GnuTLS (Debian's libcoap3-bin 4.3.1)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from carriage.coap.link_format import read_links
from gateway.api.model import DataSchema, DataType, Outcome, PropertyAffordance, Reason
from tests.harness.coap_devices import POLICY, Device
from tests.harness.coap_gateway import PSKS, Home
from tests.harness.gateway_in_loop import until
from tests.harness.interactions import wanted_of

pytestmark = pytest.mark.process
builds = pytest.mark.parametrize("build", ["openssl", "gnutls"])


@pytest.fixture
async def home(start: Callable[..., Any]) -> Home:
    found = await start(policy=POLICY)
    assert isinstance(found, Home)
    found.far.takes = False
    return found


@pytest.fixture
def lamp(home: Home) -> Device:
    return Device(home.far)


class Client:
    """One run of coap-client. What it prints, as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.printed = b""
        self._reading = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while octets := await self.process.stdout.read(4096):
            self.printed += octets

    async def end(self) -> bytes:
        async with asyncio.timeout(30):
            await self._reading
            await self.process.wait()
        return self.printed


async def client(home: Home, build: str, path: str, *options: str) -> Client:
    key = PSKS["phone"].decode()
    process = await asyncio.create_subprocess_exec(
        f"coap-client-{build}", "-B", "20", "-u", "phone", "-k", key, *options,
        f"coaps://127.0.0.1:{home.port}/{path}",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    return Client(process)


async def run(home: Home, build: str, path: str, *options: str) -> bytes:
    return await (await client(home, build, path, *options)).end()


@builds
async def test_it_finds_and_reads(home: Home, lamp: Device, build: str) -> None:
    lamp.tell(on=True, level=40)
    found = read_links((await run(home, build, ".well-known/core?rt=urn:oma:lwm2m:ext:3306")).strip())
    assert [link.target for link in found] == ["/d/lamp/on"]
    (record,) = json.loads(await run(home, build, "d/lamp/level"))
    assert (record["n"], record["v"], record["u"]) == ("lamp/level", 40, "/")
    assert (await run(home, build, "d/lamp/on", "-A", "0")).strip() == b"true"
    printed = await run(home, build, "d/lamp/level", "-A", "112")
    assert b"\x00jlamp/level\x01a/\x02\x18\x28" in printed  # n, u and v
    assert b"4.04" in await run(home, build, "d/nobody/on")


@builds
async def test_it_sets(home: Home, lamp: Device, build: str) -> None:
    setting = await client(home, build, "d/lamp/on", "-m", "put", "-e", "1", "-t", "0")
    lamp.settle(await lamp.command(), Outcome.DELIVERED)
    assert b"4." not in await setting.end()
    setting = await client(home, build, "d/lamp/level", "-m", "put", "-e", '[{"v":50}]', "-t", "110")
    command = await lamp.command(2)
    assert wanted_of(command)[1] == 50
    lamp.settle(command, Outcome.DROPPED, Reason.REJECTED, "INVALID_VALUE")
    assert b"5.02 rejected: INVALID_VALUE" in await setting.end()
    assert b"4.00" in await run(home, build, "d/lamp/level", "-m", "put", "-e", "much", "-t", "0")


@builds
async def test_it_fetches_a_description_in_blocks(home: Home, lamp: Device, build: str) -> None:
    described = json.loads(await run(home, build, "td/lamp", "-A", "432", "-b", "64"))
    assert described["title"] == "lamp" and described["properties"].keys() == {"on", "level", "label", "temperature"}
    (link,) = json.loads(await run(home, build, ".well-known/wot"))["links"]
    assert link["href"] == f"coaps://127.0.0.1:{home.port}/td/lamp"


@builds
async def test_it_reads_and_sets_an_object_by_its_fields(home: Home, lamp: Device, build: str) -> None:
    number = DataSchema(type=DataType.NUMBER)
    lamp.change(
        PropertyAffordance(name="color", type=DataType.OBJECT, writable=True, fields=(("x", number), ("y", number)))
    )
    pack = '[{"bn":"color/","n":"x","v":0.1},{"n":"y","v":0.2}]'
    setting = await client(home, build, "d/lamp/color", "-m", "put", "-e", pack, "-t", "110")
    command = await lamp.command()
    assert wanted_of(command) == ("color", {"x": 0.1, "y": 0.2})
    lamp.settle(command, Outcome.DELIVERED)
    assert b"4." not in await setting.end()
    lamp.tell(color={"x": 0.1, "y": 0.2})  # type: ignore[arg-type]
    found = json.loads(await run(home, build, "d/lamp/color"))
    assert [(each["n"], each["v"]) for each in found] == [("color/x", 0.1), ("color/y", 0.2)]
    assert json.loads(await run(home, build, "d/lamp/color/value")) == {"x": 0.1, "y": 0.2}
    assert b"\xa2ax\xfb" in await run(home, build, "d/lamp/color/value", "-A", "60")


@builds
async def test_it_observes(home: Home, lamp: Device, build: str) -> None:
    lamp.tell(label="first")
    observing = await client(home, build, "d/lamp/label", "-A", "0", "-s", "60")
    await until(lambda: b"first" in observing.printed, 20)
    lamp.tell(label="second")
    await until(lambda: b"second" in observing.printed, 20)
    lamp.tell(label="third")
    await until(lambda: b"third" in observing.printed, 20)
    assert home.adapter.status()["device_observers"] == 1
    observing.process.terminate()  # it deregisters
    await observing.end()
    await until(lambda: not home.adapter.status()["device_observers"], 20)


@builds
@pytest.mark.parametrize("block", ["16", "32"])
async def test_it_observes_in_small_blocks(home: Home, lamp: Device, build: str, block: str) -> None:
    """A whole device, while its values change faster than its blocks are fetched."""
    lamp.tell(on=True, level=0, label="l" * 60)
    observing = await client(home, build, "d/lamp", "-b", block, "-s", "60", "-w")
    newest = lambda level: f'"n":"level","u":"/","v":{level},'.encode()  # noqa: E731
    await until(lambda: newest(0) in observing.printed, 20)
    for level in range(1, 40):
        lamp.tell(level=level)
        await asyncio.sleep(0.02)
    await until(lambda: newest(39) in observing.printed, 20)
    lamp.tell(level=40)
    await until(lambda: newest(40) in observing.printed, 20)
    status = home.adapter.status()
    assert (status["device_observers"], status["notifications_failed"]) == (1, 0)
    observing.process.terminate()
    await observing.end()
