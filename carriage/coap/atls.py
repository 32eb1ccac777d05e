"""ATLS over CoAP as the serving side sees it: requests as a closed union of values, and its responses.

Resources: ``POST /atls?to=&nonce=`` opens, ``POST /atls/{session}?n=`` sends, ``GET /atls/{session}`` observes or
reads, ``?n=`` re-reads, ``DELETE`` closes; ``GET /atls/inbox`` lists sessions opened towards the client;
``POST /.well-known/atls`` opens with the target implied; ``GET /.well-known/core`` (RFC 6690). The asking side is in
``atls_client``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from carriage.coap import codes, device_resources
from carriage.coap import options as opt
from carriage.coap.atls_format import DEFAULT_FORMATS, LINK_FORMAT, REASON_CODES, ContentFormats, Kind, etag_of
from carriage.coap.exchange import Request, Response
from carriage.coap.link_format import Link, write_links
from carriage.coap.observe import DEREGISTER, REGISTER
from carriage.coap.options import Options, encode_uint
from carriage.identifiers import is_alias, is_nonce, is_session, parse_number
from layer.errors import PeerError, UsageError


@dataclass(frozen=True, slots=True)
class OpenSession:
    """``to`` is ``None`` if the target is implied; then ``nonce`` may be ``None`` too. ``payload``: the first unit,
    possibly empty."""

    to: str | None
    nonce: str | None
    kind: Kind
    payload: bytes = field(repr=False)


@dataclass(slots=True)  # not frozen: one is made per unit, and freezing doubles the cost
class SendUnit:
    """Unit ``n`` of the client."""

    session: str
    n: int
    kind: Kind
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReadUnit:
    """Read unit ``n``, or the lowest unacknowledged one (``None``). ``observe``: from now on by notification;
    ``deregister``: no longer (answer at once). ``accept``: the only kind that the client takes."""

    session: str
    n: int | None
    observe: bool = False
    deregister: bool = False
    accept: Kind | None = None


@dataclass(frozen=True, slots=True)
class CloseSession:
    """The client is done."""

    session: str


@dataclass(frozen=True, slots=True)
class Inbox:
    """The sessions opened towards the client."""

    observe: bool = False
    deregister: bool = False


@dataclass(frozen=True, slots=True)
class WellKnownCore:
    """Resource discovery; ``query`` is the filter (``""``: none)."""

    query: str = ""


Operation = OpenSession | SendUnit | ReadUnit | CloseSession | Inbox | WellKnownCore


_USUAL: Final = (opt.URI_PATH, opt.URI_PATH, opt.CONTENT_FORMAT, opt.URI_QUERY)


class _RefusedError(Exception):
    """Carries the reason out of nested parsing; never leaves this module."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse(request: Request, formats: ContentFormats = DEFAULT_FORMATS) -> Operation | Response | None:
    """The operation of a request, or the response that refuses it; None: it is for ``devices.parse``. Never raises."""
    try:
        usual = _usual(request, formats)
        if usual is not None or device_resources.concerns(request):
            return usual
        return _parse(request, formats)
    except _RefusedError as refused:
        return refusal(refused.reason)
    except PeerError:
        return refusal("bad-request")


def _usual(request: Request, formats: ContentFormats) -> SendUnit | None:
    """The request that comes for every unit, read in one go; ``None``: whatever differs from it in anything."""
    options = request.options
    if len(options) != 4 or request.code != codes.POST or not request.payload:
        return None
    (first, root), (second, segment), (third, content), (fourth, query) = options
    if (first, second, third, fourth) != _USUAL or root != b"atls" or query[:2] != b"n=":
        return None
    session = segment.decode("latin-1")
    n = parse_number(query[2:].decode("latin-1"))
    kind = formats.kinds.get(int.from_bytes(content, "big"))
    if n is None or kind is None or not is_session(session):
        return None
    return SendUnit(session, n, kind, request.payload)


def _parse(request: Request, formats: ContentFormats) -> Operation:
    path = opt.strings(request.options, opt.URI_PATH)
    if path == (".well-known", "core"):
        return _core(request)
    if path == (".well-known", "atls"):
        return _open(request, formats, implied=True)
    if not path or path[0] != "atls" or len(path) > 2:
        raise _RefusedError("unknown")
    if len(path) == 1 or path[1] == "":
        return _open(request, formats, implied=False)
    if path[1] == "inbox":
        return _inbox(request)
    if not is_session(path[1]):
        raise _RefusedError("unknown")
    return _on_session(request, path[1], formats)


def _open(request: Request, formats: ContentFormats, *, implied: bool) -> OpenSession:
    if request.code != codes.POST:
        raise _RefusedError("method")
    query = _query(request.options, ("nonce",) if implied else ("to", "nonce"))
    to, nonce = query.get("to"), query.get("nonce")
    if nonce is not None:
        nonce = nonce.lower()
    if not implied and (to is None or nonce is None):
        raise _RefusedError("bad-request")
    if (to is not None and not is_alias(to)) or (nonce is not None and not is_nonce(nonce)):
        raise _RefusedError("bad-request")
    return OpenSession(to, nonce, _kind(request, formats), request.payload)


def _on_session(request: Request, session: str, formats: ContentFormats) -> SendUnit | ReadUnit | CloseSession:
    code = request.code
    if code == codes.POST:
        n = _number(_query(request.options, ("n",)))
        if n is None or not request.payload:
            raise _RefusedError("bad-request")
        return SendUnit(session, n, _kind(request, formats), request.payload)
    if code == codes.GET:
        n = _number(_query(request.options, ("n",)))
        observe = opt.first_uint(request.options, opt.OBSERVE) if n is None else None
        accept: Kind | None = None
        wanted = opt.first_uint(request.options, opt.ACCEPT)
        if wanted is not None:
            accept = formats.kinds.get(wanted)
            if accept is None:
                raise _RefusedError("not-acceptable")
        return ReadUnit(session, n, observe == REGISTER, observe == DEREGISTER, accept)
    if code == codes.DELETE:
        _query(request.options, ())
        return CloseSession(session)
    raise _RefusedError("method")


def _inbox(request: Request) -> Inbox:
    _expect_links(request)
    _query(request.options, ())
    observe = opt.first_uint(request.options, opt.OBSERVE)
    return Inbox(observe == REGISTER, observe == DEREGISTER)


def _core(request: Request) -> WellKnownCore:
    _expect_links(request)
    query = opt.strings(request.options, opt.URI_QUERY)
    if len(query) > 1:
        raise _RefusedError("bad-request")
    return WellKnownCore(query[0] if query else "")


def _expect_links(request: Request) -> None:
    if request.code != codes.GET:
        raise _RefusedError("method")
    if opt.first_uint(request.options, opt.ACCEPT) not in (None, LINK_FORMAT):
        raise _RefusedError("not-acceptable")


def _query(options: Options, allowed: tuple[str, ...]) -> dict[str, str]:
    """Uri-Query as a table; an unknown or repeated name is refused: a typing error must not open the wrong session."""
    found: dict[str, str] = {}
    for argument in opt.strings(options, opt.URI_QUERY):
        name, _, value = argument.partition("=")
        if name not in allowed or name in found:
            raise _RefusedError("bad-request")
        found[name] = value
    return found


def _number(query: dict[str, str]) -> int | None:
    text = query.get("n")
    if text is None:
        return None
    number = parse_number(text)
    if number is None:
        raise _RefusedError("bad-request")
    return number


def _kind(request: Request, formats: ContentFormats) -> Kind:
    number = opt.first_uint(request.options, opt.CONTENT_FORMAT)
    kind = None if number is None else formats.kinds.get(number)
    if kind is None:
        raise _RefusedError("content")
    return kind


# Responses. All say Max-Age 0: nothing of this may come from a cache.

_UNCACHED: Options = ((opt.MAX_AGE, b""),)
_TAKEN: Final = Response(codes.CHANGED, _UNCACHED)
_NO_UNIT: Final = Response(codes.CONTENT, _UNCACHED)


def unit(n: int, kind: Kind, payload: bytes, formats: ContentFormats = DEFAULT_FORMATS) -> Response:
    """2.05 with one unit: for GET and for notifications."""
    return Response(codes.CONTENT, _unit_options(n, kind, formats), payload)


def no_unit() -> Response:
    """2.05 without a unit: nothing is there (yet), or an observation begins."""
    return _NO_UNIT


def opened(session: str, answer: Response | None = None) -> Response:
    """2.01 with the session's place; ``answer`` as made by ``unit`` if a unit came in time."""
    place: Options = ((opt.LOCATION_PATH, b"atls"), (opt.LOCATION_PATH, session.encode()))
    if answer is None:
        return Response(codes.CREATED, place + _UNCACHED)
    return Response(codes.CREATED, place + answer.options, answer.payload)


def taken(answer: Response | None = None) -> Response:
    """2.04: the unit is accepted (not yet delivered); ``answer`` as made by ``unit`` if one waits."""
    if answer is None:
        return _TAKEN
    return Response(codes.CHANGED, answer.options, answer.payload)


def closed() -> Response:
    """2.02: the session is gone, now or before."""
    return Response(codes.DELETED, _UNCACHED)


def links(entries: Iterable[Link]) -> Response:
    """2.05 with a link document."""
    content = (opt.CONTENT_FORMAT, encode_uint(LINK_FORMAT))
    return Response(codes.CONTENT, (content, *_UNCACHED), write_links(entries))


def refusal(reason: str, retry_after: float | None = None) -> Response:
    """The response for a reason of ``REASON_CODES``; ``retry_after`` in seconds (rounded up) becomes Max-Age.

    Raises ``UsageError`` for an unknown reason.
    """
    code = REASON_CODES.get(reason)
    if code is None:
        raise UsageError(f"unknown reason {reason!r}")
    wait = 0 if retry_after is None else min(0xFFFFFFFF, max(1, int(-(-retry_after // 1))))
    return Response(code, ((opt.MAX_AGE, encode_uint(wait)),), reason.encode())


def _unit_options(n: int, kind: Kind, formats: ContentFormats) -> Options:
    return (
        (opt.ETAG, etag_of(n)),
        (opt.CONTENT_FORMAT, encode_uint(formats.numbers[kind])),
        (opt.MAX_AGE, b""),
    )
