"""Shared by the carriage sessions of every link: the receiving end, its unit numbers, and the owner's callbacks."""

from __future__ import annotations

from typing import Final

from carriage.unit_sequence import Arrival, UnitSequence
from endpoint.transports.gateway_link import Callbacks, Kind

MAX_EARLY: Final = 64
"""Units kept for an owner who has not attached yet."""


class ReceivingEnd:
    """One session's receiving end. ``over``: nothing is delivered or reported any longer."""

    def __init__(self, kind: Kind, peer: str) -> None:
        self._kind: Kind = kind
        self._peer = peer
        self._callbacks: Callbacks | None = None
        self._early: list[bytes] = []
        self._order = UnitSequence()
        self._end: str | None = None
        self.over = False

    @property
    def kind(self) -> Kind:
        return self._kind

    @property
    def peer(self) -> str:
        return self._peer

    def attach(self, callbacks: Callbacks) -> None:
        """See ``CarriageSession``."""
        self._callbacks = callbacks
        early, self._early = self._early, []
        for unit in early:
            callbacks.unit(unit)
        if self._end is not None:
            callbacks.ended(self._end)

    def proven(self) -> None:
        """See ``CarriageSession``."""

    def arrived(self, n: int, unit: bytes) -> str | None:
        """Deliver unit ``n``, once; or say why the session can't go on."""
        order = self._order
        arrival = order.judge(n)
        if arrival is Arrival.DUPLICATE or self.over:
            return None
        if arrival is Arrival.GAP and self._kind == "atls":
            return f"unit {order.expected} never came"
        callbacks = self._callbacks
        if callbacks is None and len(self._early) >= MAX_EARLY:
            return "the application takes no units"
        order.take(n)
        if callbacks is None:
            self._early.append(unit)
        else:
            callbacks.unit(unit)
        return None

    def report_loss(self, n: int, reason: str) -> None:
        """Our unit ``n`` was not delivered."""
        if self._callbacks is not None and not self.over:
            self._callbacks.lost(n, reason)

    def report_end(self, reason: str) -> None:
        """The session is over; reported once."""
        if self.over:
            return
        self.over = True
        self._end = reason
        if self._callbacks is not None:
            self._callbacks.ended(reason)
