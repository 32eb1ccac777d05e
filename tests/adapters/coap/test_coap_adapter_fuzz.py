"""One client says anything; another one is served as before. Over real DTLS, with a real engine behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from carriage.coap import atls_client, codes
from carriage.coap import options as opt
from carriage.coap.blockwise import Block
from carriage.coap.exchange import Request
from carriage.coap.message import ACK, CON, NON, RST, Message
from tests.harness.coap_devices import Device, get, put
from tests.harness.coap_gateway import POLICY as SESSIONS
from tests.harness.coap_gateway import Home, observed, opened
from tests.harness.gateway_in_loop import record
from tests.harness.mutations import changed

DEVICES = "  - {id: devices, effect: permit, subject: phone, resource: lamp, action: [read, observe, write]}\n"
MESSAGES = 3000


def requests(session: str) -> list[Request]:
    observe = (opt.OBSERVE, b"")
    block2 = (opt.BLOCK2, Block(0, False, 0).encode())
    block1 = (opt.BLOCK1, Block(0, True, 0).encode())
    send = atls_client.send_request(session, 0, "adtls", record())
    found = [
        get("d"), get("d/lamp"), get("d/lamp/on/command"), get(".well-known/core", query="rt=atls*"),
        get("d/lamp/level", 112), put("d/lamp/level", "[" * 300, 110), put("d/lamp/label", b"\xff", 0),
        put("d/lamp/on", '{"value":true}', 50), put("d/lamp/level", bytes.fromhex("81a102c48221196ab3"), 112),
        send, atls_client.read_request(session), atls_client.read_request(session, 0), atls_client.inbox_request(),
        atls_client.open_request("lamp", "cd" * 16, "atls", record()), atls_client.close_request("ef" * 16),
    ]  # fmt: skip
    more = [Request(each.code, (*each.options, observe, block2)) for each in found if each.code == codes.GET]
    return found + more + [Request(send.code, (*send.options, block1), bytes(16))]


@pytest.mark.parametrize("seed", range(3))
async def test_one_client_says_anything_and_another_is_served(start: Callable[..., Any], seed: int) -> None:
    home = await start(policy=SESSIONS + DEVICES)
    assert isinstance(home, Home)
    lamp = Device(home.far)
    lamp.tell(on=True, level=1, label="näh")
    random = Random(seed)
    tablet, phone = await home.client("tablet"), await home.bare("phone")
    session = await opened(tablet, "lamp")
    await observed(tablet, session)  # so that no answer waits for a unit
    own = atls_client.read_opened(await home_open(phone))
    assert isinstance(own, atls_client.Opened)
    valid = [
        Message(kind, each.code, number, b"t%d" % (number % 7), each.options, each.payload).encode()
        for number, each in enumerate(requests(own.session))
        for kind in (CON, NON)
    ] + [Message(kind, 0, 1).encode() for kind in (CON, ACK, RST)]
    phone.acknowledges = bool(seed)
    for n in range(MESSAGES):
        octets = bytearray(changed(random, valid))
        if len(octets) >= 4:
            octets[2:4] = (n % 65536).to_bytes(2, "big")  # else most of it is a repetition
        phone.send_octets(bytes(octets)[:1000] or b"\x00")
        if n % 20 == 0:
            lamp.tell(level=n % 100)
            if n % 300 == 0:
                home.far.open("phone")
            await asyncio.sleep(0)
            answer = await tablet.request(atls_client.send_request(session, n // 20, "adtls", record(seed=n % 256)))
            assert answer.code == codes.CHANGED
    status = home.adapter.status()
    assert (status["handler_errors"], status["message_errors"], home.hub.counters["adapter_errors"]) == (0, 0, 0)
    assert status["requests"] > MESSAGES / 4 and status["clients"] == 2
    phone.acknowledges = True
    for number in range(60_000, 60_100):
        answer = await phone.ask(get("d/lamp/on", 0), b"the last", message_id=number)
        if answer.code != codes.SERVICE_UNAVAILABLE:  # while its own requests are answered
            break
        await asyncio.sleep(0.1)
    assert (answer.code, answer.payload) == (codes.CONTENT, b"true")


async def home_open(phone: Any) -> Any:
    answer = await phone.ask(atls_client.open_request("lamp", "ab" * 16, "adtls", b""))
    return atls_client.Response(answer.code, answer.options, answer.payload)
