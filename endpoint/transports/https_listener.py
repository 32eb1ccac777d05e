"""The sockets of a service that is a process by itself: TLS, and bounds on connections that bring no request.

A connection is *waiting*, shaking hands (TLS) first, until its first request; then *served*: idle, or with a request
under way. Each half of the waiting ends after ``FIRST_REQUEST`` seconds; aiohttp ends an idle served one after its
keep-alive time. If room is needed for another connection the oldest goes that waits, else the one that has been idle
for longest.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from common.release import release
from layer.credentials import load_private_key
from layer.errors import CredentialError, TransportError

_LOG = logging.getLogger(__name__)

FIRST_REQUEST: Final = 15.0
"""Seconds for the TLS handshake, and then for a whole request head."""
BACKLOG: Final = 128
FAREWELL: Final = 5.0
"""Seconds for a client to answer the end of TLS."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def listening_context(certificate_file: Path, key_file: Path) -> ssl.SSLContext:
    """Of a server with this certificate and key. CredentialError: they can't be used."""
    load_private_key(key_file)  # refuses a key that others can read, and one with a passphrase
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate_file, key_file)
    except (OSError, ssl.SSLError):
        raise CredentialError(
            str(certificate_file), "holds no certificate of the private key; give both in PEM"
        ) from None
    return context


class ServiceConnection(web.RequestHandler):
    """``served``: a request of it has come. ``at_work``: its requests under way. ``handshake``: None if it is over."""

    __slots__ = ("_bounds", "_patience", "at_work", "handshake", "served")  # fmt: skip

    def __init__(self, manager: web.Server, bounds: ServiceListener, **options: Any) -> None:
        super().__init__(manager, **options)
        self._bounds = bounds
        self._patience: asyncio.TimerHandle | None = None
        self.handshake: asyncio.Task[None] | None = None
        self.served = False
        self.at_work = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._patience = self._loop.call_later(self._bounds.first_request, self._impatient)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._bounds.remove(self)
        if self._patience is not None:
            self._patience.cancel()

    def _impatient(self) -> None:
        if not self.served:
            self.cut()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        response = super().handle_error(request, status, exc, message)
        if exc is not None:
            release(exc)
        return response

    def cut(self) -> None:
        """End it now."""
        if self.handshake is not None:
            self.handshake.cancel()
        transport = self.transport
        self.force_close()
        if transport is not None:
            transport.abort()


class ServiceListener(web.Server):
    """The connections of a listener, at most ``most``."""

    def __init__(self, handler: Handler, *, most: int, first_request: float = FIRST_REQUEST) -> None:
        options: dict[str, Any] = {
            "access_log": None,
            "keepalive_timeout": 75.0,
            "lingering_time": 2.0,
        }
        super().__init__(self._on_request, handler_cancellation=True, **options)
        self.first_request = first_request
        self._handler = handler
        self._options = options
        self._most = most
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._open: dict[ServiceConnection, None] = {}
        """The one that came first, or had its last answer first, is the first."""

    def __call__(self) -> ServiceConnection:
        return ServiceConnection(self, self, loop=asyncio.get_running_loop(), **self._options)

    @property
    def count(self) -> int:
        return len(self._open)

    def _has_room(self) -> bool:
        """Of too many the oldest that waits is cut, else one that is idle; False: neither is there."""
        if len(self._open) < self._most:
            return True
        waiting = (each for each in self._open if not each.served)
        idle = (each for each in self._open if not each.at_work)
        victim = next(waiting, None) or next(idle, None)
        if victim is None:
            return False
        self.remove(victim)
        victim.cut()
        return True

    def remove(self, connection: ServiceConnection) -> None:
        self._open.pop(connection, None)

    async def end(self) -> None:
        """Listen no longer. Requests under way have a second for their answers."""
        for task in self._accepting:
            task.cancel()
        for listening in self._sockets:
            listening.close()
        self.pre_shutdown()
        await self.shutdown(1.0)
        for each in list(self._open):
            each.cut()
        await asyncio.sleep(0)  # in which their sockets close

    async def _on_request(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, ServiceConnection)
        connection.served = True
        connection.at_work += 1
        try:
            return await self._handler(request)
        finally:
            connection.at_work -= 1
            if connection in self._open:
                del self._open[connection]
                self._open[connection] = None

    async def listen(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        """TransportError: the address can't be had."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, address in dict.fromkeys((each[0], each[4]) for each in found):
                self._sockets.append(socket.create_server(address, family=family, backlog=BACKLOG))
        except OSError as error:
            for listening in self._sockets:
                listening.close()
            reason = error.strerror or str(error)
            raise TransportError(f"can't listen at {host} port {port}: {reason}", transient=False) from None
        self._accepting = [loop.create_task(self._accept(each, context)) for each in self._sockets]

    async def _accept(self, listening: socket.socket, context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        listening.setblocking(False)
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except OSError as error:  # no descriptors are left, or the client is gone already
                _LOG.debug("a connection can't be accepted: %s", error)
                await asyncio.sleep(0.1)
                continue
            if self._has_room():
                accepted.setblocking(False)
                connection = self()
                self._open[connection] = None
                connection.handshake = loop.create_task(self._shake(accepted, connection, context))
            else:
                accepted.close()
            await asyncio.sleep(0)  # what connects without end is not all that this process does

    async def _shake(
        self, accepted: socket.socket, connection: ServiceConnection, context: ssl.SSLContext | None
    ) -> None:
        """From ``connection_made`` on the connection is on its own."""
        tls: dict[str, Any] = {}
        if context is not None:
            tls = {"ssl": context, "ssl_handshake_timeout": self.first_request, "ssl_shutdown_timeout": FAREWELL}
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, accepted, **tls)
        except OSError as error:  # ssl.SSLError and TimeoutError too
            _LOG.debug("a handshake came to nothing: %s", error)
            release(error)
        finally:
            connection.handshake = None
            if connection.transport is None:
                accepted.close()
                self.remove(connection)
