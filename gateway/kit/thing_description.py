"""Thing Descriptions (W3C WoT TD 1.1) of devices, and of the gateway that has them: JSON as Python values.

What they say of a device is what one client may see and do; a carriage's adapter says how (``gateway.api.forms``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, Final
from urllib.parse import quote

from gateway.api.forms import Form, Forms, FormsByName
from gateway.api.model import ActionAffordance, DataSchema, DataType, DeviceView, EventAffordance, PropertyAffordance

MEDIA_TYPE: Final = "application/td+json"

CONTEXTS: Final = ("https://www.w3.org/2019/wot/td/v1", "https://www.w3.org/2022/wot/td/v1.1")
"""Both, since there are consumers that know the older one only; TD 1.1, section 5.3.1.1, allows it."""
_LWM2M: Final = "urn:oma:lwm2m:"
_EUI64: Final = "eui64:"

NEEDS: Final[Mapping[str, str]] = {
    "readproperty": "read",
    "readallproperties": "read",
    "observeproperty": "observe",
    "unobserveproperty": "observe",
    "observeallproperties": "observe",
    "unobserveallproperties": "observe",
    "writeproperty": "write",
    "writemultipleproperties": "write",
    "invokeaction": "invoke",
    "subscribeevent": "observe",
    "unsubscribeevent": "observe",
}
"""The policy's action for each operation (TD 1.1, section 5.3.4.2)."""


def thing(view: DeviceView, own: Forms, others: Iterable[Forms] = ()) -> dict[str, Any]:
    """The description of a device for one client. ``own``: of the carriage by which it asks; ``others``: of those whose
    addresses are known as well. An affordance that it may use over none of them is left out."""
    offers = (own, *others)
    found: dict[str, Any] = _head(view.name, offers)
    claim = view.address.claim
    if claim.startswith(_EUI64):  # RFC 9039, section 4.1
        found["id"] = f"urn:dev:mac:{claim.removeprefix(_EUI64).replace(':', '').lower()}"
    facts = dict(view.facts)
    if about := " ".join(filter(None, (facts.get("manufacturer"), facts.get("model")))):
        found["description"] = about
    described: dict[str, dict[str, Any]] = {
        "properties": {
            each.name: _property(each, forms)
            for each in view.properties
            if (forms := _forms(view, offers, each.name, [offer.properties for offer in offers]))
        },
        "actions": {
            each.name: _action(each, forms)
            for each in view.actions
            if (forms := _forms(view, offers, each.name, [offer.actions for offer in offers]))
        },
        "events": {
            each.name: _event(each, forms)
            for each in view.events
            if (forms := _forms(view, offers, each.name, [offer.events for offer in offers]))
        },
    }
    for affordances in described.values():
        for affordance in affordances.values():
            variables = _variables(affordance["forms"], offers)
            if variables:
                affordance["uriVariables"] = variables
    found |= {kind: affordances for kind, affordances in described.items() if affordances}
    forms = _forms(view, offers, "", [{"": offer.thing} for offer in offers])
    return found | ({"forms": forms} if forms else {})


def directory(title: str, own: Forms, links: Mapping[str, str]) -> dict[str, Any]:
    """The description of the gateway: ``links`` to those of its devices, by their names (TD 1.1, section 5.3.4.1)."""
    items = [{"rel": "item", "href": href, "type": MEDIA_TYPE} for href in links.values()]
    return _head(title, (own,)) | ({"links": items} if items else {})


def encoded(description: Mapping[str, Any]) -> bytes:
    return json.dumps(description, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(errors="replace")


def place_of(name: str) -> str:
    """The path of a device's description: apart from the device's own resources, whose names are the device's."""
    return f"/td/{quote(name, safe='')}"


def _head(title: str, offers: Sequence[Forms]) -> dict[str, Any]:
    prefixes = {"lwm2m": _LWM2M} | {name: iri for offer in offers for name, iri in offer.prefixes.items()}
    return {
        "@context": [*CONTEXTS, prefixes],
        "title": title,
        "securityDefinitions": {offer.name: dict(offer.security) for offer in reversed(offers)},
        "security": [offers[0].name],
    }


def _forms(view: DeviceView, offers: Sequence[Forms], name: str, tables: Sequence[FormsByName]) -> list[dict[str, Any]]:
    """The forms of an affordance that this client may use, with the security of each that is not the first one's."""
    found = []
    for offer, table in zip(offers, tables, strict=True):
        for form in table.get(name, ()):
            granted = _granted(form, view.may)
            if granted is not None:
                found.append(granted if offer is offers[0] else granted | {"security": [offer.name]})
    return found


def _granted(form: Form, may: frozenset[str]) -> dict[str, Any] | None:
    operations = form["op"]
    assert isinstance(operations, list)
    left = [each for each in operations if NEEDS.get(str(each)) in may]
    return {**form, "op": left} if left else None


def _variables(forms: Iterable[Mapping[str, Any]], offers: Sequence[Forms]) -> dict[str, Any]:
    used = "".join(each["href"].partition("{")[2] for each in forms)
    return {name: schema for offer in offers for name, schema in offer.variables.items() if name in used}


def _property(each: PropertyAffordance, forms: list[dict[str, Any]]) -> dict[str, Any]:
    found = data_schema(each)
    if each.resource_type.startswith(_LWM2M):
        found["@type"] = f"lwm2m:{each.resource_type.removeprefix(_LWM2M)}"
    operations = {operation for form in forms for operation in form["op"]}
    if "writeproperty" not in operations:
        found["readOnly"] = True
    if not operations & {"readproperty", "observeproperty"}:
        found["writeOnly"] = True
    return found | {"observable": "observeproperty" in operations, "forms": forms}


def _action(each: ActionAffordance, forms: list[dict[str, Any]]) -> dict[str, Any]:
    schemas = {"input": each.input, "output": each.output}
    found = {name: data_schema(schema) for name, schema in schemas.items() if schema is not None}
    return found | {"idempotent": each.idempotent, "safe": False, "forms": forms}


def _event(each: EventAffordance, forms: list[dict[str, Any]]) -> dict[str, Any]:
    return ({} if each.data is None else {"data": data_schema(each.data)}) | {"forms": forms}


def data_schema(schema: DataSchema) -> dict[str, Any]:
    """A data schema (TD 1.1, section 5.3.2)."""
    found: dict[str, Any] = {"type": schema.type.value}
    if schema.unit:
        found["unit"] = schema.unit
    step = schema.multiple_of
    bounds = {"minimum": schema.minimum, "maximum": schema.maximum, "multipleOf": step if step and step > 0 else None}
    found |= {name: bound for name, bound in bounds.items() if bound is not None and isfinite(bound)}
    if schema.enum:
        found["enum"] = list(dict.fromkeys(schema.enum))
    if schema.type is DataType.OBJECT:
        found["properties"] = {name: data_schema(each) for name, each in schema.fields}
        found["required"] = sorted(schema.required)
    if schema.items is not None and schema.type is DataType.ARRAY:
        found |= {"items": data_schema(schema.items), "maxItems": schema.max_items}
    return found
