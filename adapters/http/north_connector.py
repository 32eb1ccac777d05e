"""The connections to one service: aiohttp's connector, which keeps idle ones, with what we have to know of each."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest, ConnectionKey
from aiohttp.connector import Connection
from yarl import URL

from adapters.http.north_addresses import JudgedAddresses
from adapters.http.north_config import NorthTimes, Service
from adapters.http.north_tls import NO_TLS, link_of
from carriage.http.tunnel_connector import TunnelConnector
from gateway.api.model import LinkSecurity


class _Route(ClientRequest):
    """How aiohttp's connector gets to the service: a request that is never sent, one for all that are. The key by which
    the connector finds idle connections is worked out once."""

    def __init__(self, service: Service, proxy_fields: Mapping[str, str] | None) -> None:
        proxy = None if service.proxy is None else URL(service.proxy.url)
        loop = asyncio.get_running_loop()
        super().__init__(
            "POST", URL(service.url, encoded=True), loop=loop, proxy=proxy, proxy_headers=proxy_fields, headers={}
        )
        self._key = super().connection_key

    @property
    def connection_key(self) -> ConnectionKey:
        return self._key


class ServiceConnector(TunnelConnector):
    """``proxy_fields``: header fields for the proxy that a tunnel is asked of."""

    def __init__(self, service: Service, times: NorthTimes, proxy_fields: Mapping[str, str] | None) -> None:
        tls, proxy = service.tls, service.proxy
        super().__init__(
            None if proxy is None or proxy.tls is None else proxy.tls.context,
            resolver=JudgedAddresses(service.table.addresses),
            use_dns_cache=False,
            ssl=True if tls is None else tls.context,
            limit=service.table.max_connections,
            keepalive_timeout=times.keep_alive,
        )
        self._route = _Route(service, proxy_fields)
        # That it is free may take as long as an answer.
        self._within = aiohttp.ClientTimeout(
            connect=service.table.answer_within, sock_connect=service.table.connect_within
        )
        self._links: dict[ResponseHandler, LinkSecurity] = {}
        """Of the connections that are open, and of some that no longer are. Over http nothing protects what an https
        proxy passes on."""
        self._unused: set[ResponseHandler] = set()
        self.made = 0

    @property
    def open(self) -> int:
        return sum(protocol.is_connected() for protocol in self._links)

    async def get(self) -> tuple[Connection, LinkSecurity, bool]:
        """A connection, its protection, and whether it had been idle, so that it may be dead; else it was made for this
        request. To be released or closed. Raises what aiohttp does; TimeoutError."""
        if self.closed:
            raise _closed()
        try:
            connection = await self.connect(self._route, [], self._within)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():
                # Closed while this waited for a free connection: aiohttp has cancelled the wait, and no one the task.
                raise _closed() from None
            raise
        protocol = connection.protocol
        assert protocol is not None
        idle = protocol not in self._unused
        if not idle:
            self._unused.discard(protocol)
        return connection, self._links.get(protocol, NO_TLS), idle

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's name
    ) -> ResponseHandler:
        protocol = await super()._create_connection(req, traces, timeout)
        self._links = {each: link for each, link in self._links.items() if each.is_connected()}
        self._links[protocol] = link_of(protocol.transport) if self._route.is_ssl() else NO_TLS
        self._unused = {each for each in self._unused if each in self._links} | {protocol}
        self.made += 1
        return protocol


def _closed() -> aiohttp.ClientOSError:
    return aiohttp.ClientOSError(errno.ECANCELED, "its connections are closed, as after a reload")
