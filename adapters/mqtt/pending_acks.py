"""The units of clients that the gateway took and that have no final receipt yet, and their acknowledgements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from carriage.mqtt.options import Message
from gateway.api.model import EnvelopeId, SessionId

MAX_SUBMITTED: Final = 65_536


@dataclass(slots=True)
class Submitted:
    """A unit until its final receipt. ``message`` has yet to be acknowledged, None: it has been."""

    user: str
    session: SessionId
    n: int
    message: Message | None


class PendingAcks:
    """``acknowledge`` acknowledges a message to the broker, when it is done or safe."""

    def __init__(self, acknowledge: Callable[[Message], None]) -> None:
        self._acknowledge = acknowledge
        self._units: dict[EnvelopeId, Submitted] = {}
        self._numbers: dict[tuple[str, SessionId, int], Submitted] = {}

    def __len__(self) -> int:
        return len(self._units)

    def add(self, identifier: EnvelopeId, unit: Submitted) -> None:
        while len(self._units) >= MAX_SUBMITTED:
            self.settle(next(iter(self._units)))
        self._units[identifier] = self._numbers[unit.user, unit.session, unit.n] = unit

    def again(self, user: str, session: SessionId, n: int, message: Message) -> bool:
        """The broker sent a unit again, on another connection: its PUBACK goes there. False: it is settled."""
        known = self._numbers.get((user, session, n))
        if known is None or known.message is None:
            return False
        known.message = message
        return True

    def safe(self, identifier: EnvelopeId) -> Submitted | None:
        """A unit is done, or in the gateway's store."""
        unit = self._units.get(identifier)
        if unit is not None and unit.message is not None:
            message, unit.message = unit.message, None
            self._acknowledge(message)
        return unit

    def settle(self, identifier: EnvelopeId) -> Submitted | None:
        """The final word on a unit is known."""
        unit = self.safe(identifier)
        if unit is not None:
            del self._units[identifier]
            key = (unit.user, unit.session, unit.n)
            if self._numbers.get(key) is unit:
                del self._numbers[key]
        return unit
