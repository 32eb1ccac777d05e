"""The inbox of ATLS over HTTP as its client sees it: the request, and the list of sessions in the answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from carriage.http.atls import HttpRequest, HttpResponse
from carriage.http.atls_client import SessionRefused
from carriage.http.atls_format import (
    INBOX,
    JSON,
    KINDS,
    ROOT,
    Kind,
    field_values,
    media_type,
    reason_of,
    retry_after_of,
)
from carriage.identifiers import is_session
from layer.errors import PeerError

MAX_ETAG: Final = 128
"""Octets of an entity tag that is sent back."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A session that waits in the inbox. ``peer``: the gateway's name of its opener, which proves nothing."""

    session: str
    kind: Kind
    peer: str


@dataclass(frozen=True, slots=True)
class InboxList:
    """``etag``: for the next request; None: the gateway gives none. ``entries`` is None if nothing has changed."""

    entries: tuple[Waiting, ...] | None
    etag: str | None


def inbox_request(wait: int | None = None, etag: str | None = None) -> HttpRequest:
    """Ask for the inbox. ``wait``: seconds for which an unchanged one (``etag``, as it came) may wait for a change."""
    fields: tuple[tuple[str, str], ...] = (("accept", JSON),)
    if wait is not None:
        fields += (("prefer", f"wait={wait}"),)
    if etag is not None:
        fields += (("if-none-match", etag),)
    return HttpRequest("GET", f"/{ROOT}/{INBOX}", fields)


def read_inbox(response: HttpResponse) -> InboxList | SessionRefused:
    """The answer to ``inbox_request``. Entries that no client could use are left out. PeerError: it makes no sense."""
    etags = field_values(response.fields, "etag")
    etag = etags[0] if len(etags) == 1 and len(etags[0]) <= MAX_ETAG else None
    if response.status == 304:
        return InboxList(None, etag)
    if response.status != 200:
        reason, _ = reason_of(response.status, response.fields, response.body)
        return SessionRefused(reason, response.status, retry_after_of(response.fields))
    if media_type(response.fields) != JSON:
        raise PeerError("an inbox that is not JSON")
    try:
        document = json.loads(response.body)
    except (ValueError, RecursionError) as error:
        raise PeerError("an inbox that is not JSON") from error
    if not isinstance(document, list):
        raise PeerError("an inbox that is no list")
    found = []
    for each in document:
        name, kind, peer = (each.get(key) for key in ("session", "kind", "from")) if isinstance(each, dict) else "   "
        if isinstance(name, str) and is_session(name) and kind in KINDS:
            found.append(Waiting(name, kind, peer if isinstance(peer, str) else "gateway"))
    return InboxList(tuple(found), etag)
