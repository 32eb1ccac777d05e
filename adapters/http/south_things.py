"""Thing Descriptions over HTTP: how clients reach a device by this adapter, and the answers to those who ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from adapters.http.config import HOST
from adapters.http.south_clients import HttpClient
from carriage.http import device_resources
from carriage.http.atls import HttpResponse, refusal
from carriage.http.atls_format import JSON, Fields, field_values, no_store
from gateway.api.model import ActionAffordance, DeviceView, Form, Forms, PropertyAffordance, Value
from gateway.api.ports import AdapterContext
from gateway.kit import thing_description as td

NAME: Final = "http"
_KEY: Final[Mapping[str, Value]] = {"key": {"type": "string", "maxLength": device_resources.MAX_KEY}}
"""Of an action that is not idempotent: a word that a client repeats only with the same command."""


class HttpDescriptions:
    """``origin``: our address for all clients, such as ``https://gateway.example:8443``; empty: the one that a client
    used. ``tokens``: whether clients come with tokens; else with certificates."""

    context: AdapterContext

    def __init__(self, origin: str, tokens: bool) -> None:
        self._origin = origin
        self._tokens = tokens

    def forms(self, device: DeviceView) -> Forms | None:
        """For clients of other carriages; None: there is no address that is good for all."""
        return forms(device, self._origin, self._tokens) if self._origin else None

    def answer(self, client: HttpClient, wanted: device_resources.Describe, origin: str) -> HttpResponse:
        """``origin``: the address that this client used."""
        origin = self._origin or origin
        context = self.context
        if wanted.device:
            view = context.device(client.identity, wanted.device)
            if view is None:
                return refusal("unknown")
            description = td.thing(view, forms(view, origin, self._tokens), context.forms(view))
        else:
            views = context.devices(client.identity)
            title = context.gateway().name if views else "atls-gateway"
            own = Forms(name=NAME, security=_security(self._tokens))
            description = td.directory(title, own, {each.name: origin + td.place_of(each.name) for each in views})
        return HttpResponse(200, (("content-type", td.MEDIA_TYPE), no_store()), td.encoded(description))


def origin_of(fields: Fields, tls: bool) -> str:
    """Where a request came to, by its Host, which admission has checked."""
    found = field_values(fields, "host")
    host = found[0].lower() if found and HOST.fullmatch(found[0].lower()) else "localhost"
    return f"{'https' if tls else 'http'}://{host}"


def _security(tokens: bool) -> Mapping[str, Value]:
    # TD 1.1 has no scheme for certificates: ``auto`` leaves it to the handshake (section 5.3.3.3).
    return {"scheme": "bearer", "format": "opaque", "in": "header"} if tokens else {"scheme": "auto"}


def forms(device: DeviceView, origin: str, tokens: bool) -> Forms:
    place = f"{origin}/d/{quote(device.name, safe='')}"
    return Forms(
        name=NAME,
        security=_security(tokens),
        properties={each.name: tuple(_of_property(each, place)) for each in device.properties},
        actions={
            each.name: (_form(f"{place}/{each.name}{_rest(each)}", "POST", "invokeaction"),) for each in device.actions
        },
        events={
            each.name: (
                _form(f"{place}/{each.name}/value", "GET", "subscribeevent", "unsubscribeevent", subprotocol="sse"),
            )
            for each in device.events
        },
        thing=(_form(place, "PUT", "writemultipleproperties"),),
        variables=_KEY,
    )


def _rest(action: ActionAffordance) -> str:
    return ("" if action.output is None else "/value") + ("" if action.idempotent else "{?key}")


def _of_property(each: PropertyAffordance, place: str) -> list[Form]:
    if not each.readable:  # it is of no effect alone; with others it is set by the device's form
        return []
    alone = f"{place}/{each.name}/value"
    found = [
        _form(alone, "GET", "readproperty"),
        _form(alone, "GET", "observeproperty", "unobserveproperty", subprotocol="sse"),
    ]
    return [*found, _form(f"{place}/{each.name}", "PUT", "writeproperty")] if each.writable else found


def _form(href: str, method: str, *operations: str, **more: str) -> Form:
    return {"href": href, "contentType": JSON, "htv:methodName": method, "op": list(operations), **more}
