"""ATLS over HTTP as the serving side sees it: requests as a closed union of values, and its responses.

Resources: ``POST /atls?to=&nonce=`` opens and ``POST /.well-known/atls`` opens with the target implied. ``POST
/atls/{session}`` with ``ATLS-Seq: n`` sends unit n; without a body it asks for unit n, with ``Prefer: wait=N`` for at
most N seconds. ``GET /atls/{session}`` with ``Accept: text/event-stream`` reports numbers of units that wait,
``DELETE`` closes. ``GET /atls/inbox`` lists the sessions opened towards the client. The asking side: ``atls_client``.

Asking for unit n says that all before it have arrived, as a unit of the client does for what its own answer may bring.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final
from urllib.parse import unquote

from carriage.http.atls_format import (
    DRAFT_MEDIA_TYPE,
    EVENT_STREAM,
    INBOX,
    JSON,
    MEDIA_TYPES,
    PROBLEM,
    REASON_STATUS,
    ROOT,
    Fields,
    Kind,
    cookie_field,
    cookie_session,
    entity_tags,
    field_values,
    kind_of,
    media_type,
    no_store,
    problem,
    seq_field,
    seq_of,
    wait_of,
)
from carriage.identifiers import is_alias, is_nonce, is_session
from layer.errors import PeerError, UsageError


@dataclass(init=False, slots=True)  # its __init__ is written: one is made per unit
class HttpRequest:
    """``target``: path and query as they came (RFC 9112, section 3.2.1); ``body``: whole. ``fields`` may hold a token
    or a cookie."""

    method: str
    target: str
    fields: Fields = field(repr=False)
    body: bytes = field(repr=False)

    def __init__(self, method: str, target: str, fields: Fields, body: bytes = b"") -> None:
        self.method = method
        self.target = target
        self.fields = fields
        self.body = body


@dataclass(init=False, slots=True)  # as HttpRequest
class HttpResponse:
    """``fields``: without Content-Length, which the server adds."""

    status: int
    fields: Fields = field(repr=False)
    body: bytes = field(repr=False)

    def __init__(self, status: int, fields: Fields = (), body: bytes = b"") -> None:
        self.status = status
        self.fields = fields
        self.body = body


@dataclass(frozen=True, slots=True)
class OpenSession:
    """``to`` is None if the target is implied; then ``nonce`` may be None too. ``payload``: the first unit, possibly
    empty. ``draft``: the media type is the one of draft-friel-tls-atls-00."""

    to: str | None
    nonce: str | None
    kind: Kind
    payload: bytes = field(repr=False)
    draft: bool = False


@dataclass(init=False, slots=True)  # as HttpRequest
class SendUnit:
    """Unit ``n`` of the client; None: the next one, of a client of draft-friel-tls-atls-00, which has no numbers.
    ``session`` is None if the request's cookie names it."""

    session: str | None
    n: int | None
    kind: Kind
    payload: bytes = field(repr=False)
    draft: bool

    def __init__(self, session: str | None, n: int | None, kind: Kind, payload: bytes, draft: bool = False) -> None:
        self.session = session
        self.n = n
        self.kind = kind
        self.payload = payload
        self.draft = draft


@dataclass(frozen=True, slots=True)
class ReadUnit:
    """The client has all units below ``n`` and wants this one; ``wait``: seconds for which it waits, None: none."""

    session: str
    n: int
    wait: int | None = None


@dataclass(frozen=True, slots=True)
class WatchSession:
    """Report numbers of units that wait; ``last``: the last number that the client heard of, None: none."""

    session: str
    last: int | None = None


@dataclass(frozen=True, slots=True)
class CloseSession:
    """The client is done."""

    session: str


@dataclass(frozen=True, slots=True)
class Inbox:
    """The sessions opened towards the client. ``watch``: as events from now on. ``known``: the entity tags of lists
    that the client has (``If-None-Match``); ``wait``: seconds for which it waits for another one, None: none."""

    watch: bool = False
    known: tuple[str, ...] = ()
    wait: int | None = None


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """A session in an inbox. ``sender``: who opened it."""

    session: str
    kind: str
    sender: str


Operation = OpenSession | SendUnit | ReadUnit | WatchSession | CloseSession | Inbox


_UNWANTED: Final = re.compile(r";\s*[qQ]=0(\.0*)?\s*(;|$)")
"""A weight that says: not this one."""


class RefusedError(Exception):
    """Carries the reason out of nested parsing; never leaves this package's ``parse`` functions."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def concerns(target: str) -> bool:
    """Whether a request is about ATLS at all."""
    path = target.partition("?")[0]
    return path == f"/{ROOT}" or path.startswith((f"/{ROOT}/", "/.well-known/atls"))


def parse(request: HttpRequest, session_of_cookie: str | None = None) -> Operation | HttpResponse:
    """The operation of a request, or the response that refuses it. Never raises.

    ``session_of_cookie``: the session that the request's cookie names, for ``/.well-known/atls``.
    """
    try:
        return _parse(request, session_of_cookie)
    except RefusedError as refused:
        return refusal(refused.reason, detail=refused.detail)
    except PeerError as error:
        return refusal("bad-request", detail=str(error))


def _parse(request: HttpRequest, session_of_cookie: str | None) -> Operation:
    path, _, query = request.target.partition("?")
    if path == "/.well-known/atls":
        return _well_known(request, query, session_of_cookie)
    segments = path.strip("/").split("/")
    if segments == [ROOT]:
        return _open(request, query)
    if len(segments) != 2 or segments[0] != ROOT or path != f"/{ROOT}/{segments[1]}":
        raise RefusedError("unknown")
    if segments[1] == INBOX:
        _method(request, ("GET", "HEAD"))
        _arguments(query, ())
        watch = accepted(request, (JSON, EVENT_STREAM)) == EVENT_STREAM
        return Inbox(watch, entity_tags(request.fields), wait_of(request.fields))
    if not is_session(segments[1]):
        raise RefusedError("unknown")
    _arguments(query, ())
    return _on_session(request, segments[1])


def _well_known(request: HttpRequest, query: str, session_of_cookie: str | None) -> OpenSession | SendUnit:
    _method(request, ("POST",))
    if session_of_cookie is None:
        nonce = _arguments(query, ("nonce",)).get("nonce")
        if nonce is not None and not is_nonce(nonce):
            raise RefusedError("bad-request", "nonce is 8 to 32 octets in hexadecimal")
        return _opening(request, None, nonce)
    _arguments(query, ())
    if not request.body:
        raise RefusedError("bad-request", "a unit has at least one octet")
    kind, draft = _kind(request)
    return SendUnit(session_of_cookie, seq_of(request.fields), kind, request.body, draft)


def _open(request: HttpRequest, query: str) -> OpenSession | SendUnit:
    """A client of draft-friel-tls-atls-00 sends all its units here, the later ones with the cookie; and no nonce."""
    _method(request, ("POST",))
    arguments = _arguments(query, ("to", "nonce"))
    to, nonce = arguments.get("to"), arguments.get("nonce")
    draft = media_type(request.fields) == DRAFT_MEDIA_TYPE
    if to is None or not is_alias(to) or (not draft if nonce is None else not is_nonce(nonce)):
        raise RefusedError("bad-request", "an open has ?to=ALIAS&nonce=HEX, with 8 to 32 octets in hexadecimal")
    session = cookie_session(request.fields, to) if draft else None
    if session is None:
        return _opening(request, to, nonce)
    if not request.body:
        raise RefusedError("bad-request", "a unit has at least one octet")
    kind, draft = _kind(request)
    return SendUnit(session, seq_of(request.fields), kind, request.body, draft)


def _opening(request: HttpRequest, to: str | None, nonce: str | None) -> OpenSession:
    if seq_of(request.fields) not in (None, 0):
        raise RefusedError("bad-request", "an open brings unit 0")
    kind, draft = _kind(request)
    return OpenSession(to, nonce, kind, request.body, draft)


def _on_session(request: HttpRequest, session: str) -> SendUnit | ReadUnit | WatchSession | CloseSession:
    _method(request, ("POST", "GET", "DELETE"))
    if request.method == "DELETE":
        return CloseSession(session)
    if request.method == "GET":
        accepted(request, (EVENT_STREAM,))
        return WatchSession(session, _last_event(request.fields))
    n = seq_of(request.fields)
    if n is None:
        raise RefusedError("bad-request", "ATLS-Seq is missing")
    if not request.body:
        return ReadUnit(session, n, wait_of(request.fields))
    kind, draft = _kind(request)
    return SendUnit(session, n, kind, request.body, draft)


def _method(request: HttpRequest, allowed: tuple[str, ...]) -> None:
    if request.method not in allowed:
        raise RefusedError("method", ", ".join(allowed))


def _arguments(query: str, allowed: tuple[str, ...]) -> dict[str, str]:
    """The query as a table; an unknown or repeated name is refused: a typing error must not open the wrong session."""
    found: dict[str, str] = {}
    for argument in query.split("&") if query else ():
        name, _, value = argument.partition("=")
        if name not in allowed or name in found:
            raise RefusedError("bad-request", f"the query has {' and '.join(allowed) or 'nothing'}, each once")
        found[name] = unquote(value, errors="replace").lower() if name == "nonce" else unquote(value, errors="replace")
    return found


def accepted(request: HttpRequest, offered: Sequence[str]) -> str:
    """The first of ``offered`` that the client takes (RFC 9110, section 12.5.1; weights above 0 are not compared).

    RefusedError: none.
    """
    ranges = [
        each.partition(";")[0].strip().lower()
        for value in field_values(request.fields, "accept")
        for each in value.split(",")
        if not _UNWANTED.search(each)
    ]
    if not ranges and field_values(request.fields, "accept"):
        raise RefusedError("not-acceptable", ", ".join(offered))
    for name in ranges:
        if name in offered:
            return name
    if not ranges or "*/*" in ranges or any(f"{name.partition('/')[0]}/*" in ranges for name in offered):
        return offered[0]
    raise RefusedError("not-acceptable", ", ".join(offered))


def _last_event(fields: Fields) -> int | None:
    """The Last-Event-ID of a client that connects again; what is no number is none, as with a fresh client."""
    found = field_values(fields, "last-event-id")
    text = found[0].strip() if len(found) == 1 else ""
    return int(text) if 1 <= len(text) <= 20 and text.isascii() and text.isdigit() else None


def _kind(request: HttpRequest) -> tuple[Kind, bool]:
    kind = kind_of(request.fields)
    if kind is None:
        raise RefusedError("content")
    if field_values(request.fields, "content-encoding"):  # records don't compress, and what is read must be what came
        raise RefusedError("content", "a unit has no Content-Encoding")
    return kind, media_type(request.fields) == DRAFT_MEDIA_TYPE


# Responses. All say no-store: nothing of this may come from a cache.

_TAKEN: Final = HttpResponse(200, (no_store(),))


def unit(n: int, kind: Kind, payload: bytes, draft: bool = False) -> HttpResponse:
    """200 with one unit."""
    name = DRAFT_MEDIA_TYPE if draft and kind == "atls" else MEDIA_TYPES[kind]
    return HttpResponse(200, (("content-type", name), seq_field(n), no_store()), payload)


def taken(answer: HttpResponse | None = None) -> HttpResponse:
    """200: the unit is accepted (not yet delivered), or nothing came to be read; ``answer`` as made by ``unit``."""
    return _TAKEN if answer is None else answer


def opened(session: str, answer: HttpResponse | None = None) -> HttpResponse:
    """200 with the session's place; ``answer`` as made by ``unit`` if a unit came in time."""
    response = taken(answer)
    return HttpResponse(200, (("location", f"/{ROOT}/{session}"), *response.fields), response.body)


def inbox(entries: Sequence[InboxEntry]) -> HttpResponse:
    """200 with the list, and its entity tag."""
    body = json.dumps(listed(entries), separators=(",", ":")).encode()
    return HttpResponse(200, (("content-type", JSON), ("etag", _entity_tag(body)), no_store()), body)


def listed(entries: Sequence[InboxEntry]) -> list[dict[str, str]]:
    """The list as JSON has it; an inbox's events too."""
    return [{"session": each.session, "kind": each.kind, "from": each.sender} for each in entries]


def not_modified(known: HttpResponse) -> HttpResponse:
    """304 in the place of a list that the client has."""
    return HttpResponse(304, tuple(each for each in known.fields if each[0] in ("etag", "cache-control")))


def is_known(response: HttpResponse, tags: Sequence[str]) -> bool:
    """Whether the client has this list already."""
    return "*" in tags or any(tag in tags for tag in field_values(response.fields, "etag"))


def _entity_tag(body: bytes) -> str:
    return f'"{sha256(body).hexdigest()[:32]}"'


def applied(response: HttpResponse, wait: int | None) -> HttpResponse:
    """The same, with the seconds of ``Prefer: wait`` that were granted (RFC 7240, section 3); None: not asked for."""
    if wait is None:
        return response
    return HttpResponse(response.status, (*response.fields, ("preference-applied", f"wait={wait}")), response.body)


def with_cookie(response: HttpResponse, alias: str, session: str) -> HttpResponse:
    """The same, with the cookie that names the session to a client of draft-friel-tls-atls-00; ``session`` empty: that
    client is to forget it. Over https only."""
    return HttpResponse(response.status, (*response.fields, cookie_field(alias, session)), response.body)


def closed() -> HttpResponse:
    """204: the session is gone, now or before."""
    return HttpResponse(204, (no_store(),))


def refusal(
    reason: str, retry_after: float | None = None, detail: str = "", expected: int | None = None
) -> HttpResponse:
    """The response for a reason of ``REASON_STATUS``; ``retry_after`` in seconds, rounded up. ``expected``: the unit
    number that the session takes next, with ``order``; ``detail`` of ``method`` is what is allowed.

    UsageError: unknown reason.
    """
    status = REASON_STATUS.get(reason)
    if status is None:
        raise UsageError(f"unknown reason {reason!r}")
    fields: Fields = (("content-type", PROBLEM), no_store())
    if retry_after is not None:
        fields += (("retry-after", str(max(1, int(-(-retry_after // 1))))),)
    if reason == "method":
        fields += (("allow", detail),)
        detail = ""
    return HttpResponse(status, fields, problem(reason, detail, expected))
