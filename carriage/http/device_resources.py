"""Devices over HTTP as the serving side sees them: requests to ``/d`` as a closed union of values, and their answers.

Resources: ``GET /d`` lists, ``GET /d/{name}`` reads all that a device reports, ``GET /d/{name}/{property}`` one value;
``PUT`` sets one, or several by a JSON object at ``/d/{name}``; ``POST /d/{name}/{action}`` has the device do something;
a GET with ``Accept: text/event-stream`` reports what happens from then on. ``GET /d/{name}/{property}/command`` has the
outcome of the last PUT or POST that had to wait; ``GET /d/{name}/{property}/value`` and ``.../{event}/value`` have the
value alone. ``GET /td/{name}`` and ``GET /.well-known/wot`` have Thing Descriptions, of a device and of the gateway.
They mirror those of CoAP. Bodies are JSON, or CBOR for those who ask for it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, unquote

import cbor2

from carriage import strict_cbor, strict_json
from carriage.http.atls import HttpRequest, HttpResponse, RefusedError, accepted, refusal
from carriage.http.atls_format import EVENT_STREAM, JSON, field_values, media_type, no_store
from layer.errors import PeerError

ROOT: Final = "d"
COMMAND: Final = "command"
VALUE: Final = "value"
DESCRIPTIONS: Final = "td"
WELL_KNOWN: Final = "/.well-known/wot"
TD_JSON: Final = "application/td+json"
CBOR: Final = "application/cbor"
KEY: Final = "idempotency-key"
"""The header field with the sender's word for a command (draft-ietf-httpapi-idempotency-key-header)."""

MAX_NAME: Final = 256
MAX_KEY: Final = 64


@dataclass(frozen=True, slots=True)
class ListDevices:
    """``watch``: what happens at any of them, as events from now on."""

    watch: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """``name``: a property or an event; empty: all of the device. ``watch``: as events from now on. ``command``: not
    the property but the outcome of the last command for it; ``alone``: its value, or an event's data, alone."""

    device: str
    name: str = ""
    watch: bool = False
    command: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """Set the property ``name`` to ``value``; empty: ``value`` is an object of several. ``key``: see ``KEY``."""

    device: str
    name: str
    value: Any = field(repr=False)
    key: str = ""


@dataclass(frozen=True, slots=True)
class Invoke:
    """Have the device do ``action``; ``input`` is None if there is none. ``alone``: what comes back is the output."""

    device: str
    action: str
    input: Any = field(repr=False)
    key: str = ""
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Describe:
    """``device`` empty: the gateway."""

    device: str = ""


DeviceOperation = ListDevices | Read | Write | Invoke
Operation = DeviceOperation | Describe


def concerns(target: str) -> bool:
    """Whether a request is about devices."""
    path = target.partition("?")[0]
    return path in (f"/{ROOT}", WELL_KNOWN) or path.startswith((f"/{ROOT}/", f"/{DESCRIPTIONS}/"))


def in_format_of(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """An answer in JSON as the client takes it: in CBOR, if it takes no JSON."""
    if ("content-type", JSON) not in response.fields:
        return response
    try:
        if accepted(request, (JSON, EVENT_STREAM, CBOR)) != CBOR:
            return response
    except RefusedError:  # of a command: it is carried out, and an answer that it may not like is better than none
        return response
    fields = tuple((name, CBOR if name == "content-type" else value) for name, value in response.fields)
    return HttpResponse(response.status, fields, cbor2.dumps(json.loads(response.body)))


def parse(request: HttpRequest) -> Operation | HttpResponse:
    """The operation of a request to ``/d``, or the response that refuses it. Never raises."""
    try:
        return _parse(request)
    except RefusedError as refused:
        return refusal(refused.reason, detail=refused.detail)
    except PeerError as error:
        return refusal("bad-request", detail=str(error))


def _parse(request: HttpRequest) -> Operation:
    path, question, query = request.target.partition("?")
    if not concerns(path):
        raise RefusedError("unknown")
    if question and request.method != "POST":
        raise RefusedError("bad-request", "there is no query")
    if not path.startswith(f"/{ROOT}"):
        return _describe(request, path)
    names = [_name(segment) for segment in path.split("/")[2:]]
    if names and not names[-1]:
        names.pop()
    if "" in names or len(names) > 3 or names[2:] not in ([], [COMMAND], [VALUE]):
        raise RefusedError("unknown")
    if len(names) == 3 and request.method != "POST":
        _method(request, "GET, HEAD")
        if names[2] == VALUE:
            return Read(names[0], names[1], _watches(request), alone=True)
        accepted(request, (JSON, CBOR))
        return Read(names[0], names[1], command=True)
    if not names:
        _method(request, "GET, HEAD")
        return ListDevices(_watches(request))
    if request.method in ("GET", "HEAD"):
        return Read(names[0], "".join(names[1:]), _watches(request))
    if request.method == "PUT":
        return Write(names[0], "".join(names[1:]), _value(request), _key(request))
    if len(names) == 1:
        raise RefusedError("method", "GET, HEAD, PUT")
    if names[2:] == [COMMAND]:
        raise RefusedError("method", "GET, HEAD")
    _method(request, "GET, HEAD, PUT, POST")
    key = _key(request)
    if query:
        key = _query_key(query, key)
    return Invoke(names[0], names[1], _value(request) if request.body else None, key, names[2:] == [VALUE])


def _describe(request: HttpRequest, path: str) -> Describe:
    _method(request, "GET, HEAD")
    names = [] if path == WELL_KNOWN else [_name(segment) for segment in path.split("/")[2:]]
    if path != WELL_KNOWN and (len(names) != 1 or not names[0]):
        raise RefusedError("unknown")
    accepted(request, (TD_JSON, JSON))
    return Describe("".join(names))


def _watches(request: HttpRequest) -> bool:
    return accepted(request, (JSON, EVENT_STREAM, CBOR)) == EVENT_STREAM and request.method == "GET"


def _name(segment: str) -> str:
    """A path segment, decoded. RefusedError: no name of anything."""
    try:
        name = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise RefusedError("unknown") from None
    if len(name) > MAX_NAME or not name.isprintable():
        raise RefusedError("unknown")
    return name


def _method(request: HttpRequest, allowed: str) -> None:
    if request.method not in allowed.split(", "):
        raise RefusedError("method", allowed)


def _value(request: HttpRequest) -> Any:
    if field_values(request.fields, "content-encoding"):
        raise RefusedError("content", "a value has no Content-Encoding")
    sent = media_type(request.fields)
    if sent == CBOR:
        return strict_cbor.read(request.body)
    if sent != JSON:
        raise RefusedError("content", f"expected {JSON} or {CBOR}")
    return strict_json.read(request.body)


def _key(request: HttpRequest) -> str:
    """What the Idempotency-Key says; empty: there is none. Quotes, which the draft wants, may be missing."""
    found = field_values(request.fields, KEY)
    if not found:
        return ""
    text = found[0].strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if len(found) > 1 or not _is_key(text):
        raise PeerError(f"Idempotency-Key is one text of 1 to {MAX_KEY} characters")
    return text


def _query_key(query: str, known: str) -> str:
    """The same in the query, for clients that can't add a header field (a consumer of a Thing Description)."""
    name, _, value = query.partition("=")
    text = unquote(value, errors="replace")
    if name != "key" or known or not _is_key(text):
        raise PeerError(f"a query is key=TEXT, of 1 to {MAX_KEY} characters, without Idempotency-Key")
    return text


def _is_key(text: str) -> bool:
    return 0 < len(text) <= MAX_KEY and text.isascii() and text.isprintable() and '"' not in text


# Answers


def content(value: Any, status: int = 200) -> HttpResponse:
    """``value``: JSON."""
    return HttpResponse(status, (("content-type", JSON), no_store()), json.dumps(value, separators=(",", ":")).encode())


def done(results: Any = None) -> HttpResponse:
    """The device did it: 204, or 200 with what it gave back."""
    return HttpResponse(204, (no_store(),)) if results is None else content(results)


def queued(device: str, name: str) -> HttpResponse:
    """202: it has to wait; its outcome is a resource, until it is done and for a while after."""
    response = content({"status": "queued"}, 202)
    place = f"/{ROOT}/{quote(device, safe='')}/{quote(name, safe='')}/{COMMAND}"
    return HttpResponse(202, (*response.fields, ("location", place)), response.body)
