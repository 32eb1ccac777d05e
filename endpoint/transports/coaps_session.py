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

    ``retry_for``: seconds after its first refusal in which a unit is still offered again. ``first``: the number of our
    first unit here; 1 if the gateway took unit 0 along with the open.
    """

    def __init__(self, link: Gateway, name: str, kind: Kind, peer: str, retry_for: float, first: int = 0) -> None:
        super().__init__(kind, peer)
        self._link = link
        self._name = name
        self._retry_for = retry_for
        self._first = first
        self._waiting: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._watching = False
        self._may_watch = asyncio.Event()
        self._is_proven = False
        self.closing = False

    def start(self, unit: atls.ReceivedUnit | None = None) -> None:
        """Begin to send, and to observe. ``unit`` came with the answer to the open. As long as the handshake goes on
        so, each answer with a unit, we don't observe: the unit would come again as the first notification, since only
        our next one acknowledges it."""
        if unit is None:
            self._may_watch.set()
        self._worker = self._link.spawn(self._work())
        self._link.spawn(self.watch())
        if unit is not None:
            self.received(unit)

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

    def proven(self) -> None:
        self._is_proven = True

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
        await self._may_watch.wait()
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
            self.received(answer)

    def _unobserved(self, reason: FailureReason) -> None:
        _LOG.debug("observation ended: %s", reason.value)
        if reason is not FailureReason.CLOSED and not self.over:  # a new association observes by itself
            self._link.spawn(self.watch())

    def received(self, unit: atls.ReceivedUnit) -> None:
        """A unit of the other side came, by notification or in an answer."""
        if unit.kind != self._kind:
            _LOG.warning("a unit of another kind than its session")
            return
        fault = self.arrived(unit.n, unit.payload)
        if fault is not None:
            self.broken(fault)

    # Up

    async def _work(self) -> None:
        """Send what waits, one unit at a time so that order holds, then the close behind it."""
        n = self._first
        while not self.over:
            if self._waiting:
                was_proven = self._is_proven
                brought = await self._send_unit(n, self._waiting.popleft())
                n += 1
                if was_proven or not brought:
                    self._may_watch.set()
            elif self.closing:
                self._link.close_soon(self._name)
                self.over = True
                self._stop()
            elif not self._may_watch.is_set():
                if not await self._fetch():
                    self._may_watch.set()
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _fetch(self) -> bool:
        """The next unit of a flight of which a part came in an answer; asking for it acknowledges that part. Whether it
        was there; what else the answer may say, the observation finds out."""
        try:
            answer = atls.read_unit(await self._link.request(atls.read_request(self._name, self._order.expected)))
        except (TransportError, PeerError):
            return False
        if not isinstance(answer, atls.ReceivedUnit):
            return False
        expected = self._order.expected
        self.received(answer)
        return self._order.expected > expected

    async def _send_unit(self, n: int, unit: bytes) -> bool:
        """Whether a unit of the other side came in the answer."""
        request = atls.send_request(self._name, n, self._kind, unit)
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        while not self.over:
            try:
                answer = atls.read_unit(await self._link.request(request))
            except (TransportError, PeerError) as error:
                self._lost(n, str(error))
                return False
            if not isinstance(answer, atls.SessionRefused):
                if answer is not None:
                    self.received(answer)
                return answer is not None
            if answer.reason in LATER:
                deadline = deadline or loop.time() + self._retry_for
                pause = float(answer.retry_after or RETRY_PAUSE)
                if loop.time() + pause <= deadline:
                    await asyncio.sleep(pause)
                    continue
            elif answer.reason not in LOST:
                self._refused(answer.reason)
                return False
            self._lost(n, answer.reason)
            return False
        return False

    def _lost(self, n: int, reason: str) -> None:
        self.report_loss(n, reason)
        if self._kind == "atls":
            self.broken(f"unit {n} was lost: {reason}")
