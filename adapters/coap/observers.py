"""Observations of devices (RFC 7641): the newest state to each observer, at a pace that it can take.

A notification is rendered when it is sent, so a slow observer misses the states in between and nothing piles up. The
first notification after a quiet time, the last one of a burst and those in blocks are confirmable, the others are not:
a change arrives for certain, an observer that has vanished is noticed, and a burst costs no acknowledgements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from adapters.coap.client_state import ClientConnection
from carriage.coap import codes
from carriage.coap.exchange import FailureReason, Response
from gateway.kit.fixed_timeout import FixedTimeout


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """How often an observation is notified, in seconds."""

    pace: float = 1.0
    """Between two notifications of one observation (RFC 7641, section 4.5.1, bounds their rate)."""
    quiet: float = 10.0
    """Without a confirmable notification, after which the next one is confirmable."""
    settled: float = 5.0
    """After a notification that was not confirmable, and had none behind it, until it goes again as one."""


PACING: Final = Pacing()


@dataclass(slots=True, eq=False)
class Observer:
    """One observation. ``render``: the state now, or None if it can't be sent and needn't be.

    ``forget``: called once when the observation is over, however it ended.
    """

    connection: ClientConnection
    exchange: int
    render: Callable[[], Response | None]
    forget: Callable[[], object]
    since: float
    """What happened until then is in the first answer."""
    notification: int | None = None
    """The confirmable one under way."""
    confirmed_at: float = float("-inf")
    pending: bool = False
    """The state has changed since what was sent last."""
    over: bool = False


class Observers:
    """All of one adapter."""

    def __init__(self, now: Callable[[], float], pacing: Pacing = PACING) -> None:
        self._now = now
        self._quiet = pacing.quiet
        self._by_exchange: dict[tuple[ClientConnection, int], Observer] = {}
        self._paced: FixedTimeout[Observer] = FixedTimeout(pacing.pace, self._pace_over)
        self._settling: FixedTimeout[Observer] = FixedTimeout(pacing.settled, self._settled)
        self.notified = 0

    def __len__(self) -> int:
        return len(self._by_exchange)

    def add(self, observer: Observer) -> None:
        self._by_exchange[observer.connection, observer.exchange] = observer
        observer.confirmed_at = self._now()  # its request shows that it is there

    def changed(self, observer: Observer) -> None:
        """Its state has changed: notify now, or as soon as the pace allows."""
        if observer.over:
            return
        if observer.notification is not None or observer in self._paced:
            observer.pending = True
        else:
            self._send(observer, confirmable=self._now() - observer.confirmed_at >= self._quiet)

    def finish(self, observer: Observer, refusal: Response) -> None:
        """The last notification: the resource is gone, or this observer may not see it."""
        if not observer.over:
            observer.connection.peer.notify(observer.exchange, refusal)
            self._drop(observer)

    def _send(self, observer: Observer, *, confirmable: bool) -> None:
        response = observer.render()
        observer.pending = False
        if response is None or observer.over:
            return
        if not codes.is_success(response.code):
            self.finish(observer, response)
            return
        sent = observer.connection.peer.notify(observer.exchange, response, confirmable=confirmable)
        if isinstance(sent, FailureReason):
            self._drop(observer)
            return
        self.notified += 1
        self._paced.begin(observer)
        if sent is None:
            self._settling.begin(observer)
        else:
            observer.notification, observer.confirmed_at = sent, self._now()
            self._settling.end(observer)

    def _pace_over(self, observer: Observer) -> None:
        if observer.pending and observer.notification is None:
            self._send(observer, confirmable=self._now() - observer.confirmed_at >= self._quiet)

    def _settled(self, observer: Observer) -> None:
        if observer.notification is None:
            self._send(observer, confirmable=True)

    def acknowledged(self, connection: ClientConnection, exchange: int, notification: int) -> None:
        observer = self._by_exchange.get((connection, exchange))
        if observer is not None and observer.notification == notification:
            observer.notification = None
            if observer.pending:
                self.changed(observer)

    def ended(self, connection: ClientConnection, exchange: int) -> None:
        """The connection says that this observation is over."""
        observer = self._by_exchange.get((connection, exchange))
        if observer is not None:
            self._drop(observer)

    def disconnect(self, connection: ClientConnection) -> None:
        for observer in [each for (of, _), each in self._by_exchange.items() if of is connection]:
            self._drop(observer)

    def _drop(self, observer: Observer) -> None:
        if observer.over:
            return
        observer.over = True
        del self._by_exchange[observer.connection, observer.exchange]
        self._paced.end(observer)
        self._settling.end(observer)
        observer.forget()

    def close(self) -> None:
        for observer in list(self._by_exchange.values()):
            self._drop(observer)
        self._paced.close()
        self._settling.close()
