"""The sockets that clients come to, and their connections until these end: TLS, limits, aiohttp's reading of HTTP/1.1.

A connection is *shaking hands* (TLS), *idle* (no request, or a part of its header fields) or *at work*. The first ends
by ``handshake_within``, the second by ``idle``; the time of a request is bounded by its handler. If there is no room
for another one, of the host with most connections the one goes that has been idle for longest, or shaking hands, or at
work if all are.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from adapters.http.config import HttpTable
from adapters.http.south_admission import Known
from adapters.http.south_tls import ClientTls, ServerTls, facts
from carriage.http import atls
from common.log_rate import LogRate
from common.printable import printable
from common.release import release
from gateway.api.errors import TransportError
from layer.hosts import host_of

_LOG = logging.getLogger(__name__)

SERVER: Final = ("server", "atls-gateway")
"""In each answer, malformed requests' included: no client needs the libraries below and their versions."""
BACKLOG: Final = 128
FAREWELL: Final = 5.0
"""Seconds in which a connection that was closed must have taken what was written to it."""
LINGER: Final = 2.0
"""Seconds for which the rest of a refused body is read, so that the client reads its answer."""
MAX_FIELDS: Final = 64
"""Header fields of a request."""


@dataclass(frozen=True, slots=True)
class ListenAddress:
    host: str
    port: int
    tls: bool


@dataclass(slots=True, eq=False)
class _Slot:
    """A place among the connections. ``task``: of the handshake."""

    host: Hashable
    since: float
    task: asyncio.Task[None] | None = None
    connection: HttpConnection | None = None


class HttpConnection(web.RequestHandler):
    """One connection, with what was found out of its client: ``tls``, and a token that was good (``known``)."""

    __slots__ = ("_ended", "_slot", "at_work", "idle_since", "known", "tls")  # fmt: skip

    def __init__(self, manager: web.Server, slot: _Slot, ended: Callable[[_Slot], None], **options: Any) -> None:
        super().__init__(manager, **options)
        self._slot = slot
        self._ended = ended
        self.at_work = 0
        self.idle_since = 0.0
        self.known: Known | None = None
        self.tls: ClientTls | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._slot.connection = self
        self.idle_since = self._loop.time()
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            try:
                self.tls = facts(tls)
            except ValueError as error:
                _LOG.debug("a client's certificate can't be read: %s", error)
                self.cut()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._ended(self._slot)

    def force_close(self) -> None:
        transport = self.transport
        super().force_close()
        if transport is not None:  # one whose client reads nothing would never end
            self._loop.call_later(FAREWELL, transport.abort)

    def leave(self) -> None:
        """End it when the request under way, if there is one, has its answer."""
        if self.at_work:
            self.close()
        else:
            self.force_close()

    def cut(self) -> None:
        """End it now; what was written and not sent is lost."""
        transport = self.transport
        self.force_close()
        if transport is not None:
            transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP/1.1 that can be read. It ends the connection."""
        if status >= 500:
            self.log_exception("Error handling request", exc_info=exc)
            refused = atls.refusal("internal")
        elif isinstance(exc, LineTooLong) or "Too many" in (message or ""):
            refused = atls.refusal("fields-too-large", detail="a line of the request, or the number of them")
        else:
            refused = atls.refusal("bad-request", detail="no request of HTTP/1.1")
        if exc is not None:
            release(exc)
        response = web.Response(status=refused.status, headers=dict((SERVER, *refused.fields)), body=refused.body)
        response.force_close()
        return response


class _Server(web.Server):
    """Makes ``HttpConnection``."""

    def protocol(self, slot: _Slot, ended: Callable[[_Slot], None]) -> HttpConnection:
        return HttpConnection(self, slot, ended, loop=self._loop, **self._kwargs)


class HttpListener:
    """``handler`` answers requests; it may be cancelled once the client is gone."""

    def __init__(
        self,
        table: HttpTable,
        places: list[ListenAddress],
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    ) -> None:
        self._table = table
        self._places = places
        self._handler = handler
        self._slots: dict[_Slot, None] = {}
        self._per_host: Counter[Hashable] = Counter()
        self._refusals = LogRate()
        self.refused_handshakes = 0
        self.evicted = 0
        self.tls: ServerTls | None = None

    def __len__(self) -> int:
        return len(self._slots)

    def connections(self) -> list[HttpConnection]:
        return [slot.connection for slot in self._slots if slot.connection is not None]

    async def serve(self, ready: Callable[[], None], stop: Callable[[], None]) -> None:
        """Until it is cancelled; then ``stop`` is called, and requests under way may still be answered.

        TransportError: an address can't be had.
        """
        sockets = self._bind()
        server = _Server(
            self._handler,
            handler_cancellation=True,
            access_log=None,
            logger=_LOG,
            auto_decompress=False,
            keepalive_timeout=self._table.idle,
            lingering_time=LINGER,
            max_line_size=self._table.max_line,
            max_field_size=self._table.max_line,
            max_headers=MAX_FIELDS,
        )
        try:
            ready()
            async with asyncio.TaskGroup() as tasks:
                for listening, with_tls in sockets:
                    tasks.create_task(self._accept(listening, with_tls, server, tasks))
        finally:
            for listening, _ in sockets:
                listening.close()
            stop()
            server.pre_shutdown()
            await server.shutdown(1.0)
            for connection in self.connections():
                connection.cut()

    def _bind(self) -> list[tuple[socket.socket, bool]]:
        found: list[tuple[socket.socket, bool]] = []
        try:
            for place in self._places:
                found.append((_bound(place), place.tls))
        except TransportError:
            for listening, _ in found:
                listening.close()
            raise
        return found

    async def _accept(
        self, listening: socket.socket, with_tls: bool, server: _Server, tasks: asyncio.TaskGroup
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(listening)
            except OSError as error:  # no descriptors are left, or the client is gone already
                _LOG.debug("a connection can't be accepted: %s", error)
                await asyncio.sleep(0.1)
                continue
            accepted.setblocking(False)
            slot = _Slot(host_of(address[0]), loop.time())
            self._make_room(slot.host)
            self._slots[slot] = None
            self._per_host[slot.host] += 1
            slot.task = tasks.create_task(self._begin(accepted, address, slot, with_tls, server))
            await asyncio.sleep(0)  # what connects without end is not all that the gateway does

    async def _begin(self, accepted: socket.socket, address: Any, slot: _Slot, with_tls: bool, server: _Server) -> None:
        """Shake hands. From ``connection_made`` on the connection is its own."""
        tls: dict[str, Any] = {}
        trusted = self.tls
        if with_tls:
            assert trusted is not None
            within = self._table.handshake_within
            tls = {"ssl": trusted.context, "ssl_handshake_timeout": within, "ssl_shutdown_timeout": FAREWELL}
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: server.protocol(slot, self._forget), accepted, **tls
            )
            if self.tls is not trusted and slot.connection is not None:  # it was judged by what no longer counts
                slot.connection.cut()
        except OSError as error:  # ssl.SSLError and TimeoutError too
            self._refused(address, error)
            release(error)
        finally:
            slot.task = None
            if slot.connection is None:
                accepted.close()
                self._forget(slot)

    def _refused(self, address: Any, error: OSError) -> None:
        self.refused_handshakes += 1
        if self._refusals.permits(asyncio.get_running_loop().time()):
            reason = getattr(error, "reason", None) or str(error) or type(error).__name__
            host = str(address[0]).removeprefix("::ffff:")
            if isinstance(error, ConnectionError):  # Chromium does, once, if it is asked for a certificate
                _LOG.info("%s port %s left in the TLS handshake", host, address[1])
                return
            _LOG.warning(
                "handshake of %s port %s refused: %s (%d so far)",
                host,
                address[1],
                printable(str(reason), 200),
                self.refused_handshakes,
            )

    def _forget(self, slot: _Slot) -> None:
        if slot in self._slots:
            del self._slots[slot]
            self._per_host[slot.host] -= 1
            if not self._per_host[slot.host]:
                del self._per_host[slot.host]

    def _make_room(self, host: Hashable) -> None:
        if self._per_host[host] >= self._table.max_connections_per_host:
            self._evict(host)
        elif len(self._slots) >= self._table.max_connections:
            self._evict(self._per_host.most_common(1)[0][0])

    def _evict(self, host: Hashable) -> None:
        """The slots are in the order in which they came."""
        found = [slot for slot in self._slots if slot.host == host]
        idle = [each for each in found if each.connection is not None and not each.connection.at_work]
        shaking = [each for each in found if each.connection is None]
        if idle:
            victim = min(idle, key=lambda each: each.connection.idle_since if each.connection is not None else 0.0)
        else:
            victim = (shaking or found)[0]
        self.evicted += 1
        self._forget(victim)
        if victim.connection is not None:
            victim.connection.cut()
        elif victim.task is not None:
            victim.task.cancel()


def _bound(place: ListenAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(place.host != "::"))
        listening.setblocking(False)
        listening.bind((place.host, place.port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        text = f"{place.host} port {place.port} can't be listened at: {error.strerror}"
        raise TransportError(text, transient=True) from None
    return listening
