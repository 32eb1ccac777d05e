"""ATLS over CoAP as the asking side sees it: its requests, and what the responses say. The resources: see ``atls``."""

from __future__ import annotations

from dataclasses import dataclass, field

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.atls_format import DEFAULT_FORMATS, LINK_FORMAT, ContentFormats, Kind, number_of, reason_of
from carriage.coap.exchange import Request, Response
from carriage.coap.link_format import Link, read_links
from carriage.coap.options import Options, encode_uint
from carriage.identifiers import MAX_N, is_alias, is_nonce, is_session
from layer.errors import PeerError, UsageError

_ACCEPT_LINKS: Options = ((opt.ACCEPT, encode_uint(LINK_FORMAT)),)


@dataclass(frozen=True, slots=True)
class ReceivedUnit:
    """Unit ``n`` of the other side."""

    n: int
    kind: Kind
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Opened:
    """The session's id and the unit that came with the answer, if one did."""

    session: str
    unit: ReceivedUnit | None


@dataclass(frozen=True, slots=True)
class SessionRefused:
    """``reason`` is a name of ``atls_format.REASON_CODES``; ``retry_after`` in seconds if the server says so."""

    reason: str
    code: int
    retry_after: int | None = None


def open_request(to: str, nonce: str, kind: Kind, payload: bytes, formats: ContentFormats = DEFAULT_FORMATS) -> Request:
    """``POST /atls?to=&nonce=``. Raises ``UsageError`` for an impossible alias or nonce."""
    if not is_alias(to) or not is_nonce(nonce):
        raise UsageError("an alias or a nonce that can't be sent")
    options = opt.uri(("atls",), (f"to={to}", f"nonce={nonce}"))
    return Request(codes.POST, options + _content(kind, formats), payload)


def open_implied_request(
    kind: Kind, payload: bytes, nonce: str | None = None, formats: ContentFormats = DEFAULT_FORMATS
) -> Request:
    """``POST /.well-known/atls``: the server is the target."""
    if nonce is not None and not is_nonce(nonce):
        raise UsageError("a nonce that can't be sent")
    options = opt.uri((".well-known", "atls"), () if nonce is None else (f"nonce={nonce}",))
    return Request(codes.POST, options + _content(kind, formats), payload)


def send_request(
    session: str,
    n: int,
    kind: Kind,
    payload: bytes,
    formats: ContentFormats = DEFAULT_FORMATS,
    *,
    confirmable: bool = True,
) -> Request:
    """``POST /atls/{session}?n=``. Only DTLS units may go non-confirmable."""
    if not confirmable and kind == "atls":
        raise UsageError("TLS units go confirmable")
    return Request(codes.POST, _session(session, n) + _content(kind, formats), payload, confirmable)


def read_request(session: str, n: int | None = None) -> Request:
    """``GET /atls/{session}``: to observe, or to read once; with ``n`` to read that unit again."""
    return Request(codes.GET, _session(session, n))


def close_request(session: str) -> Request:
    """``DELETE /atls/{session}``."""
    return Request(codes.DELETE, _session(session, None))


def inbox_request() -> Request:
    """``GET /atls/inbox``: to observe or to read."""
    return Request(codes.GET, opt.uri(("atls", "inbox")) + _ACCEPT_LINKS)


def core_request(query: str | None = None) -> Request:
    """``GET /.well-known/core``."""
    return Request(codes.GET, opt.uri((".well-known", "core"), () if query is None else (query,)) + _ACCEPT_LINKS)


def read_opened(response: Response, formats: ContentFormats = DEFAULT_FORMATS) -> Opened | SessionRefused:
    """The answer to an open. Raises ``PeerError`` for what makes no sense."""
    if not codes.is_success(response.code):
        return _refused(response)
    place = opt.strings(response.options, opt.LOCATION_PATH)
    if response.code != codes.CREATED or len(place) != 2 or place[0] != "atls" or not is_session(place[1]):
        raise PeerError("an open was answered without a session")
    return Opened(place[1], _unit(response, formats))


def read_unit(response: Response, formats: ContentFormats = DEFAULT_FORMATS) -> ReceivedUnit | SessionRefused | None:
    """The answer to a send, a read or a close, or a notification; ``None``: fine, and no unit in it.

    Raises ``PeerError`` for what makes no sense.
    """
    if not codes.is_success(response.code):
        return _refused(response)
    return _unit(response, formats)


def read_link_document(response: Response) -> tuple[Link, ...] | SessionRefused:
    """The answer to ``inbox_request`` or ``core_request``. Raises ``PeerError`` for what makes no sense."""
    if not codes.is_success(response.code):
        return _refused(response)
    if opt.first_uint(response.options, opt.CONTENT_FORMAT) not in (None, LINK_FORMAT):
        raise PeerError("a link document was asked for and something else came")
    return read_links(response.payload)


def _unit(response: Response, formats: ContentFormats) -> ReceivedUnit | None:
    if not response.payload:
        return None
    number = opt.first_uint(response.options, opt.CONTENT_FORMAT)
    kind = None if number is None else formats.kinds.get(number)
    etag = opt.first(response.options, opt.ETAG)
    if kind is None or etag is None:
        raise PeerError("a payload that is not marked as a unit")
    return ReceivedUnit(number_of(etag), kind, response.payload)


def _refused(response: Response) -> SessionRefused:
    wait = opt.first_uint(response.options, opt.MAX_AGE)
    return SessionRefused(reason_of(response.code, response.payload), response.code, wait or None)


def _session(session: str, n: int | None) -> Options:
    if not is_session(session) or (n is not None and not 0 <= n <= MAX_N):
        raise UsageError("a session id or unit number that can't be sent")
    return opt.uri(("atls", session), () if n is None else (f"n={n}",))


def _content(kind: Kind, formats: ContentFormats) -> Options:
    return ((opt.CONTENT_FORMAT, encode_uint(formats.numbers[kind])),)
