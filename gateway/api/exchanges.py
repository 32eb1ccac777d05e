"""Exchanges and answers: an ordinary request (CoAP, HTTP) that the gateway proxies, and what came back. No session.

An adapter that takes requests in submits an ``Exchange``; the adapter of its target settles it with an ``Answer``.
Nothing of either is stored or cached. What a value must be is said here, once for every carriage: ``unfit`` and
``unfit_answer`` are asked by the engine, so that no adapter has to trust another.

How the two protocols map:

| here | CoAP (RFC 7252) | HTTP (RFC 9110) |
|---|---|---|
| ``method`` | GET, POST, PUT, DELETE, FETCH, PATCH, IPATCH (0.01 to 0.07; RFC 8132) | the method |
| ``path`` | Uri-Path (option 11), one segment each | the path of the target URI, split at ``/``, percent-decoded |
| option ``(15, value)`` | Uri-Query, one each | the query, split at ``&``, as written |
| option ``(number, value)`` | any other option, the value's octets as in the message | |
| option ``(name, value)`` | | a field line, its name in lower case |
| ``body`` | the payload, blocks put together (RFC 7959) | the content, transfer codings removed |
| ``code`` | ``2.05`` (class and detail) | ``404`` |

So an adapter may answer a request of the other protocol (RFC 8075 says how) or refuse it as ``CONTENT``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from gateway.api.errors import PeerError
from gateway.api.identity import ContentKind, EnvelopeId, Peer, Reason, Sealed

MAX_SEGMENTS: Final = 32
MAX_PATH: Final = 1024
"""Octets of all segments of a path as UTF-8, with one more for each."""
MAX_OPTIONS: Final = 64
MAX_OPTION_OCTETS: Final = 8192
"""Octets of all names and values; a number counts as two."""

Option = tuple[int | str, bytes]
"""A CoAP option by its number, or an HTTP field by its name in lower case; may occur more than once, in order."""

Body = bytes | Sealed

URI_QUERY: Final = 15

_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}")
_FIELD_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}")  # RFC 9110, section 5.6.2, in lower case
_CODE = re.compile(r"[2-5](?:\.(?:[0-2][0-9]|3[01])|[0-9]{2})")  # RFC 7252, section 3; a final status of RFC 9110

_NO_SEGMENT = frozenset("/\\\x7f") | frozenset(map(chr, range(32)))
"""Characters that some server takes for the end of a segment, or for the end of a path."""

_ROUTING: Final = frozenset({3, 7, 11, 35, 39, "host", "forwarded", "proxy-authorization", "proxy-authenticate"})
"""Uri-Host, Uri-Port, Uri-Path, Proxy-Uri, Proxy-Scheme and their like: ``to`` and ``path`` alone say where to."""

_OF_ONE_HOP: Final = frozenset({
    6, 19, 23, 27, 28, 31, 60, 258,
    "connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection",
})  # fmt: skip
"""Observe (an exchange has one answer), blocks, their sizes, No-Response; fields of RFC 9110, section 7.6.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request of ``source`` to the target ``to`` (an alias of the policy, never a URL of a client).

    ``method``: an upper-case token; not CONNECT, which asks for a tunnel. ``path``: decoded segments, ``()`` for the
    root; an empty one only as the last, for a path that ends with ``/``; no dot segments. ``options``: what an
    intermediary sees of it, but for what routes it or is about one hop. ``body``: octets, or ``Sealed`` where
    ``content`` names its kind: a whole OSCORE (RFC 8613) or EDHOC (RFC 9528) message.

    ``deadline`` (monotonic): a later answer is ignored; the engine may shorten it. The order to the
    target's adapter has the subject's own name as ``to``, and as ``sender`` the policy's name of the asking subject.
    """

    id: EnvelopeId
    source: Peer
    to: str
    method: str
    path: tuple[str, ...]
    received_at: float
    deadline: float
    options: tuple[Option, ...] = ()
    body: Body = b""
    content: ContentKind | None = None
    sender: str = ""

    def __repr__(self) -> str:
        """Without path, options and body: they are a peer's own and may hold secrets."""
        return f"<Exchange {self.id} {self.method} to {self.to}, {len(self.body)} octets>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The target's answer. ``code``: ``2.05`` of CoAP, ``404`` of HTTP; never an interim one.

    ``options``, ``body`` and ``content`` as in an ``Exchange``.
    """

    code: str
    options: tuple[Option, ...] = ()
    body: Body = b""
    content: ContentKind | None = None

    def __repr__(self) -> str:
        return f"<Answer {self.code}, {len(self.body)} octets>"


def known_method(method: str) -> bool:
    """Whether an exchange may have this method."""
    return _METHOD.fullmatch(method) is not None and method != "CONNECT"


def unfit(exchange: Exchange, max_body: int) -> Reason | None:
    """The mistake in the form of an exchange: ``CONTENT`` or ``TOO_LARGE``; None: there is none."""
    if not known_method(exchange.method):
        return Reason.CONTENT
    return unfit_path(exchange.path) or _unfit_rest(exchange.options, exchange.body, exchange.content, max_body)


def unfit_answer(answer: Answer, max_body: int) -> Reason | None:
    """The same of an answer."""
    if not _CODE.fullmatch(answer.code):
        return Reason.CONTENT
    return _unfit_rest(answer.options, answer.body, answer.content, max_body)


def unfit_path(path: tuple[str, ...]) -> Reason | None:
    """The same of a path."""
    if len(path) > MAX_SEGMENTS or sum(map(len, path)) + len(path) > MAX_PATH:
        return Reason.TOO_LARGE
    if "" in path[:-1] or path == ("",):
        return Reason.CONTENT
    for segment in path:
        # "..;x" is a dot segment for servers that cut parameters off.
        if segment.partition(";")[0] in (".", "..") or not _NO_SEGMENT.isdisjoint(segment):
            return Reason.CONTENT
    try:
        octets = "".join(path).encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return Reason.CONTENT
    return Reason.TOO_LARGE if len(octets) + len(path) > MAX_PATH else None


def _unfit_rest(options: tuple[Option, ...], body: Body, content: ContentKind | None, max_body: int) -> Reason | None:
    if isinstance(body, Sealed) is (content is None):
        return Reason.CONTENT
    if len(body) > max_body or len(options) > MAX_OPTIONS or _octets(options) > MAX_OPTION_OCTETS:
        return Reason.TOO_LARGE
    return None if all(_option_fits(name, value) for name, value in options) else Reason.CONTENT


def _octets(options: Iterable[Option]) -> int:
    return sum(len(value) + (len(name) if isinstance(name, str) else 2) for name, value in options)


def _option_fits(name: int | str, value: bytes) -> bool:
    if name in _ROUTING or name in _OF_ONE_HOP:
        return False
    if isinstance(name, int):
        return 0 < name <= 0xFFFF
    # RFC 9110, section 5.5: these end a field, so a value with one of them could write other fields.
    return _FIELD_NAME.fullmatch(name) is not None and not any(octet in value for octet in b"\r\n\0")


def parse_path(text: str) -> tuple[str, ...]:
    """The segments of an absolute path with percent-encoding (RFC 3986, section 3.3). PeerError: it is none, or unfit.

    It is not normalised: a path with dot segments is refused, so that no server normalises it in another way.
    """
    if not text.startswith("/") or not text.isascii() or "?" in text or "#" in text:
        raise PeerError("expected an absolute path such as /sensors/1")
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        raise PeerError("expected two hexadecimal digits after each %")
    try:
        path = tuple(unquote(segment, errors="strict") for segment in text[1:].split("/")) if text != "/" else ()
    except UnicodeDecodeError:
        raise PeerError("expected a path in UTF-8") from None
    if unfit_path(path) is not None:
        raise PeerError("expected a path without dot segments, empty segments, control characters, \\ or %2F")
    return path


def path_text(path: tuple[str, ...]) -> str:
    """The absolute path with percent-encoding: what ``parse_path`` reads."""
    return "/" + "/".join(quote(segment, safe="!$&'()*+,;=:@") for segment in path)
