"""The loads of ``bench.counts`` over IP: units from coaps to MQTT and to a service, and from HTTPS clients to MQTT.

Two more rows are of programs that are aiohttp alone, and paho, without a gateway.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any, Protocol

from bench.coaps import LOOK, Client, start_all
from bench.counting import PATIENCE, Count, CountingGateway, counted
from bench.http_scenarios import SESSION, set_up_north, set_up_south, start_service
from bench.https_units import clients_of
from bench.load import LoadSpec
from bench.messages import record
from bench.scenario import Site, application, quiet
from bench.scenarios import CLIENTS, POLICY_IP, UNIT
from carriage.coap import codes
from carriage.coap.exchange import Response
from demo.credentials import make_psk_file
from demo.process import ProcessFailedError
from demo.stack import PREFIX, Stack
from layer.credentials import Credentials, Psk, load_psk_file

FULL = "coaps to mqtt, 32 in flight"
ALONE = "coaps to mqtt, one by one"
TO_SERVICE = "coaps to https, 32 in flight"
TO_SERVICE_ALONE = "coaps to https, one by one"
FROM_CLIENTS = "https to mqtt, 32 in flight"
FROM_CLIENTS_ALONE = "https to mqtt, one by one"
BARE_POST = "aiohttp post, 32 in flight"
BARE_HANDLER = "aiohttp handler, paho, 32 in flight"

MANY, FEW = 2000, 200
"""Units of a row: in flight together, and one by one."""
WARM = 320
"""Units before the count: every client has had some, and what is made at the first unit is made."""


async def over_ip(stack: Stack, gateway: CountingGateway) -> dict[str, Count]:
    """Units of 32 coaps clients to a broker, each in order, and of one client alone."""
    stack.write_policy(POLICY_IP)
    stack.link_psks = make_psk_file(stack.directory / "link.psk", *(f"c{n}" for n in range(CLIENTS)))
    await stack.start_broker(["gateway", "app"])
    stack.processes.append(await application(stack))
    quiet(stack.write_config(zigbee=False))
    await gateway.start()
    async with _coap_clients(stack) as clients:
        return await _many_and_one(gateway, clients, FULL, ALONE)


async def over_http(stack: Stack, gateway: CountingGateway) -> dict[str, Count]:
    """The same from coaps to a service over HTTPS, and from HTTPS clients to a broker."""
    site = Site(stack.directory)
    try:
        await set_up_north(stack, await start_service(site, stack, "service"))
        await gateway.start()
        async with _coap_clients(stack) as clients:
            found = await _many_and_one(gateway, clients, TO_SERVICE, TO_SERVICE_ALONE)
        await gateway.stop()
        port, tokens = await set_up_south(stack)
        await gateway.start()
        https = await clients_of(port, str(stack.directory / "link-ca.pem"), tokens.read_text(), "app")
        found |= await _many_and_one(gateway, https, FROM_CLIENTS, FROM_CLIENTS_ALONE)
        for client in https:
            client.close()
        return found
    finally:
        await site.stop()


async def bare(stack: Stack, gateway: CountingGateway) -> dict[str, Count]:
    """What aiohttp and paho alone take for the same, in their main threads. No gateway is started."""
    site, folder = Site(stack.directory), stack.directory
    pair, ca = (folder / "gateway.pem", folder / "gateway.key"), folder / "link-ca.pem"
    found = {}
    try:
        _, tokens = await set_up_south(stack)
        assert stack.broker is not None
        port, file = await start_service(site, stack, "service"), folder / "post.count"
        post = await site.start("post", "bench.https_bare", "post", port, ca, CLIENTS, UNIT, count_file=file)
        orders = count(1)

        async def posted(seconds: float = 1.0) -> int:
            post.tell(**LoadSpec(in_flight=CLIENTS, warm=0.0, seconds=seconds).write())
            return int((await post.expect_event("result", count=next(orders)))["units"])

        await posted(0.2)
        one = await counted(post.pid, file, gateway.modules, BARE_POST, posted)
        found[BARE_POST] = Count(one["calls"], one["objects"])

        topic, password = f"{PREFIX}/app/atls/{SESSION}/down", stack.broker.passwords["gateway"]
        login, file = (stack.broker.port, "gateway", password), folder / "handler.count"
        handler = await site.start("handler", "bench.https_bare", "publish", *pair, *login, topic, count_file=file)
        clients = await clients_of(handler.events[0]["port"], str(ca), tokens.read_text(), "-")
        await _send(clients, WARM)
        one = await counted(handler.pid, file, gateway.modules, BARE_HANDLER, lambda: _send(clients, MANY))
        found[BARE_HANDLER] = Count(one["calls"], one["objects"])
        for client in clients:
            client.close()
        return found
    finally:
        await site.stop()


async def _many_and_one(
    gateway: CountingGateway, clients: Sequence[_Client], many: str, alone: str
) -> dict[str, Count]:
    await _send(clients, WARM)
    full = await gateway.count(many, lambda: _send(clients, MANY))
    one = await gateway.count(alone, lambda: _send(clients[:1], FEW))
    return {
        many: Count(full["calls"], full["objects"]),
        alone: Count(one["calls"], one["objects"], one["turns"]),
    }


@asynccontextmanager
async def _coap_clients(stack: Stack) -> AsyncIterator[list[Client]]:
    assert stack.link_psks is not None
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None
    keys = load_psk_file(stack.link_psks.path)
    clients = [Client(stack.coaps_port, Credentials(psk=Psk(*each))) for each in keys.items()]
    await start_all(clients, "app")

    def look() -> None:
        nonlocal timer
        for client in clients:
            client.look()
        timer = loop.call_later(LOOK, look)

    look()
    try:
        yield clients
    finally:
        assert timer is not None
        timer.cancel()
        for client in clients:
            client.close()


class _Client(Protocol):
    def post(self, unit: bytes, done: Callable[..., None]) -> None: ...


async def _send(clients: Sequence[_Client], units: int) -> int:
    """So many units, one of each client under way; returns when all are answered."""
    unit = record(UNIT)
    left, waiting = units, 0
    all_answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    free = deque(clients)

    def begin() -> None:
        nonlocal left, waiting
        while left and free:
            client = free.popleft()
            left, waiting = left - 1, waiting + 1
            client.post(unit, partial(answered, client))

    def answered(client: _Client, *answer: Any) -> None:
        nonlocal waiting
        if not _is_good(*answer):
            all_answered.set_exception(ProcessFailedError(f"a unit was answered {answer}"))
            return
        waiting -= 1
        free.append(client)
        begin()
        if not waiting:
            all_answered.set_result(None)

    begin()
    async with asyncio.timeout(PATIENCE):
        await all_answered
    return units


def _is_good(answer: Response | bytes, body: bytes = b"") -> bool:
    """2.04 of CoAP, or a head of HTTP with 200."""
    return answer.startswith(b"http/1.1 200 ") if isinstance(answer, bytes) else answer.code == codes.CHANGED
