"""What a client gets listed, its inbox and ``/.well-known/core``, as links (RFC 6690). Whose they are: ``delivery``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from adapters.coap.downlink import Downlink
from carriage.coap.atls_format import DEFAULT_FORMATS, KINDS, LINK_FORMAT, is_alias
from carriage.coap.link_format import Link
from gateway.api.model import ContentKind

FORMATS: Final = {ContentKind(kind): DEFAULT_FORMATS.number(kind) for kind in KINDS}
"""The kinds of content that CoAP has a content format for."""

_ALL_FORMATS = " ".join(map(str, FORMATS.values()))


def inbox(invitations: Iterable[Downlink]) -> Iterator[Link]:
    """A link for each session, with its kind and who opened it."""
    for downlink in invitations:
        attributes = (("ct", str(FORMATS[downlink.content])), ("title", downlink.sender or ""))
        yield Link(f"/atls/{downlink.session}", attributes)


def directory(aliases: Iterable[str]) -> Iterator[Link]:
    """The inbox, and a link for each alias that can be opened here."""
    yield Link("/atls/inbox", (("rt", "atls.inbox"), ("ct", str(LINK_FORMAT)), ("obs", None)))
    for alias in filter(is_alias, aliases):
        yield Link(f"/atls?to={alias}", (("rt", "atls"), ("ct", _ALL_FORMATS), ("title", alias)))
