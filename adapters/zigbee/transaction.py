"""A request to a device and its answer, as values. ``zcl_transactions`` keeps the numbers and the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from adapters.zigbee.radio_port import Frame, SendOutcome
from carriage.zigbee.foundation import General

DEFAULT_RESPONSE: Final = int(General.DEFAULT_RESPONSE)
_LARGEST: Final = 0xFF
"""Of the transaction sequence numbers."""


class Reply(NamedTuple):
    """The device's response: a general command (for ZDO: 0) and its payload, the sequence number left out.

    ``specific``: it is a command of the cluster."""

    command: int
    payload: bytes
    specific: bool = False


class NoReply(NamedTuple):
    """No response came. ``outcome``: of the sending; ``DELIVERED``: the device has the request."""

    outcome: SendOutcome


Answer = Reply | NoReply


class Content(NamedTuple):
    """A request: a ZCL command and the general command that answers it (0x0B does in any case).

    ``response``: the cluster's own command that does, -1: none. ``manufacturer``: the code in its header, 0: none.
    ``unanswered``: the device is asked to answer nothing unless it refuses, and its acknowledgement ends the
    transaction."""

    command: int
    payload: bytes
    answer: int = DEFAULT_RESPONSE
    cluster_specific: bool = False
    response: int = -1
    manufacturer: int = 0
    unanswered: bool = False

    def __repr__(self) -> str:
        return f"Content(command=0x{self.command:02x})"  # in the payload may be a secret


@dataclass(slots=True, eq=False)
class Transactions:
    """The transaction sequence numbers of one device, and the transactions that hold one."""

    last: int = 0
    open: dict[int, Transaction] = field(default_factory=dict)

    def free(self) -> int:
        """The next number that no open transaction holds: a number comes again after 255 others."""
        sequence = (self.last + 1) & 0xFF
        while sequence in self.open:
            sequence = (sequence + 1) & 0xFF
        return sequence

    def apart(self) -> int:
        """A number that no frame has: of a request that a quirk carries out."""
        return max((_LARGEST, *self.open)) + 1


@dataclass(slots=True, eq=False)
class Transaction:
    """``done`` is called exactly once, unless the transaction is withdrawn."""

    of: Transactions
    endpoint: int
    cluster: int
    """Of the answer."""
    sequence: int
    asked: int
    answer: int
    done: Callable[[Answer], None]
    response: int = -1
    manufacturer: int = 0
    link_key: bool = False
    """Whether it goes under the link key; then nothing else answers it."""
    unanswered: bool = False
    """It is over when its frame is delivered."""
    frame: Frame | None = None
    due: float | None = None
    """When it counts as not answered; None before it was delivered."""

    @property
    def is_open(self) -> bool:
        """It has no answer yet, and was not taken back."""
        return self.of.open.get(self.sequence) is self
