"""adapters.zigbee.fragments: every order, repetitions, what never ends or is too much, and what is of two messages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapters.zigbee.fragments import FRAGMENTS, MESSAGES, PATIENCE, PER_SENDER, Key, Reassembly

KEY = Key(0x1234, 1, 0x0104, 0x0402, 7, 1, 0, False)


def first(count: int) -> int:
    """The word that goes with fragment 0 of so many."""
    return count << 8


@given(parts=st.lists(st.binary(max_size=8), min_size=1, max_size=FRAGMENTS), data=st.data())
def test_any_order_with_repetitions(parts: list[bytes], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(parts))))
    whole = Reassembly()
    for index in order[:-1]:
        for _ in range(data.draw(st.integers(1, 3))):
            assert whole.add(KEY, (len(parts) if index == 0 else 0) << 8 | index, parts[index], 0.0) is None
    last = order[-1]
    assert whole.add(KEY, (len(parts) if last == 0 else 0) << 8 | last, parts[last], 0.0) == b"".join(parts)
    assert len(whole) == 0 and not any(whole.counters.values())


def test_fragments_after_too_long_a_pause_begin_a_new_message() -> None:
    whole = Reassembly()
    assert whole.add(KEY, first(2), b"old", 0.0) is None
    assert whole.add(KEY, 1, b"new", PATIENCE + 1) is None
    assert whole.add(KEY, first(2), b"first ", PATIENCE + 2) == b"first new"


FIELDS = st.sampled_from(Key._fields)


@given(
    parts=st.lists(st.binary(min_size=1, max_size=4), min_size=2, max_size=6),
    field=FIELDS,
    data=st.data(),
)
def test_fragments_of_two_messages_never_become_one(parts: list[bytes], field: str, data: st.DataObject) -> None:
    """Whatever tells them apart, the link key among it: each message has its own fragments only, in any order."""
    value = getattr(KEY, field)
    other = KEY._replace(**{field: not value if field == "link_key" else value + 1})
    forged = [b"forged " + part for part in parts]
    frames = [(KEY, index, part) for index, part in enumerate(parts)]
    frames += [(other, index, part) for index, part in enumerate(forged[: data.draw(st.integers(1, len(parts)))])]
    whole = Reassembly()
    found = []
    for key, index, part in data.draw(st.permutations(frames)):
        message = whole.add(key, (first(len(parts)) if not index else 0) | index, part, 0.0)
        if message is not None:
            found.append((key, message))
    assert [message for key, message in found if key == KEY] == [b"".join(parts)]
    assert all(message == b"".join(forged) for key, message in found if key == other)


@given(
    parts=st.lists(st.binary(min_size=1, max_size=4), min_size=2, max_size=6),
    at=st.integers(0, 5),
    data=st.data(),
)
def test_a_message_that_contradicts_itself_is_dropped_whole(parts: list[bytes], at: int, data: st.DataObject) -> None:
    frames = [((first(len(parts)) if not index else 0) | index, part) for index, part in enumerate(parts)]
    at %= len(parts)
    forged = data.draw(st.sampled_from([(frames[at][0], b"other octets"), (first(len(parts) + 1), parts[0])]))
    spared = data.draw(st.integers(0, len(parts) - 1))  # one comes last, so that it isn't whole before
    whole = Reassembly()
    order = data.draw(st.permutations([*frames[:spared], *frames[spared + 1 :], forged]))
    for group, part in (*order, frames[spared]):
        message = whole.add(KEY, group, part, 0.0)
        if spared != (0 if forged[0] >> 8 else at):  # else the forged one took its place
            assert message is None
    if spared != (0 if forged[0] >> 8 else at):
        assert whole.counters["fragments_contradicting"] == 1
    # the next message with this counter is its own
    for group, part in frames[:-1]:
        assert whole.add(KEY, group, part, 2 * PATIENCE) is None
    assert whole.add(KEY, *frames[-1], 2 * PATIENCE) == b"".join(parts)


def test_a_fragment_beyond_the_count_contradicts() -> None:
    for groups in ((3, first(2)), (first(2), 3), (first(0),)):
        whole = Reassembly()
        for group in groups:
            assert whole.add(KEY, group, b"part", 0.0) is None
        assert whole.counters["fragments_contradicting"] == 1


def test_one_sender_pushes_out_nobody_else() -> None:
    whole = Reassembly()
    assert whole.add(KEY, first(2), b"honest ", 0.0) is None
    for counter in range(1000):
        assert whole.add(KEY._replace(sender=0x6666, counter=counter % 256), first(4), b"part", 0.0) is None
    assert len(whole) == 1 + PER_SENDER
    assert whole.counters["fragments_evicted"] == 1000 - PER_SENDER
    assert whole.add(KEY, 1, b"device", 0.0) == b"honest device"


def test_a_full_table_takes_the_next() -> None:
    """The device with the most makes room; so a sender with many addresses pushes out its own first."""
    whole = Reassembly()
    senders = MESSAGES // PER_SENDER
    assert whole.add(KEY, first(2), b"honest ", 0.0) is None
    for sender in range(senders):
        for counter in range(PER_SENDER):
            assert whole.add(KEY._replace(sender=sender, counter=counter), first(4), b"part", 0.0) is None
    assert len(whole) == MESSAGES
    assert whole.counters["fragments_evicted"] == 1
    assert whole.add(KEY, 1, b"device", 0.0) == b"honest device"


def test_a_message_of_too_many_fragments_is_given_up() -> None:
    whole = Reassembly()
    assert whole.add(KEY, first(FRAGMENTS + 1), b"too many", 0.0) is None
    assert whole.add(KEY._replace(counter=2), FRAGMENTS, b"too far", 0.0) is None
    assert whole.counters["fragments_too_many"] == 2


@given(
    st.lists(
        st.tuples(
            st.integers(0, 90), st.integers(0, 5), st.integers(0, 0xFFFF), st.binary(max_size=4), st.floats(0, 100)
        )
    )
)
def test_whatever_comes_is_taken_and_bounded(frames: list[tuple[int, int, int, bytes, float]]) -> None:
    whole = Reassembly()
    for sender, counter, group, part, now in frames:
        whole.add(KEY._replace(sender=sender, counter=counter), group, part, now)
        assert len(whole) <= MESSAGES
