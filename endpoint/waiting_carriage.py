"""The carriage of a session that begins before its link to the gateway does: it keeps units until there is one.

States: *waiting* from the start; ``bind`` moves it to *bound*, from which all goes to the real carriage; ``close``
while it waits moves it to *closed*, and a carriage that comes then is closed. A DTLS handshake that repeats its hello
meanwhile makes some copies of it, which the other end drops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from endpoint.transports.gateway_link import Callbacks, CarriageSession, Kind


class WaitingCarriage:
    """``needed`` gets the first flight, once there is one: it is time to ask for the real carriage, and to give it the
    unit ``first``."""

    def __init__(self, kind: Kind, peer: str, needed: Callable[[bytes], None]) -> None:
        self._kind: Kind = kind
        self._peer = peer
        self._needed: Callable[[bytes], None] | None = needed
        self._units: list[bytes] = []
        self._callbacks: Callbacks | None = None
        self._carriage: CarriageSession | None = None
        self.closed = False

    @property
    def kind(self) -> Kind:
        return self._kind

    @property
    def peer(self) -> str:
        return self._peer

    def attach(self, callbacks: Callbacks) -> None:
        """See ``CarriageSession``."""
        self._callbacks = callbacks

    def send(self, units: Iterable[bytes]) -> None:
        """See ``CarriageSession``."""
        if self._carriage is not None:
            self._carriage.send(units)
            return
        self._units.extend(units)
        needed, self._needed = self._needed, None
        if needed is not None:
            needed(b"".join(self._units))

    def proven(self) -> None:
        """See ``CarriageSession``."""
        if self._carriage is not None:
            self._carriage.proven()

    def close(self) -> None:
        """See ``CarriageSession``."""
        self.closed = True
        if self._carriage is not None:
            self._carriage.close()

    @property
    def first(self) -> bytes:
        """The first unit that waits; only after ``needed``."""
        return self._units[0]

    def bind(self, carriage: CarriageSession) -> None:
        """Send what waits over ``carriage``, which has ``first`` already, and all else from now on."""
        if self.closed:
            carriage.close()
            return
        assert self._callbacks is not None
        self._carriage = carriage
        units, self._units = self._units, []
        carriage.send(units[1:])  # before attaching, since attaching may bring units and so answers to them
        carriage.attach(self._callbacks)
