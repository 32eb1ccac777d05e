"""Jobs of devices: asked at once, or when they are heard; again after pauses that grow; each ends once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.device_jobs import MALFORMED, PAUSES, DeviceJob, DeviceJobs
from adapters.zigbee.radio_port import SendOutcome
from adapters.zigbee.transaction import Answer, NoReply, Reply
from gateway.api.errors import PeerError


class Air:
    """In the place of ``ZclTransactions``: ``listening`` devices are awake, ``asked`` are the open requests."""

    def __init__(self) -> None:
        self.sender = self
        self.listening = True
        self.asked: list[Callable[[Answer], None]] = []
        self.now = 0.0

    def listens(self, device: ZigbeeDevice) -> bool:
        return self.listening


def malformed(reply: Reply) -> int:
    raise PeerError("malformed")


class Scene:
    def __init__(self) -> None:
        self.air = Air()
        transactions: Any = self.air
        self.jobs = DeviceJobs(transactions, lambda: self.air.now)
        self.device = ZigbeeDevice("00:0d:6f:00:00:00:00:01")
        self.said: list[int] = []

    def add(self, key: str = "a", status: Callable[[Reply], int] = lambda reply: reply.payload[0]) -> None:
        def ask(transactions: Any, device: ZigbeeDevice, answer: Callable[[Answer], None]) -> None:
            self.air.asked.append(answer)

        self.jobs.add(self.device, DeviceJob(key, ask, status, self.said.append))

    def answers(self, answer: Answer) -> None:
        self.air.asked.pop(0)(answer)

    def heard_after(self, seconds: float) -> int:
        """How many requests a frame of the device leads to."""
        self.air.now += seconds
        before = len(self.air.asked)
        self.jobs.heard(self.device)
        return len(self.air.asked) - before


NOTHING = NoReply(SendOutcome.DELIVERED)


def test_a_job_waits_for_the_radio_and_is_asked_once() -> None:
    scene = Scene()
    scene.add()
    assert scene.heard_after(0) == 0
    scene.jobs.up()
    assert len(scene.air.asked) == 1
    assert scene.heard_after(1) == 0  # it is asked already
    scene.answers(Reply(0, b"\x00"))
    assert (scene.said, scene.jobs.waiting) == ([0], {})


def test_a_device_that_sleeps_is_asked_when_it_is_heard() -> None:
    scene = Scene()
    scene.device.sleepy, scene.air.listening = True, False
    scene.jobs.up()
    scene.add()
    assert scene.air.asked == []
    assert scene.heard_after(0) == 1


def test_without_an_answer_it_is_asked_again_after_pauses_that_grow() -> None:
    scene = Scene()
    scene.jobs.up()
    scene.add()
    for pause in (*PAUSES, PAUSES[-1]):
        scene.answers(NOTHING)
        assert scene.heard_after(pause - 0.1) == 0
        assert scene.heard_after(0.1) == 1
    scene.answers(Reply(0, b"\x89"))
    assert scene.said == [0x89]


def test_a_newer_job_takes_the_place_of_an_older_one_whose_answer_says_nothing() -> None:
    scene = Scene()
    scene.jobs.up()
    scene.add()
    scene.add()
    scene.answers(Reply(0, b"\x01"))
    assert scene.said == []
    scene.answers(Reply(0, b"\x00"))
    assert scene.said == [0]


def test_an_answer_that_can_not_be_read_ends_it_too() -> None:
    scene = Scene()
    scene.jobs.up()
    scene.add(status=malformed)
    scene.answers(Reply(0, b""))
    assert (scene.said, scene.jobs.waiting) == ([MALFORMED], {})


def test_who_left_is_asked_nothing_and_says_nothing() -> None:
    scene = Scene()
    scene.jobs.up()
    scene.add()
    scene.jobs.left(scene.device)
    scene.answers(Reply(0, b"\x00"))
    assert (scene.said, scene.heard_after(1000)) == ([], 0)
