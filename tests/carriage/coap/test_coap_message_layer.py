"""Tests of carriage.coap.message_layer as transcripts: what comes in, what goes out, and when (RFC 7252 section 4)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carriage.coap import codes
from carriage.coap.deduplication import Deduplication
from carriage.coap.lower_layer import MessageOutcome
from carriage.coap.message import ACK, CON, NON, RST, Message, decode
from carriage.coap.message_ids import MessageIds
from carriage.coap.message_layer import MessageLayer, TransmissionParameters
from layer.errors import UsageError


@dataclass(eq=False)
class Owner:
    outcomes: list[MessageOutcome] = field(default_factory=list)

    def settled(self, outcome: MessageOutcome, now: float) -> None:
        self.outcomes.append(outcome)


def layer(random: float = 0.0, **parameters: float) -> MessageLayer:
    return MessageLayer(TransmissionParameters(**parameters), lambda: random, body_limit=1024, message_limit=1152)


def post(payload: bytes = b"x") -> Message:
    return Message(CON, codes.POST, 0, b"t", (), payload)


def sent(target: MessageLayer) -> list[Message]:
    return [decode(datagram) for datagram in target.to_send()]


def settle(target: MessageLayer) -> None:
    outcomes, target.outcomes = target.outcomes, []
    for sender, outcome in outcomes:
        sender.settled(outcome, 0.0)


def request(message_id: int, type: int = CON, payload: bytes = b"") -> bytes:
    return Message(type, codes.GET, message_id, b"tok", ((11, b"x"),), payload).encode()


# Confirmable messages


@pytest.mark.parametrize(("random", "first"), [(0.0, 2.0), (0.5, 2.5), (1.0, 3.0)])
def test_retransmission_times_double_from_a_random_start(random: float, first: float) -> None:
    ours, owner = layer(random), Owner()
    assert ours.send(post(), owner, 100.0, confirmable=True)
    copies = ours.to_send()
    times = [100.0]
    for _ in range(4):
        deadline = ours.next_deadline()
        assert deadline is not None
        ours.tick(deadline - 0.001)
        assert ours.to_send() == []
        ours.tick(deadline)
        copies += ours.to_send()
        times.append(deadline)
    assert len(copies) == 5 and len(set(copies)) == 1
    assert times == [100.0 + first * (2**k - 1) for k in range(5)]
    last = ours.next_deadline()
    assert last == 100.0 + first * 31  # MAX_TRANSMIT_WAIT: 93 s at the most
    ours.tick(last)
    settle(ours)
    assert owner.outcomes == [MessageOutcome.TIMED_OUT]
    assert ours.to_send() == [] and ours.next_deadline() is None


@pytest.mark.parametrize(("type", "outcome"), [(ACK, MessageOutcome.ACKNOWLEDGED), (RST, MessageOutcome.RESET)])
def test_an_answer_settles_and_ends_the_retransmission(type: int, outcome: MessageOutcome) -> None:
    ours, owner = layer(), Owner()
    ours.send(post(), owner, 0.0, confirmable=True)
    (message,) = sent(ours)
    assert ours.receive(Message(type, codes.EMPTY, message.message_id).encode(), 1.0) == []
    settle(ours)
    assert owner.outcomes == [outcome]
    assert ours.next_deadline() is None
    ours.receive(Message(type, codes.EMPTY, message.message_id).encode(), 1.0)  # the network doubles it
    settle(ours)
    assert owner.outcomes == [outcome]


def test_an_answer_to_another_message_settles_nothing() -> None:
    ours, owner = layer(), Owner()
    ours.send(post(), owner, 0.0, confirmable=True)
    (message,) = sent(ours)
    ours.receive(Message(ACK, codes.EMPTY, message.message_id ^ 1).encode(), 1.0)
    settle(ours)
    assert owner.outcomes == [] and ours.next_deadline() == 2.0


def test_a_piggy_backed_response_is_handed_up_once() -> None:
    ours, owner = layer(), Owner()
    ours.send(post(), owner, 0.0, confirmable=True)
    (message,) = sent(ours)
    answer = Message(ACK, codes.CONTENT, message.message_id, b"t", (), b"r")
    assert ours.receive(answer.encode(), 1.0) == [answer]
    assert ours.receive(answer.encode(), 1.0) == []
    settle(ours)
    assert owner.outcomes == [MessageOutcome.ACKNOWLEDGED]


def test_nstart_bounds_what_is_outstanding_and_keeps_the_order() -> None:
    ours = layer(nstart=2)
    for number in range(5):
        assert ours.send(post(b"%d" % number), Owner(), 0.0, confirmable=True)
    first = sent(ours)
    assert [message.payload for message in first] == [b"0", b"1"]
    ours.receive(Message(ACK, codes.EMPTY, first[1].message_id).encode(), 0.5)
    assert [message.payload for message in sent(ours)] == [b"2"]
    assert ours.send(Message(NON, codes.POST, 0, b"n", (), b"non"), None, 0.5, confirmable=False)
    assert [message.payload for message in sent(ours)] == [b"non"]  # not counted by NSTART


def test_giving_up_one_makes_room_for_the_next() -> None:
    ours, first, second = layer(nstart=1), Owner(), Owner()
    ours.send(post(b"0"), first, 0.0, confirmable=True)
    ours.send(post(b"1"), second, 0.0, confirmable=True)
    assert len(sent(ours)) == 1
    ours.forget(first, 1.0)
    assert [message.payload for message in sent(ours)] == [b"1"]
    settle(ours)
    assert first.outcomes == []


def test_a_full_backlog_refuses() -> None:
    ours = layer(nstart=1, max_backlog=2)
    assert [ours.send(post(), None, 0.0, confirmable=True) for _ in range(4)] == [True, True, True, False]


def test_a_message_that_bursts_a_datagram_is_settled_and_not_sent() -> None:
    ours, owner = layer(), Owner()
    assert ours.send(post(bytes(1200)), owner, 0.0, confirmable=True)
    settle(ours)
    assert owner.outcomes == [MessageOutcome.TOO_LARGE] and ours.to_send() == []


def test_a_reset_of_a_non_confirmable_message_is_its_outcome() -> None:
    ours, owner = layer(), Owner()
    ours.send(Message(NON, codes.CONTENT, 0, b"t", (), b"x"), owner, 0.0, confirmable=False)
    (message,) = sent(ours)
    ours.receive(Message(RST, codes.EMPTY, message.message_id).encode(), 0.1)
    settle(ours)
    assert owner.outcomes == [MessageOutcome.RESET]


def test_a_ping_is_answered_by_a_reset() -> None:
    ours, owner = layer(), Owner()
    assert ours.ping(owner, 0.0)
    (ping,) = ours.to_send()
    assert ping[:2] == b"\x40\x00"
    theirs = layer()
    theirs.receive(ping, 0.0)
    (answer,) = theirs.to_send()
    assert answer == b"\x70\x00" + ping[2:]
    ours.receive(answer, 0.1)
    settle(ours)
    assert owner.outcomes == [MessageOutcome.ACKNOWLEDGED]


# Message ids


def test_ids_run_out_and_come_back_after_their_lifetime() -> None:
    ours = layer(id_space=3, exchange_lifetime=247.0)
    ids = []
    for number in range(5):
        ours.send(Message(NON, codes.POST, 0, b"t", (), b"%d" % number), None, 0.0, confirmable=False)
    ids = [message.message_id for message in sent(ours)]
    assert len(set(ids)) == 3
    deadline = ours.next_deadline()
    assert deadline is not None and 247.0 <= deadline <= 249.0
    ours.tick(deadline)
    assert [message.payload for message in sent(ours)] == [b"3", b"4"]


@given(st.lists(st.floats(0, 30), min_size=50, max_size=200))
@settings(max_examples=15, deadline=None)
def test_no_id_comes_twice_within_its_lifetime(pauses: list[float]) -> None:
    ids = MessageIds(65530, 100.0, space=20)
    now = 0.0
    last: dict[int, float] = {}
    given_out = 0
    for pause in pauses:
        now += pause
        taken = ids.take(now)
        if taken is None:
            free = ids.free_at()
            assert free is not None and free > now
            continue
        given_out += 1
        # with a space of 20 the ids that are alive are at most 20 in a row
        alive = [found for found, at in last.items() if now - at < 100.0]
        assert taken not in alive and len(alive) < 20
        last[taken] = now
    assert given_out > 0


def test_all_ids_are_used_before_any_comes_again() -> None:
    ids = MessageIds(65000, 247.0)
    assert len({ids.take(0.0) for _ in range(65536)}) == 65536
    assert ids.take(0.0) is None
    assert ids.take(248.0) == 65000


# Answers


def test_a_quick_answer_is_piggy_backed() -> None:
    ours = layer()
    (message,) = ours.receive(request(7), 0.0)
    assert ours.next_deadline() == 0.5
    assert ours.piggyback(message, codes.CONTENT, (), b"r")
    assert sent(ours) == [Message(ACK, codes.CONTENT, 7, b"tok", (), b"r")]


def test_a_slow_answer_comes_separately() -> None:
    ours, owner = layer(), Owner()
    (message,) = ours.receive(request(7), 0.0)
    ours.tick(0.5)
    assert sent(ours) == [Message(ACK, codes.EMPTY, 7)]
    answer = Message(CON, codes.CONTENT, 0, message.token, (), b"r")
    assert not ours.piggyback(message, codes.CONTENT, (), b"r")
    assert ours.send(answer, owner, 3.0, confirmable=True)
    (answer,) = sent(ours)
    assert (answer.type, answer.code, answer.token, answer.payload) == (CON, codes.CONTENT, b"tok", b"r")
    ours.receive(Message(ACK, codes.EMPTY, answer.message_id).encode(), 3.1)
    settle(ours)
    assert owner.outcomes == [MessageOutcome.ACKNOWLEDGED]


def test_a_non_confirmable_request_has_no_acknowledgement_to_go_with() -> None:
    ours = layer()
    (message,) = ours.receive(request(7, NON), 0.0)
    assert not ours.piggyback(message, codes.CONTENT, (), b"")
    assert ours.to_send() == []


def test_a_response_whose_options_burst_a_datagram_becomes_5_00() -> None:
    ours = layer()
    (message,) = ours.receive(request(7), 0.0)
    ours.piggyback(message, codes.CONTENT, ((8, bytes(255)),) * 6, b"")
    assert sent(ours) == [Message(ACK, codes.INTERNAL_SERVER_ERROR, 7, b"tok")]


def test_separate_responses_are_acknowledged_or_reset_as_the_connection_says() -> None:
    ours = layer()
    (known,) = ours.receive(Message(CON, codes.CONTENT, 1, b"a").encode(), 0.0)
    ours.accept(known, 0.0)
    (unknown,) = ours.receive(Message(CON, codes.CONTENT, 2, b"b").encode(), 0.0)
    ours.reject(unknown, 0.0)
    (non,) = ours.receive(Message(NON, codes.CONTENT, 3, b"b").encode(), 0.0)
    ours.reject(non, 0.0)
    assert sent(ours) == [Message(ACK, 0, 1), Message(RST, 0, 2), Message(RST, 0, 3)]


# De-duplication


def test_a_repeated_request_is_handled_once_and_gets_the_same_reply_again() -> None:
    ours = layer()
    (message,) = ours.receive(request(7), 0.0)
    ours.piggyback(message, codes.CONTENT, (), b"r")
    (reply,) = ours.to_send()
    for at in (2.0, 6.0, 200.0):
        assert ours.receive(request(7), at) == []
        assert ours.to_send() == [reply]
    assert ours.duplicates == 3


def test_a_repetition_while_the_answer_is_awaited_is_acknowledged_at_once() -> None:
    ours = layer(empty_ack_delay=5.0)
    (message,) = ours.receive(request(7), 0.0)
    assert ours.receive(request(7), 2.0) == []
    assert sent(ours) == [Message(ACK, 0, 7)]
    assert not ours.piggyback(message, codes.CONTENT, (), b"")


def test_a_repeated_non_confirmable_request_is_dropped_in_silence() -> None:
    ours = layer()
    ours.receive(request(7, NON), 0.0)
    assert ours.receive(request(7, NON), 1.0) == [] and ours.to_send() == []


def test_after_the_exchange_lifetime_the_id_is_new() -> None:
    ours = layer()
    ours.receive(request(7), 0.0)
    assert ours.receive(request(7), 246.9) == []
    assert len(ours.receive(request(7), 247.1)) == 1


def test_a_flood_of_new_ids_keeps_memory_bounded() -> None:
    ours = layer(max_remembered=100, max_remembered_octets=10_000)
    for number in range(5_000):
        for message in ours.receive(request(number % 65536), number * 0.001):
            ours.piggyback(message, codes.CONTENT, (), bytes(500))
        ours.to_send()
        assert ours.remembered <= 100
        assert ours.remembered_octets <= 10_000


def test_a_flood_that_nobody_answers_keeps_memory_bounded() -> None:
    ours = layer(max_remembered=50, empty_ack_delay=100.0)
    acknowledged = 0
    for number in range(500):
        ours.receive(request(number), 0.0)
        acknowledged += len(ours.to_send())
    assert acknowledged == 450  # the oldest were acknowledged early to make room


def test_old_entries_are_swept_without_traffic() -> None:
    ours = layer()
    for number in range(10):
        ours.receive(request(number, NON), float(number))
    deadline = ours.next_deadline()
    assert deadline is not None and deadline >= 247.0
    ours.tick(deadline)
    assert ours.remembered < 10
    ours.tick(1000.0)
    assert ours.remembered == 0 and ours.next_deadline() is None


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 400)), max_size=200))
@settings(max_examples=25, deadline=None)
def test_the_table_counts_its_octets_rightly(steps: list[tuple[int, int]]) -> None:
    table = Deduplication(lifetime=50.0, entries=10, octets=1000)
    kept: dict[int, bytes] = {}
    for at, (message_id, size) in enumerate(steps):
        table.first(message_id, float(at))
        assert not table.first(message_id, float(at))
        table.answered(message_id, bytes(size))
        kept[message_id] = bytes(size)
        table.expire(float(at))
        living = [number for number in kept if table.reply(number) is not None]
        assert table.octets == sum(len(table.reply(number) or b"") for number in living) <= 1000
        assert len(table) == len(living) <= 10


# Malformed input


@pytest.mark.parametrize(
    ("octets", "answer"),
    [
        ("49 01 1234 00", "70 00 1234"),  # CON with token length 9: rejected
        ("40 01 1234 ff", "70 00 1234"),
        ("40 20 1234", "70 00 1234"),
        ("59 01 1234 00", ""),  # NON: dropped
        ("80 01 1234", ""),  # another version: ignored
        ("60 01 1234", ""),  # ACK
        ("40", ""),
        ("", ""),
    ],
)
def test_malformed_messages(octets: str, answer: str) -> None:
    ours = layer()
    assert ours.receive(bytes.fromhex(octets.replace(" ", "")), 0.0) == []
    assert b"".join(ours.to_send()).hex() == answer.replace(" ", "")
    assert ours.malformed == 1


@pytest.mark.parametrize(
    "parameters",
    [{"ack_timeout": 0}, {"nstart": 0}, {"ack_random_factor": 0.9}, {"id_space": 65537}, {"max_backlog": 0}],
)
def test_impossible_parameters(parameters: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        TransmissionParameters(**parameters)
