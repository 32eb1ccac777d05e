"""One session over coaps: units go up by POST, one at a time, and come down as notifications of its resource.

States: those of ``sending_end``. A lost association moves nothing: the link connects again, then ``watch`` observes the
session again and requests are repeated.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from carriage.coap import atls_client as atls
from carriage.coap.exchange import FailureReason, Request, Response
from carriage.coap.observation import Observation
from endpoint.transports.gateway_link import LATER, LOST, RETRY_PAUSE, Kind
from endpoint.transports.sending_end import SendingEnd
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


class CoapsSession(SendingEnd):
    """One session resource of the gateway."""

    def __init__(self, link: Gateway, name: str, kind: Kind, peer: str, retry_for: float) -> None:
        super().__init__(kind, peer, "gateway", retry_for)
        self._link = link
        self._name = name
        self._watching = False

    def start(self) -> None:
        """Begin to observe and to send."""
        self._link.spawn(self.watch())
        self._tasks.append(self._link.spawn(self._work()))

    def _leave(self) -> None:
        self._link.close_soon(self._name)

    def _forget(self) -> None:
        self._link.forget(self._name)

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

    async def _send_unit(self, unit: bytes) -> None:
        request = atls.send_request(self._name, self._n, self._kind, unit)
        deadline: float | None = None
        while not self.over:
            try:
                answer = atls.read_unit(await self._link.request(request))
            except (TransportError, PeerError) as error:
                self._lost(str(error))
                return
            if not isinstance(answer, atls.SessionRefused):
                if answer is not None:
                    self._received(answer)
                return
            if answer.reason in LATER:
                deadline = await self._later(deadline, answer.retry_after)
                if deadline is not None:
                    continue
            elif answer.reason not in LOST:
                self._refused(answer.reason)
                return
            self._lost(answer.reason)
            return

    def _lost(self, reason: str) -> None:
        self.report_loss(self._n, reason)
        if self._kind == "atls":
            self.broken(f"unit {self._n} was lost: {reason}")
