"""The units of a service on their way to the gateway: their numbers, and those that the gateway wants later.

A lower number came before, and is dropped. A higher one is thrown away, and the one that is missing asked for: a
service still has what we never said that we have. If it has not, a TLS session is broken, and another goes on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from adapters.http.north_ports import KIND_OF, MISSING, Home, ServiceEnd
from carriage.http.atls_client import ReceivedUnit
from carriage.identifiers import MAX_N
from gateway.api.model import Accepted, EnvelopeId, Reason, Sealed, Unit

MOST_HELD: Final = 16
"""Units that the gateway has asked us to bring again later."""


class Arrivals:
    """``changed``: set when a unit was confirmed, or one is missing."""

    def __init__(self, home: Home, end: ServiceEnd) -> None:
        self._home = home
        self._end = end
        self.changed = asyncio.Event()
        self.next_in = 0
        self.resumed = False
        """Taken up from an earlier run: the service may be further on than the gateway knows."""
        self.ahead = 0
        """How often in a row a unit came that is not the next one."""
        self._unconfirmed: dict[EnvelopeId, int] = {}
        """The numbers of units that the gateway has in memory only."""
        self._held: deque[ReceivedUnit] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.changed.set()

    def confirmed(self, unit: EnvelopeId) -> None:
        self._unconfirmed.pop(unit, None)
        self.changed.set()

    async def settled(self, last: int = MAX_N) -> bool:
        """Wait until the gateway has what came so far for good, up to unit ``last``; False: the session is over."""
        while not self._end.over and (any(n <= last for n in self._unconfirmed.values()) or self._holds(last)):
            self.changed.clear()
            await self.changed.wait()
        return not self._end.over

    def _holds(self, last: int) -> bool:
        return bool(self._held) and (self._held[0].n or 0) <= last

    def go_on_at(self, n: int) -> bool:
        """The service has all units below ``n`` no longer. Whether they are ones that an earlier run acknowledged."""
        if not self.resumed or n <= self.next_in or n >= MAX_N:
            return False
        self.next_in = n
        return True

    def take(self, unit: ReceivedUnit) -> bool:
        """False: we had it before."""
        end = self._end
        if end.over:
            return True
        if unit.kind != KIND_OF[end.content]:
            end.give_up(Reason.CONTENT, f"a unit of another kind ({unit.kind})")
            return True
        expected = self.next_in + len(self._held)
        n = expected if unit.n is None else unit.n
        if n < expected:
            return False
        if n >= MAX_N:
            end.give_up(Reason.BROKEN, "a number behind which there is none")
            return True
        if n > expected and not self.resumed:
            self.ahead += 1
            if self.ahead == 1:
                self.changed.set()
                return True
            if end.is_stream:
                end.give_up(Reason.BROKEN, MISSING)
                return True
        self.ahead, self.resumed = 0, False
        self._home.client(end.url).counters["units_in"] += 1
        received = ReceivedUnit(n, unit.kind, unit.payload)
        if not self._held:
            self._submit(n, received)
        elif len(self._held) < MOST_HELD:
            self._held.append(received)
        else:
            end.give_up(Reason.OVER_RATE, "more units than the policy lets pass")
        return True

    def _submit(self, n: int, received: ReceivedUnit) -> bool:
        """Hand a unit to the gateway; False: it is to come again later."""
        context, end = self._home.context, self._end
        identifier = context.next_id()
        unit = Unit(
            id=identifier, source=self._home.peer(end.url, end.link), session=end.id, content=end.content, n=n,
            payload=Sealed(received.payload), received_at=context.now(),
        )  # fmt: skip
        verdict = context.submit(unit)
        if isinstance(verdict, Accepted):
            self.next_in = n + 1
            if not verdict.duplicate:
                self._unconfirmed[identifier] = n
                self._home.submitted(identifier, end)
            return True
        if verdict.retry_after is not None:
            self._held.appendleft(received)
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(verdict.retry_after, self._again)
            return False
        self.next_in = n + 1
        if verdict.reason in (Reason.UNKNOWN, Reason.CLOSED, Reason.BROKEN):
            end.leave()
        elif end.is_stream:
            end.give_up(verdict.reason, "the gateway refuses a unit of the service")
        return True

    def _again(self) -> None:
        self._timer = None
        while self._held and not self._end.over:
            received = self._held.popleft()
            if not self._submit(received.n or 0, received):
                return
        self.changed.set()
