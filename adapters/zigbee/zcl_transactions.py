"""Questions to devices under way: each with a ZCL (or ZDO) sequence number of its own, one answer or none.

Synchronous: ``now`` comes with each call, frames go to the ``SendScheduler``. A question is sent once at most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from adapters.zigbee.send_scheduler import HOME_AUTOMATION, Frame, SendOutcome, SendScheduler
from carriage.zigbee import zdo
from carriage.zigbee.foundation import General
from carriage.zigbee.zcl import ZclFrame

PER_DEVICE: Final = 32
"""Questions to one device that have no answer yet; more fail as BUSY."""
ANSWER_WAIT: Final = 8.0
"""Seconds from the APS acknowledgement to the answer."""

_OWN_ENDPOINT: Final = 1
_GENERAL_MASK: Final = 0x07
"""Frame type and manufacturer bit of the ZCL frame control: zero in a general frame of the standard."""
_DEFAULT_RESPONSE: Final = int(General.DEFAULT_RESPONSE)


class Reply(NamedTuple):
    """What the device said: a general command (for ZDO: 0) and its payload, the sequence number left out."""

    command: int
    payload: bytes


class NoReply(NamedTuple):
    """It said nothing. ``outcome``: of the sending; ``DELIVERED``: it has the question."""

    outcome: SendOutcome


Answer = Reply | NoReply


class Content(NamedTuple):
    """What is asked: a ZCL command and the general command that answers it (0x0B does in any case)."""

    command: int
    payload: bytes
    answer: int = _DEFAULT_RESPONSE
    cluster_specific: bool = False


@dataclass(slots=True, eq=False)
class Transaction:
    """``done`` is called exactly once, unless the question is withdrawn."""

    eui64: str
    endpoint: int
    cluster: int
    """Of the answer."""
    sequence: int
    asked: int
    answer: int
    done: Callable[[Answer], None]
    link_key: bool = False
    """Whether it goes under the link key; then nothing else answers it."""
    frame: Frame | None = None
    due: float | None = None
    """When it counts as not answered; None before it was delivered."""


@dataclass(slots=True, eq=False)
class _Line:
    """The sequence numbers of one device, and the questions that hold one."""

    last: int = 0
    open: dict[int, Transaction] = field(default_factory=dict)


class ZclTransactions:
    """All questions of one adapter. ``sender`` is None while the radio is down: then they fail at once."""

    def __init__(self, now: Callable[[], float], wake: Callable[[], None]) -> None:
        self.sender: SendScheduler | None = None
        self._now = now
        self._wake = wake
        self._lines: dict[str, _Line] = {}
        self._delivered: deque[Transaction] = deque()

    def ask(
        self,
        eui64: str,
        endpoint: int,
        cluster: int,
        content: Content,
        done: Callable[[Answer], None],
        *,
        link_key: bool = False,
    ) -> Transaction | None:
        """Ask a cluster. Where it can't be sent ``done`` is called before the return, which is None then."""
        line = self._line(eui64)
        sequence = _free(line)
        frame = ZclFrame(
            content.command,
            content.payload,
            sequence,
            cluster_specific=content.cluster_specific,
            disable_default_response=False,
        ).encode()
        question = Transaction(eui64, endpoint, cluster, sequence, content.command, content.answer, done, link_key)
        return self._send(
            line,
            question,
            Frame(
                eui64, endpoint, frame, link_key, partial(self._sent, question), cluster, HOME_AUTOMATION, _OWN_ENDPOINT
            ),
        )

    def bind(
        self, eui64: str, endpoint: int, cluster: int, own_eui64: int, done: Callable[[Answer], None]
    ) -> Transaction | None:
        """Ask a device to send the reports of a cluster to us."""
        source = int(eui64.replace(":", ""), 16)

        def request(sequence: int) -> bytes:
            return zdo.bind_request(sequence, source, endpoint, cluster, own_eui64, _OWN_ENDPOINT)

        return self._ask_zdo(eui64, zdo.BIND_REQUEST, zdo.BIND_RESPONSE, request, done)

    def describe(self, eui64: str, nwk: int, endpoint: int, done: Callable[[Answer], None]) -> Transaction | None:
        """Ask a device what one of its endpoints is."""

        def request(sequence: int) -> bytes:
            return zdo.simple_descriptor_request(sequence, nwk, endpoint)

        return self._ask_zdo(eui64, zdo.SIMPLE_DESCRIPTOR_REQUEST, zdo.SIMPLE_DESCRIPTOR_RESPONSE, request, done)

    def leave(self, eui64: str, done: Callable[[Answer], None]) -> Transaction | None:
        """Ask a device to leave the network."""
        number = int(eui64.replace(":", ""), 16)

        def request(sequence: int) -> bytes:
            return zdo.leave_request(sequence, number)

        return self._ask_zdo(eui64, zdo.LEAVE_REQUEST, zdo.LEAVE_RESPONSE, request, done)

    def _ask_zdo(
        self, eui64: str, cluster: int, answer: int, request: Callable[[int], bytes], done: Callable[[Answer], None]
    ) -> Transaction | None:
        line = self._line(eui64)
        sequence = _free(line)
        question = Transaction(eui64, zdo.ENDPOINT, answer, sequence, 0, 0, done)
        sent = partial(self._sent, question)
        frame = Frame(eui64, zdo.ENDPOINT, request(sequence), False, sent, cluster, zdo.PROFILE, zdo.ENDPOINT)
        return self._send(line, question, frame)

    def _line(self, eui64: str) -> _Line:
        line = self._lines.get(eui64)
        if line is None:
            line = self._lines[eui64] = _Line()
        return line

    def _send(self, line: _Line, question: Transaction, frame: Frame) -> Transaction | None:
        if self.sender is None or len(line.open) >= PER_DEVICE:
            question.done(NoReply(SendOutcome.FAILED if self.sender is None else SendOutcome.BUSY))
            return None
        line.last = question.sequence
        line.open[question.sequence] = question
        question.frame = frame
        self.sender.submit(frame)
        return question

    def unsent(self, question: Transaction) -> bool:
        """Take a question back; whether it still waited. If not, it goes on."""
        if self.sender is None or question.frame is None or not self.sender.withdraw(question.frame):
            return False
        self._lines[question.eui64].open.pop(question.sequence, None)
        return True

    def forget(self, eui64: str) -> None:
        """The device left: nothing that it was asked is answered any more."""
        line = self._lines.pop(eui64, None)
        for question in () if line is None else tuple(line.open.values()):
            self._end(question, NoReply(SendOutcome.NO_DEVICE))

    # What comes back -----------------------------------------------------------------------------------------------

    def _sent(self, question: Transaction, outcome: SendOutcome) -> None:
        if not self._is_open(question):
            return  # the answer was faster
        if outcome is not SendOutcome.DELIVERED:
            self._end(question, NoReply(outcome))
            return
        question.due = self._now() + ANSWER_WAIT
        self._delivered.append(question)
        self._wake()

    def find(self, eui64: str, endpoint: int, cluster: int, payload: bytes, link_key: bool) -> Transaction | None:
        """The question that a frame answers. ``payload`` has a whole header (two octets from endpoint 0, ZDO)."""
        line = self._lines.get(eui64)
        question = None if line is None else line.open.get(payload[1 if endpoint else 0])
        if question is None or question.cluster != cluster or question.endpoint != endpoint:
            return None
        if question.link_key and not link_key:
            return None
        if not endpoint:
            return question
        if payload[0] & _GENERAL_MASK:
            return None
        if payload[2] == _DEFAULT_RESPONSE:
            return question if payload[3:4] == bytes((question.asked,)) else None
        return question if payload[2] == question.answer else None

    def answered(self, question: Transaction, payload: bytes) -> None:
        """A frame came that ``find`` gave this question for; a repeated one changes nothing."""
        if self._is_open(question):
            reply = Reply(payload[2], payload[3:]) if question.endpoint else Reply(0, payload[1:])
            self._end(question, reply)

    def tick(self, now: float) -> None:
        while self._delivered:
            question = self._delivered[0]
            if self._is_open(question):
                assert question.due is not None
                if question.due > now:
                    return
                self._end(question, NoReply(SendOutcome.DELIVERED))
            else:
                self._delivered.popleft()

    def next_deadline(self) -> float | None:
        return self._delivered[0].due if self._delivered else None

    def _is_open(self, question: Transaction) -> bool:
        line = self._lines.get(question.eui64)
        return line is not None and line.open.get(question.sequence) is question

    def _end(self, question: Transaction, answer: Answer) -> None:
        line = self._lines.get(question.eui64)
        if line is not None and line.open.get(question.sequence) is question:
            del line.open[question.sequence]
        question.done(answer)


def _free(line: _Line) -> int:
    """The next sequence number that no open question holds: one that was in use comes again after 255 others."""
    sequence = (line.last + 1) & 0xFF
    while sequence in line.open:
        sequence = (sequence + 1) & 0xFF
    return sequence
