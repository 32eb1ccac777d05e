"""The units of clients that the gateway took and that have no final receipt yet, and their acknowledgements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from carriage.mqtt.options import Message
from gateway.api.model import EnvelopeId, SessionId
from gateway.kit.repeated_requests import RepeatedRequests

MAX_SUBMITTED: Final = 65_536


class Submitted(NamedTuple):
    """A unit until its final receipt; the broker sends the same one again on another connection."""

    user: str
    session: SessionId
    n: int


class PendingAcks:
    """``acknowledge`` acknowledges a message to the broker, when it is done or safe; it leaves one of an earlier
    connection alone."""

    def __init__(self, acknowledge: Callable[[Message], None], most: int = MAX_SUBMITTED) -> None:
        self._acknowledge = acknowledge
        self._most = most
        self._units: dict[EnvelopeId, Submitted] = {}
        self._messages: RepeatedRequests[Submitted, Message, None] = RepeatedRequests(0)

    def __len__(self) -> int:
        return len(self._units)

    def add(self, identifier: EnvelopeId, unit: Submitted, message: Message) -> None:
        while len(self._units) >= self._most:
            self.settle(next(iter(self._units)))
        self._units[identifier] = unit
        self._messages.waiting[unit] = message

    def again(self, unit: Submitted, message: Message) -> bool:
        """The broker sent a unit again, on another connection: its PUBACK goes there. False: it is settled."""
        return self._messages.join(unit, message)

    def safe(self, identifier: EnvelopeId) -> Submitted | None:
        """A unit is done, or in the gateway's store."""
        unit = self._units.get(identifier)
        if unit is not None and (message := self._messages.waiting.get(unit)) is not None:
            for each in (message, *self._messages.settle(unit)):
                self._acknowledge(each)
        return unit

    def settle(self, identifier: EnvelopeId) -> Submitted | None:
        """The final word on a unit is known."""
        unit = self.safe(identifier)
        if unit is not None:
            del self._units[identifier]
        return unit
