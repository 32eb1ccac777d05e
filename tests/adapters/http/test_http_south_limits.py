"""Tables that are full: connections, polls, streams, clients. The oldest makes room, and no client is locked out."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
from itertools import pairwise
from pathlib import Path

import pytest

from adapters.http.plugin import HttpPlugin
from adapters.http.south_events import MAX_WAITING
from gateway.testing.check_adapter import check_adapter
from tests.harness.free_port import free_port
from tests.harness.gateway_in_loop import record, until
from tests.harness.http_gateway import Home, Start


async def test_the_oldest_poll_of_a_client_gives_way_to_its_newest(start: Start) -> None:
    home = await start(max_polls_per_client=2, max_polls=3)
    phone, tablet = home.client("phone"), home.client("tablet")
    polls = []
    for client in (tablet, phone, phone, phone):
        polls.append(asyncio.get_running_loop().create_task(client.inbox(Prefer="wait=40")))
        await until(lambda: home.adapter.status()["polls_evicted"] + home.adapter.status()["polls"] == len(polls))
    assert (await polls[1]).json == [] and not polls[0].done() and not polls[2].done()
    keeper = asyncio.get_running_loop().create_task(home.client(home.keeper).inbox(Prefer="wait=40"))
    assert (await polls[0]).status == 200, "of all clients the oldest one"
    for each in (*polls[2:], keeper):
        each.cancel()
    await until(lambda: home.adapter.status()["polls"] == 0)


async def test_a_read_that_gives_way_loses_no_unit(start: Start) -> None:
    home = await start(max_polls_per_client=1)
    phone = home.client("phone")
    session = (await phone.opened("lamp")).session
    first = asyncio.get_running_loop().create_task(phone.read(session, 0, wait=40))
    await until(lambda: home.adapter.status()["polls"])
    second = asyncio.get_running_loop().create_task(phone.read(session, 0, wait=40))
    assert (await first).body == b""
    home.far.unit(session, 0, record())  # type: ignore[arg-type]
    assert (await second).body == record()


async def test_the_oldest_stream_gives_way(start: Start) -> None:
    home = await start(max_streams_per_client=1, max_streams=2)
    phone, tablet = home.client("phone"), home.client("tablet")
    other = await tablet.events("/atls/inbox")
    first = await phone.events("/atls/inbox")
    assert await first.next() == {"data": []}
    second = await phone.events("/atls/inbox")
    assert await first.next() == {"event": "end", "data": {"reason": "busy"}}
    third = await home.client(home.keeper).events("/atls/inbox")
    assert [(await other.next()), (await other.next())] == [{"data": []}, {"event": "end", "data": {"reason": "busy"}}]
    assert await second.next() == await third.next() == {"data": []}
    assert (home.adapter.status()["streams"], home.adapter.status()["streams_evicted"]) == (2, 2)


async def test_a_stream_that_says_nothing_is_kept_open_by_comments(home: Home) -> None:
    events = await home.client("phone").events("/atls/inbox")
    assert await events.next() == {"data": []}
    (watch,) = home.south._watches
    watch.stream._keep_alive = 0.05
    watch.stream.put([], key="inbox")
    assert await events.next() == {"data": []}
    assert [await events.response.content.readline() for _ in range(4)] == [b":\n", b"\n"] * 2


async def test_what_a_slow_client_misses_is_counted_for_it(home: Home) -> None:
    events = await home.client("phone").events("/atls/inbox")
    assert await events.next() == {"data": []}
    (watch,) = home.south._watches
    for n in range(MAX_WAITING + 44):
        watch.stream.put(n)
    for n in range(9):
        watch.stream.put(n, key="state")
    assert await events.next() == {"event": "missed", "data": {"count": 45}}
    assert [(await events.next())["data"] for _ in range(MAX_WAITING)] == [*range(45, MAX_WAITING + 44), 8]


async def test_many_connections_that_say_nothing_lock_no_client_out(start: Start) -> None:
    home = await start(max_connections=8, max_connections_per_host=8)
    phone = home.client("phone")
    stream = await phone.events("/atls/inbox")
    silent = [await asyncio.open_connection("127.0.0.1", port) for port in (home.port, home.plain_port) * 20]
    await until(lambda: home.adapter.status()["connections_evicted"] >= 33)
    assert home.adapter.status()["connections"] <= 8
    assert await stream.next() == {"data": []}, "one at work is not the first that goes"
    tablet = home.client("tablet")
    assert (await tablet.inbox()).status == 200
    for _, writer in silent:
        writer.transport.abort()


async def test_of_requests_in_line_behind_a_poll_few_are_read(home: Home) -> None:
    head = "HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer token-of-phone\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", home.plain_port)
    writer.write(f"GET /atls/inbox {head}Prefer: wait=40\r\n\r\n".encode())
    await until(lambda: home.adapter.status()["polls"] == 1)
    more, poured = f"GET /d {head}\r\n".encode() * 1000, 0
    with contextlib.suppress(TimeoutError):
        while poured < 64_000_000:
            writer.write(more)
            async with asyncio.timeout(0.5):
                await writer.drain()
            poured += len(more)
    assert poured < 32_000_000, "what the sockets' buffers on the loopback interface take"
    (connection,) = home.south._listener.connections()
    assert len(connection._messages) <= 64
    writer.transport.abort()


async def test_a_crowd_that_connects_leaves_the_loop_its_turns(start: Start) -> None:
    home = await start()
    crowd = [socket.create_connection(("127.0.0.1", home.plain_port)) for _ in range(100)]  # the kernel keeps them
    counts = [home.adapter.status()["connections"]]
    while counts[-1] < 100:
        await asyncio.sleep(0)
        counts.append(home.adapter.status()["connections"])
    assert max(after - before for before, after in pairwise(counts)) == 1
    for each in crowd:
        each.close()


@pytest.mark.parametrize("way", ["leaves", "resets", "is no TLS", "is evicted", "is too slow"])
async def test_a_handshake_that_fails_leaves_nothing_for_the_garbage_collector(start: Start, way: str) -> None:
    """asyncio has 256 KiB for each, and the collector doesn't count octets."""
    home = await start(handshake_within=1.0, max_connections_per_host=30)
    gc.collect()
    gc.disable()
    try:
        before = handshakes()
        crowd = [socket.create_connection(("127.0.0.1", home.port)) for _ in range(60 if way == "is evicted" else 20)]
        if way == "is evicted":
            await until(lambda: home.adapter.status()["connections_evicted"] == 30)
        else:
            await until(lambda: home.adapter.status()["connections"] == 20)
        await asyncio.sleep(0.05)
        for each in crowd:
            if way == "resets":
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, *bytes(7))))
            if way == "is no TLS":
                each.send(b"GET / HTTP/1.1\r\n\r\n")
            if way != "is too slow":
                each.close()
        await until(lambda: home.adapter.status()["connections"] == 0)
        await asyncio.sleep(0.1)
        assert handshakes() - before <= 1, "that one is the loop's last"
    finally:
        gc.enable()
    for each in crowd:
        each.close()


async def test_what_is_no_http_leaves_nothing_for_the_garbage_collector(home: Home) -> None:
    trust = ssl.create_default_context(cadata=home.authority.pem.decode())
    gc.collect()
    gc.disable()
    try:
        before = handshakes()
        for _ in range(10):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", home.port, ssl=trust, server_hostname="gateway.example"
            )
            writer.write(b"NO HTTP AT ALL\r\n\r\n")
            assert b" 400 " in await reader.read()
            writer.close()
            del reader, writer
        await until(lambda: home.adapter.status()["connections"] == 0)
        await asyncio.sleep(0.1)
        assert handshakes() - before <= 2, "the loop's last, of either side"
    finally:
        gc.enable()


def handshakes() -> int:
    return sum(isinstance(each, asyncio.sslproto.SSLProtocol) for each in gc.get_objects())


async def test_a_full_table_of_clients_forgets_the_silent_one(start: Start) -> None:
    home = await start(max_clients=1, absence=60)
    phone, tablet = home.client("phone"), home.client("tablet")
    session = (await phone.opened("lamp")).session
    assert (await tablet.inbox()).status == 200
    assert home.adapter.status()["clients"] == 1
    assert (await phone.sent(session, 0, record())).status == 200, "its sessions are not forgotten"


async def test_an_address_that_is_taken_is_tried_again(start: Start, tmp_path: Path) -> None:
    home = await start()
    second = home.configure()
    from gateway.testing.recording_context import RecordingContext

    context = RecordingContext(tmp_path)
    running = asyncio.get_running_loop().create_task(second.run(context))
    await context.reported.wait()
    assert "can't be listened at: Address already in use" in context.states[0]
    running.cancel()
    await asyncio.wait({running})


async def test_the_conformance_suite(home: Home) -> None:
    ports = {"listen": f"127.0.0.1:{free_port()}", "http_listen": f"127.0.0.1:{free_port()}"}
    table = {**home.table, **ports, "absence": 25.0}
    assert await check_adapter(HttpPlugin(), table, home.folder, claim="bearer:phone", proxies=False) == []
