"""The socket of a service that is a process by itself: TLS, and bounds on connections that bring no request.

A connection is *waiting* until its first request, then *served*. Waiting ends after ``FIRST_REQUEST`` seconds, or when
room is needed for another connection; aiohttp ends an idle served one after its keep-alive time.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from layer.credentials import load_private_key
from layer.errors import CredentialError, TransportError

FIRST_REQUEST: Final = 15.0
"""Seconds for the TLS handshake, and then for a whole request head."""

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
    """``served``: a request of it has come."""

    __slots__ = ("_bounds", "_patience", "served")  # fmt: skip

    def __init__(self, manager: web.Server, bounds: ServiceListener, **options: Any) -> None:
        super().__init__(manager, **options)
        self._bounds = bounds
        self._patience: asyncio.TimerHandle | None = None
        self.served = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._patience = self._loop.call_later(self._bounds.first_request, self._impatient)
        self._bounds.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._bounds.remove(self)
        if self._patience is not None:
            self._patience.cancel()

    def _impatient(self) -> None:
        if not self.served:
            self.cut()

    def cut(self) -> None:
        """End it now."""
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
        self._open: dict[ServiceConnection, None] = {}

    def __call__(self) -> ServiceConnection:
        return ServiceConnection(self, self, loop=asyncio.get_running_loop(), **self._options)

    @property
    def count(self) -> int:
        return len(self._open)

    def add(self, connection: ServiceConnection) -> None:
        """Of too many the oldest that waits is cut, else the new one."""
        self._open[connection] = None
        if len(self._open) > self._most:
            waiting = next((each for each in self._open if not each.served), connection)
            self.remove(waiting)
            waiting.cut()

    def remove(self, connection: ServiceConnection) -> None:
        self._open.pop(connection, None)

    async def end(self) -> None:
        """Requests under way have a second for their answers."""
        self.pre_shutdown()
        await self.shutdown(1.0)
        for each in list(self._open):
            each.cut()
        await asyncio.sleep(0)  # in which their sockets close

    async def _on_request(self, request: web.BaseRequest) -> web.StreamResponse:
        if isinstance(request.protocol, ServiceConnection):
            request.protocol.served = True
        return await self._handler(request)

    async def listen(self, host: str, port: int, context: ssl.SSLContext | None) -> asyncio.Server:
        """TransportError: the address can't be had."""
        tls = {"ssl": context, "ssl_handshake_timeout": self.first_request} if context is not None else {}
        try:
            return await asyncio.get_running_loop().create_server(self, host, port, **tls)  # type: ignore[call-overload, no-any-return]
        except OSError as error:
            reason = error.strerror or str(error)
            raise TransportError(f"can't listen at {host} port {port}: {reason}", transient=False) from None
