"""The MQTT client against a real Mosquitto: traffic, queue, acknowledgement, broken connections."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from carriage.mqtt.blame import FIRST_PAUSE
from carriage.mqtt.options import DropReason, Message, Will
from carriage.mqtt.sender import STABLE
from layer.errors import TransportError, UsageError


@pytest.mark.parametrize("version", [4, 5])
async def test_messages_arrive_whole_and_in_order(open_broker: Any, client: Any, version: int) -> None:
    async with (
        client(open_broker.port, f"whole-a{version}", version=version) as (sender, sent),
        client(open_broker.port, f"whole-b{version}", version=version) as (receiver, received),
    ):
        receiver.subscribe([f"whole{version}/#"])
        await received.until(lambda: received.subscriptions == [(f"whole{version}/#", 1)])
        await sent.until(lambda: sent.connections)
        payloads = [bytes([i]) * i for i in range(200)]
        tokens = [
            sender.publish(
                f"whole{version}/{i}",
                payload,
                qos=i % 2,
                content_type="application/adtls",
                correlation=b"\0\xff" * (i % 3),
                expiry=60,
                response_topic="whole/answer",
            )
            for i, payload in enumerate(payloads)
        ]
        await received.until(lambda: len(received.messages) == 200)
        await sent.until(lambda: len(sent.ends) == 200)
    for qos in (0, 1):  # in order within one QoS
        assert [message.payload for message in received.messages if message.qos == qos] == payloads[qos::2]
    assert sorted(token for token, _ in sent.ends) == tokens
    assert all(code == 0 for _, code in sent.ends)
    last = next(message for message in received.messages if message.topic.endswith("/199"))
    assert not last.retained
    if version == 5:
        assert last.content_type == "application/adtls"
        assert last.correlation == b"\0\xff"
        assert last.response_topic == "whole/answer"
        assert 0 < (last.expiry or 0) <= 60
    else:
        assert (last.content_type, last.correlation, last.expiry, last.response_topic) == (None,) * 4


async def test_the_broker_answers_0x10_if_there_is_no_subscriber(open_broker: Any, client: Any) -> None:
    async with client(open_broker.port, "nobody") as (sender, sent):
        token = sender.publish("nobody/listens", b"x")
        await sent.until(lambda: sent.ends)
    assert sent.ends == [(token, 0x10)]


async def test_kept_and_live_messages_say_whether_they_are_retained(open_broker: Any, client: Any) -> None:
    async with client(open_broker.port, "keep-a") as (sender, sent):
        sender.publish("keep/old", b"1", retain=True)
        await sent.until(lambda: sent.ends)
        async with client(open_broker.port, "keep-b") as (receiver, received):
            receiver.subscribe(["keep/#"])
            await received.until(lambda: received.messages)
            sender.publish("keep/new", b"2", retain=True)
            sender.publish("keep/plain", b"3")
            await received.until(lambda: len(received.messages) == 3)
    assert [(m.topic, m.retained) for m in received.messages] == [
        ("keep/old", True),
        ("keep/new", True),
        ("keep/plain", False),
    ]


async def test_large_messages_pass_a_slow_connection(open_broker: Any, client: Any) -> None:
    """More octets than the buffers of socket and client hold."""
    async with (
        client(open_broker.port, "large-a", max_queued_octets=1 << 25) as (sender, _sent),
        client(open_broker.port, "large-b", max_packet=1 << 20) as (receiver, received),
    ):
        receiver.subscribe(["large"])
        await received.until(lambda: received.subscriptions)
        payloads = [os.urandom(500_000) for _ in range(30)]
        for payload in payloads:
            sender.publish("large", payload)
        await received.until(lambda: len(received.messages) == 30)
        assert await sender.drain(10)
    assert [message.payload for message in received.messages] == payloads


async def test_a_packet_beyond_the_limit_never_reaches_us(open_broker: Any, client: Any) -> None:
    async with (
        client(open_broker.port, "limit-a") as (sender, _sent),
        client(open_broker.port, "limit-b", max_packet=1000) as (receiver, received),
    ):
        receiver.subscribe(["limit"])
        await received.until(lambda: received.subscriptions)
        sender.publish("limit", bytes(2000))
        sender.publish("limit", b"short")
        await received.until(lambda: received.messages)
    assert [message.payload for message in received.messages] == [b"short"]


async def test_messages_wait_for_a_broker_that_was_killed(start_broker: Any, client: Any) -> None:
    broker = start_broker()
    async with (
        client(broker.port, "kill-a") as (sender, sent),
        client(broker.port, "kill-b") as (receiver, received),
    ):
        receiver.subscribe(["kill/#"])
        await received.until(lambda: received.subscriptions)
        sender.publish("kill/0", b"before")
        await received.until(lambda: received.messages)
        broker.kill()
        await sent.until(lambda: sent.disconnections)
        await received.until(lambda: received.disconnections)
        await received.until(lambda: len(received.disconnections) >= 3)  # it goes on trying
        sender.publish("kill/1", b"while away")
        broker.start()
        await received.until(lambda: len(received.subscriptions) == 2)  # subscribed again by itself
        sender.publish("kill/2", b"after")
        await received.until(lambda: received.messages[-1].payload == b"after")
        await sent.until(lambda: len(sent.ends) == 3)
    assert received.connections == [False, False]
    assert sent.drops == []


async def test_in_flight_messages_survive_a_broken_connection(start_broker: Any, client: Any) -> None:
    """The broker is stopped while messages are in flight, then killed: they are sent again to the next one."""
    broker = start_broker()
    async with client(broker.port, "flight") as (sender, sent):
        await sent.until(lambda: sent.connections)
        os.kill(broker.process.pid, signal.SIGSTOP)
        tokens = [sender.publish(f"flight/{i}", b"x") for i in range(100)]
        await asyncio.sleep(0.2)
        assert sent.ends == []
        broker.kill()
        broker.start()
        await sent.until(lambda: len(sent.ends) == 100)
    assert sorted(token for token, _ in sent.ends) == tokens


async def test_a_broker_that_falls_silent_is_noticed(start_broker: Any, client: Any) -> None:
    broker = start_broker()
    async with client(broker.port, "silent", keepalive=1, connect_timeout=0.5) as (_, told):
        await told.until(lambda: told.connections)
        os.kill(broker.process.pid, signal.SIGSTOP)
        await told.until(lambda: told.disconnections, timeout=15)
        os.kill(broker.process.pid, signal.SIGCONT)
        await told.until(lambda: len(told.connections) == 2)


async def test_the_will_is_seen_when_a_client_vanishes_but_not_when_it_stops(open_broker: Any, client: Any) -> None:
    will = Will(topic="will/state", payload=b"gone", content_type="application/json")
    async with client(open_broker.port, "will-watch") as (watcher, seen):
        watcher.subscribe(["will/#"])
        await seen.until(lambda: seen.subscriptions)
        async with client(open_broker.port, "will-stops", will=will) as (_, told):
            await told.until(lambda: told.connections)
        async with client(open_broker.port, "will-vanishes", will=will) as (vanishing, told):
            await told.until(lambda: told.connections)
            next(task for task in asyncio.all_tasks() if task.get_name() == "mqtt will-vanishes").cancel()
            await vanishing.stop()  # too late to take leave
        await seen.until(lambda: seen.messages)
        watcher.publish("will/end", b"end")
        await seen.until(lambda: seen.messages[-1].payload == b"end")
    assert [message.payload for message in seen.messages] == [b"gone", b"end"]
    assert seen.messages[0].content_type == "application/json"


async def test_the_queue_is_bounded_and_what_waits_can_expire(client: Any) -> None:
    async with client(1, "bounded", max_queued=3, max_queued_octets=100) as (sender, told):
        late = sender.publish("a", b"1", expiry=1)
        with pytest.raises(TransportError) as refused:
            sender.publish("a", bytes(100))
        assert refused.value.transient
        kept = [sender.publish("a", b"2", expiry=100), sender.publish("a", b"3")]
        with pytest.raises(TransportError):
            sender.publish("a", b"4")
        await told.until(lambda: told.drops)
        assert told.drops == [(late, DropReason.EXPIRED)]
        kept.append(sender.publish("a", b"4"))
        assert sender.outstanding == 3
    assert sorted(told.drops[1:]) == [(token, DropReason.STOPPED) for token in kept]
    with pytest.raises(TransportError) as stopped:
        sender.publish("a", b"5")
    assert not stopped.value.transient


async def test_a_message_longer_than_the_broker_takes_is_refused_at_once(start_broker: Any, client: Any) -> None:
    broker = start_broker("max_packet_size 2000")
    async with client(broker.port, "longer") as (sender, told):
        await told.until(lambda: told.connections)
        with pytest.raises(TransportError) as refused:
            sender.publish("longer", bytes(2000))
        assert not refused.value.transient
        sender.publish("longer", bytes(1000))
        await told.until(lambda: told.ends)


async def test_unacknowledged_messages_come_again(open_broker: Any, client: Any) -> None:
    async with (
        client(open_broker.port, "ack-a") as (sender, _sent),
        client(open_broker.port, "ack-b", manual_ack=True) as (receiver, received),
    ):
        receiver.subscribe(["ack/#"])
        await received.until(lambda: received.subscriptions)
        for i in range(3):
            sender.publish(f"ack/{i}", b"x")
        await received.until(lambda: len(received.messages) == 3)
        receiver.acknowledge(received.messages[2])  # held back by the two before it
        receiver.acknowledge(received.messages[0])
        old = received.messages[1]
    async with client(open_broker.port, "ack-b", manual_ack=True, clean_start=False) as (receiver, received):
        await received.until(lambda: len(received.messages) == 2)
        assert received.connections == [True]
        receiver.acknowledge(old)  # of another connection: does nothing
        for message in received.messages:
            receiver.acknowledge(message)
        await asyncio.sleep(0.1)
    assert [message.topic for message in received.messages] == ["ack/1", "ack/2"]
    async with client(open_broker.port, "ack-b", manual_ack=True, clean_start=False) as (_, received):
        await received.until(lambda: received.connections)
        await asyncio.sleep(0.2)
    assert received.messages == []


async def test_a_failing_handler_harms_nothing(open_broker: Any, client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """And its failures, which others may cause, fill no log."""
    async with client(open_broker.port, "fail") as (both, told):
        both.subscribe(["fail/#"])
        await told.until(lambda: told.subscriptions)
        seen: list[Message] = []

        def fail(message: Message) -> None:
            seen.append(message)
            raise RuntimeError("on purpose")

        told.on_message = fail
        for i in range(40):
            both.publish(f"fail/{i}", b"x")
        await told.until(lambda: len(seen) == 40)
        await told.until(lambda: len(told.ends) == 40)
    lines = [each.getMessage() for each in caplog.records if "handler" in each.getMessage()]
    assert len(lines) <= 20 and "RuntimeError at fail" in lines[0] and "on purpose" not in "".join(lines)
    assert told.disconnections == ["stopped"]


async def test_publishing_from_the_handler(open_broker: Any, client: Any) -> None:
    async with client(open_broker.port, "echo") as (both, told):
        both.subscribe(["echo/#"])
        await told.until(lambda: told.subscriptions)

        def answer(message: Message) -> None:
            told.messages.append(message)
            if len(told.messages) < 100:
                both.publish("echo/x", message.payload + b"+", qos=len(told.messages) % 2)

        told.on_message = answer
        both.publish("echo/x", b"")
        await told.until(lambda: len(told.messages) == 100)
    assert told.messages[-1].payload == b"+" * 99


async def test_misuse_is_our_bug(open_broker: Any, client: Any) -> None:
    async with client(open_broker.port, "misuse") as (both, _told):
        for topic in ("", "a/+", "#", "a\0b", "a" * 70_000):
            with pytest.raises(UsageError):
                both.publish(topic, b"")
        with pytest.raises(UsageError):
            both.publish("a", b"", qos=2)
        for each in ("", "a/#/b", "a+/b", "a\0"):
            with pytest.raises(UsageError):
                both.subscribe([each])
        with pytest.raises(UsageError):
            both.subscribe([f"a/{i}" for i in range(100)])
    with pytest.raises(UsageError):
        await both.run()


@pytest.mark.parametrize("version", [4, 5])
async def test_broken_connections_in_a_row_do_not_cost_the_session(open_broker: Any, client: Any, version: int) -> None:
    """Also where they make us careful: whatever is under way may have been the reason."""
    async with client(open_broker.port, f"row-{version}", version=version) as (both, told):
        both.subscribe([f"row/{version}"])
        await told.until(lambda: told.subscriptions)
        for n in range(3):
            for _ in range(3):
                both.publish(f"row/{version}", bytes([n]))
            both.sender.write()
            both._end("cut")
            await told.until(lambda n=n: len(told.connections) == n + 2)
        await told.until(lambda: len(told.ends) == 9 and len(told.messages) >= 9)
        assert told.connections == [False, True, True, True]
        assert both.sender.blame.careful and not both.given_up
        assert {each.payload for each in told.messages} == {bytes([n]) for n in range(3)}


@pytest.mark.parametrize("version", [4, 5])
async def test_what_a_crashing_broker_made_us_give_up_is_published_again(
    open_broker: Any, client: Any, version: int
) -> None:
    """For some time it looks like one that does not bear the topic; then it must not cost more than a pause."""
    name = f"chance-{version}"
    async with client(open_broker.port, name, version=version) as (both, told):
        both.subscribe([name])
        await told.until(lambda: told.subscriptions)
        while not both.given_up:
            before = len(told.connections)
            both.publish(name, b"lost")
            both.sender.write()
            both._end("the broker crashes")
            await told.until(lambda before=before: len(told.connections) > before)
        refused = both.publish(name, b"left out")
        await told.until(lambda: (refused, 0x90) in told.ends)
        assert both.given_up == [name]
        before = len(told.connections)
        both._connected_at -= STABLE
        both.sender.blame._latest -= FIRST_PAUSE
        await told.until(lambda: len(told.connections) > before)
        again = both.publish(name, b"again")
        await told.until(lambda: (again, 0) in told.ends and told.messages[-1].payload == b"again")
        assert not both.given_up


@pytest.mark.parametrize("version", [4, 5])
async def test_what_comes_while_the_connection_is_broken_is_kept(open_broker: Any, client: Any, version: int) -> None:
    """A clean session of MQTT 3.1.1 would lose it; and when the client stops nothing of it stays at the broker."""
    name = f"kept-{version}"
    async with client(open_broker.port, f"{name}-writer") as (writer, wrote):
        async with client(open_broker.port, name, version=version, backoff_first=2.0, backoff_limit=2.0) as (
            reader,
            told,
        ):
            reader.subscribe([name])
            await told.until(lambda: told.subscriptions)
            reader._end("cut")
            await told.until(lambda: told.disconnections)
            for n in range(5):
                writer.publish(name, bytes([n]))
            await wrote.until(lambda: len(wrote.ends) == 5)
            await told.until(lambda: len(told.messages) == 5)
            assert told.connections == [False, True]
            assert [each.payload for each in told.messages] == [bytes([n]) for n in range(5)]
        if version == 4:
            async with client(open_broker.port, name, version=4) as (_, again):
                await again.until(lambda: again.connections)
                assert again.connections == [False]
