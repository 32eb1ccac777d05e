"""A CoAP client over DTLS (coaps) in an asyncio loop: requests, observations, keep-alive. A thin shell: the protocol
is in ``connection`` and in ``layer.association``. It starts no task; after a loss its owner decides when to connect
again.

States: *idle*; ``connect`` moves it to *connecting*; the association's ``HandshakeCompleted`` to *connected*; a failed
or cancelled handshake, ``close``, the end of the association or a ping without an answer back to *idle*. Only the last
two of these, from *connected*, call ``on_lost``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from typing import TypeVar

from carriage.coap import options as opt
from carriage.coap.connection import (
    CoapConfig,
    CoapConnection,
    Event,
    ExchangeFailed,
    FailureReason,
    NotificationReceived,
    ObservationEnded,
    PingAnswered,
    PingFailed,
    Request,
    Response,
    ResponseReceived,
)
from carriage.coap.observation import Observation
from carriage.coap.server import LAYER_1
from carriage.coap.udp import Address, Datagrams, connect
from common.chance import system_numbers
from common.log_rate import LogRate
from layer.association import Association
from layer.config import AssociationConfig, Role
from layer.credentials import Credentials
from layer.errors import TransportError, UsageError
from layer.events import AssociationInfo, DataReceived, Failed, HandshakeCompleted

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(slots=True)
class _Observer:
    notified: Callable[[Response], None]
    ended: Callable[[FailureReason], None] | None


class CoapsClient:
    """One server. ``on_lost(reason)`` is called once when an established association is over, unless by ``close``.

    ``keepalive``: while something is observed, ping after so many seconds without a word from the server (``None``:
    never). ``ping_timeout``: how long the server may stay silent then.
    """

    def __init__(
        self,
        host: str,
        port: int,
        credentials: Credentials,
        association: AssociationConfig = LAYER_1,
        config: CoapConfig | None = None,
        *,
        keepalive: float | None = 10.0,
        ping_timeout: float = 10.0,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        if not association.datagram:
            raise UsageError("coaps runs over DTLS")
        self._host = host
        self._port = port
        self._credentials = credentials
        self._association_config = association
        self._config = config or CoapConfig()
        self._keepalive = keepalive
        self._ping_timeout = ping_timeout
        self._on_lost = on_lost
        self._random = system_numbers()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._datagrams: Datagrams | None = None
        self._association: Association | None = None
        self._connection: CoapConnection | None = None
        self._connecting: asyncio.Future[AssociationInfo] | None = None
        self._calls: dict[int, asyncio.Future[Response]] = {}
        self._observers: dict[int, _Observer] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._heard = 0.0
        self._pinged: float | None = None
        self._running = False
        self._log_rate = LogRate()

    @property
    def info(self) -> AssociationInfo | None:
        """The handshake's result, while connected."""
        return self._association.info if self._association is not None else None

    async def connect(self) -> AssociationInfo:
        """Find the host and shake hands. Raises ``TransportError``, transient where trying again may help."""
        if self._datagrams is not None or self._connecting is not None:
            raise UsageError("already connected or connecting")
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._connecting = loop.create_future()
        try:
            sock = await connect(self._host, self._port)
            self._datagrams = Datagrams(sock, received=self._received, woken=self._pump, failed=self._icmp)
            self._association = Association(Role.CLIENT, self._credentials, self._association_config)
            self._association.start(loop.time())
            self._pump()
            info = await self._connecting
        except BaseException:
            self._discard()
            raise
        finally:
            self._connecting = None
        _LOG.info("coaps: connected to %s port %d, %s", self._host, self._port, info.protocol)
        return info

    async def reconnect(self, credentials: Credentials | None = None) -> AssociationInfo:
        """Close what there is and connect again, with other credentials where given."""
        self.close()
        if credentials is not None:
            self._credentials = credentials
        return await self.connect()

    async def request(self, request: Request) -> Response:
        """Send and wait for the response; cancelling gives the request up. Raises ``TransportError``."""
        connection = self._live()
        exchange = connection.request(request, self._now())
        return await self._response(exchange)

    async def observe(
        self,
        request: Request,
        on_notification: Callable[[Response], None],
        on_end: Callable[[FailureReason], None] | None = None,
    ) -> Observation:
        """Register and wait for the first response, which ``on_notification`` gets too if it begins an observation.

        ``on_end`` is called once when the observation is over without ``cancel``; not for one that never began.
        Raises ``TransportError``.
        """
        connection = self._live()
        exchange = connection.observe(request, self._now())
        self._observers[exchange] = _Observer(on_notification, on_end)
        try:
            first = await self._response(exchange)
        except BaseException:
            self._observers.pop(exchange, None)
            raise
        return Observation(self.cancel, exchange, first)

    async def _response(self, exchange: int) -> Response:
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._calls[exchange] = future
        self._pump()
        try:
            return await future
        except asyncio.CancelledError:
            self.cancel(exchange)
            raise
        finally:
            self._calls.pop(exchange, None)

    def cancel(self, exchange: int) -> None:
        """Give up a request or an observation."""
        self._observers.pop(exchange, None)
        if self._connection is not None:
            self._connection.cancel(exchange, self._now())
            self._pump()

    def close(self) -> None:
        """Say close_notify and fail what is open; ``on_lost`` is not called."""
        if self._connection is not None and self._association is not None:
            now = self._now()
            for octets in self._connection.to_send():
                self._association.send(octets, now)
            self._association.close(now)
            self._send_records()
        self._end("closed", lost=False)

    def _live(self) -> CoapConnection:
        if self._connection is None:
            raise TransportError("not connected", transient=True)
        return self._connection

    def _now(self) -> float:
        if self._loop is None:
            raise UsageError("not connected yet")
        return self._loop.time()

    # In

    def _received(self, data: bytes, address: Address) -> None:
        if self._association is not None:
            self._association.receive(data, self._now())

    def _icmp(self, error: OSError) -> None:
        # While connecting, an ICMP error is an answer. Later it may be a forgery or a restart: a ping shows which.
        if self._connection is None:
            self._end(f"no answer at {self._host} port {self._port}: {error}", lost=True)
        elif self._keepalive is not None and self._pinged is None:
            self._pinged = self._now()
            self._connection.ping(self._pinged)
            self._pump()

    def _pump(self) -> None:
        """Carry octets and events until all is quiet, then send and arm the timer."""
        if self._running or self._association is None:
            return
        self._running = True
        try:
            now = self._now()
            moved = True
            while moved:
                moved = self._association_events(now) or self._connection_events(now)
            self._send_records()
        finally:
            self._running = False
        self._arm()

    def _association_events(self, now: float) -> bool:
        association = self._association
        if association is None or (event := association.next_event()) is None:
            return False
        if isinstance(event, DataReceived):
            if self._connection is not None:
                self._heard = now
                self._pinged = None
                try:
                    self._connection.receive(event.data, now)
                except Exception:  # as good as lost on the way: the timers must go on
                    if self._log_rate.permits(now):
                        _LOG.exception("coaps: a message could not be read")
        elif isinstance(event, HandshakeCompleted):
            self._established(event.info, now)
        else:
            reason = event.reason if isinstance(event, Failed) else "closed by the server"
            self._send_records()
            self._end(reason, lost=True)
        return True

    def _established(self, info: AssociationInfo, now: float) -> None:
        config = self._config
        if info.max_data is not None and info.max_data < config.message_limit:
            config = dataclasses.replace(config, message_limit=info.max_data)
        self._connection = CoapConnection(random=self._random, config=config)
        self._connection.start(now)
        self._heard = now
        if self._connecting is not None and not self._connecting.done():
            self._connecting.set_result(info)

    def _connection_events(self, now: float) -> bool:
        connection, association = self._connection, self._association
        if connection is None or association is None:
            return False
        moved = False
        for octets in connection.to_send():
            moved = True
            association.send(octets, now)
        while (event := connection.next_event()) is not None:
            moved = True
            self._handle(event)
            if connection is not self._connection:
                return True
        return moved

    def _handle(self, event: Event) -> None:
        if isinstance(event, ResponseReceived):
            self._first_response(event.exchange, event.response)
        elif isinstance(event, NotificationReceived):
            observer = self._observers.get(event.exchange)
            if observer is not None:
                _guarded(observer.notified, event.response)
        elif isinstance(event, ObservationEnded | ExchangeFailed):
            self._fail(event.exchange, event.reason)
        elif isinstance(event, PingFailed):
            self._end("the server does not answer", lost=True)
        elif isinstance(event, PingAnswered):
            self._pinged = None

    def _first_response(self, exchange: int, response: Response) -> None:
        observer = self._observers.get(exchange)
        if observer is not None:
            if opt.first(response.options, opt.OBSERVE) is None:
                del self._observers[exchange]
            else:
                _guarded(observer.notified, response)
        future = self._calls.get(exchange)
        if future is not None and not future.done():
            future.set_result(response)

    def _fail(self, exchange: int, reason: FailureReason) -> None:
        future = self._calls.get(exchange)
        observer = self._observers.pop(exchange, None)
        if future is not None and not future.done():
            future.set_exception(TransportError(f"no response: {reason.value}", transient=True))
        elif observer is not None and observer.ended is not None:
            _guarded(observer.ended, reason)

    # Out, and time

    def _send_records(self) -> None:
        if self._association is not None and self._datagrams is not None:
            for datagram in self._association.records_to_send():
                self._datagrams.send(datagram, None)

    def _arm(self) -> None:
        if self._loop is None or self._association is None:
            return
        deadlines = [self._association.next_deadline(), self._keepalive_deadline()]
        if self._connection is not None:
            deadlines.append(self._connection.next_deadline())
        nearest = min((deadline for deadline in deadlines if deadline is not None), default=None)
        if self._timer is not None:
            if nearest is not None and self._timer.when() <= nearest:
                return
            self._timer.cancel()
            self._timer = None
        if nearest is not None:
            self._timer = self._loop.call_at(nearest, self._tick)

    def _keepalive_deadline(self) -> float | None:
        if self._pinged is not None:
            return self._pinged + self._ping_timeout
        if self._keepalive is None or not self._observers or self._connection is None:
            return None
        return self._heard + self._keepalive

    def _tick(self) -> None:
        self._timer = None
        try:
            self._look(self._now())
        except Exception:  # without a timer it would wait for ever
            _LOG.exception("a timer")
            self._end("a fault in this client", lost=True)

    def _look(self, now: float) -> None:
        if self._association is not None:
            self._association.tick(now)
        if self._connection is not None:
            self._connection.tick(now)
        due = self._keepalive_deadline()
        if due is not None and due <= now and self._connection is not None:
            if self._pinged is not None:
                self._end("the server does not answer", lost=True)
                return
            self._pinged = now
            self._connection.ping(now)
        self._pump()

    def _end(self, reason: str, *, lost: bool) -> None:
        """Over: fail what is open and report that to the owner."""
        connected = self._connection is not None
        connecting = self._connecting
        calls = list(self._calls.values())
        waiting = {exchange for exchange, future in self._calls.items() if not future.done()}
        observers = [observer for exchange, observer in self._observers.items() if exchange not in waiting]
        self._observers.clear()
        self._discard()
        for future in calls:
            if not future.done():
                future.set_exception(TransportError(f"the connection ended: {reason}", transient=True))
        for observer in observers:
            if observer.ended is not None:
                _guarded(observer.ended, FailureReason.CLOSED)
        if connecting is not None and not connecting.done():
            connecting.set_exception(TransportError(f"no association: {reason}", transient=True))
        elif connected and lost:
            _LOG.info("coaps: lost %s port %d: %s", self._host, self._port, reason)
            if self._on_lost is not None:
                _guarded(self._on_lost, reason)

    def _discard(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._datagrams is not None:
            self._datagrams.close()
        self._datagrams = None
        self._association = None
        self._connection = None
        self._pinged = None


_Argument = TypeVar("_Argument")


def _guarded(callback: Callable[[_Argument], None], argument: _Argument) -> None:
    """The owner's fault must not break the pump."""
    try:
        callback(argument)
    except Exception:
        _LOG.exception("coaps: a callback raised")
