"""The names that ATLS over HTTP has for both sides: media types, header fields, paths, reasons and their status codes.

Sans-I/O, as the rest of this package: a message is its status or method, its header fields and its body. Nothing here
is registered with IANA.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final, Literal, get_args

from carriage.identifiers import MAX_N, is_session, parse_number
from layer.errors import PeerError, UsageError

Kind = Literal["atls", "adtls", "atls-data", "oscore", "edhoc"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

MEDIA_TYPES: Final[dict[Kind, str]] = {
    "atls": "application/atls",
    "adtls": "application/adtls",
    "atls-data": "application/atls-data",
    "oscore": "application/oscore",
    "edhoc": "application/edhoc+cbor-seq",
}
"""What we send. The last two are of RFC 8613 and RFC 9528; how EDHOC travels over HTTP is no standard's."""

DRAFT_MEDIA_TYPE: Final = "application/atls+octet-stream"
"""draft-friel-tls-atls-00, section 9.2. It is answered by itself, as a client of that draft expects."""

_KINDS: Final[dict[str, Kind]] = {name: kind for kind, name in MEDIA_TYPES.items()} | {DRAFT_MEDIA_TYPE: "atls"}

SEQ: Final = "atls-seq"
"""The header field with the number of the unit in the body; in a request without body, that of the unit wanted."""

ROOT: Final = "atls"
"""``/atls`` opens, ``/atls/{session}`` is a session's."""
INBOX: Final = "inbox"
WELL_KNOWN: Final = "/.well-known/atls"
COOKIE_PREFIX: Final = "__Host-atls-"
"""Of the cookie that names a session to clients of draft-friel-tls-atls-00; the alias follows (RFC 6265bis, 4.1.3)."""

EVENT_STREAM: Final = "text/event-stream"
JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
"""RFC 9457. Its member ``reason`` is the name that the policy's tables have."""

Fields = tuple[tuple[str, str], ...]
"""Header fields in the order of the message; names in lower case, one pair for each line."""

# The adapters' reason names and their status codes (RFC 9110, section 15; 429: RFC 6585; 425: RFC 8470).
REASON_STATUS: Final[dict[str, int]] = {
    "denied": 403,
    "too-large": 413,
    "over-rate": 429,
    "content": 415,
    "busy": 503,
    "unknown": 404,
    "closed": 404,
    "expired": 504,
    "unreachable": 504,
    "timeout": 504,
    "link": 502,
    "broken": 502,
    "restarted": 502,
    "rejected": 502,
    "bad-request": 400,
    "unauthenticated": 401,
    "method": 405,
    "not-acceptable": 406,
    "order": 409,  # a unit number that the session can't take
    "superseded": 409,  # a newer command for the same property took its place
    "misdirected": 421,  # a Host that is not ours
    "too-early": 425,
    "fields-too-large": 431,
    "internal": 500,
}
_REASONS: Final[dict[int, str]] = {}
for _name, _status in REASON_STATUS.items():
    _REASONS.setdefault(_status, _name)
_REASONS[504] = "timeout"
_REASONS[502] = "unreachable"

MAX_PROBLEM: Final = 4096
"""Octets of a problem document that are read."""


def field_values(fields: Fields, name: str) -> list[str]:
    """All values of a header field; ``name`` in lower case."""
    found = []
    for each, value in fields:  # a comprehension would be a call more, a dozen times for each request
        if each == name:
            found.append(value)
    return found


def media_type(fields: Fields) -> str | None:
    """The media type of the body in lower case, without parameters. PeerError: there are two.

    A parameter changes nothing about what an ATLS message is, so it is not looked at.
    """
    found = field_values(fields, "content-type")
    if len(found) > 1:
        raise PeerError("two Content-Type header fields")
    return found[0].partition(";")[0].strip().lower() if found else None


def kind_of(fields: Fields) -> Kind | None:
    """The kind of what the body is; None: nothing of ATLS. PeerError: two media types."""
    name = media_type(fields)
    return None if name is None else _KINDS.get(name)


def seq_of(fields: Fields) -> int | None:
    """The value of ATLS-Seq; None: there is none. PeerError: two, or no decimal number below 2**64."""
    found = field_values(fields, SEQ)
    if not found:
        return None
    number = parse_number(found[0]) if len(found) == 1 else None
    if number is None:
        raise PeerError("ATLS-Seq is one decimal number")
    return number


def seq_field(n: int) -> tuple[str, str]:
    """The header field for unit ``n``. UsageError: no unit has this number."""
    if not 0 <= n <= MAX_N:
        raise UsageError("a unit number has 64 bits")
    return SEQ, str(n)


def wait_of(fields: Fields) -> int | None:
    """Seconds of ``Prefer: wait=N`` (RFC 7240, section 4.3); None: not asked for, or not understood, which the same
    section has ignored. Of several the first counts (section 2)."""
    for value in field_values(fields, "prefer"):
        for preference in value.split(","):
            name, _, argument = preference.partition(";")[0].partition("=")
            if name.strip().lower() == "wait":
                text = argument.strip().strip('"')
                return int(text) if 1 <= len(text) <= 9 and text.isascii() and text.isdigit() else None
    return None


def entity_tags(fields: Fields) -> tuple[str, ...]:
    """Those of ``If-None-Match``, weak ones as strong ones (RFC 9110, section 13.1.2); at most 16."""
    found = [
        tag.strip().removeprefix("W/") for text in field_values(fields, "if-none-match") for tag in text.split(",")
    ]
    return tuple(tag for tag in found if tag)[:16]


def cookie_session(fields: Fields, alias: str) -> str | None:
    """The session that a client of draft-friel-tls-atls-00 names for ``alias`` by its cookie; None: it names none."""
    wanted = COOKIE_PREFIX + alias
    for text in field_values(fields, "cookie"):
        for pair in text.split(";"):
            name, _, value = pair.strip().partition("=")
            if name == wanted and is_session(value):
                return value
    return None


def cookie_field(alias: str, session: str) -> tuple[str, str]:
    """The header field that sets this cookie, or takes it back if ``session`` is empty."""
    age = "" if session else "; Max-Age=0"
    return "set-cookie", f"{COOKIE_PREFIX}{alias}={session}; Path=/; Secure; HttpOnly; SameSite=Strict{age}"


def no_store() -> tuple[str, str]:
    """Nothing of a session may come from a cache."""
    return "cache-control", "no-store"


def problem(reason: str, detail: str = "", expected: int | None = None) -> bytes:
    """A problem document. ``expected``: the unit number that the session takes next, with ``order``.

    UsageError: ``reason`` is none of ``REASON_STATUS``.
    """
    status = REASON_STATUS.get(reason)
    if status is None:
        raise UsageError(f"unknown reason {reason!r}")
    document: dict[str, object] = {"title": reason, "status": status, "reason": reason}
    if detail:
        document["detail"] = detail
    if expected is not None:
        document["expected"] = expected
    return json.dumps(document, ensure_ascii=True).encode()


def reason_of(status: int, fields: Fields, body: bytes) -> tuple[str, int | None]:
    """The reason name of a refusal, and the expected number if the document has one. Never raises.

    The name in the document counts if it fits the status, else the status alone does.
    """
    name: object = None
    expected: object = None
    try:
        if media_type(fields) == PROBLEM and len(body) <= MAX_PROBLEM:
            document = json.loads(body)
            if isinstance(document, dict):
                name, expected = document.get("reason"), document.get("expected")
    except (PeerError, ValueError, RecursionError):
        pass
    wanted = expected if type(expected) is int and 0 <= expected <= MAX_N else None
    if isinstance(name, str) and REASON_STATUS.get(name) == status:
        return name, wanted
    return _REASONS.get(status, "internal" if status >= 500 else "bad-request"), wanted


def retry_after_of(fields: Fields) -> int | None:
    """Seconds of Retry-After (RFC 9110, section 10.2.3); None: none, or a date, which needs a clock that agrees."""
    found = field_values(fields, "retry-after")
    text = found[0].strip() if len(found) == 1 else ""
    return int(text) if 1 <= len(text) <= 9 and text.isascii() and text.isdigit() else None


def lower(fields: Iterable[tuple[str, str]]) -> Fields:
    """Header fields as these modules have them."""
    return tuple([(name.lower(), value) for name, value in fields])
