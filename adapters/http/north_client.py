"""Requests to one service: its connections, what protects them, and which requests may be sent twice.

A request is sent again only if nothing can be done twice by it: no connection was had; the service answered that it did
nothing (425, or 429 and 503 with a short Retry-After); or the connection was lost, and the service numbers units, so
that it knows a repeated one. All in ``patience`` seconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from yarl import URL

from adapters.http.north_addresses import JudgedAddresses
from adapters.http.north_config import NorthTimes, Service
from adapters.http.north_tls import NO_TLS, link_of
from carriage.http.atls import HttpRequest, HttpResponse
from carriage.http.atls_client import SessionRefused, read_unit
from carriage.http.cookies import SessionCookies
from common.printable import printable
from common.release import release
from gateway.api.link import meets
from gateway.api.model import ANY_LINK, LinkRequirement, LinkSecurity, Reason

_LOG = logging.getLogger(__name__)

MAX_BODY: Final = 16_384
"""Octets of an answer; a unit has at most 4096."""
_READ: Final = frozenset({
    "atls-seq", "content-encoding", "content-type", "location", "preference-applied", "retry-after", "set-cookie",
})  # fmt: skip
"""The header fields that mean something to us."""


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer. ``sent``: the service may have had the request. ``reason`` None: it was no longer wanted."""

    reason: Reason | None
    detail: str
    sent: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, and the protection of the connection on which it came."""

    response: HttpResponse
    link: LinkSecurity


class _LinkError(Exception):
    """The connection isn't protected as the policy asks."""


class _TooLargeError(Exception):
    """The body of an answer is longer than any unit."""


class _Attempt:
    """One attempt at a request. ``connected``: there was a connection, so octets may have left. ``fresh``: it was made
    for this attempt, else it had been idle."""

    __slots__ = ("connected", "fresh", "link", "require")

    def __init__(self, require: LinkRequirement) -> None:
        self.require = require
        self.connected = False
        self.fresh = False
        self.link = NO_TLS


_ATTEMPT: ContextVar[_Attempt] = ContextVar("attempt")
"""The attempt for which aiohttp looks for a connection: each is made in the task that asks."""


class _Connector(aiohttp.TCPConnector):
    """Judges each connection before a request is written to it, as ``LinkRequirement`` has it."""

    def __init__(self, service: Service, times: NorthTimes) -> None:
        tls, self._proxy = service.tls, service.proxy
        super().__init__(
            resolver=JudgedAddresses(service.table.addresses),
            use_dns_cache=False,
            ssl=True if tls is None else tls.context,
            limit=service.table.max_connections,
            keepalive_timeout=times.keep_alive,
        )
        self._made: WeakSet[ResponseHandler] = WeakSet()
        self.made = 0

    @property
    def open(self) -> int:
        return sum(protocol.is_connected() for protocol in self._made)

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's name
    ) -> Any:
        connection = await super().connect(req, traces, timeout)
        attempt = _ATTEMPT.get()
        attempt.link = link_of(connection.transport)
        if attempt.require is not ANY_LINK and not meets(attempt.link, attempt.require):
            connection.release()
            raise _LinkError
        attempt.connected = True
        return connection

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's name
    ) -> ResponseHandler:
        protocol = await super()._create_connection(req, traces, timeout)
        self._made.add(protocol)
        self.made += 1
        _ATTEMPT.get().fresh = True
        return protocol

    def _get_ssl_context(self, req: ClientRequest) -> Any:
        """aiohttp gives the service's context to its https proxy too; the request to a proxy has none itself."""
        if self._proxy is not None and self._proxy.tls is not None and req.proxy is None:
            return self._proxy.tls.context
        return super()._get_ssl_context(req)


class ServiceClient:
    """All requests to one service, as it is configured now. Made in a running loop."""

    def __init__(self, service: Service, times: NorthTimes) -> None:
        self.service = service
        table = service.table
        self._times = times
        self._connector = _Connector(service, times)
        # Of each request, and not of aiohttp's session: that gives its header fields to a proxy, too.
        self._fields = {"Accept-Encoding": "identity", "User-Agent": "atls-gateway"}
        if service.token is not None:
            self._fields["Authorization"] = f"Bearer {service.token}"
        proxy = service.proxy
        self._proxy_fields: dict[str, str] | None = None
        if proxy is not None and proxy.login is not None:
            login = {"Proxy-Authorization": aiohttp.encode_basic_auth(*proxy.login)}
            if service.url.startswith("https:"):
                self._proxy_fields = login
            else:  # then the request itself is the proxy's
                self._fields |= login
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("Accept",),
            read_bufsize=MAX_BODY,
            proxy=None if proxy is None else proxy.url,
        )
        self._timeout = aiohttp.ClientTimeout(total=table.answer_within, sock_connect=table.connect_within)
        self._origin = service.url.removesuffix(service.path)
        self._urls: dict[str, URL] = {}
        self._busy_until = 0.0
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._complained = float("-inf")
        self.trouble = ""
        """Why the last request had no answer; empty: it had one."""
        self.numbers = False
        """The service has answered with ATLS-Seq once: it knows a repeated unit."""
        self.polls = asyncio.Semaphore(max(1, table.max_connections * 3 // 4))
        self.counters = dict.fromkeys(("requests", "polls", "retries", "units_out", "units_in"), 0)
        self.refusals: Counter[str] = Counter()

    def status(self) -> Mapping[str, Any]:
        return {
            **self.counters,
            "refused": dict(self.refusals),
            "connections": self._connector.open,
            "connections_made": self._connector.made,
            **({"trouble": self.trouble} if self.trouble else {}),
        }

    async def close(self) -> None:
        await self._session.close()

    async def retire(self, within: float) -> None:
        """Close when the requests that are under way have their answers, ``within`` seconds at most."""
        try:
            async with asyncio.timeout(within):
                await self._idle.wait()
        except TimeoutError:
            pass
        finally:
            await self.close()

    async def ask(
        self,
        request: HttpRequest,
        cookies: SessionCookies,
        *,
        require: LinkRequirement = ANY_LINK,
        again: bool = False,
        wait: int | None = None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Answered | Failed:
        """Send a request and wait for its answer. Never raises for what the service or the network does.

        ``again``: it may be sent twice. ``wait``: seconds for which the service may hold the answer back. ``wanted`` is
        asked before each attempt.
        """
        self._under_way += 1
        self._idle.clear()
        try:
            return await self._ask(request, cookies, require, again, wait, wanted)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def _ask(
        self,
        request: HttpRequest,
        cookies: SessionCookies,
        require: LinkRequirement,
        again: bool,
        wait: int | None,
        wanted: Callable[[], bool],
    ) -> Answered | Failed:
        times, loop = self._times, asyncio.get_running_loop()
        end, pause, early = loop.time() + times.patience, times.pause, False
        failed = Failed(None, "")
        while wanted():
            if (left := self._busy_until - loop.time()) > 0:  # it asked us all to come again later
                if loop.time() + left > end:
                    return self._refused(Failed(Reason.BUSY, f"again in {left:.0f} s"))
                await asyncio.sleep(left)
                continue
            attempt = _Attempt(require)
            _ATTEMPT.set(attempt)
            result = await self._once(request, cookies, attempt, wait)
            if isinstance(result, Answered):
                self._fine()
                delay = self._comes_again(result.response, early)
                early = early or result.response.status == 425
                if delay is None or loop.time() + delay > end:
                    return result
                if result.response.status != 425:  # a service may say "at once" for ever
                    delay, pause = max(delay, pause), min(2 * pause, times.longest_pause)
            else:
                failed = result
                delay = None
                if result.reason is Reason.UNREACHABLE and (not result.sent or again):
                    # Of connections that had been idle several may be dead.
                    delay = 0.0 if attempt.connected and not attempt.fresh else pause
                if delay is None or loop.time() + delay > end:
                    return self._refused(self._complain(failed))
                if delay:
                    self._complain(failed)
                    pause = min(2 * pause, times.longest_pause)
            self.counters["retries"] += 1
            await asyncio.sleep(delay)
        return Failed(None, failed.detail, failed.sent)

    async def _once(
        self, request: HttpRequest, cookies: SessionCookies, attempt: _Attempt, wait: int | None
    ) -> Answered | Failed:
        self.counters["polls" if wait is not None else "requests"] += 1
        target = request.target
        fields = {**self._fields, **dict(request.fields)}
        if (cookie := cookies.field(target, time.time())) is not None:
            fields["cookie"] = cookie[1]
        timeout = self._timeout
        if wait:
            timeout = aiohttp.ClientTimeout(total=wait + (timeout.total or 0), sock_connect=timeout.sock_connect)
        try:
            async with self._session.request(
                request.method,
                self._url(target),
                data=request.body,
                headers=fields,
                proxy_headers=self._proxy_fields,
                allow_redirects=False,
                timeout=timeout,
            ) as answer:
                body = await _body(answer)
        except (_LinkError, _TooLargeError, aiohttp.ClientError, ValueError, OSError) as error:  # TimeoutError too
            failed = _failed(error, attempt)
            release(error)
            return failed
        found = tuple((low, value) for name, value in answer.headers.items() if (low := name.lower()) in _READ)
        response = HttpResponse(answer.status, found, body)
        cookies.take(found, target, time.time())
        if any(name == "atls-seq" for name, _ in found):
            self.numbers = True
        return Answered(response, attempt.link)

    def _comes_again(self, response: HttpResponse, early: bool) -> float | None:
        """Seconds after which the same request goes again, since the service says that it has done nothing."""
        if response.status == 425:  # RFC 8470, section 5.2: we sent no early data, and the handshake is over
            return None if early else 0.0
        if response.status not in (429, 503):
            return None
        found = read_unit(response)
        wait = found.retry_after if isinstance(found, SessionRefused) else None
        if wait is not None and response.status == 503:
            self._busy_until = asyncio.get_running_loop().time() + min(wait, 3600)
        return None if wait is None else float(wait)

    def _url(self, target: str) -> URL:
        url = self._urls.get(target)
        if url is None:
            if len(self._urls) >= 256:
                self._urls.clear()
            url = self._urls[target] = URL(self._origin + target, encoded=True)
        return url

    def _refused(self, failed: Failed) -> Failed:
        if failed.reason is not None:
            self.refusals[failed.reason.value] += 1
        return failed

    def _fine(self) -> None:
        if self.trouble:
            self.trouble = ""
            _LOG.info("%s answers again", self.service.url)

    def _complain(self, failed: Failed) -> Failed:
        now, before = asyncio.get_running_loop().time(), self.trouble
        self.trouble = failed.detail
        if not before and now - self._complained >= self._times.complain:
            self._complained = now
            _LOG.warning("%s has no answer for us: %s", self.service.url, failed.detail)
        return failed


def _failed(error: Exception, attempt: _Attempt) -> Failed:
    """What a request's end without an answer means."""
    match error:
        case _LinkError():
            return Failed(Reason.LINK, attempt.link.protocol)
        case _TooLargeError():
            return Failed(Reason.TOO_LARGE, f"an answer above {MAX_BODY} octets", sent=True)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return Failed(Reason.LINK, _tls_trouble(error))
        case aiohttp.ClientHttpProxyError():
            reason = Reason.UNREACHABLE if error.status >= 500 else Reason.LINK
            return Failed(reason, f"the proxy says {error.status}")
        case aiohttp.ClientPayloadError() if attempt.connected:
            return Failed(Reason.UNREACHABLE, "the answer was cut off", sent=True)
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError() | ValueError():
            return Failed(Reason.BROKEN, "an answer that is no HTTP", sent=attempt.connected)
        case TimeoutError():
            what = "no answer in time" if attempt.connected else "no connection in time"
            return Failed(Reason.UNREACHABLE, what, sent=attempt.connected)
        case _:
            return Failed(Reason.UNREACHABLE, _why(error), sent=attempt.connected)


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    """The body, if it has a length that a unit can have. What is longer is not read: its connection ends."""
    if (answer.content_length or 0) > MAX_BODY:
        answer.close()
        raise _TooLargeError
    parts, size = [], 0
    async for part in answer.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > MAX_BODY:
            answer.close()
            raise _TooLargeError
    return b"".join(parts)


def _why(error: Exception) -> str:
    """In words that hold no header field and no body."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed before an answer"
    inner = getattr(error, "os_error", error)
    text = getattr(inner, "strerror", None) or type(inner).__name__
    return printable(str(text), 200)


def _tls_trouble(error: Exception) -> str:
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
    text = getattr(inner, "verify_message", None) or getattr(inner, "reason", None) or str(inner)
    return printable(str(text), 200)
