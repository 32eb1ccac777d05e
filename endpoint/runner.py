"""Binds one layer-0 session to one carriage session on the asyncio loop: units in and out, one timer, events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from endpoint.session import Ended, EndpointSession, SessionEvent
from endpoint.transports.gateway_link import Callbacks, CarriageSession


class Runner:
    """Runs a session until it ends. ``on_event`` gets every event of the session, ``Ended`` last."""

    def __init__(
        self, session: EndpointSession, carriage: CarriageSession, on_event: Callable[[SessionEvent], None]
    ) -> None:
        self.session = session
        self.carriage = carriage
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._pumping = False
        self._over = False

    def start(self) -> None:
        """Begin the handshake."""
        self.session.start(self._loop.time())
        self.carriage.attach(Callbacks(unit=self._on_unit, lost=self._on_lost, ended=self._on_ended))
        self.pump()

    def close(self) -> None:
        """close_notify, then the carriage session behind it."""
        self.session.close(self._loop.time())
        self.pump()

    def abort(self, reason: str) -> None:
        """Close the carriage session without close_notify: truncation, for both ends."""
        self.session.carriage_ended(reason, self._loop.time())
        self.pump()

    def pump(self) -> None:
        """Move what is ready: units out, events up, the timer. Call it after any call to ``session``."""
        if self._pumping or self._over:
            return
        self._pumping = True
        try:
            while True:
                # Events first: what the application says to them goes out together with what is there already, so that
                # its first message in a TLS session is in the unit of the handshake's last flight.
                while (event := self.session.next_event()) is not None:
                    if isinstance(event, Ended):
                        self._finish()
                    self._on_event(event)
                units = self.session.units_to_send()
                if not units:
                    break
                self.carriage.send(units)
        finally:
            self._pumping = False
        self._arm()

    def _finish(self) -> None:
        self._over = True
        # What is left is a close_notify or an alert: the other end is to read it before the carriage closes.
        units = self.session.units_to_send()
        if units:
            self.carriage.send(units)
        self.carriage.close()

    def _arm(self) -> None:
        deadline = None if self._over else self.session.next_deadline()
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline:
                return  # early is harmless, and a timer for each message is not cheap
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.session.tick(self._loop.time())
        self.pump()

    def _on_unit(self, unit: bytes) -> None:
        self.session.receive(unit, self._loop.time())
        self.pump()

    def _on_lost(self, n: int, reason: str) -> None:
        # DTLS repairs a lost unit by itself; under TLS the carriage ends the session, which is reported next.
        del n, reason

    def _on_ended(self, reason: str) -> None:
        self.session.carriage_ended(reason, self._loop.time())
        self.pump()
