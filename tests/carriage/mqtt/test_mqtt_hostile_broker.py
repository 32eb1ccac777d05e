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
        "30 ff ff ff ff 7f",  # a length of five octets
        "b0 ff ff ff 7f 00 01",  # 256 MiB to come, and no PUBLISH
        "34 06 00 01 61 00 01 00",  # QoS 2, which nobody subscribed with
        "36 06 00 01 61 00 01 00",  # QoS 3
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


@pytest.mark.parametrize(
    ("packet", "topic"),
    [
        ("30 03 00 05 61", "a"),  # topic longer than the packet
        ("30 04 00 01 ff 00", "?"),  # topic that is no UTF-8
        ("30 06 00 01 61 7f 02 00", "a"),  # properties longer than the packet
        ("30 10 00 01 61" + 13 * "30", "a"),  # longer than 15 octets
        ("32 06 00 01 ff 00 07 00", "?"),
        ("32 08 00 01 61 00 07 7f 02 00", "a"),
        ("32 0d 00 01 61 00 07 07 03 0001 61 03 0001", "a"),
        ("32 10 00 01 61 00 07" + 11 * "32", "a"),
        ("3a 90 80 01 00 01 61 00 07" + 16395 * "00", "a"),
    ],
)
@pytest.mark.parametrize("pieces", [1, 4096])
@pytest.mark.parametrize("manual", [False, True])
async def test_a_message_that_can_not_be_taken_is_acknowledged_and_costs_no_connection(
    client: Any, packet: str, topic: str, pieces: int, manual: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """In the order of arrival, between two that can; whatever pieces it comes in."""
    good = [bytes.fromhex("32 07 00 01 61 00 01 00 31"), bytes.fromhex("32 07 00 01 61 00 02 00 32")]
    octets = good[0] + bytes.fromhex(packet) + good[1]
    wanted = [1, 7, 2] if int(packet[:2], 16) & 2 else [1, 2]
    heard: list[int] = []
    acknowledged = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly((await reader.readexactly(2))[1])
        writer.write(CONNACK_5)
        for at in range(0, len(octets), max(1, len(octets) // pieces)):
            writer.write(octets[at : at + max(1, len(octets) // pieces)])
            await writer.drain()
            await asyncio.sleep(0)
        while len(heard) < len(wanted):
            heard.append((await reader.readexactly(4))[3])
        acknowledged.set()

    options = {"manual_ack": manual, "max_packet": 15}
    async with listening(talk) as port, client(port, "mended", **options) as (receiver, told):
        await told.until(lambda: len(told.messages) == 2)
        assert [each.payload for each in told.messages] == [b"1", b"2"]
        assert told.connections == [False] and not told.disconnections
        assert receiver.unread.count == 1 and receiver.unread.last.startswith(f"{topic}: ")
        if manual:
            assert not heard  # they are acknowledged in the order of arrival
            for each in told.messages:
                receiver.acknowledge(each)
        async with asyncio.timeout(10):
            await acknowledged.wait()
    assert heard == wanted
    assert sum("can't be taken" in each.getMessage() for each in caplog.records) == 1


async def test_nothing_is_kept_of_a_message_that_is_too_long(client: Any) -> None:
    """256 MiB are announced and 16 MiB come: none of it is in memory."""
    most = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly((await reader.readexactly(2))[1])
        writer.write(CONNACK_5 + bytes.fromhex("32 ff ff ff 7f 00 01 61 00 07"))
        for _ in range(256):
            writer.write(bytes(64 * 1024))
            await writer.drain()
        writer.close()

    async with listening(talk) as port, client(port, "long") as (receiver, told):
        await told.until(lambda: told.connections)
        frames = receiver._wire.frames
        while not told.disconnections:
            most = max(most, len(frames._buffer))
            await asyncio.sleep(0)
    assert most <= 16 * 1024


@pytest.mark.parametrize("packet", ["32 04 00 09 62 63", "32 07 00 02 62 63 00 00 00", "32 05 00 02 62 63 00"])
@pytest.mark.parametrize("version", [4, 5])
async def test_what_nobody_can_acknowledge_ends_one_connection_and_not_the_next(
    client: Any, version: int, packet: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker is asked to forget the session that holds it, else it would come again for ever."""
    cleans: list[bool] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connect = await reader.readexactly((await reader.readexactly(2))[1])
        cleans.append(connect[7] & 2 != 0)
        writer.write(bytes.fromhex("20 03 00 00 00" if version == 5 else "20 02 00 00"))
        if not cleans[-1]:  # the poison of this session
            writer.write(bytes.fromhex(packet))

    options = {"version": version, "clean_start": False}
    async with listening(talk) as port, client(port, "hopeless", **options) as (_, told):
        await told.until(lambda: len(told.connections) == 2)
        assert cleans == [False, True]
        assert told.disconnections == ["a message at bc that can't be acknowledged"]
    assert sum("begins again" in each.getMessage() for each in caplog.records) == 1


async def test_the_brokers_reason_is_reported_without_its_control_characters(client: Any) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(CONNACK_5 + bytes.fromhex("e0 0a 8e 08 1f 00 05") + b"a\nb\x1b[")

    async with listening(talk) as port, client(port, "kicked") as (_, told):
        await told.until(lambda: told.disconnections)
    assert told.disconnections[0] == "the broker disconnects: a?b?["


async def test_a_broker_that_another_client_takes_our_name_at_says_so_in_the_words_that_advice_looks_for(
    client: Any,
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(CONNACK_5 + bytes.fromhex("e0 02 8e 00"))

    async with listening(talk) as port, client(port, "twin") as (_, told):
        await told.until(lambda: told.disconnections)
    assert told.disconnections[0] == "the broker disconnects: Session taken over"


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


async def test_what_was_in_flight_is_sent_again_as_such_and_within_the_receive_maximum(client: Any) -> None:
    """Under the same packet ids, marked as sent before (DUP), no more at once than the new connection allows."""
    connections: list[list[tuple[int, bytes]]] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen: list[tuple[int, bytes]] = []
        connections.append(seen)
        await reader.readexactly((await reader.readexactly(2))[1])
        again = len(connections) > 1
        writer.write(bytes.fromhex("20 06 01 00 03 21 00 01" if again else "20 06 00 00 03 21 00 03"))
        while len(seen) < (5 if again else 3):
            first, length = await reader.readexactly(2)
            body = await reader.readexactly(length)
            seen.append((first, body[3:5]))
            if again:
                writer.write(b"\x40\x02" + body[3:5])
        if not again:
            writer.close()

    async with listening(talk) as port, client(port, "again") as (sender, told):
        for n in range(5):
            sender.publish("a", bytes([n]))
        await told.until(lambda: len(told.ends) == 5)
    first, second, *_ = connections
    assert first == [(0x32, bytes([0, n])) for n in (1, 2, 3)]
    assert second == [(0x3A, bytes([0, n])) for n in (1, 2, 3)] + [(0x32, bytes([0, n])) for n in (4, 5)]
