"""The coaps link: the connection to one gateway, kept, and the inbox of sessions that others open towards us.

Each session is a resource of the gateway, ``/atls/{session}``; see ``coaps_session``.

States: *up* once an association is there and the inbox is observed (``_come_up``); the loss of the association moves it
to *down* (``_on_lost``), in which ``_come_back`` connects again with growing pauses. After ``reconnect_for`` seconds
down every session is broken (``_give_up``), and connecting goes on.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from random import SystemRandom
from typing import Any, Final

from carriage.coap import atls_client as atls
from carriage.coap.client import CoapsClient
from carriage.coap.config import CoapConfig
from carriage.coap.exchange import FailureReason, Request, Response
from carriage.coap.observation import Observation
from carriage.coap.server import LAYER_1
from carriage.identifiers import is_alias, is_session
from common.backoff import Backoff
from common.latest import Latest
from endpoint.transports.coaps_session import CoapsSession
from endpoint.transports.gateway_link import RETRY_FOR, RETRY_PAUSE, CarriageSession, Kind
from layer.config import AssociationConfig, PeerRequirement
from layer.credentials import Credentials
from layer.errors import PeerError, TransportError

_LOG = logging.getLogger(__name__)

LONGEST_PAUSE: Final = 5.0
"""Seconds to which the pause between attempts to connect again grows."""
SHORT: Final = 10.0
"""Seconds: who lost an association that was younger does not connect again at once. A gateway keeps 8 of one identity,
so that clients that share one would put each other out for ever."""
CLOSE_FOR: Final = 25.0
"""Seconds for a close to reach the gateway, reconnecting included."""
MAX_LEFT: Final = 256
"""Ended sessions that are remembered, since the inbox may still list them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoapsLimits:
    """Times in seconds, and how many sessions.

    A gateway that is gone is noticed after ``keepalive`` and ``ping_timeout``, and ``reconnect_for`` later the sessions
    over it are given up: both ends must learn of it within 30 s.
    """

    keepalive: float = 8.0
    ping_timeout: float = 8.0
    reconnect_for: float = 12.0
    """A lost gateway is tried again for this time before the sessions over it are given up."""
    reconnect_pause: float = 1.0
    """The first pause between attempts."""
    handshake_timeout: float = 15.0
    """For the layer-1 handshake."""
    open_for: float = 25.0
    """For the gateway to answer an open."""
    retry_for: float = RETRY_FOR
    max_sessions: int = 60
    """A gateway lets one client have 64 observations."""


_KINDS: Final[dict[str, Kind]] = {"65000": "atls", "65001": "adtls"}
_CHANCE = SystemRandom().random


def _layer_1(host: str, credentials: Credentials, handshake_timeout: float) -> AssociationConfig:
    """A certificate must name the host that was asked for (RFC 7252 section 9.1.3.3). For an address there is nothing
    to compare: any certificate under the anchors is taken."""
    config = replace(LAYER_1, handshake_timeout=handshake_timeout)
    try:
        ipaddress.ip_address(host)
        return config
    except ValueError:
        pass
    if not credentials.anchors:
        return config
    psks = {credentials.psk.identity} if credentials.psk is not None else ()
    peer = PeerRequirement(names=frozenset({f"dns:{host}"}), psk_identities=frozenset(psks))
    return replace(config, peer=peer, server_name=host)


class CoapsLink:
    """One coaps client of one gateway."""

    def __init__(
        self,
        host: str,
        port: int,
        credentials: Credentials,
        limits: CoapsLimits = CoapsLimits(),
    ) -> None:
        self._limits = limits
        self._client = CoapsClient(
            host,
            port,
            credentials,
            _layer_1(host, credentials, limits.handshake_timeout),
            CoapConfig(max_requests=2 * limits.max_sessions + 16),
            keepalive=limits.keepalive,
            ping_timeout=limits.ping_timeout,
            on_lost=self._on_lost,
        )
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._giving_up: asyncio.TimerHandle | None = None
        self._short = Backoff(limits.reconnect_pause, 6 * LONGEST_PAUSE, _CHANCE)
        self._sessions: dict[str, CoapsSession] = {}
        self._left: Latest[str] = Latest(MAX_LEFT)
        self._closing = 0
        self._progress = asyncio.Event()
        self._incoming: Callable[[CarriageSession], None] | None = None
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def is_up(self) -> bool:
        """Whether there is an association with the gateway."""
        return self._up.is_set()

    async def run(self, ready: Callable[[], None], incoming: Callable[[CarriageSession], None]) -> None:
        self._incoming = incoming
        announced = False
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await self._client.connect()
                while True:
                    self._down.clear()
                    since = asyncio.get_running_loop().time()
                    if await self._come_up():
                        if not announced:
                            announced = True
                            ready()
                        await self._down.wait()
                    await self._come_back(asyncio.get_running_loop().time() - since)
        finally:
            if self._giving_up is not None:
                self._giving_up.cancel()
            self._client.close()

    # The association

    async def _come_up(self) -> bool:
        """The association is new: observe the inbox and every session again."""
        if not await self._observe_inbox():
            return False
        self._up.set()
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        for session in list(self._sessions.values()):
            self.spawn(session.watch())
        return True

    async def _come_back(self, lasted: float) -> None:
        """Connect again, however long it takes; a timer gives the sessions up meanwhile."""
        if lasted < SHORT:
            await asyncio.sleep(self._short.next())
        else:
            self._short.reset()
        pauses = Backoff(self._limits.reconnect_pause, LONGEST_PAUSE, _CHANCE)
        while True:
            try:
                await self._client.reconnect()
                return
            except TransportError as error:
                _LOG.info("no gateway: %s", error)
            await asyncio.sleep(pauses.next())
            if self._giving_up is not None:  # while sessions may still be kept, every second counts
                pauses.reset()

    def _on_lost(self, reason: str) -> None:
        _LOG.info("lost the gateway: %s", reason)
        self._up.clear()
        self._down.set()
        self._progress.set()
        if self._giving_up is None:
            self._giving_up = asyncio.get_running_loop().call_later(self._limits.reconnect_for, self._give_up)

    def _give_up(self) -> None:
        self._giving_up = None
        for session in list(self._sessions.values()):
            session.broken("no gateway")

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` as long as this link runs."""
        assert self._tasks is not None
        return self._tasks.create_task(work)

    async def request(self, request: Request) -> Response:
        """The response, over this association or, if that is lost, over the next one: each of our requests may be
        repeated (units carry their number, an open its nonce)."""
        while True:
            await self._up.wait()
            try:
                return await self._client.request(request)
            except TransportError:
                if self._up.is_set():
                    raise

    async def observe(
        self, session: str, notified: Callable[[Response], None], ended: Callable[[FailureReason], None]
    ) -> Observation:
        """Observe a session over the present association."""
        return await self._client.observe(atls.read_request(session), notified, ended)

    # Sessions that we open and close

    async def open(self, to: str, kind: Kind, first: bytes = b"") -> CarriageSession:
        if not is_alias(to):
            raise TransportError("no name of a resource: expected 1 to 64 of A-Z a-z 0-9 . _ -", transient=False)
        if len(self._sessions) >= self._limits.max_sessions:
            raise TransportError("too many sessions", transient=True)
        answer: asyncio.Future[tuple[atls.Opened, bytes]] = asyncio.get_running_loop().create_future()
        self.spawn(self._ask(to, kind, first, answer))
        try:
            async with asyncio.timeout(self._limits.open_for):
                opened, taken = await answer
        except TimeoutError:
            raise TransportError("no answer from the gateway", transient=True) from None
        session = self._add(opened.session, kind, to, 1 if taken else 0, opened.unit)
        if first and not taken:
            session.send((first,))
        return session

    async def _ask(self, to: str, kind: Kind, first: bytes, answer: asyncio.Future[tuple[atls.Opened, bytes]]) -> None:
        """Ask for a session, for longer than a caller waits: one that no caller takes is closed. With the session,
        ``answer`` gets the unit that the gateway took along with the open."""
        nonce = secrets.token_hex(16)  # one, however often the open is repeated
        refusal: TransportError
        try:
            async with asyncio.timeout(2 * self._limits.open_for):
                opened = atls.read_opened(await self.request(atls.open_request(to, nonce, kind, first)))
                if first and isinstance(opened, atls.SessionRefused):
                    first = b""  # what was refused may be the unit: then the same open is granted without it
                    opened = atls.read_opened(await self.request(atls.open_request(to, nonce, kind, first)))
        except TimeoutError:
            return
        except (TransportError, PeerError) as error:
            refusal = TransportError(str(error), transient=True)
        else:
            if isinstance(opened, atls.Opened):
                if answer.done():
                    self.close_soon(opened.session)
                else:
                    answer.set_result((opened, first))
                return
            refusal = TransportError(opened.reason, transient=opened.retry_after is not None)
        if not answer.done():
            answer.set_exception(refusal)

    def _add(
        self, name: str, kind: Kind, peer: str, first: int = 0, unit: atls.ReceivedUnit | None = None
    ) -> CoapsSession:
        session = self._sessions[name] = CoapsSession(self, name, kind, peer, self._limits.retry_for, first)
        session.start(unit)
        return session

    def forget(self, name: str) -> None:
        """The session is over here."""
        if self._sessions.pop(name, None) is not None:
            self._left.add(name)
            self._progress.set()

    def close_soon(self, name: str) -> None:
        """Close a session at the gateway."""
        self._closing += 1
        self.spawn(self._close(name))

    async def _close(self, name: str) -> None:
        try:
            async with asyncio.timeout(CLOSE_FOR):
                await self.request(atls.close_request(name))
        except (TransportError, TimeoutError) as error:
            _LOG.debug("close not sent: %s", error)
        finally:
            self._closing -= 1
            self._progress.set()

    async def drain(self) -> None:
        while self.is_up and (self._closing or any(session.closing for session in self._sessions.values())):
            self._progress.clear()
            await self._progress.wait()

    # Sessions that others open

    async def _observe_inbox(self) -> bool:
        try:
            inbox = await self._client.observe(atls.inbox_request(), self._on_inbox, self._inbox_ended)
        except TransportError as error:
            _LOG.warning("the inbox can't be observed: %s", error)
            self._on_lost(str(error))
            return False
        if not inbox.established:
            _LOG.warning("the gateway does not let us observe the inbox: no session can come in")
        return True

    def _inbox_ended(self, reason: FailureReason) -> None:
        if reason is not FailureReason.CLOSED:  # else the next association observes
            self.spawn(self._observe_inbox_again())

    async def _observe_inbox_again(self) -> None:
        await asyncio.sleep(RETRY_PAUSE)
        if self.is_up:
            await self._observe_inbox()

    def _on_inbox(self, response: Response) -> None:
        try:
            links = atls.read_link_document(response)
        except PeerError as error:
            _LOG.warning("malformed inbox: %s", error)
            return
        if isinstance(links, atls.SessionRefused):
            _LOG.warning("the inbox is refused: %s", links.reason)
            return
        for link in links:
            name = link.target.rpartition("/")[2]
            kind = _KINDS.get(link.get("ct") or "")
            known = name in self._sessions or name in self._left
            if kind is None or known or self._incoming is None or not is_session(name):
                continue
            if len(self._sessions) >= self._limits.max_sessions:
                _LOG.warning("more than %d sessions: one is turned down", self._limits.max_sessions)
                self.close_soon(name)
            else:
                self._incoming(self._add(name, kind, link.get("title") or "gateway"))
