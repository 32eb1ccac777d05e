"""Shared by the sessions whose units go up by requests, one at a time: what waits, the close behind it, and the ends.

States: *live* from ``start`` on; ``close`` moves it to *closing*, in which the queued units still go; when they are
through, the close goes to the other side and moves it to *over*. The other side's word that it has no such session
(``ended``), and a fault after which the session can't go on (``broken``, which closes it there), move it to *over* at
once, with one ``Callbacks.ended``.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable

from endpoint.transports.gateway_link import GONE, MAX_QUEUED_UNITS, RETRY_PAUSE, Kind
from endpoint.transports.receiving_end import ReceivingEnd


class SendingEnd(ReceivingEnd, ABC):
    """``closing``: our close waits behind units. ``other``: who takes our units, in words.

    ``retry_for``: seconds after its first refusal in which a unit is still offered again.
    """

    def __init__(self, kind: Kind, peer: str, other: str, retry_for: float) -> None:
        super().__init__(kind, peer)
        self.closing = False
        self._other = other
        self._retry_for = retry_for
        self._n = 0
        """The number of the next unit."""
        self._waiting: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @abstractmethod
    async def _send_unit(self, unit: bytes) -> None:
        """Unit ``_n`` is the other side's, lost (``_lost``), or the session is over."""

    @abstractmethod
    def _leave(self) -> None:
        """Close the session at the other side, in a task of the link."""

    @abstractmethod
    def _forget(self) -> None:
        """Have the link forget the session."""

    def _will_send(self) -> None:
        """Called before each unit, and before waiting for one."""

    def send(self, units: Iterable[bytes]) -> None:
        if self.over or self.closing:
            return
        self._waiting.extend(units)
        if len(self._waiting) > MAX_QUEUED_UNITS:
            self.broken(f"too many units wait for the {self._other}")
        self._wake.set()

    def close(self) -> None:
        if not self.over:
            self.closing = True
            self._wake.set()

    def ended(self, reason: str) -> None:
        """The other side has no such session any longer."""
        self._stop()
        self.report_end(reason)

    def broken(self, reason: str) -> None:
        """It can't go on: the other side is to know."""
        if not self.over:
            self._leave()
            self.ended(reason)

    def _refused(self, reason: str) -> None:
        if reason in GONE:
            self.ended(reason)
        else:
            self.broken(reason)

    def _stop(self) -> None:
        self._forget()
        self._waiting.clear()
        self.closing = False
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    async def _work(self) -> None:
        """Send what waits, one unit at a time so that order holds, then the close behind it."""
        while not self.over:
            self._will_send()
            if self._waiting:
                await self._send_unit(self._waiting.popleft())
                self._n += 1
            elif self.closing:
                self._leave()
                self.over = True
                self._stop()
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _later(self, deadline: float | None, retry_after: int | None) -> float | None:
        """The other side has no room now: wait until the unit may be offered again. None: its time is over.

        ``deadline``: what this returned for the unit before, None at first.
        """
        loop = asyncio.get_running_loop()
        deadline = deadline or loop.time() + self._retry_for
        pause = float(retry_after or RETRY_PAUSE)
        if loop.time() + pause > deadline:
            return None
        await asyncio.sleep(pause)
        return deadline
