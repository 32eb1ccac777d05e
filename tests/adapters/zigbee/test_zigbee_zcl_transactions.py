"""Questions under way: their numbers, which frame answers which, and that each ends exactly once."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapters.zigbee.device import DeviceRecords, ZigbeeDevice
from adapters.zigbee.network_port import AWAY
from adapters.zigbee.radio_port import Frame, SendOutcome
from adapters.zigbee.times import TIMES
from adapters.zigbee.transaction import Answer, Content, NoReply, Reply
from adapters.zigbee.zcl_transactions import PER_DEVICE, ZclTransactions
from carriage.zigbee import zcl, zdo
from carriage.zigbee.foundation import General
from tests.adapters.zigbee.zigbee_world import came

LAMP, OTHER = "00:0d:6f:00:00:00:00:01", "00:0d:6f:00:00:00:00:02"
READ = Content(General.READ, b"\x00\x00", General.READ_RESPONSE)
TURN_ON = Content(0x01, b"", cluster_specific=True)


class Air:
    """In the sender's place: takes frames; ``waiting`` ones can be withdrawn."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.waiting: list[Frame] = []

    def submit(self, device: ZigbeeDevice, frame: Frame) -> None:
        self.frames.append(frame)
        self.waiting.append(frame)

    def withdraw(self, device: ZigbeeDevice, frame: Frame) -> bool:
        if frame not in self.waiting:
            return False
        self.waiting.remove(frame)
        return True

    def listens(self, device: ZigbeeDevice) -> bool:
        return True


class Site:
    def __init__(self) -> None:
        self.time = 100.0
        self.air = Air()
        self.records = DeviceRecords()
        self.requests = ZclTransactions(lambda: self.time, lambda: None)
        self.requests.sender = self.air
        self.answers: list[Answer] = []

    def ask(
        self, content: Content = READ, eui64: str = LAMP, cluster: int = 6, endpoint: int = 1, *, link_key: bool = False
    ) -> Any:
        return self.requests.ask(
            self.records.of(eui64), endpoint, cluster, content, self.answers.append, link_key=link_key
        )

    def said(
        self, octets: str, eui64: str = LAMP, cluster: int = 6, endpoint: int = 1, *, link_key: bool = False
    ) -> bool:
        payload = bytes.fromhex(octets)
        question = self.requests.find(self.records.of(eui64), came(endpoint, cluster, 0, payload, link_key))
        if question is not None:
            self.requests.answered(question, payload)
        return question is not None


def test_a_question_under_the_link_key_is_answered_under_it() -> None:
    """Whoever has the network key only could tell what he likes, and it would count as the device's own word."""
    site = Site()
    site.ask(link_key=True)
    assert not site.said("18 01 01 0000 00 10 01")
    assert not site.said("18 01 0b 00 86")
    assert site.said("18 01 01 0000 00 10 01", link_key=True)
    site.ask()  # one that is better protected than asked for is fine
    assert site.said("18 02 01 0000 00 10 01", link_key=True)
    assert len(site.answers) == 2


def test_an_answer_is_for_its_question() -> None:
    site = Site()
    site.ask()
    assert zcl.decode(site.air.frames[0].payload).sequence == 1
    for octets, where in (
        ("18 02 01 0000 00 10 01", {}),  # another number
        ("18 01 01 0000 00 10 01", {"eui64": OTHER}),
        ("18 01 01 0000 00 10 01", {"cluster": 8}),
        ("18 01 01 0000 00 10 01", {"endpoint": 2}),
        ("19 01 01 0000 00 10 01", {}),  # a cluster command
        ("1c 01 01 0000 00 10 01", {}),  # a manufacturer's
        ("00 01 00 0400", {}),  # the device itself asks, with the same number
        ("18 01 04 00", {}),  # the answer to something else
        ("18 01 0b 01 00", {}),  # a default response to another command
        ("18 01 0b", {}),
    ):
        assert not site.said(octets, **where), octets  # type: ignore[arg-type]
    assert site.said("18 01 01 0000 00 10 01")
    assert site.answers == [Reply(0x01, bytes.fromhex("0000001001"))]
    assert not site.said("18 01 01 0000 00 10 01")


def test_a_default_response_answers_whatever_was_asked() -> None:
    site = Site()
    site.ask(READ)
    site.ask(TURN_ON)
    assert site.said("18 02 0b 01 00")
    assert site.said("18 01 0b 00 82")
    assert site.answers == [Reply(0x0B, b"\x01\x00"), Reply(0x0B, b"\x00\x82")]


def test_a_bind_response() -> None:
    site = Site()
    site.requests.bind(site.records.of(LAMP), 1, 0x0402, 0x00124B0001020304, site.answers.append)
    frame = site.air.frames[0]
    assert (frame.profile, frame.cluster, frame.endpoint, frame.source_endpoint) == (0, zdo.BIND_REQUEST, 0, 0)
    assert frame.payload == zdo.bind_request(1, 0x000D6F0000000001, 1, 0x0402, 0x00124B0001020304, 1)
    assert not site.said("01 00", cluster=0x0402)
    assert site.said("01 84", cluster=zdo.BIND_RESPONSE, endpoint=0)
    assert site.answers == [Reply(0, b"\x84")]


def test_what_is_not_answered() -> None:
    site = Site()
    for _ in range(4):
        site.ask()
    first, second, third, fourth = site.air.frames
    first.done(SendOutcome.DELIVERED)
    site.time += 1
    second.done(SendOutcome.FAILED)
    third.done(SendOutcome.DELIVERED)
    assert site.answers == [NoReply(SendOutcome.FAILED)]
    assert site.requests.next_deadline() == 100.0 + TIMES.answer
    site.requests.tick(100.0 + TIMES.answer)
    assert site.answers == [NoReply(SendOutcome.FAILED), NoReply(SendOutcome.DELIVERED)]
    assert not site.said("18 01 01 0000 86")
    assert site.said("18 03 01 0000 86")
    assert site.said("18 04 01 0000 86")  # before its acknowledgement is reported
    fourth.done(SendOutcome.DELIVERED)
    site.requests.tick(1000.0)
    assert site.requests.next_deadline() is None
    assert len(site.answers) == 4


def test_bounds() -> None:
    site = Site()
    for _ in range(PER_DEVICE + 1):
        site.ask()
    assert site.answers == [NoReply(SendOutcome.BUSY)]
    site.ask(eui64=OTHER)
    assert len(site.air.frames) == PER_DEVICE + 1


def test_while_the_radio_is_away_a_question_fails_at_once_and_holds_no_number() -> None:
    site = Site()
    flying = site.ask()
    site.requests.sender = AWAY
    assert not site.requests.unsent(site.records.of(LAMP), flying)
    assert site.ask() is None and site.ask(eui64=OTHER) is None
    assert site.answers == [NoReply(SendOutcome.FAILED)] * 2
    assert list(site.records.of(LAMP).transactions.open) == [1]
    assert site.said("18 01 01 0000 86")  # what was on the air is answered all the same


def test_taken_back() -> None:
    site = Site()
    waiting, flying = site.ask(), site.ask()
    site.air.waiting.remove(site.air.frames[1])
    assert site.requests.unsent(site.records.of(LAMP), waiting) and not site.requests.unsent(
        site.records.of(LAMP), flying
    )
    assert not site.said("18 01 01 0000 86") and site.said("18 02 01 0000 86")
    assert len(site.answers) == 1


def test_a_device_that_leaves_ends_its_questions() -> None:
    site = Site()
    site.ask()
    site.ask(eui64=OTHER)
    site.requests.forget(site.records.of(LAMP))
    assert site.answers == [NoReply(SendOutcome.NO_DEVICE)]
    site.air.frames[0].done(SendOutcome.FAILED)
    assert len(site.answers) == 1


@given(
    st.lists(
        st.tuples(st.sampled_from(["ask", "reply", "delivered", "failed", "wait"]), st.integers(0, 40)), max_size=600
    )
)
def test_each_ends_once_and_no_number_is_held_twice(steps: list[tuple[str, int]]) -> None:
    site = Site()
    ended: list[int] = []
    open_now: dict[int, tuple[int, Frame]] = {}
    for what, which in steps:
        chosen = list(open_now)[which % len(open_now)] if open_now else None
        if what == "ask":
            if len(open_now) < PER_DEVICE:
                number = len(site.air.frames)

                def done(answer: Answer, number: int = number) -> None:
                    ended.append(number)
                    open_now.pop(number, None)

                site.requests.ask(site.records.of(LAMP), 1, 6, READ, done)
                frame = site.air.frames[number]
                sequence = frame.payload[1]
                assert sequence not in [held for held, _ in open_now.values()]
                open_now[number] = (sequence, frame)
        elif what == "wait":
            site.time += which
            site.requests.tick(site.time)
        elif chosen is not None:
            sequence, frame = open_now[chosen]
            if what == "reply":
                assert site.said(f"18 {sequence:02x} 01 0000 86")
            else:
                frame.done(SendOutcome.DELIVERED if what == "delivered" else SendOutcome.FAILED)
    assert len(ended) == len(set(ended))
    assert len(ended) + len(open_now) == len(site.air.frames)
