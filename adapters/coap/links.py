"""The lists for a client, its inbox and ``/.well-known/core``, as links (RFC 6690)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote

from adapters.coap.client_state import ClientDownlink
from carriage.coap.atls_format import DEFAULT_FORMATS, KINDS, LINK_FORMAT
from carriage.coap.device_resources import ALL_FORMATS, ONE_FORMATS, PLAIN_FORMATS, TD_JSON
from carriage.coap.link_format import Link
from carriage.identifiers import is_alias
from gateway.api.model import ContentKind, DataType, DeviceView, PropertyAffordance
from gateway.kit.lwm2m import resource_of
from gateway.kit.thing_description import place_of

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
_PLAIN = " ".join(map(str, PLAIN_FORMATS))


def devices(views: Iterable[DeviceView]) -> Iterator[Link]:
    """Each device that may be read or set, and each of its resources. ``if``: draft-ietf-core-interfaces; ``rt``: an
    object of LwM2M or IPSO; ``lwm2m``: that and its resource."""
    kind: tuple[tuple[str, str | None], ...]
    for view in views:
        place = f"/d/{quote(view.name, safe='')}"
        watched = (("obs", None),) if "observe" in view.may else ()
        yield Link(place, (("if", "core.b"), ("ct", _ALL), *watched))
        for affordance in view.properties:
            kind = (("rt", affordance.resource_type),) if affordance.resource_type else ()
            resource = resource_of(affordance)
            kind = (*kind, ("lwm2m", resource)) if resource else kind
            seen = watched if affordance.readable else ()
            yield Link(f"{place}/{affordance.name}", (*kind, ("if", _interface(view, affordance)), ("ct", _ONE), *seen))
        actions = [each.name for each in view.actions] if "invoke" in view.may else []
        events = [each.name for each in view.events] if "observe" in view.may else []
        properties = {each.name for each in view.properties}
        for name in dict.fromkeys((*actions, *events)):  # what is both is one resource: POST, and GET with Observe
            if name in properties:
                continue
            kinds = (*(("core.a",) if name in actions else ()), *(("core.s",) if name in events else ()))
            observed = (("obs", None),) if name in events else ()
            yield Link(f"{place}/{name}", (("if", " ".join(kinds)), ("ct", _PLAIN), *observed))


def descriptions(views: Iterable[DeviceView]) -> Iterator[Link]:
    """Those of the gateway and of each device (WoT Discovery, section 6.4)."""
    for place in ("/.well-known/wot", *(place_of(view.name) for view in views)):
        yield Link(place, (("rt", "wot.thing"), ("ct", str(TD_JSON))))


def _interface(view: DeviceView, affordance: PropertyAffordance) -> str:
    """A sensor, an actuator, or (what is text and can be set) a parameter, as far as this client may use it."""
    if not affordance.writable or "write" not in view.may:
        return "core.s"
    return "core.p" if affordance.type is DataType.STRING else "core.a"
