"""When the MQTT client writes: at its owner's flush, or at the end of a callback; a turn in one call."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from carriage.mqtt.blame import IN_A_ROW
from carriage.mqtt.options import Message
from carriage.mqtt.packets import publish_head
from carriage.mqtt.sender import STABLE
from tests.harness.counting_socket import count_writes
from tests.harness.gateway_in_loop import until


class Owner:
    """Is asked for flushes; it does them when the test says so, or as ``flush_soon`` in the loop's next turn."""

    def __init__(self) -> None:
        self.asked = 0
        self.flush_soon: Callable[[], None] | None = None

    def wake(self) -> None:
        self.asked += 1
        if self.flush_soon is not None:
            asyncio.get_running_loop().call_soon(self.flush_soon)


async def test_the_owner_is_asked_once_and_its_flush_writes_all_at_once(open_broker: Any, client: Any) -> None:
    owner = Owner()
    async with client(open_broker.port, "owned", wake=owner.wake) as (sender, told):
        await told.until(lambda: told.connections)
        writes = count_writes(sender)
        before = owner.asked
        for n in range(20):
            sender.publish("owned/unit", bytes([n]), qos=n % 2)
        for _ in range(5):
            await asyncio.sleep(0)
        assert (owner.asked - before, writes) == (1, [])
        sender.flush()
        assert len(writes) == 1
        sender.flush()  # nothing is left
        assert len(writes) == 1
        await told.until(lambda: len(told.ends) == 20)
        assert owner.asked - before == 1


async def test_without_an_owner_the_next_turn_of_the_loop_writes_all_at_once(open_broker: Any, client: Any) -> None:
    async with client(open_broker.port, "ownerless") as (sender, told):
        await told.until(lambda: told.connections)
        writes = count_writes(sender)
        for n in range(20):
            sender.publish("ownerless/unit", bytes([n]))
        assert writes == []
        await told.until(lambda: len(told.ends) == 20)
        assert len(writes) == 1


async def test_states_published_past_the_queue_are_written_with_the_rest(open_broker: Any, client: Any) -> None:
    owner = Owner()
    async with client(open_broker.port, "states", wake=owner.wake) as (sender, told):
        await told.until(lambda: told.connections)
        writes = count_writes(sender)
        head = b"\0\x05state\0"
        assert all(sender.publish_at_once(head, bytes([n]), retain=False) for n in range(10))
        sender.publish("states/unit", b"")
        assert writes == []
        sender.flush()
        assert len(writes) == 1


async def test_what_is_published_before_the_connection_goes_out_with_it(open_broker: Any, client: Any) -> None:
    """The CONNACK is a callback of the client: its owner need not flush."""
    owner = Owner()
    async with client(open_broker.port, "early", wake=owner.wake) as (sender, told):
        tokens = [sender.publish("early/unit", bytes([n])) for n in range(5)]
        await told.until(lambda: len(told.ends) == 5)
        assert sorted(token for token, _ in told.ends) == tokens
        assert owner.asked == 0


async def test_messages_that_a_handler_publishes_go_out_at_the_end_of_the_callback(
    open_broker: Any, client: Any
) -> None:
    """Answers and acknowledgements of all that came in one read: one write."""
    owner = Owner()
    async with (
        client(open_broker.port, "answers", wake=owner.wake) as (both, told),
        client(open_broker.port, "asks") as (asking, asked),
    ):
        both.subscribe(["ask"])
        asking.subscribe(["answer"])
        both.flush()
        await told.until(lambda: told.connections)
        both.flush()
        await told.until(lambda: told.subscriptions)
        await asked.until(lambda: asked.subscriptions)

        def answer(message: Message) -> None:
            told.messages.append(message)
            both.publish("answer", message.payload)

        told.on_message = answer
        writes = count_writes(both)
        before = owner.asked
        for n in range(10):
            asking.publish("ask", bytes([n]))
        await asked.until(lambda: len(asked.messages) == 10)
        assert owner.asked == before and len(writes) < 10


async def test_octets_that_a_full_socket_keeps_go_out_once_it_takes_more(open_broker: Any, client: Any) -> None:
    owner = Owner()
    async with client(open_broker.port, "full", wake=owner.wake, max_queued_octets=1 << 25) as (sender, told):
        await told.until(lambda: told.connections)
        sender._wire._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        before = owner.asked
        for n in range(6):
            sender.publish("full/unit", bytes(100_000 + n))
        sender.flush()
        assert sender.sender.blocked
        await told.until(lambda: len(told.ends) == 6)
        assert owner.asked - before <= 2


async def test_messages_that_wait_for_the_window_go_out_as_it_opens(open_broker: Any, client: Any) -> None:
    owner = Owner()
    async with client(open_broker.port, "window", wake=owner.wake, max_in_flight=4) as (sender, told):
        await told.until(lambda: told.connections)
        before = owner.asked
        for n in range(50):
            sender.publish("window/unit", bytes([n]))
        sender.flush()
        await told.until(lambda: len(told.ends) == 50)
        assert owner.asked - before == 1


async def test_the_tick_writes_what_it_has_to_say(open_broker: Any, client: Any) -> None:
    """A ping, without which the broker would end the connection."""
    owner = Owner()
    async with client(open_broker.port, "tick", wake=owner.wake, keepalive=1) as (sender, told):
        await told.until(lambda: told.connections)
        writes = count_writes(sender)
        before = owner.asked
        await until(lambda: writes)
        assert set(writes) == {2} and owner.asked == before


async def test_a_client_that_stops_does_not_wait_for_its_owner(open_broker: Any, client: Any) -> None:
    owner = Owner()
    async with client(open_broker.port, "stops", wake=owner.wake) as (sender, told):
        await told.until(lambda: told.connections)
        token = sender.publish("stops/unit", b"last")
        await sender.stop()
        assert [each for each, _ in told.ends] == [token]


async def test_more_than_one_turn_takes_is_written_in_several(open_broker: Any, client: Any) -> None:
    """The owner is asked again, so that the loop gets its turn for reading meanwhile."""
    owner = Owner()
    async with client(open_broker.port, "many", wake=owner.wake) as (sender, told):
        owner.flush_soon = sender.flush
        await told.until(lambda: told.connections)
        writes = count_writes(sender)
        for n in range(1000):
            sender.publish("many/unit", bytes([n % 256]), qos=0)
        await told.until(lambda: len(told.ends) == 1000)
        assert len(writes) == 4


async def test_a_state_never_overtakes_an_older_one_that_waits(open_broker: Any, client: Any) -> None:
    """With care states take their turn in the queue. When the care ends the newest must come last all the same: it is
    what the broker keeps."""
    owner = Owner()
    async with (
        client(open_broker.port, "cares", wake=owner.wake, max_in_flight=2) as (sender, told),
        client(open_broker.port, "watches-states") as (watching, seen),
    ):
        for _ in range(IN_A_ROW):
            sender.sender.blame.ended(0.1, "some", 0.0)
        await told.until(lambda: told.connections)
        watching.subscribe(["care/#"])
        await seen.until(lambda: seen.subscriptions)
        head = publish_head("care/state", 5)
        for n in range(4):
            sender.publish("care/unit", bytes([n]))
        assert sender.publish_at_once(head, b"older", retain=False)
        sender.sender.look(STABLE, 0.0)
        sender.flush()
        assert not sender.sender.blame.careful
        assert sender.publish_at_once(head, b"newer", retain=False)
        sender.flush()
        await seen.until(lambda: len(seen.messages) == 6)
        assert [each.payload for each in seen.messages if each.topic == "care/state"] == [b"older", b"newer"]
        await told.until(lambda: not sender.outstanding)
        writes = count_writes(sender)
        assert sender.publish_at_once(head, b"newest", retain=False) and not sender.outstanding
        sender.flush()
        assert len(writes) == 1
