"""aiohttp's connections through a forward proxy, for both clients over https. No other module here has sockets.

It needs the private methods of ``aiohttp.TCPConnector`` that it overrides; tests/adapters/http and tests/endpoint have
proxies with and without TLS.
"""

from __future__ import annotations

import ssl
from typing import Any

import aiohttp
from aiohttp.client_reqrep import ClientRequest


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
        if self._proxy_context is not None:
            # asyncio calls this with an exception if a handshake in TLS fails, and before CPython 3.11.8 and 3.12.2 it
            # can't take one (issue 113214 of CPython): the failure would be a time-out.
            underlying_transport._force_close = lambda _: underlying_transport.abort()
        return await super()._start_tls_connection(underlying_transport, *rest, **options)
