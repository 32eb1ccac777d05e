"""The message layer of RFC 7252 section 4 over one association: confirmable messages with retransmission, piggy-backed
and separate answers, empty acknowledgements, resets, de-duplication, NSTART. Requests and tokens are above it.

One association has one message layer: ids must not collide. Time and randomness are passed in.

States of a confirmable message that goes out (RFC 7252 section 4.2), and who moves it:

===========  =======================================================================================================
waiting      in the backlog, held by NSTART or for want of message ids; ``_drain`` moves it to *outstanding*
outstanding  sent; ``tick`` sends it again after doubled time-outs. The peer's ACK or RST, or the time-out after the
             last transmission, moves it to *settled*; ``forget`` and ``close`` drop it without an outcome
settled      its sender gets the ``MessageOutcome``
===========  =======================================================================================================

States of a confirmable request that comes in: *unacknowledged* from its arrival; *acknowledged*, with the reply kept
for its repetitions, by whichever comes first: the answer (``piggyback``), its own repetition, ``reject``, a full table,
or ``empty_ack_delay`` seconds (``tick``).
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass

from carriage.coap.codes import EMPTY, INTERNAL_SERVER_ERROR, REQUESTS
from carriage.coap.deduplication import Deduplication
from carriage.coap.lower_layer import MessageOutcome, RandomSource, Sender, random_bits
from carriage.coap.message import ACK, CON, NON, RST, Message, decode, encode
from carriage.coap.message_ids import SPACE, MessageIds
from carriage.coap.options import Options
from layer.errors import PeerError, UsageError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransmissionParameters:
    """RFC 7252 section 4.8 in seconds, with the bounds of the tables.

    ``nstart`` is 1 in the RFC for want of congestion control. Ours is 4, so that one exchange whose acknowledgement
    waits does not hold up the others of the same peer; set 1 on a constrained link.
    """

    ack_timeout: float = 2.0
    ack_random_factor: float = 1.5
    max_retransmit: int = 4
    nstart: int = 4
    empty_ack_delay: float = 0.5  # how long an answer may take before it becomes a separate one
    exchange_lifetime: float = 247.0
    max_backlog: int = 256  # messages that wait for NSTART or for ids
    max_remembered: int = 1024  # messages of the peer kept for de-duplication
    max_remembered_octets: int = 65_536  # replies kept for repetition
    id_space: int = SPACE

    def __post_init__(self) -> None:
        positive = (self.ack_timeout, self.empty_ack_delay, self.exchange_lifetime)
        counts = (self.nstart, self.max_backlog, self.max_remembered, self.max_remembered_octets)
        if min(positive) <= 0 or min(counts) < 1 or self.ack_random_factor < 1 or self.max_retransmit < 0:
            raise UsageError("a transmission parameter is out of range")
        if not 1 <= self.id_space <= SPACE:
            raise UsageError("id_space is 1 to 65536")


class _Outstanding:
    __slots__ = ("datagram", "deadline", "sender", "timeout", "transmissions")

    def __init__(self, datagram: bytes, sender: Sender | None, now: float, timeout: float) -> None:
        self.datagram = datagram
        self.sender = sender
        self.deadline = now + timeout
        self.timeout = timeout
        self.transmissions = 1


class _Waiting:
    __slots__ = ("confirmable", "message", "sender")

    def __init__(self, message: Message, sender: Sender | None, confirmable: bool) -> None:
        self.message = message
        self.sender = sender
        self.confirmable = confirmable


_REMEMBERED_NON = 64  # our last non-confirmable messages whose reset by the peer we still understand
_EXPIRY_GRAIN = 10.0  # seconds: old entries are swept together, so that an idle peer costs few timers


class MessageLayer:
    """Datagrams in, messages for the connection out; messages in, datagrams out. Implements ``LowerLayer``."""

    __slots__ = (
        "_backlog",
        "_ids",
        "_non",
        "_outstanding",
        "_parameters",
        "_random",
        "_seen",
        "_unacknowledged",
        "body_limit",
        "duplicates",
        "ended",
        "malformed",
        "message_limit",
        "out",
        "outcomes",
        "retransmissions",
    )

    def __init__(
        self, parameters: TransmissionParameters, random: RandomSource, *, body_limit: int, message_limit: int
    ) -> None:
        self._parameters = parameters
        self._random = random
        self.body_limit = body_limit  # octets of payload that go in one message
        self.message_limit = message_limit  # octets of one datagram
        self.ended: str | None = None  # datagrams have no end: the association beneath has
        self._ids = MessageIds(random_bits(random, 16), parameters.exchange_lifetime, parameters.id_space)
        self._seen = Deduplication(
            lifetime=parameters.exchange_lifetime,
            entries=parameters.max_remembered,
            octets=parameters.max_remembered_octets,
        )
        self._outstanding: dict[int, _Outstanding] = {}
        self._backlog: deque[_Waiting] = deque()
        self._unacknowledged: dict[int, tuple[Message, float]] = {}  # by age: the delay is the same for all
        self._non: dict[int, Sender] = {}
        self.out: list[bytes] = []
        self.outcomes: list[tuple[Sender, MessageOutcome]] = []
        self.malformed = 0
        self.duplicates = 0
        self.retransmissions = 0

    @property
    def remembered(self) -> int:
        """Messages of the peer that are kept for de-duplication."""
        return len(self._seen)

    @property
    def remembered_octets(self) -> int:
        """Octets of replies kept for repetition."""
        return self._seen.octets

    @property
    def ordered(self) -> bool:
        """Datagrams overtake each other."""
        return False

    def start(self, now: float) -> None:
        """Datagrams need no greeting."""

    # Incoming

    def receive(self, octets: bytes, now: float) -> list[Message]:
        """One datagram. Returns requests and responses; all else is dealt with here. Never raises."""
        try:
            message = decode(octets)
        except PeerError as error:
            self._refuse(octets, error)
            return []
        if message.type <= NON:
            return self._receive_own(message, now)
        return [message] if self._receive_answer(message, now) and message.code else []

    def _receive_own(self, message: Message, now: float) -> list[Message]:
        message_id = message.message_id
        if message.code == EMPTY:  # a ping: section 4.3
            self.out.append(encode(RST, EMPTY, message_id))
            return []
        if not self._seen.first(message_id, now):
            self.duplicates += 1
            if message.type == CON:
                reply = self._seen.reply(message_id)
                if reply is not None:
                    self.out.append(reply)
                elif message_id in self._unacknowledged:
                    self._acknowledge(message_id)  # the peer repeats itself: calm it down before the delay is over
            return []
        if message.type == CON and message.code in REQUESTS:
            deadline = now + self._parameters.empty_ack_delay
            self._unacknowledged.pop(message_id, None)  # one whose entry was crowded out
            self._unacknowledged[message_id] = (message, deadline)
            if len(self._unacknowledged) > self._parameters.max_remembered:
                self._acknowledge(next(iter(self._unacknowledged)))
        return [message]

    def _receive_answer(self, message: Message, now: float) -> bool:
        """Whether it answers something outstanding: the network may have doubled it."""
        outstanding = self._outstanding.pop(message.message_id, None)
        reset = message.type == RST
        if outstanding is not None:
            self._settle(outstanding.sender, MessageOutcome.RESET if reset else MessageOutcome.ACKNOWLEDGED)
            self._drain(now)
            return True
        if reset:
            self._settle(self._non.pop(message.message_id, None), MessageOutcome.RESET)
        return False

    def _refuse(self, octets: bytes, error: PeerError) -> None:
        self.malformed += 1
        _LOG.debug("dropped a malformed message: %s", error)
        # Section 4.2: a confirmable message that can't be processed is rejected; another version is ignored in silence.
        if len(octets) >= 4 and octets[0] >> 4 == 0x4:
            self.out.append(encode(RST, EMPTY, octets[2] << 8 | octets[3]))

    def accept(self, message: Message, now: float) -> None:
        """Acknowledge a separate response."""
        if message.type == CON:
            self._acknowledge(message.message_id)

    def reject(self, message: Message, now: float) -> None:
        """Reset a message that no exchange expects. An acknowledgement can't be reset."""
        if message.type != ACK:
            datagram = encode(RST, EMPTY, message.message_id)
            self._seen.answered(message.message_id, datagram)
            self.out.append(datagram)

    def _acknowledge(self, message_id: int) -> None:
        self._unacknowledged.pop(message_id, None)
        datagram = encode(ACK, EMPTY, message_id)
        self._seen.answered(message_id, datagram)
        self.out.append(datagram)

    # Outgoing

    def send(self, message: Message, sender: Sender | None, now: float, *, confirmable: bool) -> bool:
        """Send now, or when NSTART and the ids allow it; false if the backlog is full."""
        may_overtake = not confirmable or not self._backlog  # NSTART does not count non-confirmable messages
        if may_overtake and self._transmit(message, sender, confirmable, now):
            return True
        if len(self._backlog) >= self._parameters.max_backlog:
            return False
        self._backlog.append(_Waiting(message, sender, confirmable))
        return True

    def piggyback(self, request: Message, code: int, options: Options, payload: bytes) -> bool:
        """Answer with the acknowledgement while that is due."""
        message_id = request.message_id
        waiting = self._unacknowledged.get(message_id)
        if waiting is None or waiting[0] is not request:
            return False
        del self._unacknowledged[message_id]
        datagram = encode(ACK, code, message_id, request.token, options, payload)
        if len(datagram) > self.message_limit:
            _LOG.error("a response whose options burst a datagram was replaced by 5.00")
            datagram = encode(ACK, INTERNAL_SERVER_ERROR, message_id, request.token)
        self._seen.answered(message_id, datagram)
        self.out.append(datagram)
        return True

    def ping(self, sender: Sender, now: float) -> bool:
        """An empty confirmable message: the peer answers with a reset (section 4.3)."""
        return self.send(Message(CON, EMPTY, 0), _Ping(sender), now, confirmable=True)

    def forget(self, sender: Sender, now: float) -> None:
        """Stop retransmitting for this sender."""
        for message_id, outstanding in self._outstanding.items():
            if outstanding.sender is sender:
                del self._outstanding[message_id]
                break
        if self._backlog:
            self._backlog = deque(waiting for waiting in self._backlog if waiting.sender is not sender)
        for message_id in [message_id for message_id, owner in self._non.items() if owner is sender]:
            del self._non[message_id]
        self._drain(now)

    def _transmit(self, message: Message, sender: Sender | None, confirmable: bool, now: float) -> bool:
        parameters = self._parameters
        if confirmable and len(self._outstanding) >= parameters.nstart:
            return False
        message_id = self._ids.take(now)
        if message_id is None:
            return False
        message.type = CON if confirmable else NON
        message.message_id = message_id
        datagram = message.encode()
        if len(datagram) > self.message_limit:
            _LOG.error("a message whose options burst a datagram was dropped")
            self._settle(sender, MessageOutcome.TOO_LARGE)
            return True
        if confirmable:
            timeout = parameters.ack_timeout * (1 + (parameters.ack_random_factor - 1) * self._random())
            self._outstanding[message_id] = _Outstanding(datagram, sender, now, timeout)
        elif sender is not None:
            self._non[message_id] = sender
            if len(self._non) > _REMEMBERED_NON:
                del self._non[next(iter(self._non))]
        self.out.append(datagram)
        return True

    def _drain(self, now: float) -> None:
        backlog = self._backlog
        while backlog:
            waiting = backlog[0]
            if not self._transmit(waiting.message, waiting.sender, waiting.confirmable, now):
                return
            backlog.popleft()

    def _settle(self, sender: Sender | None, outcome: MessageOutcome) -> None:
        if sender is not None:
            self.outcomes.append((sender, outcome))

    # The shell's side

    def close(self, now: float) -> None:
        """Stop everything; datagrams say no good-bye."""
        self._outstanding.clear()
        self._backlog.clear()
        self._unacknowledged.clear()

    def to_send(self) -> list[bytes]:
        """Datagrams to send now."""
        out, self.out = self.out, []
        return out

    def next_deadline(self) -> float | None:
        """The nearest retransmission, empty acknowledgement, free id or sweep of old entries."""
        nearest: float | None = None
        if self._outstanding:
            nearest = min(outstanding.deadline for outstanding in self._outstanding.values())
        for _, deadline in self._unacknowledged.values():
            if nearest is None or deadline < nearest:
                nearest = deadline
            break
        if self._backlog:
            free = self._ids.free_at()
            if free is not None and (nearest is None or free < nearest):
                nearest = free
        expiry = self._seen.next_deadline()
        if expiry is not None and (nearest is None or expiry + _EXPIRY_GRAIN < nearest):
            nearest = expiry + _EXPIRY_GRAIN
        return nearest

    def tick(self, now: float) -> None:
        """Acknowledge what takes longer, retransmit, give up, forget."""
        while self._unacknowledged:
            message_id = next(iter(self._unacknowledged))
            if self._unacknowledged[message_id][1] > now:
                break
            self._acknowledge(message_id)
        self._retransmit(now)
        if self._backlog:
            self._drain(now)
        expiry = self._seen.next_deadline()
        if expiry is not None and expiry <= now:
            self._seen.expire(now)

    def _retransmit(self, now: float) -> None:
        lost: list[int] = []
        for message_id, outstanding in self._outstanding.items():
            if outstanding.deadline > now:
                continue
            if outstanding.transmissions > self._parameters.max_retransmit:
                lost.append(message_id)
                continue
            outstanding.transmissions += 1
            outstanding.timeout *= 2
            outstanding.deadline = now + outstanding.timeout
            self.retransmissions += 1
            self.out.append(outstanding.datagram)
        for message_id in lost:
            self._settle(self._outstanding.pop(message_id).sender, MessageOutcome.TIMED_OUT)


@dataclass(slots=True)
class _Ping:
    """Turns the reset that answers a ping into an acknowledgement."""

    sender: Sender

    def settled(self, outcome: MessageOutcome, now: float) -> None:
        self.sender.settled(MessageOutcome.ACKNOWLEDGED if outcome is MessageOutcome.RESET else outcome, now)
