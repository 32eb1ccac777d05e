"""What the adapter leaves to be written goes out with the gateway's turn, once a turn."""

from __future__ import annotations

import asyncio

from adapters.coap.observers import Pacing
from adapters.coap.plugin import CoapPlugin
from adapters.coap.timeouts import Timeouts
from carriage.coap import atls_client, codes
from gateway.api.model import ContentKind, Unit
from tests.harness.coap_devices import POLICY as DEVICES
from tests.harness.coap_devices import TEXT, Device, get, observe
from tests.harness.coap_gateway import Home, adopted, lines, observed, opened
from tests.harness.gateway_in_loop import record, until
from tests.harness.watched import Watched


def flushed_only(home: Home) -> list[int]:
    """From now on the server gets nothing and has no timer: only a flush can write. The datagrams of each write."""
    server = home.adapter._server
    assert server is not None
    asyncio.get_running_loop().remove_reader(server._sock)
    if server._timer is not None:
        server._timer.cancel()
    server._timer = asyncio.TimerHandle(0.0, print, (), asyncio.get_running_loop())  # early enough for all
    taken, writes = server._listener.datagrams_to_send, []

    def take() -> list[tuple[bytes, object]]:
        datagrams = taken()
        if datagrams:
            writes.append(len(datagrams))
        return datagrams

    server._listener = Watched(server._listener, datagrams_to_send=take)
    return writes


async def test_the_answers_of_one_turn_are_written_at_once(home: Home) -> None:
    phone = await home.client("phone")
    sessions = [await opened(phone, "lamp") for _ in range(4)]
    for session in sessions:
        await observed(phone, session)  # so that no answer waits for a unit
    home.far.takes = False
    async with asyncio.TaskGroup() as group:
        asked = [
            group.create_task(phone.request(atls_client.send_request(session, 0, "adtls", record())))
            for session in sessions
        ]
        await until(lambda: len(home.far.of(Unit)) == len(sessions))
        writes = flushed_only(home)
        for order in home.far.orders[-len(sessions) :]:
            home.far.settle(order)
    assert [task.result().code for task in asked] == [codes.CHANGED] * len(sessions)
    assert writes == [len(sessions)]


async def test_an_answer_whose_reply_window_is_over(home: Home) -> None:
    phone = await home.raw("phone")
    session = await opened(phone, "lamp")
    exchange = phone.start(atls_client.send_request(session, 0, "adtls", record()))
    await until(lambda: len(home.adapter._mailboxes._windows))
    writes = flushed_only(home)
    await until(lambda: phone.response(exchange) is not None)
    assert writes == [1]


async def test_an_inbox_that_changes_since_a_unit_was_not_fetched_is_flushed(home: Home) -> None:
    phone = await home.raw("phone")
    session = home.far.open("phone", ContentKind.ADTLS)
    await until(lambda: home.adapter.status()["sessions"] == 1)
    assert (await phone.request(atls_client.inbox_request(), observe=True)).code == codes.CONTENT
    home.far.unit(session, 0, record())
    writes = flushed_only(home)
    await until(lambda: home.adapter.status()["unreachable"])
    await until(lambda: writes)
    assert writes == [1]


async def test_a_device_that_does_not_answer_in_time(start) -> None:
    home: Home = await start(policy=DEVICES, answer_within=1.0)
    home.far.takes = False
    lamp = Device(home.far)
    phone = await home.raw("phone")
    exchange = phone.start(get("d/lamp/on"))
    await lamp.command()
    writes = flushed_only(home)
    await until(lambda: phone.response(exchange) is not None)
    assert writes == [1]


async def test_an_observation_whose_pace_is_over_and_one_that_has_settled(start) -> None:
    timeouts = Timeouts(pacing=Pacing(pace=0.1, quiet=1.0, settled=0.3))
    home: Home = await start(plugin=CoapPlugin(timeouts), policy=DEVICES)
    lamp = Device(home.far)
    lamp.tell(on=False)
    await observe(await home.client("phone"), "d/lamp/on", TEXT)
    writes = flushed_only(home)
    lamp.tell(on=True)
    lamp.tell(on=False)
    await until(lambda: len(writes) == 3)
    assert writes == [1, 1, 1]  # at once, at the end of the pace, and as a confirmable one


async def test_the_last_word_to_a_client_whose_key_is_no_longer_good(home: Home) -> None:
    await home.client("phone")
    writes = flushed_only(home)
    assert adopted(home, lines("tablet"))
    await until(lambda: writes)
    assert writes == [1]


async def test_the_last_words_to_clients_that_are_dropped(home: Home) -> None:
    for name in ("phone", "tablet"):
        await home.client(name)
    writes = flushed_only(home)
    for peer in tuple(home.adapter._connections):
        peer.close("no longer welcome")
    await until(lambda: writes)
    assert writes == [2]
