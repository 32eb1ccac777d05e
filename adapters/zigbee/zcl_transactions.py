"""Requests to devices under way: each with its ZCL (or ZDO) transaction sequence number, one response or none.

Synchronous: ``now`` comes with each call, frames go to the sender. A question is sent once at most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.frame_kinds import GENERAL
from adapters.zigbee.network_port import AWAY, FrameSender
from adapters.zigbee.radio_port import HOME_AUTOMATION, OWN_ENDPOINT, Frame, IncomingFrame, SendOutcome
from adapters.zigbee.times import TIMES
from adapters.zigbee.transaction import DEFAULT_RESPONSE, Answer, Content, NoReply, Reply, Transaction
from carriage.zigbee import zdo
from carriage.zigbee.zcl import ZclFrame

PER_DEVICE: Final = 32
"""Questions to one device that have no answer yet; more fail as BUSY."""


class ZclTransactions:
    """All questions of one adapter. ``sender`` is another one for each link, and ``AWAY`` between them."""

    def __init__(self, now: Callable[[], float], wake: Callable[[], None], answer_within: float = TIMES.answer) -> None:
        self._answer_within = answer_within
        self.sender: FrameSender = AWAY
        self._now = now
        self._wake = wake
        self._delivered: deque[Transaction] = deque()

    def ask(
        self,
        device: ZigbeeDevice,
        endpoint: int,
        cluster: int,
        content: Content,
        done: Callable[[Answer], None],
        *,
        link_key: bool = False,
    ) -> Transaction | None:
        """Ask a cluster. If it can't be sent ``done`` is called before the return, which is None then."""
        sequence = device.transactions.free()
        octets = ZclFrame(
            content.command,
            content.payload,
            sequence,
            cluster_specific=content.cluster_specific,
            disable_default_response=False,
        ).encode()
        question = Transaction(
            device.transactions, endpoint, cluster, sequence, content.command, content.answer, done, link_key
        )
        sent = partial(self._sent, question)
        frame = Frame(endpoint, octets, link_key, sent, cluster, HOME_AUTOMATION, OWN_ENDPOINT)
        return self._send(device, question, frame)

    def bind(
        self, device: ZigbeeDevice, endpoint: int, cluster: int, own_eui64: int, done: Callable[[Answer], None]
    ) -> Transaction | None:
        """Ask a device to send the reports of a cluster to us."""
        source = int(device.eui64.replace(":", ""), 16)

        def request(sequence: int) -> bytes:
            return zdo.bind_request(sequence, source, endpoint, cluster, own_eui64, OWN_ENDPOINT)

        return self._ask_zdo(device, zdo.BIND_REQUEST, zdo.BIND_RESPONSE, request, done)

    def describe(
        self, device: ZigbeeDevice, nwk: int, endpoint: int, done: Callable[[Answer], None]
    ) -> Transaction | None:
        """Ask a device what one of its endpoints is."""

        def request(sequence: int) -> bytes:
            return zdo.simple_descriptor_request(sequence, nwk, endpoint)

        return self._ask_zdo(device, zdo.SIMPLE_DESCRIPTOR_REQUEST, zdo.SIMPLE_DESCRIPTOR_RESPONSE, request, done)

    def leave(self, device: ZigbeeDevice, done: Callable[[Answer], None]) -> Transaction | None:
        """Ask a device to leave the network."""
        number = int(device.eui64.replace(":", ""), 16)

        def request(sequence: int) -> bytes:
            return zdo.leave_request(sequence, number)

        return self._ask_zdo(device, zdo.LEAVE_REQUEST, zdo.LEAVE_RESPONSE, request, done)

    def _ask_zdo(
        self,
        device: ZigbeeDevice,
        cluster: int,
        answer: int,
        request: Callable[[int], bytes],
        done: Callable[[Answer], None],
    ) -> Transaction | None:
        sequence = device.transactions.free()
        question = Transaction(device.transactions, zdo.ENDPOINT, answer, sequence, 0, 0, done)
        sent = partial(self._sent, question)
        frame = Frame(zdo.ENDPOINT, request(sequence), False, sent, cluster, zdo.PROFILE, zdo.ENDPOINT)
        return self._send(device, question, frame)

    def _send(self, device: ZigbeeDevice, question: Transaction, frame: Frame) -> Transaction | None:
        line = device.transactions
        if len(line.open) >= PER_DEVICE:
            question.done(NoReply(SendOutcome.BUSY))
            return None
        line.last = question.sequence
        line.open[question.sequence] = question
        question.frame = frame
        self.sender.submit(device, frame)
        return question if question.is_open else None

    def unsent(self, device: ZigbeeDevice, question: Transaction) -> bool:
        """Take a question back; whether it still waited. If not, it goes on."""
        if question.frame is None or not self.sender.withdraw(device, question.frame):
            return False
        question.of.open.pop(question.sequence, None)
        return True

    def forget(self, device: ZigbeeDevice) -> None:
        """The device left: no request to it will be answered."""
        for question in tuple(device.transactions.open.values()):
            self._end(question, NoReply(SendOutcome.NO_DEVICE))

    # What comes back -----------------------------------------------------------------------------------------------

    def _sent(self, question: Transaction, outcome: SendOutcome) -> None:
        if not question.is_open:
            return  # the answer was faster
        if outcome is not SendOutcome.DELIVERED:
            self._end(question, NoReply(outcome))
            return
        question.due = self._now() + self._answer_within
        self._delivered.append(question)
        self._wake()

    def find(self, device: ZigbeeDevice, frame: IncomingFrame) -> Transaction | None:
        """The question that a frame answers, whose header is whole (two octets from endpoint 0, ZDO)."""
        payload = frame.payload
        question = device.transactions.open.get(payload[1 if frame.endpoint else 0])
        if question is None or question.cluster != frame.cluster or question.endpoint != frame.endpoint:
            return None
        if question.link_key and not frame.link_key:
            return None
        if not frame.endpoint:
            return question
        if payload[0] & GENERAL:
            return None
        if payload[2] == DEFAULT_RESPONSE:
            return question if payload[3:4] == bytes((question.asked,)) else None
        return question if payload[2] == question.answer else None

    def answered(self, question: Transaction, payload: bytes) -> None:
        """A frame came that ``find`` gave this question for; a repeated one changes nothing."""
        if question.is_open:
            reply = Reply(payload[2], payload[3:]) if question.endpoint else Reply(0, payload[1:])
            self._end(question, reply)

    def tick(self, now: float) -> None:
        while self._delivered:
            question = self._delivered[0]
            if question.is_open:
                assert question.due is not None
                if question.due > now:
                    return
                self._end(question, NoReply(SendOutcome.DELIVERED))
            else:
                self._delivered.popleft()

    def next_deadline(self) -> float | None:
        return self._delivered[0].due if self._delivered else None

    def _end(self, question: Transaction, answer: Answer) -> None:
        if question.is_open:
            del question.of.open[question.sequence]
        question.done(answer)
