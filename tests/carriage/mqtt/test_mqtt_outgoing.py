"""Queue and table of outgoing messages: counted in messages and octets, each ends exactly once."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriage.mqtt.options import DropReason, Token
from carriage.mqtt.outgoing import Outgoing, OutgoingQueue
from carriage.mqtt.stage import FIRST_ID, LAST_ID, Stage
from layer.errors import TransportError


class Ends:
    """A queue with a stage that sends what it takes."""

    def __init__(self, count: int = 10, octets: int = 1000) -> None:
        self.published: list[tuple[object, int]] = []
        self.dropped: list[tuple[object, DropReason]] = []
        self.queue = OutgoingQueue(count, octets, lambda token, reason: self.dropped.append((token, reason)))
        self.connect()

    def connect(self) -> None:
        """A connection, with the broker's session of before."""
        self.stage = Stage(5, 1000, self.queue.in_flight, self.queue.again)
        self.stage.receive(bytes.fromhex("20 03 00 00 00"))

    def land(self, packet_id: int, code: int = 0) -> None:
        events = self.stage.receive(bytes((0x40, 3, packet_id >> 8, packet_id & 0xFF, code)))
        self.published += [each for each in events if type(each) is tuple]


def message(token: int, size: int = 1, expires: float | None = None) -> Outgoing:
    return Outgoing(Token(token), "t", bytes(size), 1, False, None, None, None, 0.0, expires)


def test_what_is_in_flight_counts_until_it_lands() -> None:
    ends = Ends(count=2)
    queue = ends.queue
    queue.add(message(0))
    queue.add(message(1))
    first = queue.take(0.0)
    assert first is not None
    ends.stage.publish(first, None)
    assert first.packet_id == FIRST_ID
    assert (len(queue), len(queue.queued)) == (2, 1)
    with pytest.raises(TransportError) as full:
        queue.add(message(2))
    assert full.value.transient
    ends.land(8)  # not ours
    ends.land(FIRST_ID, 16)
    ends.land(FIRST_ID)  # again
    assert ends.published == [(0, 16)]
    queue.add(message(2))


def test_messages_in_flight_go_again_first_in_order_and_under_their_packet_ids() -> None:
    ends = Ends()
    queue = ends.queue
    for token in range(3):
        ends.stage.publish(message(token, expires=1.0), 1)
    queue.add(message(3))
    queue.rewind()
    ends.connect()
    assert (len(queue), queue.in_flight) == (4, {})
    queue.expire(2.0)
    again = [queue.take(2.0) for _ in range(2)]
    assert [(each.token, each.packet_id) for each in again if each] == [(0, FIRST_ID), (1, FIRST_ID + 1)]
    for each in again:  # the broker may have them, so that they don't expire
        assert each is not None
        ends.stage.publish(each, 1)
    queue.rewind()  # the next connection broke as well, before the third was sent
    order = [each.token for each in iter(lambda: queue.take(2.0), None)]
    assert order == [0, 1, 2, 3]


def test_a_packet_id_is_one_message_s_only() -> None:
    ends = Ends()
    for token in range(10):
        ends.stage.publish(message(token), None)
    ends.queue.rewind()
    ends.connect()
    for token in range(LAST_ID - FIRST_ID + 1 - 10):
        ends.stage.publish(message(token), None)
        ends.land(ends.stage.last_id)
    assert len(ends.published) == 32_758 and not ends.queue.in_flight
    ends.stage.publish(message(0), None)
    assert ends.stage.last_id == FIRST_ID + 10  # the first ten wait to be sent again


def test_a_message_without_a_token_ends_in_silence() -> None:
    ends = Ends()
    queue = ends.queue
    tokens = [Token(n) for n in range(1000, 1003)]
    first, second, third = (message(token, expires=1.0) for token in tokens)
    for each, token in zip((first, second, third), tokens, strict=True):
        each.token = token
    ends.stage.publish(first, 1)
    queue.add(second)
    queue.add(third)
    first.token = second.token = None
    ends.land(FIRST_ID)
    queue.expire(1.0)
    assert ends.published == [(None, 0)] and ends.dropped == [(tokens[2], DropReason.EXPIRED)]


@pytest.mark.parametrize("end", ["fly", "expire", "take", "give up"])
def test_octets_are_free_again_when_a_message_waits_no_longer(end: str) -> None:
    ends = Ends(octets=100)
    queue = ends.queue
    for token in range(5):
        queue.add(message(token, 100, expires=1.0))
        with pytest.raises(TransportError):
            queue.add(message(99, 1))
        if end == "fly":
            taken = queue.take(0.0)
            assert taken is not None
            ends.stage.publish(taken, 1)
        elif end == "expire":
            queue.expire(0.9)
            assert len(queue) == 1
            queue.expire(1.0)
        elif end == "take":
            assert queue.take(1.0) is None
        else:
            queue.give_up()
    assert len(queue.in_flight) + len(ends.dropped) == 5


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "take", "land", "expire", "break"]), st.integers(0, 40), st.booleans()),
    max_size=60,
)


@given(STEPS)
def test_every_message_ends_exactly_once_and_in_order(steps: list[tuple[str, int, bool]]) -> None:
    ends = Ends(count=8, octets=150)
    queue = ends.queue
    added: list[int] = []
    taken: list[int | None] = []
    for now, (step, number, limited) in enumerate(steps):
        if step == "add":
            try:
                queue.add(message(now, number, now + number if limited else None))
                added.append(now)
            except TransportError:
                pass
        elif step == "take":
            each = queue.take(now)
            if each is not None:
                assert each.packet_id or each.expires is None or each.expires > now
                taken.append(each.token)
                ends.stage.publish(each, 1)
        elif step == "land":
            ends.land(FIRST_ID + number % 8)
        elif step == "break":
            queue.rewind()
            ends.connect()
            assert list(queue.again) == [each.packet_id for each in queue.again.values()]
        else:
            queue.expire(now)
        assert len(queue) <= 8
    queue.give_up()
    first_time = list(dict.fromkeys(taken))
    assert first_time == sorted(first_time)  # type: ignore[type-var]
    counts = Counter([token for token, _ in ends.published] + [token for token, _ in ends.dropped])
    assert counts == Counter(added)
    queue.add(message(1000, 150))  # nothing is still counted
