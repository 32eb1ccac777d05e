"""One session over coaps: units go up by POST, one at a time, and come down as notifications of its resource.

States: *live* from ``start`` on; ``close`` moves it to *closing*, in which the queued units still go; when they are
through, the close goes to the gateway and moves it to *over*. The gateway's word that it has no such session
(``ended``), and a fault after which the session can't go on (``broken``, which closes it at the gateway), move it to
*over* at once, with one ``Callbacks.ended``. A lost association moves nothing: the link connects again, then ``watch``
observes the session again and requests are repeated.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from carriage.coap import atls_client as atls
from carriage.coap.exchange import FailureReason, Request, Response
from carriage.coap.observation import Observation
from endpoint.transports.gateway_link import GONE, LATER, LOST, MAX_QUEUED_UNITS, RETRY_PAUSE, Kind
from endpoint.transports.receiving_end import ReceivingEnd
from layer.errors import PeerError, TransportError

_LOG = logging.getLogger(__name__)


class Gateway(Protocol):
    """The link's interface for a session."""

    @property
    def is_up(self) -> bool: ...

    async def request(self, request: Request) -> Response: ...

    async def observe(
        self, session: str, notified: Callable[[Response], None], ended: Callable[[FailureReason], None]
    ) -> Observation: ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]: ...

    def close_soon(self, name: str) -> None: ...

    def forget(self, name: str) -> None: ...


class CoapsSession(ReceivingEnd):
    """One session resource of the gateway. ``closing``: our close waits behind units.

    ``retry_for``: seconds after its first refusal in which a unit is still offered again.
    """

    def __init__(self, link: Gateway, name: str, kind: Kind, peer: str, retry_for: float) -> None:
        super().__init__(kind, peer)
        self._link = link
        self._name = name
        self._retry_for = retry_for
        self._waiting: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._watching = False
        self.closing = False

    def start(self) -> None:
        """Begin to observe and to send."""
        self._link.spawn(self.watch())
        self._worker = self._link.spawn(self._work())

    def send(self, units: Iterable[bytes]) -> None:
        if self.over or self.closing:
            return
        self._waiting.extend(units)
        if len(self._waiting) > MAX_QUEUED_UNITS:
            self.broken("too many units wait for the gateway")
        self._wake.set()

    def close(self) -> None:
        if not self.over:
            self.closing = True
            self._wake.set()

    # Ends

    def ended(self, reason: str) -> None:
        """The gateway has no such session any longer."""
        self._stop()
        self.report_end(reason)

    def _refused(self, reason: str) -> None:
        if reason in GONE:
            self.ended(reason)
        else:
            self.broken(reason)

    def broken(self, reason: str) -> None:
        """It can't go on: the gateway is to know."""
        if not self.over:
            self._link.close_soon(self._name)
            self.ended(reason)

    def _stop(self) -> None:
        self._link.forget(self._name)
        self._waiting.clear()
        self.closing = False
        if self._worker is not None and self._worker is not asyncio.current_task():
            self._worker.cancel()
        self._wake.set()

    # Down

    async def watch(self) -> None:
        """Observe this session over the present association; again and again while the gateway is busy."""
        if self._watching:
            return
        self._watching = True
        try:
            while not self.over:
                pause = await self._observe()
                if pause is None:
                    return
                await asyncio.sleep(pause)
        finally:
            self._watching = False

    async def _observe(self) -> float | None:
        """One try; the seconds before the next one, or None if none is needed."""
        try:
            observation = await self._link.observe(self._name, self._notified, self._unobserved)
            answer = atls.read_unit(observation.first)
        except TransportError as error:
            _LOG.info("session not observed: %s", error)
            # If the association is lost, the next one observes again.
            return RETRY_PAUSE if self._link.is_up else None
        except PeerError as error:
            self.broken(f"the gateway answers what makes no sense: {error}")
            return None
        if observation.established:
            return None
        if not isinstance(answer, atls.SessionRefused):
            self.broken("the gateway does not let us observe the session")
        elif answer.reason in LATER:
            return min(float(answer.retry_after or RETRY_PAUSE), self._retry_for)
        else:
            self._refused(answer.reason)
        return None

    def _notified(self, response: Response) -> None:
        try:
            answer = atls.read_unit(response)
        except PeerError as error:
            _LOG.warning("malformed notification: %s", error)
            return
        if isinstance(answer, atls.SessionRefused):
            if answer.reason not in LATER:  # else the observation is over, and taken up again
                self._refused(answer.reason)
        elif answer is not None:
            self._received(answer)

    def _unobserved(self, reason: FailureReason) -> None:
        _LOG.debug("observation ended: %s", reason.value)
        if reason is not FailureReason.CLOSED and not self.over:  # a new association observes by itself
            self._link.spawn(self.watch())

    def _received(self, unit: atls.ReceivedUnit) -> None:
        if unit.kind != self._kind:
            _LOG.warning("a unit of another kind than its session")
            return
        fault = self.arrived(unit.n, unit.payload)
        if fault is not None:
            self.broken(fault)

    # Up

    async def _work(self) -> None:
        """Send what waits, one unit at a time so that order holds, then the close behind it."""
        n = 0
        while not self.over:
            if self._waiting:
                await self._send_unit(n, self._waiting.popleft())
                n += 1
            elif self.closing:
                self._link.close_soon(self._name)
                self.over = True
                self._stop()
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _send_unit(self, n: int, unit: bytes) -> None:
        request = atls.send_request(self._name, n, self._kind, unit)
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        while not self.over:
            try:
                answer = atls.read_unit(await self._link.request(request))
            except (TransportError, PeerError) as error:
                self._lost(n, str(error))
                return
            if not isinstance(answer, atls.SessionRefused):
                if answer is not None:
                    self._received(answer)
                return
            if answer.reason in LATER:
                deadline = deadline or loop.time() + self._retry_for
                pause = float(answer.retry_after or RETRY_PAUSE)
                if loop.time() + pause <= deadline:
                    await asyncio.sleep(pause)
                    continue
            elif answer.reason not in LOST:
                self._refused(answer.reason)
                return
            self._lost(n, answer.reason)
            return

    def _lost(self, n: int, reason: str) -> None:
        self.report_loss(n, reason)
        if self._kind == "atls":
            self.broken(f"unit {n} was lost: {reason}")
