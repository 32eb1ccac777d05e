"""From a request as aiohttp reads it to the answer: who asks, the body, what it is about. Every request ends here.

Each step has a bound: ``body_within`` for the body, the waits of the parts that answer, ``READ_WITHIN`` for a stream
that its client doesn't read. A client that goes cancels what it asked.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

import aiohttp
from aiohttp import HttpVersion11, web
from multidict import CIMultiDict

from adapters.http.config import HttpTable
from adapters.http.south_admission import TOO_EARLY, ClientAdmission, unauthenticated
from adapters.http.south_clients import Clients, HttpClient
from adapters.http.south_devices import Devices
from adapters.http.south_listener import SERVER, HttpConnection
from adapters.http.south_sessions import ClientSessions
from adapters.http.south_standing import Watch
from adapters.http.south_things import HttpDescriptions, origin_of
from carriage.http import atls, device_resources
from carriage.http.atls import HttpRequest, HttpResponse, refusal
from carriage.http.atls_format import EVENT_STREAM, Fields, field_values, lower, no_store
from common.log_rate import LogRate
from common.printable import printable
from common.within import within

_LOG = logging.getLogger(__name__)

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_KNOWN_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
_ALLOWED: Final = ", ".join(_KNOWN_METHODS)


class _BodyError(Exception):
    """Carries the response for a body that is not taken."""

    def __init__(self, response: HttpResponse) -> None:
        super().__init__()
        self.response = response


class Requests:
    """``admission`` may be replaced at any time. ``now``: monotonic seconds."""

    def __init__(
        self,
        table: HttpTable,
        admission: ClientAdmission,
        clients: Clients,
        sessions: ClientSessions,
        devices: Devices,
        descriptions: HttpDescriptions,
        now: Callable[[], float],
    ) -> None:
        self.admission = admission
        self._max_body = table.max_body
        self._body_within = table.body_within
        self._clients = clients
        self._sessions = sessions
        self._devices = devices
        self._descriptions = descriptions
        self._now = now
        self._refusals = LogRate()
        self.counters = dict.fromkeys(
            ("requests", "unauthenticated", "malformed_requests", "too_early", "handler_errors"), 0
        )

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, HttpConnection)
        self.counters["requests"] += 1
        connection.at_work += 1
        try:
            return await self._handle(request, connection)
        except _BodyError as error:
            shared = self.admission.shared_with(lower(request.headers.items()))
            return _closing(error.response, shared)
        except ConnectionError:  # the client is gone; raised, it would be an error of the server to aiohttp
            return _closing(refusal("internal"))
        except Exception:
            self.counters["handler_errors"] += 1
            if self._refusals.permits(self._now()):
                _LOG.exception("a request can't be answered")
            return _closing(refusal("internal"))
        finally:
            connection.at_work -= 1
            connection.idle_since = self._now()

    async def _handle(self, request: web.BaseRequest, connection: HttpConnection) -> web.StreamResponse:
        fields = lower(request.headers.items())
        admission = self.admission
        shared = admission.shared_with(fields)
        target = admission.target(request.raw_path, fields)
        if isinstance(target, HttpResponse):
            return self._refused(request, target, shared)
        refused = self._at_the_door(request.method, fields)
        if refused is not None:
            return self._refused(request, refused, shared)
        early = admission.early(request.method, fields, request.remote)
        if isinstance(early, HttpResponse):
            self.counters["too_early"] += 1
            return self._refused(request, early, shared)
        found = admission.peer(fields, connection.tls, connection.known)
        if isinstance(found, HttpResponse):
            self.counters["unauthenticated"] += 1
            return self._refused(request, found, shared)
        peer, connection.known = found
        tls = connection.tls
        if early:
            message = HttpRequest(request.method, target, fields, b"")
            return _response(self._without_effect(HttpClient(peer), request, message, tls is not None), shared)
        client = self._clients.begin(peer, tls.presented if tls is not None and peer.claims == tls.claims else ())
        try:
            body = await self._body(request, fields)
            if client.gone:  # it was shut out meanwhile
                return self._refused(request, unauthenticated("invalid_token"), shared)
            if tls is None:  # a cookie counts over https only
                fields = tuple(each for each in fields if each[0] != "cookie")
            message = HttpRequest(request.method, target, fields, body)
            answer = await self._answer(client, message, tls is not None)
            if isinstance(answer, HttpResponse):
                return _response(answer, shared)
            return await self._stream(request, answer, shared)
        finally:
            self._clients.end(client)

    def _at_the_door(self, method: str, fields: Fields) -> HttpResponse | None:
        """The answer to a request for which it makes no difference who asks."""
        if method == "OPTIONS":
            return self.admission.preflight(fields) or HttpResponse(204, (("allow", _ALLOWED), no_store()))
        return refusal("method", detail=_ALLOWED) if method not in _KNOWN_METHODS else None

    def _without_effect(
        self, stranger: HttpClient, request: web.BaseRequest, message: HttpRequest, tls: bool
    ) -> HttpResponse:
        """The answer to what may be a replay: a value that is known of a device, or a list of them; else 425.

        ``stranger`` is entered nowhere: a replay must not make its client count as there, or push another one out.
        """
        if device_resources.concerns(message.target) and not request.body_exists:
            wanted = device_resources.parse(message)
            if isinstance(wanted, device_resources.Describe):
                return self._descriptions.answer(stranger, wanted, origin_of(message.fields, tls))
            found = wanted if isinstance(wanted, HttpResponse) else self._devices.known(stranger, wanted)
            if found is not None:
                return device_resources.in_format_of(message, found)
        self.counters["too_early"] += 1
        return TOO_EARLY

    async def _answer(self, client: HttpClient, message: HttpRequest, tls: bool) -> HttpResponse | Watch:
        if atls.concerns(message.target):
            operation = atls.parse(message)
            if isinstance(operation, HttpResponse):
                return self._malformed(client, operation)
            if message.method == "HEAD" and isinstance(operation, atls.Inbox) and operation.watch:
                return HttpResponse(200, (("content-type", EVENT_STREAM), no_store()))
            answer = await self._sessions.answer(client, operation)
            if isinstance(answer, HttpResponse) and isinstance(operation, atls.SendUnit) and operation.draft:
                return _forgotten(message, answer)
            return answer
        wanted = device_resources.parse(message)
        if isinstance(wanted, HttpResponse):
            return self._malformed(client, wanted)
        if isinstance(wanted, device_resources.Describe):
            return self._descriptions.answer(client, wanted, origin_of(message.fields, tls))
        found = await self._devices.answer(client, wanted)
        if client.gone and isinstance(found, HttpResponse):  # it was shut out while it waited for the device
            return unauthenticated("invalid_token")
        return device_resources.in_format_of(message, found) if isinstance(found, HttpResponse) else found

    def _malformed(self, client: HttpClient, response: HttpResponse) -> HttpResponse:
        if response.status == 400:
            self.counters["malformed_requests"] += 1
            if self._refusals.permits(self._now()):
                who, count = printable(client.identity.claims[0], 200), self.counters["malformed_requests"]
                _LOG.warning("request of %s refused: %s (%d so far)", who, _why(response), count)
        return response

    async def _body(self, request: web.BaseRequest, fields: Fields) -> bytes:
        """The whole body. _BodyError: it is too long, too slow, or not what its header fields say."""
        if not request.body_exists:
            return b""
        length = request.content_length
        if length is not None and length > self._max_body:
            raise _BodyError(refusal("too-large", detail=f"a body has at most {self._max_body} octets"))
        if any(each.strip().lower() != "chunked" for each in field_values(fields, "transfer-encoding")):
            raise _BodyError(HttpResponse(501, (no_store(),)))  # RFC 9112, section 6.1
        expectations = field_values(fields, "expect") if request.version >= HttpVersion11 else ()  # RFC 9110 10.1.1
        if expectations:
            if [each.strip().lower() for each in expectations] != ["100-continue"]:
                raise _BodyError(HttpResponse(417, (no_store(),)))
            await request.writer.write(_CONTINUE)
            request.writer.output_size = 0
        content = request.content
        parts = bytearray()
        try:
            if content.is_eof():  # it came with its head, as a unit does
                parts += content.read_nowait()
            else:
                await within(asyncio.timeout(self._body_within), lambda _: self._rest(content, parts))
            if len(parts) > self._max_body:
                raise _BodyError(refusal("too-large", detail=f"a body has at most {self._max_body} octets"))
        except TimeoutError:
            raise _BodyError(HttpResponse(408, (no_store(),))) from None
        except (web.PayloadAccessError, web.RequestPayloadError):
            raise _BodyError(refusal("bad-request", detail="the body is not what its header fields say")) from None
        return bytes(parts)

    async def _rest(self, content: aiohttp.StreamReader, parts: bytearray) -> None:
        while not content.at_eof() and len(parts) <= self._max_body:
            parts += await content.readany()

    async def _stream(self, request: web.BaseRequest, watch: Watch, shared: Fields) -> web.StreamResponse:
        fields: Fields = (("content-type", EVENT_STREAM), no_store(), ("x-accel-buffering", "no"))
        response = web.StreamResponse(status=200, headers=_headers((*fields, *shared)))
        try:
            await response.prepare(request)
            await watch.stream.run(response)
        except TimeoutError:  # it reads nothing
            protocol = request.protocol
            assert isinstance(protocol, HttpConnection)
            protocol.cut()
        finally:
            self._sessions.watched(watch)
            self._devices.watched(watch)
        return response

    def _refused(self, request: web.BaseRequest, response: HttpResponse, shared: Fields) -> web.StreamResponse:
        """Before it is known who asks; the body is not read."""
        if response.status >= 400 and self._refusals.permits(self._now()):
            _LOG.info("request of %s refused: %s", request.remote, _why(response))
        return _response(response, shared)


def _why(response: HttpResponse) -> str:
    """Status, reason and detail of a refusal that we made."""
    problem = json.loads(response.body) if response.body else {}
    return ", ".join(filter(None, (f"{response.status} {problem.get('reason', '')}", problem.get("detail"))))


def _forgotten(message: HttpRequest, answer: HttpResponse) -> HttpResponse:
    """A session that is over, named by a cookie: the client is to forget that, so that it can open another one."""
    alias = unquote(message.target.partition("to=")[2].partition("&")[0])
    return atls.with_cookie(answer, alias, "") if answer.status == 404 and alias else answer


def _headers(fields: Fields) -> CIMultiDict[str]:
    return CIMultiDict((SERVER, *fields))


def _response(answer: HttpResponse, shared: Fields = ()) -> web.Response:
    return web.Response(status=answer.status, headers=_headers((*answer.fields, *shared)), body=answer.body or None)


def _closing(answer: HttpResponse, shared: Fields = ()) -> web.Response:
    response = _response(answer, shared)
    response.force_close()
    return response
