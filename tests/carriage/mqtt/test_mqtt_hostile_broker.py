"""Brokers that say nothing, or nothing that makes sense: the loop goes on, the client tells and tries again."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from carriage.mqtt.options import TlsOptions

CONNACK_5 = bytes.fromhex("20 03 00 00 00")


@asynccontextmanager
async def listening(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
            await reader.read()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def beats(told: Any) -> int:
    """Turns of the loop at 10 ms while the client tries twice."""
    count = 0
    while len(told.disconnections) < 2:
        await asyncio.sleep(0.01)
        count += 1
        assert count < 5000
    return count


@pytest.mark.parametrize("tls", [None, TlsOptions()])
@pytest.mark.parametrize("accepts", [False, True])
async def test_a_silent_broker_does_not_hold_up_the_loop(client: Any, tls: TlsOptions | None, accepts: bool) -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        hole.setblocking(False)
        fillers = []
        if not accepts:  # fill the backlog, so that even the TCP handshake goes unanswered
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(hole.getsockname())
                fillers.append(filler)
        async with client(hole.getsockname()[1], "hole", tls=tls, connect_timeout=0.4) as (sender, told):
            sender.publish("a", b"waits")
            assert await beats(told) > 5  # of the 80 that fit in; a blocked loop has next to none
        for filler in fillers:
            filler.close()
    assert told.connections == []
    assert told.disconnections[0] in ("connecting took too long", "the broker didn't answer in time")


async def test_no_broker_at_all(client: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        async with client(probe.getsockname()[1], "none") as (_, told):
            await told.until(lambda: len(told.disconnections) == 2)
        assert told.disconnections[0] == "can't connect: Connection refused"


@pytest.mark.parametrize("after_connack", [False, True])
async def test_rubbish_ends_the_connection_only(client: Any, after_connack: bool) -> None:
    rng = random.Random(7)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        if after_connack:
            writer.write(CONNACK_5)
        kind = rng.choice((0x20, 0x30, 0x32, 0x34, 0x40, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xD0, 0xE0, 0xF0))
        body = rng.randbytes(rng.choice((0, 1, 2, 5, 30)))
        writer.write(bytes((kind, len(body))) + body + rng.randbytes(50))
        await writer.drain()
        writer.close()

    async with listening(talk) as port:
        options = {"backoff_first": 0.001, "backoff_limit": 0.001, "connect_timeout": 2.0}
        async with client(port, "rubbish", **options) as (both, told):
            both.subscribe(["a/#"])
            both.publish("a/b", b"x")
            await told.until(lambda: len(told.disconnections) == 150)


@pytest.mark.parametrize(
    "packet",
    [
        "30 ff ff ff 7f 00 01 61",  # 256 MiB to come
        "30 ff ff ff ff 7f",  # a length of five octets
        "30 03 00 05 61",  # topic longer than the packet
        "30 04 00 01 ff 00",  # topic that is no UTF-8
        "32 06 00 01 61 00 00 00",  # packet id 0
        "30 06 00 01 61 7f 02 00",  # properties longer than the packet
        "40 01 00",  # half a packet id
    ],
)
async def test_broken_packets_end_the_connection(client: Any, packet: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(CONNACK_5 + bytes.fromhex(packet))

    async with listening(talk) as port, client(port, "broken") as (_, told):
        await told.until(lambda: told.disconnections)
        assert told.connections == [False]
        assert told.messages == []


async def test_the_brokers_reason_is_told_without_its_control_characters(client: Any) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(CONNACK_5 + bytes.fromhex("e0 0a 8e 08 1f 00 05") + b"a\nb\x1b[")

    async with listening(talk) as port, client(port, "kicked") as (_, told):
        await told.until(lambda: told.disconnections)
    assert told.disconnections[0] == "the broker disconnects: a?b?["


async def test_a_message_of_an_earlier_connection_is_not_acknowledged_on_a_later_one(client: Any) -> None:
    publish = bytes.fromhex("32 06 00 01 61 00 01 00")  # packet id 1 both times
    pubacks: list[bytes] = []
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readexactly((await reader.readexactly(2))[1])
        writer.write(CONNACK_5 + publish)
        if connections == 1:
            await asyncio.sleep(0.1)
            writer.close()
            return
        pubacks.append(await reader.readexactly(4))

    async with listening(talk) as port, client(port, "earlier", manual_ack=True) as (receiver, told):
        await told.until(lambda: len(told.messages) == 2)
        receiver.acknowledge(told.messages[0])
        await asyncio.sleep(0.1)
        assert pubacks == []
        receiver.acknowledge(told.messages[1])
        receiver.acknowledge(told.messages[1])
        await asyncio.sleep(0.1)
    assert pubacks == [bytes.fromhex("40 02 00 01")]


async def test_the_receive_maximum_is_kept(client: Any) -> None:
    """A broker that allows two messages in flight gets two, and the next only for an acknowledgement."""
    in_flight: list[bytes] = []
    most = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        await reader.readexactly((await reader.readexactly(2))[1])
        writer.write(bytes.fromhex("20 06 00 00 03 21 00 02"))
        for _ in range(8):
            try:
                async with asyncio.timeout(0.1):
                    while True:
                        body = await reader.readexactly((await reader.readexactly(2))[1])
                        in_flight.append(body[3:5])  # after the topic "a"
                        most = max(most, len(in_flight))
            except TimeoutError:
                pass
            writer.write(b"\x40\x02" + in_flight.pop(0))

    async with listening(talk) as port, client(port, "two") as (sender, told):
        await told.until(lambda: told.connections)
        for _ in range(10):
            sender.publish("a", b"")
        await told.until(lambda: len(told.ends) == 8)
        assert sender.outstanding == 2
        await sender.stop(0.0)
    assert most == 2
