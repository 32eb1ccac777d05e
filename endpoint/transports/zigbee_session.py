"""One tunnel as a carriage session: units are handed to the tunnel a few at a time, the close goes behind them.

States: *live* from the start; ``close`` moves it to *closing*, and to *over* when the tunnel has the last unit. The
tunnel's end (``report_end``) and a fault after which the session can't go on (``broken``, which aborts the tunnel) move
it to *over* at once, with one ``Callbacks.ended``. A unit that could not be delivered makes it *doubtful*: nothing that
gets through within ``unreachable_after`` seconds moves it to *over*, anything that does clears the doubt.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol

from carriage.zigbee import events, tunneling
from endpoint.transports.gateway_link import MAX_QUEUED_UNITS, Kind
from endpoint.transports.receiving_end import ReceivingEnd
from layer.errors import TransportError

FEED: Final = 8
"""Units that are handed to the tunnel at a time; the rest waits here."""


class Tunnels(Protocol):
    """The link's interface for a session."""

    def queue(self, handle: events.Handle, n: int, unit: bytes) -> None: ...

    def close(self, handle: events.Handle) -> None: ...

    def abort(self, handle: events.Handle) -> None: ...

    def flush(self) -> None: ...


class TunnelSession(ReceivingEnd):
    """One tunnel. It stays known to its link until the tunnel is gone. ``closing``: we closed it, behind its units.

    ``unreachable_after``: seconds after a unit could not be delivered in which something has to come through.
    """

    def __init__(self, link: Tunnels, handle: events.Handle, kind: Kind, peer: str, unreachable_after: float) -> None:
        super().__init__(kind, peer)
        self._link = link
        self._handle = handle
        self._unreachable_after = unreachable_after
        self._next = 0
        self._under_way = 0
        self._waiting: deque[bytes] = deque()
        self._giving_up: asyncio.TimerHandle | None = None
        self.closing = False

    def send(self, units: Iterable[bytes]) -> None:
        if self.over or self.closing:
            return
        self._waiting.extend(units)
        if len(self._waiting) > MAX_QUEUED_UNITS:
            self.broken("too many units wait for the radio")
            return
        self._hand_over()
        self._link.flush()

    def close(self) -> None:
        if not self.over:
            self.closing = True
            self._hand_over()

    def settled(self) -> None:
        """One of our units arrived."""
        self._under_way -= 1
        self._reached()
        self._hand_over()

    def lost(self, n: int, reason: str) -> None:
        """One of our units did not arrive."""
        self._under_way -= 1
        if self.over:
            return
        self.report_loss(n, reason)
        if self._kind == "atls":
            self.broken(f"unit {n} was lost: {reason}")
        else:
            if reason == events.FailReason.UNDELIVERABLE.value and self._giving_up is None:
                loop = asyncio.get_running_loop()
                self._giving_up = loop.call_later(self._unreachable_after, self.broken, "unreachable")
            self._hand_over()

    def lost_behind(self, n: int, reason: str) -> None:
        """One of our units was lost behind the gateway, which had taken it."""
        if not self.over:
            self.report_loss(n, reason)
            if self._kind == "atls":
                self.broken(f"unit {n} was lost: {reason}")

    def refused(self, status: tunneling.TransferError) -> None:
        """The gateway could not take a unit: DTLS repairs it, a TLS stream is broken."""
        if status is not tunneling.TransferError.DATA_OVERFLOW or self._kind == "atls":
            self.broken(status.name.lower().replace("_", " "))

    def incomplete(self, n: int) -> None:
        """Only a part of the other end's unit ``n`` came."""
        if self._kind == "atls":
            self.broken(f"unit {n} never came whole")

    def received(self, n: int, unit: bytes) -> None:
        self._reached()
        fault = self.arrived(n, unit)
        if fault is not None:
            self.broken(fault)

    def broken(self, reason: str) -> None:
        """It can't go on: the tunnel is closed at once."""
        if not self.over:
            self._waiting.clear()
            self.report_end(reason)
            self._link.abort(self._handle)

    def report_end(self, reason: str) -> None:
        self._reached()
        super().report_end(reason)

    def _reached(self) -> None:
        """The gateway is there, or no longer of interest."""
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def _hand_over(self) -> None:
        while self._waiting and self._under_way < FEED and not self.over:
            try:
                self._link.queue(self._handle, self._next, self._waiting[0])
            except TransportError as error:
                self.broken(str(error))
                return
            self._waiting.popleft()
            self._next += 1
            self._under_way += 1
        if self.closing and not self._waiting and not self.over:
            # The tunnel sends what it has been handed before it closes.
            self.over = True
            self._link.close(self._handle)
