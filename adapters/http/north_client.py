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
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from adapters.http.north_config import NorthTimes, Service
from adapters.http.north_connector import ServiceConnector
from adapters.http.north_exchange import MAX_BODY, ServiceExchange, StaleError, TooLargeError, message_of
from carriage.http.atls import HttpRequest, HttpResponse
from carriage.http.atls_client import SessionRefused, read_unit
from carriage.http.atls_format import SEQ, field_values
from carriage.http.connect_proxy import is_at, login_field, may_change, refusal
from carriage.http.cookies import SessionCookies
from common.printable import printable
from common.release import release
from common.within import within
from gateway.api.link import meets
from gateway.api.model import ANY_LINK, LinkRequirement, LinkSecurity, Reason
from gateway.kit.fixed_timeout import FixedTimeout

_LOG = logging.getLogger(__name__)

SOON = 1.0
"""Seconds in which a connection is had as a rule; if it takes longer, the answer has so much less time. If less than a
quarter is left the request is not sent."""


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer. ``sent``: the service may have had the request. ``idle``: its connection had been idle. ``reason``
    None: it was no longer wanted."""

    reason: Reason | None
    detail: str
    sent: bool = False
    idle: bool = False


class Answered:
    """An answer, and the protection of the connection on which it came."""

    __slots__ = ("link", "response")

    def __init__(self, response: HttpResponse, link: LinkSecurity) -> None:
        self.response = response
        self.link = link


class ServiceClient:
    """All requests to one service, as it is configured now. Made in a running loop."""

    def __init__(self, service: Service, times: NorthTimes) -> None:
        self.service = service
        table = service.table
        self._times = times
        self._loop = asyncio.get_running_loop()
        fields = {"host": urlsplit(service.url).netloc, "accept-encoding": "identity", "user-agent": "atls-gateway"}
        if service.token is not None:
            fields["authorization"] = f"Bearer {service.token}"
        proxy, tunnel_fields, self._origin = service.proxy, None, ""
        login = {} if proxy is None or proxy.login is None else login_field(*proxy.login)
        if proxy is not None and service.url.startswith("http:"):  # then the request itself is the proxy's
            self._origin = service.url.removesuffix(service.path)
            fields |= login
        elif login:
            tunnel_fields = login
        self._fixed = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
        self._connector = ServiceConnector(service, times, tunnel_fields)
        self._answers: FixedTimeout[ServiceExchange] = FixedTimeout(table.answer_within, ServiceExchange.give_up)
        self._answer_within = table.answer_within
        self._busy_until = 0.0
        self._under_way = 0
        self._idle: asyncio.Future[None] | None = None
        """Done when nothing is under way; ``retire`` makes it."""
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

    async def aclose(self) -> None:
        self._answers.close()
        await self._connector.close()

    async def retire(self, seconds: float) -> None:
        """Close when the requests that are under way have their answers, after so many seconds at the latest."""
        await within(aclosing(self), lambda _: self._answered(seconds))

    async def _answered(self, seconds: float) -> None:
        if self._under_way:
            idle = self._idle = self._loop.create_future()
            await asyncio.wait({idle}, timeout=seconds)

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
        times, now = self._times, self._loop.time
        end, pause, early = now() + times.patience, times.pause, False
        failed = Failed(None, "")
        self._under_way += 1
        try:
            while wanted():
                if self._busy_until and (left := self._busy_until - now()) > 0:  # it asked us all to come again later
                    if now() + left > end:
                        return self._refused(Failed(Reason.BUSY, f"again in {left:.0f} s"))
                    await asyncio.sleep(left)
                    continue
                result = await self._once(request, cookies, require, wait)
                if isinstance(result, Answered):
                    if self.trouble:
                        self._fine()
                    if result.response.status < 300:
                        return result
                    delay = self._comes_again(result.response, early)
                    early = early or result.response.status == 425
                    if delay is None or now() + delay > end:
                        return result
                    if result.response.status != 425:  # a service may say "at once" for ever
                        delay, pause = max(delay, pause), min(2 * pause, times.longest_pause)
                else:
                    failed = result
                    delay = None
                    if result.reason is Reason.UNREACHABLE and (not result.sent or again):
                        delay = 0.0 if result.idle else pause  # of connections that had been idle several may be dead
                    if delay is None or now() + delay > end or self._connector.closed:
                        return self._refused(self._complain(failed))
                    if delay:
                        self._complain(failed)
                        pause = min(2 * pause, times.longest_pause)
                self.counters["retries"] += 1
                await asyncio.sleep(delay)
            return Failed(None, failed.detail, failed.sent)
        finally:
            self._under_way -= 1
            if self._idle is not None and not self._under_way and not self._idle.done():
                self._idle.set_result(None)

    async def _once(
        self, request: HttpRequest, cookies: SessionCookies, require: LinkRequirement, wait: int | None
    ) -> Answered | Failed:
        self.counters["requests" if wait is None else "polls"] += 1
        target, fields = request.target, request.fields
        if (cookie := cookies.field(target, time.time())) is not None:
            fields += (cookie,)
        began, sent, idle = time.monotonic(), False, False
        try:
            message = message_of(request.method, self._origin + target, self._fixed, fields, request.body)
            connection, link, idle = await self._connector.get()
            if require is not ANY_LINK and not meets(link, require):
                connection.release()
                return Failed(Reason.LINK, link.protocol)
            took = time.monotonic() - began
            left = (wait or 0) + self._answer_within - took
            if left < self._answer_within / 4:  # what is sent so late is done, and its answer not waited for
                connection.release()
                raise TimeoutError
            sent, exchange = True, ServiceExchange(connection)
            if wait or took > SOON:
                response = await within(asyncio.timeout(left), lambda _: exchange.run(message))
            else:
                self._answers.begin(exchange)
                try:
                    response = await exchange.run(message)
                finally:
                    self._answers.end(exchange)
        except (StaleError, TooLargeError, aiohttp.ClientError, HttpProcessingError, ValueError, OSError) as error:
            failed = self._failed(error, sent, idle)
            release(error)
            return failed
        if response.fields:
            cookies.take(response.fields, target, time.time())
            if not self.numbers and field_values(response.fields, SEQ):
                self.numbers = True
        return Answered(response, link)

    def _comes_again(self, response: HttpResponse, early: bool) -> float | None:
        """Seconds after which the same request goes again, since the service says that it has done nothing."""
        if response.status == 425:  # RFC 8470, section 5.2: we sent no early data, and the handshake is over
            return None if early else 0.0
        if response.status not in (429, 503):
            return None
        found = read_unit(response)
        wait = found.retry_after if isinstance(found, SessionRefused) else None
        if wait is not None and response.status == 503:
            self._busy_until = self._loop.time() + min(wait, 3600)
        return None if wait is None else float(wait)

    def _failed(self, error: Exception, sent: bool, idle: bool) -> Failed:
        """What the end of a request without an answer means."""
        if isinstance(error, StaleError):
            return Failed(Reason.UNREACHABLE, "the connection was closed before a request", idle=idle)
        if isinstance(error, TooLargeError):
            return Failed(Reason.TOO_LARGE, f"an answer above {MAX_BODY} octets", sent=True)
        if isinstance(error, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError)):
            return Failed(Reason.LINK, self._of_proxy(error) + _tls_trouble(error))
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return Failed(Reason.UNREACHABLE if may_change(error.status) else Reason.LINK, refusal(error.status))
        if isinstance(error, aiohttp.ClientPayloadError):
            return Failed(Reason.UNREACHABLE, "the answer was cut off", sent, idle)
        if isinstance(error, (aiohttp.ClientResponseError, HttpProcessingError, ValueError)):
            return Failed(Reason.BROKEN, "an answer that is no HTTP", sent, idle)
        if isinstance(error, TimeoutError):
            return Failed(Reason.UNREACHABLE, "no answer in time" if sent else "no connection in time", sent, idle)
        return Failed(Reason.UNREACHABLE, self._of_proxy(error) + _why(error), sent, idle)

    def _of_proxy(self, error: Exception) -> str:
        """How a line about an error begins: with the proxy, if that had no connection for us."""
        proxy = self.service.proxy
        if proxy is not None and isinstance(error, aiohttp.ClientConnectorError):
            return "the proxy: " if is_at(proxy.url, error.host, error.port) else ""
        return ""

    def _refused(self, failed: Failed) -> Failed:
        if failed.reason is not None:
            self.refusals[failed.reason.value] += 1
        return failed

    def _fine(self) -> None:
        self.trouble = ""
        _LOG.info("%s answers again", self.service.url)

    def _complain(self, failed: Failed) -> Failed:
        now, before = self._loop.time(), self.trouble
        self.trouble = failed.detail
        if not before and now - self._complained >= self._times.complain:
            self._complained = now
            _LOG.warning("%s has no answer for us: %s", self.service.url, failed.detail)
        return failed


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
