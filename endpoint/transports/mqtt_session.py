"""One session over MQTT: units are published in order, a few at a time; one that is refused for now goes again.

Over MQTT the gateway reports refusals only, never success, so units are kept for a while after the broker has taken
them.

States:

========  ==========================================================================================================
sending   from the start; a refusal for now (``refused``) moves it to *pausing*, ``halt`` to *halted*
pausing   nothing goes out for the seconds that the refusal names; then it is *sending* again
halted    the gateway is away and units wait; ``go_on`` offers again what the gateway may not have, and moves it to
          *sending*
over      nothing is delivered or reported any longer
========  ==========================================================================================================

``close`` makes it *closing* besides: it takes no new units and, when all are through, closes at the gateway after
``LINGER`` seconds and is *over*. ``ended`` and ``broken`` move it to *over* at once, with one ``Callbacks.ended``.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from endpoint.transports.gateway_link import GONE, LATER, LOST, MAX_QUEUED_UNITS, RETRY_PAUSE, Kind
from endpoint.transports.receiving_end import ReceivingEnd
from layer.errors import TransportError

WINDOW: Final = 16
"""Units that the broker has not acknowledged."""
MAX_KEPT: Final = 64
"""Units kept in case the gateway refuses them for now."""
LINGER: Final = 0.3
"""Seconds between the broker's acknowledgement of the last unit and our close: a refusal by the gateway comes by then.
"""


class Broker(Protocol):
    """The link's interface for a session."""

    def publish_unit(self, session: MqttSession, n: int, unit: bytes) -> None: ...

    def stall(self, session: MqttSession) -> None: ...

    def close_soon(self, name: str) -> None: ...

    def forget(self, session: MqttSession) -> None: ...


@dataclass(slots=True, eq=False)
class _Unit:
    octets: bytes = field(repr=False)
    age: int
    """Counts our units in the order in which they were made."""
    n: int | None = None
    """Its number, once it has gone out under one that it keeps."""
    refused_at: float | None = None
    """When it was refused first."""


class MqttSession(ReceivingEnd):
    """One session under our topic level. ``closing``: our close waits behind units.

    ``retry_for``: seconds after its first refusal in which a unit is still offered again.
    """

    def __init__(self, link: Broker, name: str, kind: Kind, peer: str, retry_for: float) -> None:
        super().__init__(kind, peer)
        self.name = name
        self._retry_for = retry_for
        self._link = link
        self._next = 0
        self._made = 0
        self._waiting: deque[_Unit] = deque()
        self._kept: OrderedDict[int, _Unit] = OrderedDict()
        self._in_flight = 0
        self._pause: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._halted = False
        self.closing = False

    def send(self, units: Iterable[bytes]) -> None:
        if self.over or self.closing:
            return
        for octets in units:
            self._made += 1
            self._waiting.append(_Unit(octets, self._made))
        if len(self._waiting) > MAX_QUEUED_UNITS:
            self.broken("too many units wait for the broker")
        else:
            self.pump()

    def close(self) -> None:
        if not self.over:
            self.closing = True
            self.pump()

    def pump(self) -> None:
        """Hand over what may go, then the close behind it."""
        while self._waiting and self._in_flight < WINDOW and self._pause is None and not (self.over or self._halted):
            unit = self._waiting[0]
            n = self._next if unit.n is None else unit.n
            try:
                self._link.publish_unit(self, n, unit.octets)
            except TransportError as error:
                if error.transient:
                    self._link.stall(self)
                else:
                    self.broken(str(error))
                return
            self._waiting.popleft()
            self._in_flight += 1
            if unit.n is None:
                unit.n = n
                self._next += 1
            self._kept[n] = unit
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        if self.closing and self._through and self._linger is None:
            self._linger = asyncio.get_running_loop().call_later(LINGER if self._kept else 0, self._leave)

    @property
    def _through(self) -> bool:
        return not (self._waiting or self._in_flight or self._halted or self.over)

    def _leave(self) -> None:
        self._linger = None
        if self._through:
            self._link.close_soon(self.name)
            self._stop()
            self.over = True

    def published(self) -> None:
        """The broker has one unit more, or it was given up."""
        self._in_flight -= 1

    def refused(self, n: int, reason: str, retry_after: float | None) -> None:
        """The gateway, or the broker, did not take unit ``n``."""
        if self.over:
            return
        if reason in LATER and self._take_back(n, retry_after or RETRY_PAUSE):
            return
        if reason in GONE:
            self.ended(reason)
        elif reason in LATER or reason in LOST:
            self.report_loss(n, reason)
            if self._kind == "atls":
                self.broken(f"unit {n} was lost: {reason}")
            else:
                self.pump()
        else:
            self.broken(reason)

    def _take_back(self, n: int, pause: float) -> bool:
        """Unit ``n`` goes again after ``pause`` seconds. False if it is too late for that.

        A TLS unit keeps its number, and those behind it go again after it. A datagram gets a new number, for the
        gateway takes no lower one than it has seen.
        """
        unit = self._kept.get(n)
        if unit is None:
            return any(waiting.n == n for waiting in self._waiting)  # taken back already, with one before it
        now = asyncio.get_running_loop().time()
        unit.refused_at = unit.refused_at or now
        if now + pause > unit.refused_at + self._retry_for:
            return False
        if self._kind == "atls":
            self._requeue(n)
        else:
            del self._kept[n]
            unit.n = None
            younger = (at for at, waiting in enumerate(self._waiting) if waiting.age > unit.age)
            self._waiting.insert(next(younger, len(self._waiting)), unit)
        if self._pause is not None and self._pause.when() < now + pause:
            self._pause.cancel()
            self._pause = None
        if self._pause is None:
            self._pause = asyncio.get_running_loop().call_at(now + pause, self._resume)
        return True

    def _requeue(self, lowest: int) -> None:
        """Put the kept units from ``lowest`` on back into the queue, under their numbers, before those that wait."""
        again = sorted(number for number in self._kept if number >= lowest)
        self._waiting.extendleft(self._kept.pop(number) for number in reversed(again))

    def _resume(self) -> None:
        self._pause = None
        self.pump()

    def halt(self) -> None:
        """The gateway is away: keep what comes."""
        self._halted = True

    def go_on(self) -> None:
        """The gateway is back, and has its sessions: offer again what it may not have. It drops what it has had."""
        self._halted = False
        self._requeue(0)
        self.pump()

    def forgotten(self) -> None:
        """The broker had forgotten us, and so lost what came for us meanwhile, perhaps the session's end.

        A TLS session is broken by that. For DTLS the last unit is offered again: a gateway that has the session
        takes it for a repetition, another says that it is unknown.
        """
        last = self._kept.get(self._next - 1)
        if self._kind == "atls" or last is None:
            self.broken("the broker lost what was meant for us")
            return
        try:
            self._link.publish_unit(self, self._next - 1, last.octets)
            self._in_flight += 1
        except TransportError as error:
            self.broken(str(error))

    def received(self, n: int, unit: bytes) -> None:
        fault = self.arrived(n, unit)
        if fault is not None:
            self.broken(fault)

    # Ends

    def ended(self, reason: str) -> None:
        """The gateway has no such session any longer."""
        self._stop()
        self.report_end(reason)

    def broken(self, reason: str) -> None:
        """It can't go on: the gateway is to know."""
        if not self.over:
            self._link.close_soon(self.name)
            self.ended(reason)

    def _stop(self) -> None:
        self._link.forget(self)
        self._waiting.clear()
        self._kept.clear()
        self.closing = False
        for timer in (self._pause, self._linger):
            if timer is not None:
                timer.cancel()
        self._pause = self._linger = None
