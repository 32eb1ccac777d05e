"""ATLS over HTTP as the asking side sees it: its requests, and what the responses say. The resources: see ``atls``."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

from carriage.http.atls import HttpRequest, HttpResponse
from carriage.http.atls_format import (
    MEDIA_TYPES,
    ROOT,
    Kind,
    field_values,
    kind_of,
    reason_of,
    retry_after_of,
    seq_field,
    seq_of,
)
from carriage.identifiers import is_alias, is_nonce
from layer.errors import PeerError, UsageError


@dataclass(frozen=True, slots=True)
class ReceivedUnit:
    """Unit ``n`` of the other side; None: of a service that gives no numbers, the next one."""

    n: int | None
    kind: Kind
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Opened:
    """``location``: the target of what follows, path and query; None: the service named none, and what follows goes to
    the same place with its cookies. ``unit``: what came with the answer."""

    location: str | None
    unit: ReceivedUnit | None


@dataclass(frozen=True, slots=True)
class SessionRefused:
    """``reason`` is a name of ``atls_format.REASON_STATUS``; ``retry_after`` in seconds if the server says so;
    ``expected``: the number that it takes next, with ``order``."""

    reason: str
    status: int
    retry_after: int | None = None
    expected: int | None = None


def open_target(to: str, nonce: str) -> str:
    """Where a gateway opens sessions. UsageError: an impossible alias or nonce."""
    if not is_alias(to) or not is_nonce(nonce):
        raise UsageError("an alias or a nonce that can't be sent")
    return f"/{ROOT}?to={to}&nonce={nonce}"


def send_request(target: str, n: int, kind: Kind, payload: bytes) -> HttpRequest:
    """POST of unit ``n``: to ``open_target`` or a service's place the first one (n is 0), then to the session's.
    ``payload`` is empty only in an open without a unit."""
    return HttpRequest("POST", target, (("content-type", MEDIA_TYPES[kind]), seq_field(n)), payload)


def read_request(target: str, n: int, wait: int | None = None) -> HttpRequest:
    """Ask for unit ``n``: all before it have arrived. ``wait``: seconds."""
    fields = (seq_field(n),) if wait is None else (seq_field(n), ("prefer", f"wait={wait}"))
    return HttpRequest("POST", target, fields)


def close_request(target: str) -> HttpRequest:
    return HttpRequest("DELETE", target, ())


def read_opened(url: str, response: HttpResponse) -> Opened | SessionRefused:
    """The answer to an open that was sent to ``url``. PeerError: it makes no sense, or names a place elsewhere."""
    if response.status != 200:
        return _refused(response)
    places = field_values(response.fields, "location")
    if len(places) > 1:
        raise PeerError("an answer with two places")
    return Opened(_same_origin(url, places[0]) if places else None, _unit(response))


def read_unit(response: HttpResponse) -> ReceivedUnit | SessionRefused | None:
    """The answer to a send, a read or a close; None: fine, and no unit in it. PeerError: it makes no sense."""
    if response.status not in (200, 204):
        return _refused(response)
    return _unit(response)


def _unit(response: HttpResponse) -> ReceivedUnit | None:
    if not response.body:
        return None
    kind = kind_of(response.fields)
    if kind is None or field_values(response.fields, "content-encoding"):
        raise PeerError("a body that is not marked as a unit")
    return ReceivedUnit(seq_of(response.fields), kind, response.body)


def _refused(response: HttpResponse) -> SessionRefused:
    reason, expected = reason_of(response.status, response.fields, response.body)
    return SessionRefused(reason, response.status, retry_after_of(response.fields), expected)


def _same_origin(url: str, place: str) -> str:
    """Path and query of a Location; another origin would take our units elsewhere."""
    try:
        base, found = urlsplit(url), urlsplit(urljoin(url, place))
        same = (base.scheme, base.hostname, base.port) == (found.scheme, found.hostname, found.port)
    except ValueError as error:
        raise PeerError("a Location that can't be read") from error
    if not same:
        raise PeerError("a Location on another origin")
    return (found.path or "/") + (f"?{found.query}" if found.query else "")
