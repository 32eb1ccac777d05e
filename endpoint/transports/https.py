"""The HTTPS link: requests to one gateway or service, repeated while it is away, and a gateway's inbox.

HTTP has no connection to keep: *there* is who answers a request. One that fails is repeated with growing pauses, for
``reconnect_for`` seconds; then its session is given up. The inbox of a gateway is asked for ever.

The first hop is judged at the start: *trusted* if its certificate verifies. If it doesn't, the layer-0 policy decides.
By default the link fails, and no secret has left. With ``first_hop_errors: ignore`` it goes on *untrusted*: the
hop gets neither token nor client certificate, sessions of the time before are broken here without a word to it, and the
certificate is reported. An untrusted link without sessions judges again when one is opened.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import SystemRandom
from typing import Any, Final

from carriage.http import atls_client as atls
from carriage.http import inbox_client as inboxes
from carriage.http.atls import HttpRequest, HttpResponse
from carriage.http.atls_format import WELL_KNOWN
from carriage.identifiers import is_alias
from common.backoff import Backoff
from common.latest import Latest
from endpoint.report import Report
from endpoint.transports.gateway_link import LATER, RETRY_FOR, RETRY_PAUSE, CarriageSession, Kind
from endpoint.transports.https_hop import FirstHop, Layer1, SeenCertificate, ServerUrl, UntrustedError, place_of
from endpoint.transports.https_proxy import ForwardProxy
from endpoint.transports.https_session import SOON, HttpsSession
from layer.errors import PeerError, TransportError, UsageError

_LOG = logging.getLogger(__name__)

LONGEST_PAUSE: Final = 5.0
"""Seconds to which the pause between attempts grows."""
MAX_LEFT: Final = 256
"""Ended sessions that are remembered, since the inbox may still list them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpsLimits:
    """Times in seconds, and how many sessions.

    A server that is gone without a word is noticed after ``wait`` and ``slack``, and ``reconnect_for`` later the
    sessions at it are given up: both ends must learn of it within 30 s.
    """

    wait: int = 10
    """For a long poll."""
    slack: float = 6.0
    """For an answer beyond what the server may wait."""
    answer_for: float = 15.0
    """For the answer to any other request."""
    connect_for: float = 10.0
    reconnect_for: float = 12.0
    """A request is repeated for so long after its first failure."""
    first_pause: float = 0.2
    """Before a request is repeated; each pause is twice as long as the one before."""
    open_for: float = 25.0
    """For the gateway to answer an open, and for a close to arrive."""
    retry_for: float = RETRY_FOR
    """A unit that is refused for now is offered again for so long; polls pause for so long at most."""
    max_sessions: int = 60


class HttpsLink:
    """A client of one gateway or service. ``ignores``: errors of the first hop's certificate. ``proxy``: on the way to
    the first hop.

    UsageError: ``url`` is none. CredentialError: a TLS file can't be used.
    """

    def __init__(
        self,
        url: str,
        layer1: Layer1,
        *,
        ignores: bool,
        report: Report,
        limits: HttpsLimits = HttpsLimits(),
        proxy: ForwardProxy | None = None,
    ) -> None:
        self._place: ServerUrl = place_of(url)
        if proxy is not None and not self._place.is_https:
            raise UsageError("a proxy is asked by CONNECT for https: over http it would read what it passes on")
        self._proxy = proxy
        if layer1.token is not None and not self._place.is_https:
            raise UsageError("a token goes over https only: over http anybody on the way could use it (RFC 6750 5.3)")
        self._layer1 = layer1
        self._ignores = ignores
        self._report = report
        self._limits = limits
        self._hop = self._trusted()
        self._sessions: dict[HttpsSession, None] = {}
        self._left: Latest[str] = Latest(MAX_LEFT)
        self._closing = 0
        self._progress = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._chance = SystemRandom().random
        self._reported: SeenCertificate | None = None

    @property
    def origin(self) -> str:
        return self._place.origin

    @property
    def wait(self) -> int:
        return self._limits.wait

    async def run(self, ready: Callable[[], None], incoming: Callable[[CarriageSession], None]) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                if self._place.target is not None:
                    probe = HttpRequest("GET", self._place.target, ())  # any answer at all will do
                    await self._ask(probe, self._limits.answer_for)
                    ready()
                    await asyncio.Event().wait()
                await self._inbox(ready, incoming)
                await asyncio.Event().wait()
        finally:
            await self._hop.close()

    # Requests

    async def request(
        self, request: HttpRequest, *, trusted: bool | None, cookie: str | None = None, repeat: bool = True
    ) -> HttpResponse:
        """The answer; repeated until ``reconnect_for`` seconds after the first failure, if it may be, and in any case
        once if it came too early (425, RFC 8470 5.2: nothing was done). ``trusted``: how the first hop must be
        judged, None: either way will do. TransportError: there is no answer."""
        loop = asyncio.get_running_loop()
        polls = any(name == "prefer" for name, _ in request.fields)
        within = self._limits.wait + self._limits.slack if polls else self._limits.answer_for
        pauses = Backoff(self._limits.first_pause, LONGEST_PAUSE, self._chance)
        give_up: float | None = None
        early = False
        while True:
            try:
                response = await self._ask(request, within, trusted, cookie)
                if response.status != 425 or early:
                    return response
                early = True
                continue
            except TransportError as error:
                give_up = give_up or loop.time() + self._limits.reconnect_for
                if not (error.transient and repeat) or loop.time() >= give_up:
                    raise
                _LOG.info("%s", error)
            await asyncio.sleep(pauses.next())

    async def _ask(
        self, request: HttpRequest, within: float, trusted: bool | None = None, cookie: str | None = None
    ) -> HttpResponse:
        """Ask once; again at once if the hop turns out to be another one than we took it for, and that will do."""
        while True:
            hop = self._hop
            if trusted is not None and trusted != hop.is_trusted:
                raise TransportError("the first hop is judged otherwise than when the session began", transient=False)
            try:
                response = await hop.request(request, within=within, cookie=cookie)
            except UntrustedError as error:
                if not self._ignores:
                    raise
                await self._distrust(hop, error.why)
            else:
                seen = hop.seen
                if seen is not None and seen != self._reported:
                    self._reported = seen
                    self._report(
                        "first-hop",
                        host=self._place.host,
                        subject=seen.subject,
                        issuer=seen.issuer,
                        spki_sha256=seen.spki_sha256,
                        why=seen.why,
                    )
                return response

    def _trusted(self) -> FirstHop:
        return self._new_hop(self._layer1)

    def _new_hop(self, layer1: Layer1 | None, why: str = "") -> FirstHop:
        most = 2 * self._limits.max_sessions + 8
        return FirstHop(
            self._place, layer1, connect_for=self._limits.connect_for, most=most, why=why, proxy=self._proxy
        )

    async def _distrust(self, hop: FirstHop, why: str) -> None:
        if hop is self._hop:
            await self._judge(self._new_hop(None, why))

    async def _judge(self, hop: FirstHop) -> None:
        """The hop is another one from now on; what began over the old one is no business of it."""
        before, self._hop = self._hop, hop
        for session in list(self._sessions):
            session.ended("the first hop is judged otherwise than when the session began")
        await before.close()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` as long as this link runs."""
        assert self._tasks is not None
        return self._tasks.create_task(work)

    # Sessions that we open and close

    async def open(self, to: str, kind: Kind) -> CarriageSession:
        if not is_alias(to):
            raise TransportError("no name of a resource: expected 1 to 64 of A-Z a-z 0-9 . _ -", transient=False)
        if len(self._sessions) >= self._limits.max_sessions:
            raise TransportError("too many sessions", transient=True)
        if not self._hop.is_trusted and not self._sessions:
            await self._judge(self._trusted())
        if self._place.target is not None:  # the target is implied, and the first unit opens
            if self._ignores:
                await self.request(HttpRequest("GET", self._place.target, ()), trusted=None)  # judges
            return self._add(self._place.target, kind, to, is_open=False, ours=True)
        nonce = secrets.token_hex(16)
        request = atls.send_request(atls.open_target(to, nonce), 0, kind, b"")
        try:
            async with asyncio.timeout(self._limits.open_for):
                response = await self.request(request, trusted=None)
                opened = atls.read_opened(self._place.origin + request.target, response)
        except TimeoutError:
            raise TransportError("no answer from the gateway", transient=True) from None
        except PeerError as error:
            raise TransportError(str(error), transient=True) from None
        if isinstance(opened, atls.SessionRefused):
            raise TransportError(opened.reason, transient=opened.retry_after is not None)
        if opened.location is None:
            raise TransportError("the gateway names no place for the session", transient=False)
        return self._add(opened.location, kind, to, is_open=True, ours=True)

    def _add(self, place: str, kind: Kind, peer: str, *, is_open: bool, ours: bool) -> HttpsSession:
        session = HttpsSession(
            self,
            place,
            kind,
            peer,
            is_open=is_open,
            ours=ours,
            trusted=self._hop.is_trusted,
            retry_for=self._limits.retry_for,
        )
        self._sessions[session] = None
        session.start()
        return session

    def forget(self, session: HttpsSession) -> None:
        """The session is over here."""
        if session in self._sessions:
            del self._sessions[session]
            self._left.add(session.place)
            self._progress.set()

    def close_soon(self, session: HttpsSession) -> None:
        """Close a session at the server."""
        if session.has_place:
            self._closing += 1
            self.spawn(self._close(session))

    async def _close(self, session: HttpsSession) -> None:
        try:
            async with asyncio.timeout(self._limits.open_for):
                await self.request(atls.close_request(session.place), trusted=session.trusted)
        except (TransportError, TimeoutError) as error:
            _LOG.debug("close not sent: %s", error)
        finally:
            self._closing -= 1
            self._progress.set()

    async def drain(self) -> None:
        while self._closing or any(session.closing for session in self._sessions):
            self._progress.clear()
            await self._progress.wait()

    # Sessions that others open

    async def _inbox(self, ready: Callable[[], None], incoming: Callable[[CarriageSession], None]) -> None:
        """Poll the inbox for ever, from the first answer on; returns if the gateway has none for us."""
        loop = asyncio.get_running_loop()
        response = await self._ask(inboxes.inbox_request(), self._limits.answer_for)
        pauses = Backoff(self._limits.first_pause, LONGEST_PAUSE, self._chance)
        announced = False
        etag: str | None = None
        while True:
            began, before = loop.time(), response.body
            pause = 0.0
            try:
                listed = inboxes.read_inbox(response)
            except PeerError as error:
                _LOG.warning("malformed inbox: %s", error)
                listed, pause = inboxes.InboxList(None, None), LONGEST_PAUSE
            if isinstance(listed, atls.SessionRefused):
                if listed.reason == "unauthenticated":
                    raise TransportError(
                        "the gateway does not know us (401): check --token-file or --certificate-file", transient=False
                    )
                if listed.reason not in LATER and listed.status < 500:
                    _LOG.warning("the gateway has no inbox for us (%s): no session can come in", listed.reason)
                    if not announced:
                        ready()
                    return
                pause = min(listed.retry_after or RETRY_PAUSE, self._limits.retry_for)
            else:
                etag = listed.etag or etag
                self._on_inbox(listed.entries or (), incoming)
            if not announced:
                announced = True
                ready()
            await asyncio.sleep(pause)
            while True:
                try:
                    response = await self._ask(
                        inboxes.inbox_request(self._limits.wait, etag), self._limits.wait + self._limits.slack
                    )
                    pauses.reset()
                    break
                except TransportError as error:
                    _LOG.info("%s", error)
                await asyncio.sleep(pauses.next())
            if loop.time() < began + SOON and (response.status != 200 or response.body == before):
                await asyncio.sleep(RETRY_PAUSE)  # a gateway that does not hold the request

    def _on_inbox(self, entries: tuple[inboxes.Waiting, ...], incoming: Callable[[CarriageSession], None]) -> None:
        known = {session.place for session in self._sessions}
        for entry in entries:
            place = f"/atls/{entry.session}"
            if place in known or place in self._left or entry.kind not in ("atls", "adtls"):
                continue
            kind: Kind = "atls" if entry.kind == "atls" else "adtls"
            session = self._add(place, kind, entry.peer, is_open=True, ours=False)
            if len(self._sessions) > self._limits.max_sessions:
                _LOG.warning("more than %d sessions: one is turned down", self._limits.max_sessions)
                session.broken("too many sessions")
            else:
                incoming(session)


def name_of(url: str) -> str:
    """What to call a URL in reports."""
    return f"https {url.removesuffix(WELL_KNOWN)}"
