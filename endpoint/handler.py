"""The interface for a program that answers what other ends ask inside layer 0: one request, one answer; its calls."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from carriage.coap import codes, options
from carriage.coap.exchange import Request, Response
from layer.events import AssociationInfo

_LOG = logging.getLogger(__name__)

MAX_ASKED: Final = 32
"""Requests of one session that a handler works on."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A CoAP request inside a session. ``session``: the session's number; ``info``: who layer 0 has proven the other
    end to be, and how; ``code``: the method, of ``carriage.coap.codes``; ``path``: its segments joined by ``/``."""

    session: int
    info: AssociationInfo
    code: int
    path: str
    body: bytes = field(repr=False)


Handler = Callable[[Asked], Awaitable[Response | bytes]]
"""Octets are the body of a good answer: 2.05 to GET and FETCH, 2.04 to any other method (RFC 7252, section 5.8)."""


class HandlerCalls:
    """Calls a handler for the requests of all sessions. ``respond(session, exchange, answer)`` gets its answers.

    ``tasks``: in which the handler runs; set it before the first request.
    """

    tasks: asyncio.TaskGroup

    def __init__(self, handler: Handler, respond: Callable[[int, int | None, Response], None]) -> None:
        self._handler = handler
        self._respond = respond
        self._asked: Counter[int] = Counter()

    def ask(self, session: int, info: AssociationInfo | None, exchange: int | None, request: Request) -> None:
        """``info``: of an established session. ``exchange`` is None if the request is a raw message."""
        assert info is not None
        if self._asked[session] >= MAX_ASKED:
            _LOG.warning("session %d: more than %d requests at a time: one is refused", session, MAX_ASKED)
            self._respond(session, exchange, Response(codes.SERVICE_UNAVAILABLE))
            return
        self._asked[session] += 1
        path = "/".join(v.decode("utf-8", "replace") for number, v in request.options if number == options.URI_PATH)
        asked = Asked(session, info, request.code, path, request.payload)
        self.tasks.create_task(self._call(asked, exchange), name="handler")

    async def _call(self, asked: Asked, exchange: int | None) -> None:
        try:
            answer = await self._handler(asked)
        except Exception:
            _LOG.exception("session %d: the handler failed", asked.session)
            answer = Response(codes.INTERNAL_SERVER_ERROR)
        finally:
            self._asked[asked.session] -= 1
            if not self._asked[asked.session]:
                del self._asked[asked.session]
        if isinstance(answer, bytes):
            reads = asked.code in (codes.GET, codes.FETCH)
            answer = Response(codes.CONTENT if reads else codes.CHANGED, payload=answer)
        self._respond(asked.session, exchange, answer)
