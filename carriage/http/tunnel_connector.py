"""aiohttp's connections through a forward proxy, for both clients over https. No other module here has sockets.

It needs the private methods of ``aiohttp.TCPConnector`` that it overrides; tests/adapters/http and tests/endpoint have
proxies with and without TLS.
"""

from __future__ import annotations

import ssl
import sys
from typing import Any, Final

import aiohttp
from aiohttp.client_reqrep import ClientRequest

_ENDS_TLS_IN_TLS: Final = sys.version_info >= (3, 12, 2) or (3, 11, 8) <= sys.version_info < (3, 12)
"""Before, asyncio raises AttributeError or TypeError as it ends TLS in TLS whose handshake failed, so that the
handshake's caller sees a time-out (issues 98539 and 113214 of CPython)."""


class TunnelConnector(aiohttp.TCPConnector):
    """``proxy_context``: of the connection to an https proxy, which would get the service's from aiohttp."""

    def __init__(self, proxy_context: ssl.SSLContext | None, **options: Any) -> None:
        super().__init__(**options)
        self._proxy_context = proxy_context

    def _get_ssl_context(self, req: ClientRequest) -> Any:
        if self._proxy_context is not None and req.proxy is None:  # the request to the proxy has none itself
            return self._proxy_context
        return super()._get_ssl_context(req)

    async def _start_tls_connection(self, underlying_transport: Any, *rest: Any, **options: Any) -> Any:
        if self._proxy_context is not None and not _ENDS_TLS_IN_TLS:
            _let_end(underlying_transport)
        return await super()._start_tls_connection(underlying_transport, *rest, **options)


def _let_end(outer: Any) -> None:
    """Have the transport of the outer TLS end however it is asked to, and however often."""
    protocol = outer._ssl_protocol

    def end(_: object = None) -> None:
        outer._closed = True
        protocol._abort()

    outer.abort = outer._force_close = end
