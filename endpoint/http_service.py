"""ATLS for a web service made with aiohttp: one line mounts it, and a handler answers what comes inside layer 0.

    async def answer(asked: Asked) -> bytes:
        return b"hello, " + (asked.info.peer.psk_identity or b"stranger")

    app = web.Application()
    mount(app, answer, policy=Path("door-layer0.yaml"))

``mount`` adds ``/.well-known/atls`` and ``/atls/{session}`` to the application's own routes. ``subapp`` gives the same
as an application for ``add_subapp(PREFIX, ...)``: its place is then ``PREFIX/.well-known/atls``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from endpoint.application import Application
from endpoint.handler import Asked, Handler
from endpoint.policy import Layer0Policy, read_policy
from endpoint.transports.https_service import ServiceLimits, ServiceLink, no_owner

__all__ = ["Asked", "Handler", "ServiceLimits", "mount", "subapp"]

_LOG = logging.getLogger(__name__)


def mount(
    app: web.Application,
    handler: Handler,
    *,
    policy: Path | Layer0Policy,
    limits: ServiceLimits = ServiceLimits(),  # noqa: B008 - frozen
    secure: bool | None = None,
    owner_of: Callable[[web.BaseRequest], str] = no_owner,
) -> None:
    """Let ``app`` serve ATLS under ``policy``, for as long as it runs.

    ``secure``: True if a TLS terminator in front makes clients' requests https; None: as each request says.
    ``owner_of``: who a request's client is, if the web service knows; a session is then that client's. It is called
    before layer 0 and may raise aiohttp's HTTP exceptions. PolicyError: the policy can't be used.
    """
    rules = read_policy(policy) if isinstance(policy, Path) else policy
    links: list[ServiceLink] = []
    leave: list[Callable[[], None]] = []

    async def running(_: web.Application) -> AsyncIterator[None]:
        link = ServiceLink(rules.kind, limits=limits, secure=secure, owner_of=owner_of)
        links.append(link)
        application = Application(
            rules, link, _log, link_name="http", max_sessions=limits.max_sessions, handler=handler
        )
        task = asyncio.get_running_loop().create_task(
            application.run(opens=(), control=False, messages=(), leave=False), name="atls"
        )
        await asyncio.sleep(0)
        leave.append(application.quit)
        yield
        links.remove(link)
        application.quit()
        await task

    async def on_shutdown(_: web.Application) -> None:
        """Answer the requests that wait: aiohttp lets them end before it goes on to clean up."""
        leave.pop()()

    async def on_open(request: web.Request) -> web.StreamResponse:
        return await links[0].open_request(request)

    async def on_session(request: web.Request) -> web.StreamResponse:
        return await links[0].session_request(request)

    app.cleanup_ctx.append(running)
    app.on_shutdown.append(on_shutdown)
    app.add_routes(ServiceLink.routes(on_open, on_session))


def subapp(handler: Handler, *, policy: Path | Layer0Policy, **settings: Any) -> web.Application:
    """An application that serves ATLS and nothing else; settings as ``mount`` has them."""
    app = web.Application()
    mount(app, handler, policy=policy, **settings)
    return app


def _log(event: str, **facts: Any) -> None:
    """The reports of the command's process are log lines here, without what is in the messages."""
    _LOG.info("%s %s", event, {name: value for name, value in facts.items() if name != "text"})
