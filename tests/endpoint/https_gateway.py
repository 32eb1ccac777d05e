"""A gateway's HTTP side as a script: a real aiohttp server over real TLS, whose answers a test decides."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from carriage.http import atls
from carriage.http.atls import HttpRequest, HttpResponse
from carriage.http.atls_format import lower
from demo.stack import free_port

HANG_UP = object()
"""What a script answers to have the connection cut, after the request was seen."""


@dataclass
class WebGateway:
    """``scripts``: by operation; a script may answer, hang up, or raise LookupError: as usual. ``seen``: operations;
    ``raw``: requests with their header fields; ``peers``: the client certificates (DER), None for none."""

    context: ssl.SSLContext | None = None
    port: int = 0
    host: str = "127.0.0.1"
    scripts: dict[type, Callable[[Any], Any]] = field(default_factory=dict)
    seen: list[Any] = field(default_factory=list)
    raw: list[web.BaseRequest] = field(default_factory=list)
    peers: list[bytes | None] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, dict[int, bytes]] = field(default_factory=dict)
    inbox: dict[str, str] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    names: int = 0
    runner: web.ServerRunner | None = None

    async def start(self) -> None:
        self.port = self.port or free_port()
        self.runner = web.ServerRunner(web.Server(self._on_request), shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, self.host, self.port, ssl_context=self.context).start()

    async def stop(self) -> None:
        if self.runner is not None:
            runner, self.runner = self.runner, None
            self._tell()
            await runner.cleanup()

    # What a test asks

    def of(self, kind: type) -> list[Any]:
        return [operation for operation in self.seen if isinstance(operation, kind)]

    def units(self, session: str) -> list[tuple[int | None, bytes]]:
        return [(each.n, each.payload) for each in self.of(atls.SendUnit) if each.session == session]

    # What a test does

    def down(self, session: str, n: int, payload: bytes) -> None:
        self.waiting.setdefault(session, {})[n] = payload
        self._tell()

    def offer(self, name: str, kind: str) -> None:
        self.kinds[name] = self.inbox[name] = kind
        self._tell()

    def end(self, session: str, reason: str) -> None:
        self.ends[session] = reason
        self._tell()

    def _tell(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()

    # Requests

    async def _on_request(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        operation = atls.parse(HttpRequest(request.method, request.path_qs, lower(request.headers.items()), body))
        self.seen.append(operation)
        self.raw.append(request)
        shown = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
        self.peers.append(shown.getpeercert(binary_form=True) if shown is not None else None)
        try:
            answer = self.scripts.get(type(operation), _usual)(operation)
        except LookupError:
            answer = await self._usual(operation, request)
        if answer is HANG_UP:
            assert request.transport is not None
            request.transport.abort()
            answer = atls.taken()
        return web.Response(status=answer.status, headers=list(answer.fields), body=answer.body or None)

    async def _usual(self, operation: Any, request: web.BaseRequest) -> HttpResponse:
        if isinstance(operation, HttpResponse):
            return operation
        if isinstance(operation, atls.OpenSession):
            self.names += 1
            name = f"{self.names:032x}"
            self.kinds[name] = operation.kind
            return atls.opened(name)
        if isinstance(operation, atls.Inbox):
            return await self._inbox(request)
        session = operation.session
        if session in self.ends or session not in self.kinds:
            return atls.refusal(self.ends.get(session, "unknown"))
        if isinstance(operation, atls.CloseSession):
            self.ends[session] = "closed"
            self.inbox.pop(session, None)
            return atls.closed()
        if isinstance(operation, atls.ReadUnit):
            units = self.waiting.setdefault(session, {})
            await self._wait(operation.wait, lambda: operation.n in units or session in self.ends)
            if session in self.ends:
                return atls.refusal(self.ends[session])
            if operation.n in units:
                return atls.unit(operation.n, self.kinds[session], units[operation.n])  # type: ignore[arg-type]
        return atls.taken()

    async def _inbox(self, request: web.BaseRequest) -> HttpResponse:
        def now() -> tuple[bytes, str]:
            listed = [{"session": name, "kind": kind, "from": "lamp7"} for name, kind in self.inbox.items()]
            body = json.dumps(listed).encode()
            return body, f'"{hashlib.sha256(body).hexdigest()[:16]}"'

        known = request.headers.get("if-none-match")
        wait = request.headers.get("prefer", "wait=0").partition("=")[2]
        await self._wait(int(wait), lambda: now()[1] != known)
        body, etag = now()
        if etag == known:
            return HttpResponse(304, (("etag", etag),))
        return HttpResponse(200, (("content-type", "application/json"), ("etag", etag)), body)

    async def _wait(self, seconds: int | None, there: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(min(seconds or 0, 2)):
                while not there() and self.runner is not None:
                    await self.news.wait()
        except TimeoutError:
            pass


def _usual(operation: Any) -> Any:
    raise LookupError
