"""The outgoing queue: counted in messages and octets, each end reported exactly once."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriage.mqtt.options import DropReason, Token
from carriage.mqtt.outgoing import Outgoing, OutgoingQueue
from layer.errors import TransportError


class Ends:
    def __init__(self) -> None:
        self.published: list[tuple[int, int]] = []
        self.dropped: list[tuple[int, DropReason]] = []

    def queue(self, count: int = 10, octets: int = 1000) -> OutgoingQueue:
        return OutgoingQueue(
            count,
            octets,
            lambda token, code: self.published.append((token, code)),
            lambda token, reason: self.dropped.append((token, reason)),
        )


def message(token: int, size: int = 1, expires: float | None = None) -> Outgoing:
    return Outgoing(Token(token), "t", bytes(size), 1, False, None, None, None, expires)


def test_what_is_in_flight_counts_until_it_lands() -> None:
    ends = Ends()
    queue = ends.queue(count=2)
    queue.add(message(0))
    queue.add(message(1))
    first = queue.take(0.0)
    assert first is not None
    queue.fly(first)
    assert first.packet_id == 1
    assert (len(queue), queue.waiting) == (2, 1)
    with pytest.raises(TransportError) as full:
        queue.add(message(2))
    assert full.value.transient
    queue.land(8, 0)  # not ours
    queue.land(1, 16)
    queue.land(1, 0)  # again
    assert ends.published == [(0, 16)]
    queue.add(message(2))


def test_messages_in_flight_go_again_first_in_order_and_under_their_packet_ids() -> None:
    ends = Ends()
    queue = ends.queue()
    for token in range(3):
        queue.launch(message(token, expires=1.0))
    queue.add(message(3))
    queue.rewind()
    assert (len(queue), queue.waiting, queue.in_flight) == (4, 4, {})
    queue.expire(2.0)
    again = [queue.take(2.0) for _ in range(2)]
    assert [(each.token, each.packet_id) for each in again if each] == [(0, 1), (1, 2)]  # the broker may have them
    for each in again:
        assert each is not None
        queue.fly(each)
    queue.rewind()  # the next connection broke as well, before the third was sent
    order = [each.token for each in iter(lambda: queue.take(2.0), None)]
    assert order == [0, 1, 2, 3]


def test_a_packet_id_is_one_message_s_only() -> None:
    ends = Ends()
    queue = ends.queue(count=100_000, octets=1 << 30)
    for token in range(10):
        queue.launch(message(token))
    queue.rewind()
    for token in range(65_525):
        queue.launch(message(token))
        queue.land(queue._last_id, 0)
    assert queue.free_id() == 11  # the first ten wait to be sent again


@pytest.mark.parametrize("end", ["land", "settle", "expire", "take", "give up"])
def test_octets_are_free_again_at_every_end(end: str) -> None:
    ends = Ends()
    queue = ends.queue(octets=100)
    for token in range(5):
        queue.add(message(token, 100, expires=1.0))
        with pytest.raises(TransportError):
            queue.add(message(99, 1))
        if end in ("land", "settle"):
            taken = queue.take(0.0)
            assert taken is not None
            if end == "land":
                queue.fly(taken)
                queue.land(taken.packet_id, 0)
            else:
                queue.settle(taken, 0)
        elif end == "expire":
            queue.expire(0.9)
            assert len(queue) == 1
            queue.expire(1.0)
        elif end == "take":
            assert queue.take(1.0) is None
        else:
            queue.give_up()
    assert len(queue) == 0
    assert len(ends.published) + len(ends.dropped) == 5


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "take", "land", "expire", "break"]), st.integers(0, 40), st.booleans()),
    max_size=60,
)


@given(STEPS)
def test_every_message_ends_exactly_once_and_in_order(steps: list[tuple[str, int, bool]]) -> None:
    ends = Ends()
    queue = ends.queue(count=8, octets=150)
    added: list[int] = []
    taken: list[int] = []
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
                queue.fly(each)
        elif step == "land":
            queue.land(number % 8 + 1, 0)
        elif step == "break":
            queue.rewind()
            assert list(queue.again) == [each.packet_id for each in queue.again.values()]
        else:
            queue.expire(now)
        assert len(queue) <= 8
    queue.give_up()
    first_time = list(dict.fromkeys(taken))
    assert first_time == sorted(first_time)
    counts = Counter([token for token, _ in ends.published] + [token for token, _ in ends.dropped])
    assert counts == Counter(added)
    queue.add(message(1000, 150))  # nothing is still counted
