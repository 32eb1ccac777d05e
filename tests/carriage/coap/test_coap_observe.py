"""Tests of observation between two real ends: every notification exactly once and in order on any network."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.connection import (
    Answer,
    CoapConfig,
    CoapConnection,
    Event,
    ExchangeFailed,
    FailureReason,
    NotificationAcknowledged,
    NotificationFailed,
    NotificationReceived,
    ObservationEnded,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
)
from carriage.coap.message import ACK, CON, NON, RST, Message, decode
from carriage.coap.observe import is_newer
from layer.errors import UsageError

PATH = ((opt.URI_PATH, b"x"),)
BOTH = pytest.mark.parametrize("datagrams", [True, False])


def accept(node, event: Event) -> None:
    if isinstance(event, RequestReceived):
        node.connection.respond(event.exchange, Response(codes.CONTENT), node.now, observe=True)


def observed(pair) -> tuple[int, int]:
    """Register; returns the exchange ids of both sides."""
    pair.b.react = accept
    ours = pair.a.connection.observe(Request(codes.GET, PATH), pair.now)
    assert pair.run_until(lambda: any(event.exchange == ours for event in pair.a.of(ResponseReceived)))
    return ours, pair.b.of(RequestReceived)[-1].exchange


def bodies(pair) -> list[bytes]:
    """What the observer got. Where the first answer was lost, the first notification comes in its place."""
    found = [event.response.payload for event in pair.a.of(ResponseReceived) if event.response.payload]
    return found + [event.response.payload for event in pair.a.of(NotificationReceived)]


@BOTH
def test_the_course_of_an_observation(world, datagrams: bool) -> None:
    pair = world(datagrams=datagrams)
    ours, theirs = observed(pair)
    (first,) = pair.a.of(ResponseReceived)
    assert opt.first(first.response.options, opt.OBSERVE) is not None
    options = ((opt.ETAG, b"\x07"), (opt.CONTENT_FORMAT, b"\x2a"))
    number = pair.b.connection.notify(theirs, Response(codes.CONTENT, options, b"unit"), pair.now)
    pair.run(1.0)
    (heard,) = pair.a.of(NotificationReceived)
    assert heard.exchange == ours and heard.response.payload == b"unit"
    assert opt.without(heard.response.options, frozenset((opt.OBSERVE,))) == options
    assert pair.b.of(NotificationAcknowledged) == [NotificationAcknowledged(theirs, number)]
    pair.a.connection.cancel(ours, pair.now)
    pair.run(1.0)
    assert pair.b.of(ObservationEnded) == [ObservationEnded(theirs, FailureReason.DEREGISTERED)]
    assert pair.a.of(ObservationEnded) == [] and pair.a.of(ExchangeFailed) == []
    assert pair.b.connection.notify(theirs, Response(codes.CONTENT), pair.now) is FailureReason.COMPLETED


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("size", [20, 3000])
def test_every_notification_exactly_once_in_order(world, seed: int, size: int) -> None:
    config = CoapConfig(max_notifications=100)
    pair = world(seed=seed, loss=0.15, double=0.15, jitter=0.8, config=config)
    _, theirs = observed(pair)
    sent = [bytes((number,)) * size for number in range(25)]
    for number, payload in enumerate(sent):
        pair.b.connection.notify(theirs, Response(codes.CONTENT, (), payload), pair.now)
        if number % 5 == 0:
            pair.run(3.0)
    assert pair.run_until(lambda: len(pair.b.of(NotificationAcknowledged)) == 25, 5000.0), pair.b.events
    pair.run(100.0)
    assert bodies(pair) == sent
    ids = [event.notification for event in pair.b.of(NotificationAcknowledged)]
    assert ids == sorted(ids)
    assert pair.b.of(ObservationEnded) == []


def test_one_is_on_its_way_at_a_time_and_none_is_superseded(world) -> None:
    pair = world()
    _, theirs = observed(pair)
    pair.passed.clear()
    for number in range(3):
        pair.b.connection.notify(theirs, Response(codes.CONTENT, (), b"%d" % number), pair.now)
    pair.settle()
    assert len(pair.passed) == 1
    pair.run(1.0)
    assert [decode(octets).type for _, octets in pair.passed] == [CON, ACK] * 3


def test_the_queue_is_bounded_and_says_so(world) -> None:
    pair = world(other=CoapConfig(max_notifications=2))
    _, theirs = observed(pair)
    answers = [pair.b.connection.notify(theirs, Response(codes.CONTENT, (), b"u"), pair.now) for _ in range(4)]
    assert answers[3] is FailureReason.QUEUE_FULL and all(isinstance(answer, int) for answer in answers[:3])


def test_a_lost_observer_fails_everything_that_waits(world) -> None:
    pair = world()
    _, theirs = observed(pair)
    pair.cut = True
    ids = [pair.b.connection.notify(theirs, Response(codes.CONTENT, (), b"u"), pair.now) for _ in range(3)]
    pair.run(100.0)
    assert pair.b.of(NotificationFailed) == [NotificationFailed(theirs, one, FailureReason.TIMED_OUT) for one in ids]
    assert pair.b.events[-1] == ObservationEnded(theirs, FailureReason.TIMED_OUT)


def test_an_observer_that_forgot_resets_and_ends_it(world) -> None:
    pair = world()
    _, theirs = observed(pair)
    number = pair.b.connection.notify(theirs, Response(codes.CONTENT, (), b"u"), pair.now)
    (octets,) = pair.b.connection.to_send()
    pair.b.connection.receive(Message(RST, 0, decode(octets).message_id).encode(), pair.now)
    pair.settle()
    assert pair.b.events[-2:] == [
        NotificationFailed(theirs, number, FailureReason.RESET),
        ObservationEnded(theirs, FailureReason.RESET),
    ]


def test_a_reset_of_a_non_confirmable_notification_ends_it(world) -> None:
    pair = world()
    _, theirs = observed(pair)
    pair.b.connection.notify(theirs, Response(codes.CONTENT, (), b"u"), pair.now, confirmable=False)
    (octets,) = pair.b.connection.to_send()
    assert decode(octets).type == NON
    pair.b.connection.receive(Message(RST, 0, decode(octets).message_id).encode(), pair.now)
    pair.settle()
    assert pair.b.events[-1] == ObservationEnded(theirs, FailureReason.RESET)


def test_non_confirmable_notifications_arrive(world) -> None:
    pair = world()
    _, theirs = observed(pair)
    for number in range(3):
        pair.b.connection.notify(theirs, Response(codes.CONTENT, (), b"%d" % number), pair.now, confirmable=False)
    pair.run(1.0)
    assert bodies(pair) == [b"0", b"1", b"2"]
    assert pair.b.of(NotificationAcknowledged) == []


@BOTH
def test_a_final_error_ends_both_sides(world, datagrams: bool) -> None:
    pair = world(datagrams=datagrams)
    ours, theirs = observed(pair)
    number = pair.b.connection.notify(theirs, Response(codes.NOT_FOUND, (), b"closed"), pair.now)
    pair.run(1.0)
    assert pair.a.events[-2:] == [
        NotificationReceived(ours, Response(codes.NOT_FOUND, (), b"closed")),
        ObservationEnded(ours, FailureReason.COMPLETED),
    ]
    assert pair.b.events[-2:] == [
        NotificationAcknowledged(theirs, number),
        ObservationEnded(theirs, FailureReason.COMPLETED),
    ]


def test_a_server_that_does_not_observe(world) -> None:
    pair = world()
    answers = []

    def plain(node, event: Event) -> None:
        if isinstance(event, RequestReceived):
            response = Response(codes.CONTENT, (), b"once")
            answers.append(node.connection.respond(event.exchange, response, node.now))

    pair.b.react = plain
    ours = pair.a.connection.observe(Request(codes.GET, PATH), pair.now)
    pair.run(1.0)
    assert pair.a.events == [ResponseReceived(ours, Response(codes.CONTENT, (), b"once"))]
    assert answers == [Answer.SENT]


def test_an_error_is_no_registration(world) -> None:
    pair = world()
    answers = []

    def refuse(node, event: Event) -> None:
        if isinstance(event, RequestReceived):
            answers.append(node.connection.respond(event.exchange, Response(codes.NOT_FOUND), node.now, observe=True))

    pair.b.react = refuse
    pair.a.connection.observe(Request(codes.GET, PATH), pair.now)
    pair.run(1.0)
    assert answers == [Answer.SENT]


def test_too_many_observations_are_answered_without_observe(world) -> None:
    pair = world(other=CoapConfig(max_observations=1))
    observed(pair)
    observed(pair)
    first, second = pair.a.of(ResponseReceived)
    assert opt.first(first.response.options, opt.OBSERVE) is not None
    assert opt.first(second.response.options, opt.OBSERVE) is None


def test_registering_again_with_the_same_token_replaces(world) -> None:
    pair = world()
    pair.b.react = accept
    for message_id in (1, 2):
        message = Message(CON, codes.GET, message_id, b"tok", (*PATH, (opt.OBSERVE, b"")))
        pair.b.connection.receive(message.encode(), pair.now)
        pair.settle()
    first, second = (event.exchange for event in pair.b.of(RequestReceived))
    assert pair.b.of(ObservationEnded) == [ObservationEnded(first, FailureReason.REPLACED)]
    assert isinstance(pair.b.connection.notify(second, Response(codes.CONTENT), pair.now), int)


def test_closing_ends_observations(world) -> None:
    pair = world()
    ours, theirs = observed(pair)
    pair.b.connection.close(pair.now)
    pair.a.connection.close(pair.now)
    pair.settle()
    assert ObservationEnded(theirs, FailureReason.CLOSED) in pair.b.events
    assert ExchangeFailed(ours, FailureReason.CLOSED) in pair.a.events


def test_a_notification_is_no_request() -> None:
    connection = CoapConnection(random=random.Random(1).random)
    with pytest.raises(UsageError):
        connection.notify(1, Response(codes.GET), 0.0)


# Notifications in blocks


def test_the_next_one_waits_until_the_last_block_is_fetched(world) -> None:
    pair = world()
    _, theirs = observed(pair)
    large = random.Random(1).randbytes(3000)
    pair.b.connection.notify(theirs, Response(codes.CONTENT, (), large), pair.now)
    pair.b.connection.notify(theirs, Response(codes.CONTENT, (), b"small"), pair.now)
    pair.run(1.0)
    assert bodies(pair) == [large, b"small"]
    assert len(pair.b.of(RequestReceived)) == 1  # the fetches are no business of the application
    fetches = [decode(octets) for name, octets in pair.passed if name == "a" and decode(octets).code == codes.GET]
    assert all(opt.first(message.options, opt.OBSERVE) is None for message in fetches[1:]) and len(fetches) == 3


def test_an_observer_that_does_not_fetch_is_given_up(world) -> None:
    pair = world(other=CoapConfig(fetch_timeout=10.0))
    pair.b.react = accept
    message = Message(CON, codes.GET, 1, b"tok", (*PATH, (opt.OBSERVE, b"")))
    pair.b.connection.receive(message.encode(), pair.now)
    pair.settle()
    exchange = pair.b.of(RequestReceived)[0].exchange
    pair.b.connection.notify(exchange, Response(codes.CONTENT, (), bytes(3000)), pair.now)
    (octets,) = pair.b.connection.to_send()
    pair.b.connection.receive(Message(ACK, 0, decode(octets).message_id).encode(), pair.now)
    pair.cut = True
    pair.run(20.0)
    assert pair.b.events[-1] == ObservationEnded(exchange, FailureReason.TIMED_OUT)


def test_of_states_only_the_newest_waits_and_a_lost_block_ends_nothing(world) -> None:
    pair = world()
    pair.b.react = lambda node, event: (
        isinstance(event, RequestReceived)
        and node.connection.respond(event.exchange, Response(codes.CONTENT), node.now, observe=True, states=True)
    )
    message = Message(CON, codes.GET, 1, b"tok", (*PATH, (opt.OBSERVE, b"")))
    pair.b.connection.receive(message.encode(), pair.now)
    pair.settle()
    exchange = pair.b.of(RequestReceived)[0].exchange

    def notified(confirmable: bool, payload: bytes) -> object:
        return pair.b.connection.notify(
            exchange, Response(codes.CONTENT, (), payload), pair.now, confirmable=confirmable
        )

    first = notified(False, bytes(3000))
    assert isinstance(first, int), "what goes in blocks is confirmable"
    (octets,) = pair.b.connection.to_send()
    pair.b.connection.receive(Message(ACK, 0, decode(octets).message_id).encode(), pair.now)
    for number in range(100):
        notified(number == 50, b"%d" % number)
    assert pair.b.connection.to_send() == []
    pair.now += CoapConfig().fetch_patience
    pair.b.connection.tick(pair.now)
    (octets,) = pair.b.connection.to_send()
    assert (decode(octets).type, decode(octets).payload) == (CON, b"99")
    pair.settle()
    assert pair.b.of(ObservationEnded) == [] and pair.b.of(NotificationAcknowledged)[0].notification == first


def test_the_next_state_goes_out_behind_the_acknowledgement_of_the_last_block(world) -> None:
    """Also of the first answer. An observer that meets it before has to begin again, and libcoap 4.3.1 never does."""
    pair = world()
    sizes = iter((3000, 2000, 5))
    pair.b.react = lambda node, event: (
        isinstance(event, RequestReceived)
        and node.connection.respond(
            event.exchange, Response(codes.CONTENT, (), bytes(next(sizes))), node.now, observe=True, states=True
        )
    )
    pair.a.connection.observe(Request(codes.GET, PATH), pair.now)
    assert pair.run_until(lambda: bool(pair.b.of(RequestReceived)))
    theirs = pair.b.of(RequestReceived)[0].exchange
    for size in sizes:
        pair.b.connection.notify(theirs, Response(codes.CONTENT, (), bytes(size)), pair.now)
        pair.run(0.03)
    pair.run(1.0)
    assert [len(body) for body in bodies(pair)] == [3000, 5]  # of the two that waited the newest
    said = [(name, decode(octets)) for name, octets in pair.passed]
    (end,) = (
        at
        for at, (name, message) in enumerate(said)
        if name == "b" and message.type == CON and opt.first(message.options, opt.OBSERVE) is None
    )
    (next_one,) = (at for at, (_, message) in enumerate(said) if len(message.payload) == 5)
    assert any(said[at] == ("a", Message(ACK, 0, said[end][1].message_id)) for at in range(end, next_one))


@pytest.mark.parametrize("newer", [b"small", bytes(2000)])
def test_a_state_that_changes_while_it_is_fetched_is_fetched_again(world, newer: bytes) -> None:
    """The body that was begun is another one by now, and shorter."""
    pair = world()
    bodies_of = {"state": bytes(5000)}

    def answer(node, event: Event) -> None:
        if isinstance(event, RequestReceived):
            node.connection.respond(
                event.exchange, Response(codes.CONTENT, (), bodies_of["state"]), node.now, observe=True, states=True
            )

    pair.b.react = answer
    ours = pair.a.connection.observe(Request(codes.GET, PATH), pair.now)
    assert pair.run_until(lambda: bool(pair.a.of(ResponseReceived)))
    theirs = pair.b.of(RequestReceived)[-1].exchange
    pair.b.connection.notify(theirs, Response(codes.CONTENT, (), bytes(4999)), pair.now)
    pair.run(0.035)  # one block more
    bodies_of["state"] = newer
    pair.b.connection._server._downloads._served.clear()  # what was kept is gone
    pair.run(10.0)
    assert pair.a.of(NotificationReceived)[-1].response.payload == newer
    assert pair.a.of(ExchangeFailed) == [] and ours


def test_a_slow_observer_that_goes_on_fetching_is_waited_for(world) -> None:
    pair = world(jitter=1.0, other=CoapConfig(fetch_timeout=8.0))
    _, theirs = observed(pair)
    large = random.Random(1).randbytes(40_000)
    start = pair.now
    pair.b.connection.notify(theirs, Response(codes.CONTENT, (), large), pair.now)
    assert pair.run_until(lambda: bool(pair.b.of(NotificationAcknowledged)))
    assert pair.now - start > 20.0 and bodies(pair) == [large]


def test_a_newer_notification_supersedes_a_half_fetched_one(world) -> None:
    """Other servers do that (RFC 7959 section 2.6): the observer turns to the newer one."""
    pair = world()
    exchange = pair.a.connection.observe(Request(codes.GET, PATH), pair.now)
    (octets,) = pair.a.connection.to_send()
    token = decode(octets).token

    def tell(message_id: int, sequence: int, block: bytes | None, payload: bytes) -> list[Message]:
        options = ((opt.OBSERVE, bytes((sequence,))),)
        if block is not None:
            options = (*options, (opt.ETAG, b"\x01"), (opt.BLOCK2, block))
        message = Message(NON, codes.CONTENT, message_id, token, options, payload)
        pair.a.connection.receive(message.encode(), pair.now)
        return [decode(octets) for octets in pair.a.connection.to_send()]

    assert tell(1, 1, None, b"first") == []
    (fetch,) = tell(2, 2, b"\x0e", bytes(1024))
    assert tell(3, 3, None, b"newer") == []
    pair.settle()
    late = Message(
        ACK, codes.CONTENT, fetch.message_id, fetch.token, ((opt.ETAG, b"\x01"), (opt.BLOCK2, b"\x16")), b"z"
    )
    pair.a.connection.receive(late.encode(), pair.now)
    pair.settle()
    assert tell(4, 2, None, b"older") == []
    pair.settle()
    assert [event.response.payload for event in pair.a.events] == [b"first", b"newer"]
    assert all(event.exchange == exchange for event in pair.a.events)


# Sequence numbers


@pytest.mark.parametrize(
    ("number", "after", "last", "newer"),
    [
        (1, 0.0, 0, True),
        (0, 0.0, 0, False),
        (0, 0.0, 1, False),
        (0, 0.0, (1 << 24) - 1, True),  # wrapped
        ((1 << 23) - 1, 0.0, 0, True),
        (1 << 23, 0.0, 0, False),
        (0, 128.1, 5, True),  # too long ago to compare
        (0, 127.9, 5, False),
    ],
)
def test_the_order_of_sequence_numbers(number: int, after: float, last: int, newer: bool) -> None:
    assert is_newer(number, 1000.0 + after, last, 1000.0) is newer


def test_numbers_come_round_after_24_bits(world) -> None:
    pair = world()
    pair.now = ((1 << 24) - 50) / 1000
    _, theirs = observed(pair)
    for number in range(4):
        pair.b.connection.notify(theirs, Response(codes.CONTENT, (), b"%d" % number), pair.now)
    pair.run(1.0)
    assert bodies(pair) == [b"0", b"1", b"2", b"3"]
    heard = [*pair.a.of(ResponseReceived), *pair.a.of(NotificationReceived)]
    numbers = [opt.first_uint(event.response.options, opt.OBSERVE) for event in heard]
    assert all(is_newer(new or 0, 0.0, old or 0, 0.0) for old, new in pairwise(numbers)) and numbers[-1] < numbers[0]


def test_numbers_go_up_however_many_there_are_at_once(world) -> None:
    pair = world()
    _, theirs = observed(pair)
    for _ in range(20):
        pair.b.connection.notify(theirs, Response(codes.CONTENT), pair.now, confirmable=False)
    sent = [decode(octets) for octets in pair.b.connection.to_send()]
    numbers = [opt.first_uint(message.options, opt.OBSERVE) or 0 for message in sent]
    assert numbers == sorted(set(numbers)) and len(numbers) == 20
