"""The engine's transmits as messages on their way to the broker, until each has its one receipt.

A message is *held* here only while there is no connection to judge it by, or the client's queue is full. Then it is
handed to the client, which names it by itself when the broker has it (``MqttClient.publish``, ``token``): nothing that
is under way has a table beside the client's. ``resume`` hands over the held messages. The broker has ``grace`` seconds
to take a message; one that it has not taken by then is dropped. Whatever happens to that message later, or to one that
``withdraw`` took back, is ignored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from adapters.mqtt.reason_codes import SUCCESS, reason_of
from carriage.mqtt.options import DropReason
from gateway.api.errors import TransportError
from gateway.api.link import meets
from gateway.api.model import EnvelopeId, Exchange, Interaction, LinkSecurity, Outcome, Reason, Receipt, Transmit


@dataclass(slots=True, eq=False)
class OutboundMessage:
    """A transmit and the user that it is for. ``due``: when the broker must have it, on the monotonic clock."""

    transmit: Transmit
    user: str
    due: float


class Outbound:
    """``publish`` hands a message to the client (TransportError), ``settle`` gives the engine the receipt, ``lost`` is
    called after the receipt for a message that the broker didn't take in time.

    ``link`` is the live connection's protection; None: there is no connection, and messages wait.
    """

    def __init__(
        self,
        publish: Callable[[OutboundMessage], object],
        settle: Callable[[Receipt], None],
        lost: Callable[[OutboundMessage], None],
        grace: float,
    ) -> None:
        self._grace = grace
        self.link: LinkSecurity | None = None
        self._publish = publish
        self._settle = settle
        self._lost = lost
        self._messages: dict[EnvelopeId, OutboundMessage] = {}  # by age
        self._held: dict[EnvelopeId, OutboundMessage] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def held(self) -> int:
        return len(self._held)

    def add(self, transmit: Transmit, user: str) -> None:
        identifier = transmit.envelope.id
        message = OutboundMessage(transmit, user, monotonic() + self._grace)
        self._messages[identifier] = message
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._grace, self._look)
        # Behind those that wait already: units go in order.
        if self.link is None or self._held or not self._hand_over(message):
            self._held[identifier] = message

    def withdraw(self, envelope: EnvelopeId) -> None:
        """What the client has can't be taken back; only its end is no longer of interest."""
        self._messages.pop(envelope, None)
        self._held.pop(envelope, None)

    def resume(self) -> None:
        """The connection is there, or has room again."""
        while self._held and self.link is not None:
            identifier, message = next(iter(self._held.items()))
            if not self._hand_over(message):
                return
            self._held.pop(identifier, None)

    def published(self, message: OutboundMessage, code: int) -> None:
        """The broker has answered."""
        reason = None if code == SUCCESS else reason_of(code)
        self._end(message, Outcome.DELIVERED if reason is None else Outcome.DROPPED, reason)

    def dropped(self, message: OutboundMessage, reason: DropReason) -> None:
        """The client has given it up."""
        if reason is DropReason.EXPIRED:
            self._end(message, Outcome.EXPIRED)
        else:
            self._end(message, Outcome.DROPPED, Reason.UNREACHABLE)

    def give_up(self) -> None:
        """What is left is not taken: it fails."""
        for message in list(self._messages.values()):
            self._end(message, Outcome.DROPPED, Reason.UNREACHABLE)

    def close(self) -> None:
        self.link = None
        self.give_up()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hand_over(self, message: OutboundMessage) -> bool:
        """False if it has to wait."""
        assert self.link is not None
        if not meets(self.link, message.transmit.require):
            self._end(message, Outcome.DROPPED, Reason.LINK)
            return True
        try:
            self._publish(message)
        except TransportError as error:
            if error.transient:
                return False
            self._end(message, Outcome.DROPPED, Reason.TOO_LARGE)  # all else that is final happens without a link
            return True
        return True

    def _look(self) -> None:
        now = monotonic()
        try:
            while self._messages:
                message = next(iter(self._messages.values()))
                if message.due > now:
                    break
                self._end(message, Outcome.DROPPED, Reason.UNREACHABLE)
                self._lost(message)
        finally:
            first = next(iter(self._messages.values()), None)
            loop = asyncio.get_running_loop()
            self._timer = None if first is None else loop.call_later(first.due - now, self._look)

    def _end(self, message: OutboundMessage, outcome: Outcome, reason: Reason | None = None) -> None:
        envelope = message.transmit.envelope
        if self._messages.pop(envelope.id, None) is None:
            return  # withdrawn, or too late
        if self._held:
            self._held.pop(envelope.id, None)
        session = None if isinstance(envelope, Interaction | Exchange) else envelope.session
        self._settle(Receipt(envelope.id, outcome, reason, session))
