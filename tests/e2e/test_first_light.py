"""The main job over real processes: a ZigBee device and a phone, or an application, talk end to end.

One hub for all: each test attaches its devices and clients, and they leave when it ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from demo.scenario import POLICY, VARIANTS, Variant, layer0, tunnel
from demo.stack import LAMP, Stack
from tests.e2e.shared_hub import StartHub, shared_hub
from tests.harness.message_exchange import exchange

SIZES = (1, 63, 64, 1023, 1024, 1025, 4096, 16384, 65536)

pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(formed: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with shared_hub(tmp_path_factory.mktemp("first-light"), formed, POLICY) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module")
async def hub(shared: Stack) -> AsyncIterator[Stack]:
    there = len(shared.processes)
    yield shared
    for endpoint in reversed(shared.processes[there:]):
        assert await endpoint.stop() == 0


@pytest.mark.parametrize("variant", VARIANTS)
async def test_device_opens_to_phone(hub: Stack, variant: Variant) -> None:
    files = layer0(hub, variant)
    phone = await hub.start_phone("phone", files.phone)
    lamp = await hub.start_device("lamp7", LAMP, files.lamp, "--open", tunnel(variant, "phone"))
    await lamp.expect_event("session", session=0, seconds=60)
    await phone.expect_event("session", session=0, seconds=10)
    for seed, size in enumerate(SIZES):
        await exchange(lamp, phone, size, 2 * seed)
        await exchange(phone, lamp, size, 2 * seed + 1)
    lamp.tell(do="close", session=0)
    assert (await phone.expect_event("ended", session=0))["clean"]


@pytest.mark.parametrize("variant", VARIANTS)
async def test_device_opens_to_application(hub: Stack, variant: Variant) -> None:
    files = layer0(hub, variant)
    app = await hub.start_application("app", "app", files.app)
    lamp = await hub.start_device("lamp7", LAMP, files.lamp, "--open", tunnel(variant, "app"))
    await lamp.expect_event("session", session=0, seconds=60)
    await app.expect_event("session", session=0, seconds=10)
    for seed, size in enumerate(SIZES):
        await exchange(lamp, app, size, 2 * seed)
        await exchange(app, lamp, size, 2 * seed + 1)
    app.tell(do="close", session=0)
    assert (await lamp.expect_event("ended", session=0))["clean"]


@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.parametrize("ezsp", [13, 18])
async def test_dongle_over_tcp(start_hub: StartHub, ezsp: int) -> None:
    hub = await start_hub("--ezsp", str(ezsp), tcp=True)
    status = await hub.ask("status")
    assert status["adapters"]["zigbee"]["detail"]["network"]["ezsp"] == ezsp
    files = layer0(hub, "dtls-psk")
    phone = await hub.start_phone("phone", files.phone)
    lamp = await hub.start_device("lamp7", LAMP, files.lamp, "--open", tunnel("dtls-psk", "phone"))
    await lamp.expect_event("session", session=0, seconds=60)
    await exchange(lamp, phone, 1025, 1)
    await exchange(phone, lamp, 1025, 2)


@pytest.mark.parametrize("variant", ["dtls-x509", "tls-psk"])
async def test_phone_and_application_open_to_device(hub: Stack, variant: Variant) -> None:
    files = layer0(hub, variant)
    lamp = await hub.start_device("lamp7", LAMP, files.lamp)
    phone = await hub.start_phone("phone", files.phone, "--open", "lamp7")
    app = await hub.start_application("app", "app", files.app, "--open", "lamp7")
    for other in (phone, app):
        await other.expect_event("session", session=0, seconds=60)
    await lamp.expect_event("session", count=2)
    by_peer = [event for event in lamp.events if event["event"] == "session"]
    assert sorted(event["session"] for event in by_peer) == [0, 1]
    assert {event["via"] for event in by_peer} == {"gateway"}
    await exchange(phone, lamp, 1025, 1)
    await exchange(app, lamp, 1025, 2)
