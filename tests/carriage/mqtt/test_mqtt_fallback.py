"""Brokers that do not speak MQTT 5: the client goes on with 3.1.1, and with 5 again if it was a bad moment only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

ANSWERS = {
    "code of 3.1.1": bytes.fromhex("20 02 00 01"),  # unacceptable protocol version
    "code of 5": bytes.fromhex("20 03 00 84 00"),  # unsupported protocol version
    "closes": b"",
    "silent": None,
}


@asynccontextmanager
async def doorman(behind: int, turns_away: Callable[[int, int], bytes | bool | None]) -> AsyncIterator[int]:
    """In front of a real broker: ``turns_away(level, count)`` says what a CONNECT is answered, True: let it in."""
    seen = 0

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(4096):
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        try:
            first = await reader.readexactly(9)  # fixed header, "MQTT", level
            seen += 1
            answer = turns_away(first[8], seen)
            if answer is True:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", behind)
                far_writer.write(first)
                await asyncio.gather(pipe(reader, far_writer), pipe(far_reader, writer))
            elif isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
                writer.close()
            else:
                await reader.read()
                await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize("how", list(ANSWERS))
async def test_a_broker_of_3_1_1_only(
    open_broker: Any, client: Any, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        doorman(open_broker.port, lambda level, _: ANSWERS[how] if level == 5 else True) as port,
        client(port, f"fallback-{len(how)}", fallback=True, connect_timeout=1.0) as (both, told),
    ):
        topic = f"fallback/{len(how)}"
        both.subscribe([topic])
        await told.until(lambda: told.subscriptions)
        assert both.version == 4 and not told.refusals
        both.publish(topic, b"x", content_type="text/plain", correlation=b"c", expiry=10, response_topic="a")
        await told.until(lambda: told.messages and told.ends)
        assert (told.messages[0].payload, told.messages[0].content_type) == (b"x", None)
        both._end("cut")
        await told.until(lambda: len(told.connections) == 2, timeout=30.0)
        assert both.version == 4
    assert sum("3.1.1" in record.message for record in caplog.records) == 1


async def test_a_broker_that_was_starting_is_not_taken_for_an_old_one(open_broker: Any, client: Any) -> None:
    async with (
        doorman(open_broker.port, lambda level, count: b"" if count <= 3 else True) as port,
        client(port, "starting", fallback=True) as (both, told),
    ):
        await told.until(lambda: told.connections)
        assert both.version == 5


async def test_a_connection_of_3_1_1_after_bad_moments_is_5_again_later(open_broker: Any, client: Any) -> None:
    async with (
        doorman(open_broker.port, lambda level, count: b"" if count <= 2 else True) as port,
        client(port, "later", fallback=True) as (both, told),
    ):
        both.publish("later", b"waits")
        await told.until(lambda: told.connections and told.ends)
        assert both.version == 4
        both._end("cut")
        await told.until(lambda: len(told.connections) == 2)
        assert both.version == 5


async def test_only_who_asked_for_it_falls_back(open_broker: Any, client: Any) -> None:
    async with (
        doorman(open_broker.port, lambda level, _: ANSWERS["code of 5"] if level == 5 else True) as port,
        client(port, "strict") as (both, told),
    ):
        await told.until(lambda: len(told.refusals) == 2)
        assert told.refusals[0][0] == 0x84 and both.version == 5


async def test_messages_in_flight_go_on_with_the_other_version(open_broker: Any, client: Any) -> None:
    """The broker was replaced by an old one while messages had no acknowledgement."""

    def turns_away(level: int, count: int) -> bytes | bool | None:
        if count == 1:
            return bytes.fromhex("20 03 00 00 00")  # accepts us, and closes
        return ANSWERS["code of 5"] if level == 5 else True

    async with (
        client(open_broker.port, "reader") as (reader, heard),
        doorman(open_broker.port, turns_away) as port,
        client(port, "flight", fallback=True) as (both, told),
    ):
        reader.subscribe(["flight"])
        await heard.until(lambda: heard.subscriptions)
        for n in range(5):
            both.publish("flight", bytes([n]))
        await told.until(lambda: len(told.connections) == 2 and len(told.ends) == 5)
        await heard.until(lambda: len(heard.messages) == 5)
    assert [each.payload for each in heard.messages] == [bytes([n]) for n in range(5)]


async def test_a_broker_that_hangs_up_at_mqtt_5_costs_one_attempt_more_and_no_pause(
    open_broker: Any, client: Any
) -> None:
    """Once it has taken MQTT 3.1.1. Such pauses would add up to more than sessions bear."""
    async with (
        doorman(open_broker.port, lambda level, _: b"" if level == 5 else True) as port,
        client(port, "mute", fallback=True) as (both, told),
    ):
        await told.until(lambda: told.connections)
        for n in range(3):
            before = both.attempts
            both._end("cut")
            await told.until(lambda n=n: len(told.connections) == n + 2)
            assert both.attempts == before + 2 and both.version == 4
        assert told.disconnections == ["connection lost", "cut", "cut", "cut"]  # the first one, and nothing behind it


async def test_a_message_that_ends_the_connection_is_found_while_versions_alternate(
    start_broker: Any, client: Any
) -> None:
    """A broker that hangs up at MQTT 5 each time, and in MQTT 3.1.1 over a packet that is too long."""
    broker = start_broker("max_packet_size 512")
    async with (
        doorman(broker.port, lambda level, _: b"" if level == 5 else True) as port,
        client(port, "both", fallback=True) as (both, told),
    ):
        await told.until(lambda: told.connections)
        long = both.publish("long", bytes(600))
        short = both.publish("short", b"x")
        await told.until(lambda: len(told.ends) == 2)
        assert dict(told.ends) == {long: 0x90, short: 0} and both.given_up == ["long"]
