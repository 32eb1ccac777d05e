"""Observations of states (devices, commands, the inbox) by clients that fetch half of it, lose it, or ask again."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from adapters.coap.observers import Pacing
from adapters.coap.plugin import CONNECTION, CoapPlugin
from adapters.coap.timeouts import Timeouts
from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.atls_client import open_request, read_opened
from carriage.coap.blockwise import Block, decode_block
from carriage.coap.exchange import Response
from carriage.coap.message import CON
from carriage.senml import read_json
from gateway.api.model import Outcome, SessionId
from tests.harness.bare_coap import is_notification, observe_numbers
from tests.harness.coap_devices import Device, get, put, watches
from tests.harness.coap_gateway import POLICY as SESSIONS
from tests.harness.coap_gateway import Home
from tests.harness.gateway_in_loop import record, until

POLICY = (
    SESSIONS + "  - {id: devices, effect: permit, subject: phone, resource: lamp, action: [read, observe, write]}\n"
)


@pytest.fixture
async def home(start: Callable[..., Any]) -> Home:
    """Everything ten times faster than in life."""
    waits = Timeouts(pacing=Pacing(pace=0.1, quiet=1.0, settled=0.5))
    found = await start(policy=POLICY, plugin=CoapPlugin(waits, dataclasses.replace(CONNECTION, fetch_patience=0.3)))
    assert isinstance(found, Home)
    return found


@pytest.fixture
def lamp(home: Home) -> Device:
    return Device(home.far)


async def test_a_lost_block_ends_nothing_and_the_newest_state_goes_out(home: Home, lamp: Device) -> None:
    """The client takes blocks of 16 octets and fetches nothing but the first one of each notification."""
    lamp.tell(on=True, level=0)
    phone = await home.bare("phone")
    answer = await phone.ask(get("d/lamp"), b"tok", observe=0, block2=Block(0, False, 0))
    assert observe_numbers([answer]) and len(answer.payload) == 16
    for level in (1, 2, 3):
        before = len(phone.heard(b"tok"))
        lamp.tell(level=level)
        await until(lambda before=before: len(phone.heard(b"tok")) > before)
    for notification in phone.heard(b"tok")[1:]:
        assert notification.type == CON, "what goes in blocks is confirmable"
        assert decode_block(opt.first(notification.options, opt.BLOCK2) or b"") == Block(0, True, 0)
    assert watches(home) == 1 and home.adapter.status()["notifications_failed"] == 0
    blocks = [block.payload async for block in phone.fetch(get("d/lamp"), 0)]
    assert ("lamp/level", 3) in [(record.name, record.value) for record in read_json(b"".join(blocks))]


@pytest.mark.parametrize("nth", [0, 1])
async def test_the_next_state_waits_while_an_observer_goes_on_fetching(home: Home, lamp: Device, nth: int) -> None:
    """Fetching the first answer, or a notification."""
    lamp.tell(on=True, level=0)
    phone = await home.bare("phone")
    await phone.ask(get("d/lamp"), b"tok", observe=0, block2=Block(0, False, 0))
    if nth:
        lamp.tell(level=1)
        await until(lambda: len(phone.heard(b"tok")) == 2)
    lamp.tell(level=2)
    blocks = [phone.heard(b"tok")[nth]]
    while decode_block(opt.first(blocks[-1].options, opt.BLOCK2) or b"").more:
        await asyncio.sleep(0.05)
        blocks.append(await phone.ask(get("d/lamp"), block2=Block(len(blocks), False, 0)))
    assert len({opt.first(block.options, opt.ETAG) for block in blocks}) == 1
    found = {each.name: each.value for each in read_json(b"".join(block.payload for block in blocks))}
    assert found["lamp/level"] == nth
    await until(lambda: len(phone.heard(b"tok")) == nth + 2)


async def test_an_observer_that_begins_again_is_waited_for_too(home: Home, lamp: Device) -> None:
    """By a request of its own from block 0, as libcoap does when a body changes on its way."""
    lamp.tell(on=True, level=0, label="l" * 100)
    phone = await home.bare("phone")
    await phone.ask(get("d/lamp"), b"tok", observe=0, block2=Block(0, False, 0))
    await asyncio.sleep(0.35)
    lamp.tell(level=1)
    await until(lambda: len(phone.heard(b"tok")) == 2)
    lamp.tell(level=2)
    heard = []
    async for _ in phone.fetch(get("d/lamp"), 0):
        heard.append(len(phone.heard(b"tok")))
        await asyncio.sleep(0.05)
    assert len(heard) > 9 and set(heard[:-1]) == {2}, "nothing comes before the last block"
    await until(lambda: len(phone.heard(b"tok")) == 3)


@pytest.mark.parametrize("resource", ["d/lamp", "d/lamp/level", "d/lamp/level/command", "atls/inbox", "atls/{}"])
async def test_numbers_go_up_whatever_an_observer_does(home: Home, lamp: Device, resource: str) -> None:
    """Over registrations with one token and over associations (RFC 7641, sections 3.4 and 4.4)."""
    lamp.tell(level=0)
    phone = await home.bare("phone")
    answer = read_opened(as_response(await phone.ask(open_request("lamp", "ab" * 16, "adtls", b""))))
    session = SessionId(answer.session)  # type: ignore[union-attr]
    engine = home.hub.engine
    engine.snapshot()  # from now on there is a store

    async def queue(n: int) -> None:
        """One more PUT that has to wait, and is stored."""
        home.far.takes = False
        setting = asyncio.get_running_loop().create_task(phone.ask(put("d/lamp/level", str(n))))
        lamp.settle(await lamp.command(n), Outcome.HELD)
        engine.stored(engine.changes(samples=False), now=home.hub.now())
        home.hub.touch()
        assert (await setting).code == codes.CREATED

    async def change(n: int) -> None:
        if resource.endswith("command"):
            await queue(n)
        elif resource.endswith("inbox"):
            home.far.open("phone")
        elif resource.startswith("atls"):
            home.far.unit(session, n - 2, record(seed=n))
        else:
            lamp.tell(level=n)

    if resource.endswith("command"):
        await queue(1)
    for n in range(2, 8):
        await phone.ask(get(resource.format(session)), b"tok", observe=0)
        before = len(list(filter(is_notification, phone.messages)))
        await change(n)
        await until(lambda before=before: len(list(filter(is_notification, phone.messages))) > before)
        if n == 5:
            await phone.connect()
    numbers = observe_numbers(phone.heard(b"tok"))
    assert len(numbers) >= 12 and numbers == sorted(set(numbers))


def as_response(message: Any) -> Response:
    return Response(message.code, message.options, message.payload)
