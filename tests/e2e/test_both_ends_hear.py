"""When a session can't go on, both ends learn of it within 30 s: each way of failing, over real processes.

The 30 s are the promise of docs/carriage.md and are counted from the fault, with traffic under way.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from demo.process import Process
from demo.scenario import Variant, layer0, tunnel
from demo.stack import LAMP, Stack
from tests.e2e.orders import control
from tests.harness.session_end import hears


async def say(process: Process) -> None:
    process.tell(do="send", session=0, size=300, seed=1)


async def lamp_and_phone(hub: Stack, variant: Variant) -> tuple[Process, Process]:
    files = layer0(hub, variant)
    phone = await hub.start_phone("phone", files.phone)
    lamp = await hub.start_device("lamp7", LAMP, files.lamp, "--open", tunnel(variant, "phone"))
    for end in (lamp, phone):
        await end.expect_event("session", session=0, seconds=60)
    return lamp, phone


async def lamp_and_app(hub: Stack, variant: Variant) -> tuple[Process, Process]:
    files = layer0(hub, variant)
    app = await hub.start_application("app", "app", files.app)
    lamp = await hub.start_device("lamp7", LAMP, files.lamp, "--open", tunnel(variant, "app"))
    for end in (lamp, app):
        await end.expect_event("session", session=0, seconds=60)
    return lamp, app


@pytest.mark.process
@pytest.mark.parametrize("variant", ["dtls-psk", "tls-psk"])
async def test_the_radio_is_dead(hub: Stack, variant: Variant) -> None:
    lamp, phone = await lamp_and_phone(hub, variant)
    await control(hub, "radio", "--loss", "1")
    since = time.monotonic()
    await say(lamp)
    await say(phone)
    await asyncio.gather(hears(lamp, since, "lamp"), hears(phone, since, "phone"))


@pytest.mark.process
@pytest.mark.parametrize("variant", ["dtls-psk", "tls-psk"])
async def test_the_phone_vanishes(hub: Stack, variant: Variant) -> None:
    lamp, phone = await lamp_and_phone(hub, variant)
    await phone.kill()
    since = time.monotonic()
    await say(lamp)
    await hears(lamp, since, "lamp")


@pytest.mark.process
async def test_the_device_vanishes(hub: Stack) -> None:
    lamp, phone = await lamp_and_phone(hub, "dtls-psk")
    await lamp.kill()
    since = time.monotonic()
    await say(phone)
    await hears(phone, since, "phone")


@pytest.mark.process
async def test_the_broker_vanishes(hub: Stack) -> None:
    lamp, app = await lamp_and_app(hub, "dtls-psk")
    assert hub.broker is not None
    await hub.broker.process.kill()
    since = time.monotonic()
    await say(lamp)
    await asyncio.gather(hears(lamp, since, "lamp"), hears(app, since, "app"))


@pytest.mark.process
async def test_a_broker_that_is_stopped_in_good_order_and_back_is_no_fault(hub: Stack) -> None:
    """It publishes the wills of everybody first, and forgets them all: the session goes on both ways."""
    lamp, app = await lamp_and_app(hub, "dtls-psk")
    assert hub.broker is not None
    for n in range(2):
        await say(app)  # the last unit is what an endpoint offers again to a broker that has forgotten it
        assert (await app.expect_event("sent", session=0, seconds=60))["status"] == "delivered"
        await hub.broker.process.stop()
        await hub.start_broker(list(hub.broker.passwords))
        await say(lamp)
        assert (await lamp.expect_event("sent", session=0, seconds=60))["status"] == "delivered", n


@pytest.mark.process
async def test_the_application_vanishes(hub: Stack) -> None:
    """Its will tells, so that this holds even if nothing is under way."""
    lamp, app = await lamp_and_app(hub, "tls-psk")
    await app.kill()
    await hears(lamp, time.monotonic(), "lamp")


@pytest.mark.process
@pytest.mark.timeout(240)
async def test_the_gateway_comes_back_without_its_store(hub: Stack) -> None:
    lamp, phone = await lamp_and_phone(hub, "dtls-psk")
    assert hub.gateway is not None
    await hub.gateway.kill()
    for file in (hub.directory / "state").glob("store.db*"):
        file.unlink()
    await hub.start_gateway()
    since = time.monotonic()
    await say(lamp)
    await say(phone)
    await asyncio.gather(hears(lamp, since, "lamp"), hears(phone, since, "phone"))
    # A second session, under the same processes, works like the first.
    lamp.tell(do="open", to=tunnel("dtls-psk", "phone"))
    await lamp.expect_event("session", session=1, seconds=60)
    lamp.tell(do="send", session=1, text="back again")
    assert (await lamp.expect_event("sent", session=1))["status"] == "delivered"
