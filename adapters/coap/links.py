"""The lists for a client, its inbox and ``/.well-known/core``, as links (RFC 6690)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote

from adapters.coap.client_state import ClientDownlink
from carriage.coap.atls_format import DEFAULT_FORMATS, KINDS, LINK_FORMAT
from carriage.coap.device_resources import ALL_FORMATS, JSON, ONE_FORMATS
from carriage.coap.link_format import Link
from carriage.identifiers import is_alias
from gateway.api.model import ContentKind, DataType, DeviceView, PropertyAffordance

FORMATS: Final = {ContentKind(kind): DEFAULT_FORMATS.numbers[kind] for kind in KINDS}
"""The kinds of content that CoAP has a content format for."""

_ALL_FORMATS = " ".join(map(str, FORMATS.values()))


def inbox(invitations: Iterable[ClientDownlink]) -> Iterator[Link]:
    """A link for each session, with its kind and who opened it."""
    for downlink in invitations:
        attributes = (("ct", str(FORMATS[downlink.content])), ("title", downlink.sender or ""))
        yield Link(f"/atls/{downlink.session}", attributes)


def directory(aliases: Iterable[str]) -> Iterator[Link]:
    """The inbox, and a link for each alias that can be opened here."""
    yield Link("/atls/inbox", (("rt", "atls.inbox"), ("ct", str(LINK_FORMAT)), ("obs", None)))
    for alias in filter(is_alias, aliases):
        yield Link(f"/atls?to={alias}", (("rt", "atls"), ("ct", _ALL_FORMATS), ("title", alias)))


def root() -> Link:
    """The link to the list of devices."""
    return Link("/d", (("if", "core.ll"), ("ct", str(LINK_FORMAT))))


_ONE = " ".join(map(str, ONE_FORMATS))
_ALL = " ".join(map(str, ALL_FORMATS))


def devices(views: Iterable[DeviceView]) -> Iterator[Link]:
    """Each device that may be read or set, and each of its properties (``if``: draft-ietf-core-interfaces)."""
    for view in views:
        place = f"/d/{quote(view.name, safe='')}"
        watched = (("obs", None),) if "observe" in view.may else ()
        yield Link(place, (("if", "core.b"), ("ct", _ALL), *watched))
        for affordance in view.properties:
            kind = (("rt", affordance.resource_type),) if affordance.resource_type else ()
            seen = watched if affordance.readable else ()
            yield Link(f"{place}/{affordance.name}", (*kind, ("if", _interface(view, affordance)), ("ct", _ONE), *seen))
        if "invoke" in view.may:
            for action in view.actions:
                yield Link(f"{place}/{action.name}", (("if", "core.a"), ("ct", str(JSON))))
        if "observe" in view.may:
            for event in view.events:
                yield Link(f"{place}/{event.name}", (("if", "core.s"), ("ct", str(JSON)), ("obs", None)))


def _interface(view: DeviceView, affordance: PropertyAffordance) -> str:
    """A sensor, an actuator, or (what is text and can be set) a parameter, as far as this client may use it."""
    if not affordance.writable or "write" not in view.may:
        return "core.s"
    return "core.p" if affordance.type is DataType.STRING else "core.a"
