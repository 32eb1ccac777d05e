"""The seam between a connection and what carries its messages: the message layer over datagrams, or framing over a
stream. Only this contract and its values belong here.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from carriage.coap.message import Message
from carriage.coap.options import Options


class MessageOutcome(Enum):
    """The outcome of a message that was sent with a sender."""

    ACKNOWLEDGED = "acknowledged"
    RESET = "reset"
    TIMED_OUT = "timed out"
    TOO_LARGE = "too large"  # its options alone burst a message


class Sender(Protocol):
    """The sender of a message, which gets its outcome."""

    def settled(self, outcome: MessageOutcome, now: float) -> None:
        """Called once per confirmable message; for a non-confirmable one only when the peer resets it."""


RandomSource = Callable[[], float]
"""Numbers in [0, 1): ``common.chance`` in the shells, a seeded one in tests."""


def random_bits(random: RandomSource, bits: int) -> int:
    """A whole number below 2**bits; a float gives 53 of them at most."""
    return int(random() * (1 << bits))


class LowerLayer(Protocol):
    """The interface of the layer beneath a connection."""

    outcomes: list[tuple[Sender, MessageOutcome]]
    """Settled messages whose outcome is not reported yet. Who reports them puts an empty list in its place."""

    out: list[bytes]
    """The messages that ``to_send`` gives."""

    @property
    def body_limit(self) -> int:
        """Octets of body that go in one message; longer ones go block-wise."""

    @property
    def message_limit(self) -> int:
        """Octets of one message with its header and options."""

    @property
    def ordered(self) -> bool:
        """Whether messages arrive in the order in which they were sent."""

    def start(self, now: float) -> None:
        """Say what the transport wants said first."""

    def receive(self, octets: bytes, now: float) -> list[Message]:
        """Messages with a code that the connection must look at. Never raises."""

    def send(self, message: Message, sender: Sender | None, now: float, *, confirmable: bool) -> bool:
        """Send a message that answers none; false if the queue is full."""

    def piggyback(self, request: Message, code: int, options: Options, payload: bytes) -> bool:
        """Answer a request together with its acknowledgement; false if the answer must go separately."""

    def accept(self, message: Message, now: float) -> None:
        """A response from the peer was expected: acknowledge it if it is confirmable."""

    def reject(self, message: Message, now: float) -> None:
        """Nothing here knows this message: reset it."""

    def forget(self, sender: Sender, now: float) -> None:
        """Stop sending for this sender; no outcome follows."""

    def ping(self, sender: Sender, now: float) -> bool:
        """Ask whether the peer lives; the outcome is ``ACKNOWLEDGED`` or ``TIMED_OUT``."""

    def close(self, now: float) -> None:
        """Close; sends a message for that if the transport has one."""

    @property
    def ended(self) -> str | None:
        """Why the transport is no longer usable, in words; ``None`` while it is."""

    def to_send(self) -> list[bytes]:
        """The messages that must be sent now."""

    def next_deadline(self) -> float | None:
        """When ``tick`` is due."""

    def tick(self, now: float) -> None:
        """Let timers act."""
