"""The interface for a program that answers what other ends ask inside layer 0: one request, one answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from carriage.coap.exchange import Response
from layer.events import AssociationInfo


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
