"""Turns an agenda by asyncio's clock. The only place of the virtual network that arms a timer."""

from __future__ import annotations

import asyncio

from simulator.network.scheduler import Agenda


class LoopDriver:
    """One timer of the loop for the whole agenda. ``close`` disarms it."""

    __slots__ = ("_armed_for", "_handle", "_loop", "agenda")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.Handle | None = None
        self._armed_for = 0.0
        self.agenda = Agenda(loop.time)
        self.agenda.on_earlier = self._arm

    def _arm(self, due: float) -> None:
        if self._handle is not None:
            if self._armed_for <= due:
                return
            self._handle.cancel()
        self._armed_for = due
        if due <= self._loop.time():
            self._handle = self._loop.call_soon(self._turn)
        else:
            self._handle = self._loop.call_at(due, self._turn)

    def _turn(self) -> None:
        # the loop may wake a timer up to its clock's resolution early
        now = max(self._loop.time(), self._armed_for)
        try:
            self.agenda.run(now)
        finally:
            self._handle = None
            due = self.agenda.next_due()
            if due is not None:
                self._arm(due)

    def close(self) -> None:
        """Nothing more happens on the air."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self.agenda.on_earlier = _deaf


def _deaf(_due: float) -> None:
    """After ``close``: calls still asked for never run."""
