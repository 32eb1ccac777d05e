"""Devices over CoAP as the serving side sees them: requests to ``/d`` as a closed union of values, and their answers.

Resources: ``GET /d`` lists, ``GET /d/{name}`` reads all that a device reports, ``GET /d/{name}/{property}`` one thing,
``PUT`` sets it; ``POST /d/{name}/{action}`` has the device do something; ``GET /d/{name}/{event}`` with Observe reports
its events. ``GET /d/{name}/{property}/value`` and ``.../{event}/value`` have the value alone, without age or number;
``GET /d/{name}/{property}/command`` has the outcome of the last PUT or POST that had to wait. ``carriage.senml`` and
the adapter say what values look like in each media type. ``GET /td/{name}`` and ``GET /.well-known/wot`` have Thing
Descriptions, of a device and of the gateway.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.atls_format import LINK_FORMAT, REASON_CODES
from carriage.coap.exchange import Request, Response
from carriage.coap.observe import DEREGISTER, REGISTER
from carriage.coap.options import encode_uint
from layer.errors import PeerError

ROOT: Final = "d"
COMMAND: Final = "command"
VALUE: Final = "value"
DESCRIPTIONS: Final = "td"
WELL_KNOWN: Final = (".well-known", "wot")

TEXT: Final = 0
"""text/plain;charset=utf-8 (RFC 7252, section 12.3)."""
SENML_JSON: Final = 110
"""application/senml+json (RFC 8428, section 12.4)."""
SENML_CBOR: Final = 112
"""application/senml+cbor."""
JSON: Final = 50
"""application/json (RFC 7252, section 12.3)."""
CBOR: Final = 60
"""application/cbor (RFC 8949, section 9.3): what JSON says, shorter."""

TD_JSON: Final = 432
"""application/td+json (WoT TD 1.1, section 10.2)."""

PLAIN_FORMATS: Final = (JSON, CBOR)
"""Of values alone, of events, and of what goes into an action and comes out."""
ONE_FORMATS: Final = (SENML_JSON, SENML_CBOR, TEXT, *PLAIN_FORMATS)
"""Formats of a single property. The first is the default if the request has no Accept: unlike text it has a value's
age.
"""
ALL_FORMATS: Final = (SENML_JSON, SENML_CBOR, *PLAIN_FORMATS)
"""Of a whole device."""
SET_FORMATS: Final = ONE_FORMATS
"""Of what one property is set to."""
COMMAND_FORMATS: Final = (TEXT,)

MAX_DIAGNOSTIC: Final = 120


@dataclass(frozen=True, slots=True)
class ListDevices:
    """``query``: a filter of RFC 6690, section 4.1 (``""``: none)."""

    query: str = ""


@dataclass(frozen=True, slots=True)
class Read:
    """``property``: of a property or an event; empty: all of the device. ``command``: not the property but the outcome
    of the last PUT to it; ``alone``: its value alone.

    ``format``: of the answer; ``named``: by the client. ``observe``: from now on by notification; ``deregister``: no
    longer.
    """

    device: str
    property: str
    format: int
    command: bool = False
    observe: bool = False
    deregister: bool = False
    named: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """Set a property to what ``payload`` says in ``format``."""

    device: str
    property: str
    format: int
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class InvokeRequest:
    """Have the device do ``action``; ``payload``: its input in ``format``, or nothing. ``accept``: the format of what
    comes back."""

    device: str
    action: str
    payload: bytes = field(repr=False)
    format: int = JSON
    accept: int = JSON


@dataclass(frozen=True, slots=True)
class Describe:
    """``device`` empty: the gateway. ``host``, ``port``: as the client names us, if it does."""

    device: str = ""
    host: str = ""
    port: int = 0


DeviceOperation = ListDevices | Read | Write | InvokeRequest
Operation = DeviceOperation | Describe


def concerns(request: Request) -> bool:
    """Whether the request is for this module."""
    options = request.options
    first = opt.first(options, opt.URI_PATH)
    if first == b".well-known":
        return (opt.URI_PATH, b"wot") in options
    return first in (b"d", b"td")


def parse(request: Request) -> Operation | Response:
    """The operation of a request to ``/d``, or the response that refuses it. Never raises."""
    try:
        whole = opt.strings(request.options, opt.URI_PATH)
        path = whole[1:]
        query = opt.strings(request.options, opt.URI_QUERY)
        if whole[:1] != (ROOT,):
            return _describe(request, whole, query)
    except PeerError:
        return refusal("bad-request")
    if path[-1:] == ("",):
        path = path[:-1]
    part = path[2] if len(path) == 3 else ""
    if len(path) > 3 or part not in ("", COMMAND, VALUE) or "" in path:
        return refusal("unknown")
    if request.code == codes.PUT and len(path) == 2:
        return refusal("bad-request") if query else _write(request, *path)
    if request.code == codes.POST and len(path) == 2:
        return refusal("bad-request") if query else _invoke(request, *path)
    if request.code != codes.GET:
        return refusal("method")
    if not path:
        return _list(request, query)
    if query:
        return refusal("bad-request")
    return _read(request, path[0], path[1] if len(path) > 1 else "", part)


def _describe(request: Request, path: tuple[str, ...], query: tuple[str, ...]) -> Operation | Response:
    gateway = path == WELL_KNOWN
    if not gateway and (len(path) != 2 or path[0] != DESCRIPTIONS or not path[1]):
        return refusal("unknown")
    if request.code != codes.GET:
        return refusal("method")
    if query:
        return refusal("bad-request")
    if opt.first_uint(request.options, opt.ACCEPT) not in (None, TD_JSON, JSON):
        return refusal("not-acceptable")
    host = "".join(opt.strings(request.options, opt.URI_HOST)[:1])
    return Describe("" if gateway else path[1], host, opt.first_uint(request.options, opt.URI_PORT) or 0)


def _list(request: Request, query: tuple[str, ...]) -> Operation | Response:
    if opt.first_uint(request.options, opt.ACCEPT) not in (None, LINK_FORMAT):
        return refusal("not-acceptable")
    return refusal("bad-request") if len(query) > 1 else ListDevices("".join(query))


def _read(request: Request, device: str, name: str, part: str) -> Operation | Response:
    # Whether a name is a property's or an event's only the device's view says.
    offered = _PART_FORMATS[part] if name else ALL_FORMATS
    wanted = opt.first_uint(request.options, opt.ACCEPT)
    if wanted is not None and wanted not in offered:
        return refusal("not-acceptable")
    observe = opt.first_uint(request.options, opt.OBSERVE)
    return Read(
        device,
        name,
        offered[0] if wanted is None else wanted,
        command=part == COMMAND,
        observe=observe == REGISTER,
        deregister=observe == DEREGISTER,
        named=wanted is not None,
        alone=part == VALUE,
    )


_PART_FORMATS: Final = {"": ONE_FORMATS, VALUE: PLAIN_FORMATS, COMMAND: COMMAND_FORMATS}


def _write(request: Request, device: str, name: str) -> Operation | Response:
    # RFC 7252, section 5.5.1: without a Content-Format none may be assumed, but text is what such clients send.
    sent = opt.first_uint(request.options, opt.CONTENT_FORMAT)
    if sent is not None and sent not in SET_FORMATS:
        return refusal("content")
    return Write(device, name, TEXT if sent is None else sent, request.payload)


def _invoke(request: Request, device: str, action: str) -> Operation | Response:
    sent = opt.first_uint(request.options, opt.CONTENT_FORMAT)
    accept = opt.first_uint(request.options, opt.ACCEPT)
    if accept is not None and accept not in PLAIN_FORMATS:
        return refusal("not-acceptable")
    if request.payload and sent is not None and sent not in PLAIN_FORMATS:
        return refusal("content")
    format = sent if sent in PLAIN_FORMATS else JSON
    return InvokeRequest(device, action, request.payload, format, format if accept is None else accept)


# Answers


def content(format: int, payload: bytes, max_age: float) -> Response:
    """2.05; ``max_age``: whole seconds that it holds, at most."""
    return Response(codes.CONTENT, ((opt.CONTENT_FORMAT, encode_uint(format)), _age(max_age)), payload)


def done(result: bytes = b"", format: int = JSON) -> Response:
    """2.04: the device did it. ``result``: what it gave back."""
    return Response(codes.CHANGED, ((opt.CONTENT_FORMAT, encode_uint(format)),) if result else (), result)


def queued(device: str, name: str) -> Response:
    """2.01: the device sleeps; the command is now a separate resource, until it is done and for a while after."""
    path = (ROOT, device, name, COMMAND)
    place = tuple((opt.LOCATION_PATH, segment.encode()) for segment in path)
    return Response(codes.CREATED, (*place, (opt.CONTENT_FORMAT, encode_uint(TEXT))), b"queued")


def refusal(reason: str, detail: str = "", retry_after: float | None = None) -> Response:
    """The code of a reason, and as diagnostic payload the reason's name and the detail behind a colon."""
    text = f"{reason}: {detail}" if detail else reason
    wait = 0 if retry_after is None else max(1, -(-retry_after // 1))
    return Response(REASON_CODES[reason], (_age(wait),), text[:MAX_DIAGNOSTIC].encode())


def _age(seconds: float) -> tuple[int, bytes]:
    return opt.MAX_AGE, encode_uint(min(0xFFFFFFFF, max(0, int(seconds))))
