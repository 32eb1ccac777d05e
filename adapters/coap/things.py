"""Thing Descriptions over CoAP: how clients reach a device by this adapter, and the answers to those who ask."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

from adapters.coap.client_state import ClientConnection
from carriage.coap import device_resources
from carriage.coap.exchange import Response
from carriage.coap.udp import local_address
from gateway.api.model import DeviceView, Form, Forms
from gateway.api.ports import AdapterContext
from gateway.kit import thing_description as td

NAME: Final = "coap"
_JSON: Final = "application/json"
_HOST: Final = re.compile(r"[0-9A-Za-z._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_PREFIXES: Final = {"cov": "http://www.example.org/coap-binding#"}
"""As the W3C's CoAP binding template has it (WoT Binding Templates, CoAP, 2023)."""


class CoapDescriptions:
    """``origin``: our address for all clients, such as ``coaps://gateway.example``; empty: the one that a client used.
    ``psk``: whether clients come with keys; else with certificates."""

    context: AdapterContext

    def __init__(self, origin: str, psk: bool) -> None:
        self._origin = origin
        self._psk = psk

    def forms(self, device: DeviceView) -> Forms | None:
        """For clients of other carriages; None: there is no address that is good for all."""
        return forms(device, self._origin, self._psk) if self._origin else None

    def answer(self, connection: ClientConnection, wanted: device_resources.Describe, port: int) -> Response:
        """``port``: ours."""
        origin = self._origin or _origin(connection, wanted, port)
        context, identity = self.context, connection.identity
        psk = connection.peer.info.peer.psk_identity is not None
        if wanted.device:
            view = context.device(identity, wanted.device)
            if view is None:
                return device_resources.refusal("unknown")
            description = td.thing(view, forms(view, origin, psk), context.forms(view))
        else:
            views = context.devices(identity)
            title = context.gateway().name if views else "atls-gateway"
            links = {each.name: origin + td.place_of(each.name) for each in views}
            description = td.directory(title, _security(psk), links)
        return device_resources.content(device_resources.TD_JSON, td.encoded(description), 0)


def _origin(connection: ClientConnection, wanted: device_resources.Describe, port: int) -> str:
    """As the client named us (RFC 7252, section 5.10.1), else the address that it reached."""
    host = wanted.host if _HOST.fullmatch(wanted.host) else local_address(connection.peer.address)
    return f"coaps://{f'[{host}]' if ':' in host else host}:{wanted.port or port}"


def _security(psk: bool) -> Forms:
    # TD 1.1 has no scheme for certificates: ``auto`` leaves it to the handshake (section 5.3.3.3).
    return Forms(name=NAME, security={"scheme": "psk" if psk else "auto"}, prefixes=_PREFIXES)


def forms(device: DeviceView, origin: str, psk: bool) -> Forms:
    place = f"{origin}/d/{quote(device.name, safe='')}"
    observed = "read" in device.may  # an observation begins with the value, which takes that
    security = _security(psk)
    return Forms(
        name=security.name,
        security=security.security,
        prefixes=security.prefixes,
        properties={each.name: tuple(_of_property(each, place, observed)) for each in device.properties},
        actions={
            each.name: (_form(f"{place}/{each.name}", "invokeaction", **{"cov:method": "POST"}),)
            for each in device.actions
        },
        events={
            each.name: (_form(f"{place}/{each.name}/value", "subscribeevent", "unsubscribeevent", **_OBSERVE),)
            for each in device.events
        },
    )


_OBSERVE: Final = {"subprotocol": "cov:observe", "cov:method": "GET"}


def _of_property(each: Any, place: str, observed: bool) -> list[Form]:
    found = []
    if each.readable:
        watching = ("observeproperty", "unobserveproperty") if observed else ()
        found.append(_form(f"{place}/{each.name}/value", "readproperty", *watching, **_OBSERVE))
        if each.writable:
            found.append(_form(f"{place}/{each.name}", "writeproperty", **{"cov:method": "PUT"}))
    return found


def _form(href: str, *operations: str, **more: str) -> Form:
    return {"href": href, "contentType": _JSON, "op": list(operations), **more}
