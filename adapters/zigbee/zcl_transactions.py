"""Requests to devices under way: each with its ZCL (or ZDO) transaction sequence number, one response or none.

Synchronous: ``now`` comes with each call, frames go to the ``FrameSender``. A request is sent once at most.

States of a transaction, and who moves it:

- *queued*: its frame is with the ``FrameSender``, which reports the outcome (``_sent``). ``unsent`` takes it back
  while it waits there, and its ``done`` isn't called then.
- *delivered*: the device acknowledged the frame, and has ``answer_within`` seconds to answer (``due``). One that
  asks for no answer is over then, as if the device had said that all is well.
- *over*: ``done`` was called, by the response (``answered``, in either state: it may overtake the acknowledgement), a
  frame that was not delivered (``_sent``), the end of the time (``tick``), or because the device left (``forget``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.frame_kinds import CLUSTER_COMMAND, FROM_SERVER, GENERAL, OF_MANUFACTURER, manufacturer_of
from adapters.zigbee.network_port import AWAY, FrameSender
from adapters.zigbee.radio_port import HOME_AUTOMATION, OWN_ENDPOINT, Frame, IncomingFrame, SendOutcome
from adapters.zigbee.times import TIMES
from adapters.zigbee.transaction import DEFAULT_RESPONSE, Answer, Content, NoReply, Reply, Transaction
from carriage.zigbee import zdo
from carriage.zigbee.foundation import Status
from carriage.zigbee.zcl import HEADER_LENGTH, MANUFACTURER_HEADER_LENGTH, ZclFrame

if TYPE_CHECKING:
    from adapters.zigbee.quirk_device import QuirkDevice

PER_DEVICE: Final = 32
"""Requests to one device that have no answer yet; more fail as BUSY."""


class ZclTransactions:
    """All transactions of one adapter.

    ``sender`` is another one for each link, and ``AWAY`` between them: then they fail at once.
    """

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
        """Send a request to a cluster. If it can't be sent, ``done`` is called first, and None is returned."""
        quirk = device.quirk
        if quirk is not None and quirk.carries(endpoint, cluster):
            return self._ask_quirk(device, quirk, endpoint, cluster, content, done, link_key=link_key)
        sequence = device.transactions.free()
        octets = ZclFrame(
            content.command,
            content.payload,
            sequence,
            cluster_specific=content.cluster_specific,
            manufacturer=content.manufacturer or None,
            disable_default_response=content.unanswered,
        ).encode()
        transaction = Transaction(
            device.transactions,
            endpoint,
            cluster,
            sequence,
            content.command,
            content.answer,
            done,
            content.response,
            content.manufacturer,
            link_key,
            content.unanswered,
        )
        sent = partial(self._sent, transaction)
        frame = Frame(endpoint, octets, link_key, sent, cluster, HOME_AUTOMATION, OWN_ENDPOINT)
        return self._send(device, transaction, frame)

    def _ask_quirk(
        self,
        device: ZigbeeDevice,
        quirk: QuirkDevice,
        endpoint: int,
        cluster: int,
        content: Content,
        done: Callable[[Answer], None],
        *,
        link_key: bool,
    ) -> Transaction | None:
        """Have a quirk carry out a request to one of its clusters. It can't send under a link key."""
        line = device.transactions
        if link_key or len(line.open) >= PER_DEVICE:
            done(NoReply(SendOutcome.NO_KEY if link_key else SendOutcome.BUSY))
            return None
        transaction = self._apart(device, endpoint, cluster, done)
        quirk.ask(endpoint, cluster, content, partial(self._end_once, transaction))
        return transaction

    def _apart(self, device: ZigbeeDevice, endpoint: int, cluster: int, done: Callable[[Answer], None]) -> Transaction:
        line = device.transactions
        transaction = Transaction(line, endpoint, cluster, line.apart(), 0, 0, done)
        line.open[transaction.sequence] = transaction
        return transaction

    def bind(
        self, device: ZigbeeDevice, endpoint: int, cluster: int, own_eui64: int, done: Callable[[Answer], None]
    ) -> Transaction | None:
        """Ask a device to send the reports of a cluster to us."""
        quirk = device.quirk
        if quirk is not None and quirk.carries(endpoint, cluster):
            transaction = self._apart(device, endpoint, cluster, done)
            quirk.bind(endpoint, cluster, partial(self._end_once, transaction))
            return transaction
        source = int(device.eui64.replace(":", ""), 16)

        def request(sequence: int) -> bytes:
            return zdo.bind_request(sequence, source, endpoint, cluster, own_eui64, OWN_ENDPOINT)

        return self._ask_zdo(device, zdo.BIND_REQUEST, zdo.BIND_RESPONSE, request, done)

    def bind_to(
        self,
        device: ZigbeeDevice,
        endpoint: int,
        cluster: int,
        to: int | tuple[int, int],
        done: Callable[[Answer], None],
        *,
        undo: bool = False,
    ) -> Transaction | None:
        """Ask a device to send what a cluster of its endpoint sends to a group, or to a device (EUI64, endpoint)."""
        source = int(device.eui64.replace(":", ""), 16)

        def request(sequence: int) -> bytes:
            if isinstance(to, int):
                return zdo.bind_group_request(sequence, source, endpoint, cluster, to)
            return zdo.bind_request(sequence, source, endpoint, cluster, *to)

        asked, answer = (zdo.UNBIND_REQUEST, zdo.UNBIND_RESPONSE) if undo else (zdo.BIND_REQUEST, zdo.BIND_RESPONSE)
        return self._ask_zdo(device, asked, answer, request, done)

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

    def neighbours(self, device: ZigbeeDevice, start: int, done: Callable[[Answer], None]) -> Transaction | None:
        """Ask a router for its neighbours from an index on."""

        def request(sequence: int) -> bytes:
            return zdo.neighbours_request(sequence, start)

        return self._ask_zdo(device, zdo.NEIGHBOURS_REQUEST, zdo.NEIGHBOURS_RESPONSE, request, done)

    def _ask_zdo(
        self,
        device: ZigbeeDevice,
        cluster: int,
        answer: int,
        request: Callable[[int], bytes],
        done: Callable[[Answer], None],
    ) -> Transaction | None:
        sequence = device.transactions.free()
        transaction = Transaction(device.transactions, zdo.ENDPOINT, answer, sequence, 0, 0, done)
        sent = partial(self._sent, transaction)
        frame = Frame(zdo.ENDPOINT, request(sequence), False, sent, cluster, zdo.PROFILE, zdo.ENDPOINT)
        return self._send(device, transaction, frame)

    def _send(self, device: ZigbeeDevice, transaction: Transaction, frame: Frame) -> Transaction | None:
        line = device.transactions
        if len(line.open) >= PER_DEVICE:
            transaction.done(NoReply(SendOutcome.BUSY))
            return None
        line.last = transaction.sequence
        line.open[transaction.sequence] = transaction
        transaction.frame = frame
        self.sender.submit(device, frame)
        return line.open.get(transaction.sequence)  # none if it has failed already

    def unsent(self, device: ZigbeeDevice, transaction: Transaction) -> bool:
        """Take a transaction back; whether it still waited. If not, it goes on."""
        if transaction.frame is None or not self.sender.withdraw(device, transaction.frame):
            return False
        transaction.of.open.pop(transaction.sequence, None)
        return True

    def forget(self, device: ZigbeeDevice) -> None:
        """The device left: no request to it will be answered."""
        for transaction in tuple(device.transactions.open.values()):
            self._end(transaction, NoReply(SendOutcome.NO_DEVICE))

    # What comes back -----------------------------------------------------------------------------------------------

    def _sent(self, transaction: Transaction, outcome: SendOutcome) -> None:
        if not transaction.is_open:
            return  # the answer was faster
        if outcome is not SendOutcome.DELIVERED:
            self._end(transaction, NoReply(outcome))
            return
        if transaction.unanswered:
            self._end(transaction, Reply(DEFAULT_RESPONSE, bytes((transaction.asked, Status.SUCCESS))))
            return
        transaction.due = self._now() + self._answer_within
        self._delivered.append(transaction)
        self._wake()

    def find(self, device: ZigbeeDevice, frame: IncomingFrame) -> Transaction | None:
        """The transaction that a frame answers. The frame's header is whole (two octets from endpoint 0, ZDO)."""
        payload = frame.payload
        kind = payload[0] & GENERAL if frame.endpoint else 0
        start = MANUFACTURER_HEADER_LENGTH if kind & OF_MANUFACTURER else HEADER_LENGTH
        if start > HEADER_LENGTH and len(payload) < start:
            return None
        transaction = device.transactions.open.get(payload[start - 2] if frame.endpoint else payload[0])
        if transaction is None or transaction.cluster != frame.cluster or transaction.endpoint != frame.endpoint:
            return None
        if transaction.link_key and not frame.link_key:
            return None
        if not frame.endpoint:
            return transaction
        if transaction.manufacturer != manufacturer_of(payload):
            return None
        command = payload[start - 1]
        if kind & CLUSTER_COMMAND:
            return transaction if command == transaction.response and payload[0] & FROM_SERVER else None
        if command == DEFAULT_RESPONSE:
            return transaction if payload[start : start + 1] == bytes((transaction.asked,)) else None
        return transaction if command == transaction.answer else None

    def answered(self, transaction: Transaction, payload: bytes) -> None:
        """A frame came that ``find`` gave this transaction for; a repeated one changes nothing."""
        if not transaction.is_open:
            return
        if not transaction.endpoint:
            self._end(transaction, Reply(0, payload[1:]))
            return
        start = MANUFACTURER_HEADER_LENGTH if transaction.manufacturer else HEADER_LENGTH
        specific = payload[0] & CLUSTER_COMMAND != 0
        self._end(transaction, Reply(payload[start - 1], payload[start:], specific))

    def tick(self, now: float) -> None:
        while self._delivered:
            transaction = self._delivered[0]
            if transaction.is_open:
                assert transaction.due is not None
                if transaction.due > now:
                    return
                self._end(transaction, NoReply(SendOutcome.DELIVERED))
            else:
                self._delivered.popleft()

    def next_deadline(self) -> float | None:
        return self._delivered[0].due if self._delivered else None

    def _end_once(self, transaction: Transaction, answer: Answer) -> None:
        if transaction.is_open:  # else its device left
            self._end(transaction, answer)

    def _end(self, transaction: Transaction, answer: Answer) -> None:
        if transaction.is_open:
            del transaction.of.open[transaction.sequence]
        transaction.done(answer)
