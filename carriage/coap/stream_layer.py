"""CoAP over one reliable stream (RFC 8323): the CSM first, then messages; Ping and Pong, Release, Abort.

Takes the place of the message layer below a connection. The stream orders and repeats, so whatever the shell has taken
counts as acknowledged.

States: *new* until the peer's CSM moves it to *open*; *ended*, for good, by the peer's Release or Abort, by ``close``
(which sends Release), or by what breaks RFC 8323, such as another first message than a CSM (which sends Abort).
"""

from __future__ import annotations

import logging

from carriage.coap import codes, options
from carriage.coap.lower_layer import MessageOutcome, RandomSource, Sender, random_bits
from carriage.coap.message import CON, Message
from carriage.coap.stream import (
    BASE_MAX_MESSAGE_SIZE,
    CSM_BLOCK_WISE_TRANSFER,
    CSM_MAX_MESSAGE_SIZE,
    FrameDecoder,
    capabilities,
    encode_frame,
)
from layer.errors import PeerError

_LOG = logging.getLogger(__name__)

_ROOM_FOR_OPTIONS = 128  # octets of a message left to header and options when a body goes in one message
_MAX_PINGS = 8


class StreamLayer:
    """Octets in, messages out; messages in, octets out. Implements ``LowerLayer``."""

    __slots__ = (
        "_decoder",
        "_greeted",
        "_max_message_size",
        "_peer_limit",
        "_ping_timeout",
        "_pings",
        "_random",
        "_written",
        "ended",
        "out",
        "outcomes",
    )

    def __init__(self, random: RandomSource, *, max_message_size: int = 132_096, ping_timeout: float = 30.0) -> None:
        self._decoder = FrameDecoder(max_message_size)
        self._random = random
        self._ping_timeout = ping_timeout
        self._max_message_size = max_message_size
        self.out: list[bytes] = []
        self._written: list[Sender] = []
        self.outcomes: list[tuple[Sender, MessageOutcome]] = []
        self._pings: dict[bytes, tuple[Sender, float]] = {}
        self._greeted = False
        self._peer_limit = BASE_MAX_MESSAGE_SIZE
        self.ended: str | None = None

    @property
    def body_limit(self) -> int:
        """The octets that the peer's Max-Message-Size leaves for a body."""
        return self._peer_limit - _ROOM_FOR_OPTIONS

    @property
    def message_limit(self) -> int:
        """The peer's Max-Message-Size."""
        return self._peer_limit

    @property
    def ordered(self) -> bool:
        """Observe numbers mean nothing here (RFC 8323 section 7.1)."""
        return True

    def start(self, now: float) -> None:
        """Each side opens with its CSM and need not wait for the other's (section 5.3)."""
        self.out.insert(0, encode_frame(capabilities(self._max_message_size)))

    def receive(self, octets: bytes, now: float) -> list[Message]:
        """Requests and responses; signals are dealt with here. Never raises."""
        if self.ended is not None:
            return []
        try:
            messages = self._decoder.feed(octets)
        except PeerError as error:
            self._abort(str(error))
            return []
        passed: list[Message] = []
        for message in messages:
            if codes.is_signal(message.code):
                self._signal(message)
            elif not self._greeted:
                self._abort("the first message is not a CSM")
            elif self.ended is None:
                passed.append(message)
        return passed

    def _signal(self, message: Message) -> None:
        code = message.code
        if self.ended is not None:
            return
        if code == codes.CSM:
            self._greet(message)
        elif not self._greeted:
            self._abort("the first message is not a CSM")
        elif any(number & 1 for number, _ in message.options):
            self._abort("a critical option in a signalling message")  # section 5.1
        elif code == codes.PING:
            self.out.append(encode_frame(Message(CON, codes.PONG, 0, message.token)))
        elif code == codes.PONG:
            waiting = self._pings.pop(message.token, None)
            if waiting is not None:
                self.outcomes.append((waiting[0], MessageOutcome.ACKNOWLEDGED))
        elif code == codes.RELEASE:
            self.ended = "released by the peer"
        elif code == codes.ABORT:
            self.ended = "aborted by the peer"
        # An unknown signal is ignored (section 5.1 puts the burden on its options).

    def _greet(self, message: Message) -> None:
        for number, value in message.options:
            if number == CSM_MAX_MESSAGE_SIZE and len(value) <= 4:
                self._peer_limit = max(BASE_MAX_MESSAGE_SIZE, options.decode_uint(value))
            elif number != CSM_BLOCK_WISE_TRANSFER and number & 1:
                self._abort("a critical option in the CSM")
                return
        self._greeted = True

    def _abort(self, reason: str) -> None:
        if self.ended is not None:
            return
        _LOG.warning("CoAP stream ended: %s", reason)
        self.out.append(encode_frame(Message(CON, codes.ABORT, 0, b"", (), reason.encode())))
        self.ended = reason

    def accept(self, message: Message, now: float) -> None:
        """Nothing to acknowledge over a stream."""

    def reject(self, message: Message, now: float) -> None:
        """A response with an unknown token is ignored in silence (RFC 8323 section 3.5 has no reset)."""

    def send(self, message: Message, sender: Sender | None, now: float, *, confirmable: bool) -> bool:
        """Queue for the shell, which takes everything after each call."""
        if self.ended is not None:
            return False
        frame = encode_frame(message)
        if len(frame) > self._peer_limit:
            _LOG.error("a message larger than the peer accepts was dropped")
            if sender is not None:
                self.outcomes.append((sender, MessageOutcome.TOO_LARGE))
            return True
        self.out.append(frame)
        if sender is not None and confirmable:
            self._written.append(sender)
        return True

    def piggyback(self, request: Message, code: int, options: options.Options, payload: bytes) -> bool:
        """There are no acknowledgements here."""
        return False

    def forget(self, sender: Sender, now: float) -> None:
        """A written message can't be called back; its sender gets no event."""
        self._written = [writer for writer in self._written if writer is not sender]

    def ping(self, sender: Sender, now: float) -> bool:
        """7.02 Ping; false where too many are unanswered."""
        if self.ended is not None or len(self._pings) >= _MAX_PINGS:
            return False
        token = random_bits(self._random, 32).to_bytes(4, "big")
        self._pings[token] = (sender, now + self._ping_timeout)
        self.out.append(encode_frame(Message(CON, codes.PING, 0, token)))
        return True

    def close(self, now: float) -> None:
        """7.04 Release."""
        if self.ended is None:
            self.out.append(encode_frame(Message(CON, codes.RELEASE, 0)))
            self.ended = "closed"

    def to_send(self) -> list[bytes]:
        """Octets for the stream, in order. Taking them settles their senders."""
        out, self.out = self.out, []
        for sender in self._written:
            self.outcomes.append((sender, MessageOutcome.ACKNOWLEDGED))
        self._written.clear()
        return out

    def next_deadline(self) -> float | None:
        """When the oldest ping is lost."""
        for _, deadline in self._pings.values():
            return deadline
        return None

    def tick(self, now: float) -> None:
        """Give up pings that got no answer in time."""
        while self._pings:
            token = next(iter(self._pings))
            sender, deadline = self._pings[token]
            if deadline > now:
                return
            del self._pings[token]
            self.outcomes.append((sender, MessageOutcome.TIMED_OUT))
