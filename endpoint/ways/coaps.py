"""The coaps way: carriage sessions as resources of the gateway, ``/atls/{session}``, observed for what comes down."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from carriage.coap import atls_client as atls
from carriage.coap.client import CoapsClient
from carriage.coap.exchange import Reason, Request, Response
from carriage.order import Arrival, Order
from endpoint.ways.base import MAX_QUEUED_UNITS, Callbacks, CarriageSession, Kind
from layer.credentials import Credentials
from layer.errors import PeerError, TransportError

_LOG = logging.getLogger(__name__)

RECONNECT_FOR: Final = 20.0
"""Seconds that a lost gateway is tried again before the sessions over it are given up."""
RECONNECT_PAUSE: Final = 1.0
RETRY_PAUSE: Final = 1.0
"""Seconds before a unit is offered again where the gateway doesn't say."""
RETRY_FOR: Final = 25.0
"""Seconds after which a unit that the gateway keeps refusing for now is lost."""
MAX_SESSIONS: Final = 256

_LATER: Final = frozenset({"over-rate", "busy"})
"""Refusals after which the same unit is offered again."""
_LOST: Final = frozenset({"too-large", "expired", "timeout", "unreachable", "link"})
"""Refusals of one unit; others end the session."""


class CoapsWay:
    """One coaps client of one gateway."""

    def __init__(self, host: str, port: int, credentials: Credentials) -> None:
        self._client = CoapsClient(host, port, credentials, on_lost=self._on_lost)
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._sessions: dict[str, _CoapsSession] = {}
        self._incoming: Callable[[CarriageSession], None] | None = None
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self, ready: Callable[[], None], incoming: Callable[[CarriageSession], None]) -> None:
        self._incoming = incoming
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await self._client.connect()
                while True:
                    await self._watch()
                    ready()
                    await self._down.wait()
                    await self._come_back()
        finally:
            self._client.close()

    async def _watch(self) -> None:
        """The connection is new: observe the inbox and every session again."""
        self._down.clear()
        try:
            await self._client.observe(atls.inbox_request(), self._on_inbox)
        except TransportError as error:
            _LOG.warning("the inbox can't be observed: %s", error)
            self._on_lost(str(error))
            return
        self._up.set()
        for session in list(self._sessions.values()):
            self.spawn(session.watch())

    async def _come_back(self) -> None:
        """Connect again; after a while without success the sessions are over, but trying goes on."""
        deadline = asyncio.get_running_loop().time() + RECONNECT_FOR
        while True:
            try:
                await self._client.reconnect()
                return
            except TransportError as error:
                _LOG.info("no gateway: %s", error)
                if not error.transient:
                    raise
            if asyncio.get_running_loop().time() >= deadline:
                for session in list(self._sessions.values()):
                    session.ended("no gateway")
            await asyncio.sleep(RECONNECT_PAUSE)

    def _on_lost(self, reason: str) -> None:
        _LOG.info("lost the gateway: %s", reason)
        self._up.clear()
        self._down.set()

    def spawn(self, work: Awaitable[None]) -> None:
        """Run ``work`` as long as this way runs."""
        assert self._tasks is not None

        async def run() -> None:
            await work

        self._tasks.create_task(run())

    async def request(self, request: Request) -> Response:
        """The response, over this association or, where that is lost, over the next one: every request of ours may be
        repeated (units carry their number, an open its nonce)."""
        while True:
            await self._up.wait()
            try:
                return await self._client.request(request)
            except TransportError:
                if self._up.is_set():
                    raise

    async def observe(
        self, session: str, notified: Callable[[Response], None], ended: Callable[[Reason], None]
    ) -> Response:
        return (await self._client.observe(atls.read_request(session), notified, ended)).first

    async def open(self, to: str, kind: Kind) -> CarriageSession:
        answer = atls.read_opened(await self.request(atls.open_request(to, secrets.token_hex(16), kind, b"")))
        if isinstance(answer, atls.Refused):
            raise TransportError(answer.reason, transient=answer.retry_after is not None)
        return self._add(answer.session, kind, to)

    def _add(self, name: str, kind: Kind, peer: str) -> _CoapsSession:
        session = self._sessions[name] = _CoapsSession(self, name, kind, peer)
        self.spawn(session.watch())
        self.spawn(session.work())
        return session

    def forget(self, name: str) -> None:
        self._sessions.pop(name, None)

    def _on_inbox(self, response: Response) -> None:
        try:
            links = atls.read_link_document(response)
        except PeerError as error:
            _LOG.warning("malformed inbox: %s", error)
            return
        if isinstance(links, atls.Refused):
            _LOG.warning("the inbox is refused: %s", links.reason)
            return
        for link in links:
            name = link.target.rpartition("/")[2]
            kind = _KINDS.get(link.get("ct") or "")
            if kind is None or name in self._sessions or self._incoming is None:
                continue
            if len(self._sessions) >= MAX_SESSIONS:
                _LOG.warning("more than %d sessions: one is left in the inbox", MAX_SESSIONS)
                return
            self._incoming(self._add(name, kind, link.get("title") or "gateway"))


_KINDS: Final[dict[str, Kind]] = {"65000": "atls", "65001": "adtls"}


class _CoapsSession:
    """One session resource of the gateway."""

    def __init__(self, way: CoapsWay, name: str, kind: Kind, peer: str) -> None:
        self._way = way
        self._name = name
        self._kind = kind
        self._peer = peer
        self._callbacks: Callbacks | None = None
        self._early: list[bytes] = []
        self._order = Order()
        self._waiting: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._over = False

    @property
    def kind(self) -> Kind:
        return self._kind

    @property
    def peer(self) -> str:
        return self._peer

    def attach(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        early, self._early = self._early, []
        for unit in early:
            callbacks.unit(unit)

    def send(self, units: Iterable[bytes]) -> None:
        if self._over or self._closing:
            return
        self._waiting.extend(units)
        if len(self._waiting) > MAX_QUEUED_UNITS:
            self.ended("too many units wait for the gateway")
        self._wake.set()

    def close(self) -> None:
        self._closing = True
        self._wake.set()

    # Down

    async def watch(self) -> None:
        """Observe this session over the present association."""
        if self._over:
            return
        try:
            first = await self._way.observe(self._name, self._notified, self._observation_ended)
        except TransportError as error:
            _LOG.info("session not observed: %s", error)  # the association is lost: the next one observes again
            return
        self._refused_by(first)

    def _notified(self, response: Response) -> None:
        try:
            unit = atls.read_unit(response)
        except PeerError as error:
            _LOG.warning("malformed notification: %s", error)
            return
        if isinstance(unit, atls.Unit):
            self._received(unit)
        else:
            self._refused_by(response)

    def _refused_by(self, response: Response) -> None:
        answer = atls.read_unit(response)
        if isinstance(answer, atls.Refused):
            self.ended(answer.reason)

    def _observation_ended(self, reason: Reason) -> None:
        _LOG.debug("observation ended: %s", reason.value)

    def _received(self, unit: atls.Unit) -> None:
        arrival = self._order.judge(unit.n)
        if arrival is Arrival.DUPLICATE or self._over:
            return
        if unit.kind != self._kind:
            _LOG.warning("a unit of another kind than its session")
            return
        if arrival is Arrival.GAP and self._kind == "atls":
            self.ended(f"unit {self._order.expected} never came")
            self.close()
            return
        self._order.take(unit.n)
        if self._callbacks is None:
            self._early.append(unit.payload)
        else:
            self._callbacks.unit(unit.payload)

    # Up

    async def work(self) -> None:
        """Send what waits, one unit at a time so that order holds, then the close behind it."""
        n = 0
        while not self._over:
            if not self._waiting:
                if self._closing:
                    break
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._send_unit(n, self._waiting.popleft())
            n += 1
        self._way.forget(self._name)
        self._over = True
        try:
            async with asyncio.timeout(RETRY_FOR):
                await self._way.request(atls.close_request(self._name))
        except (TransportError, TimeoutError) as error:
            _LOG.debug("close not sent: %s", error)

    async def _send_unit(self, n: int, unit: bytes) -> None:
        request = atls.send_request(self._name, n, self._kind, unit)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + RETRY_FOR
        while not self._over:
            try:
                answer = atls.read_unit(await self._way.request(request))
            except (TransportError, PeerError) as error:
                self._lost(n, str(error))
                return
            if not isinstance(answer, atls.Refused):
                return
            if answer.reason in _LATER and loop.time() < deadline:
                await asyncio.sleep(answer.retry_after or RETRY_PAUSE)
            elif answer.reason in _LOST or answer.reason in _LATER:
                self._lost(n, answer.reason)
                return
            else:
                self.ended(answer.reason)
                return

    def _lost(self, n: int, reason: str) -> None:
        if self._callbacks is not None:
            self._callbacks.lost(n, reason)
        if self._kind == "atls":
            self.ended(f"unit {n} was lost: {reason}")

    def ended(self, reason: str) -> None:
        self._way.forget(self._name)
        self._wake.set()
        if not self._over:
            self._over = True
            if self._callbacks is not None:
                self._callbacks.ended(reason)
