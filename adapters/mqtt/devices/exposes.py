"""Devices as zigbee2mqtt's ``bridge/devices`` lists them, with what each ``exposes``. Pure.

``type`` of an expose is ``light``, ``switch``, ``cover``, ``lock``, ``climate`` or ``fan`` with its ``features``, or
one of ``binary``, ``numeric``, ``enum``, ``text``, ``composite``, ``list``; bits of ``access``: 1 it is in the state, 2
it can be set, 4 it can be asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from adapters.mqtt.devices import identity
from adapters.mqtt.devices.units import UNITS
from gateway.api.model import ActionAffordance, DataSchema, DataType, DeviceView, PropertyAffordance

SPECIFIC: Final = frozenset({"light", "switch", "cover", "lock", "climate", "fan"})
"""Entities that are one expose; the features of others stand by themselves."""
_STATE, _SET, _GET = 1, 2, 4
_END: Final = re.compile(r"(.+)_([0-9]{1,3})")
_COLORS: Final = (("color_xy", ("x", "y")), ("color_hs", ("hue", "saturation")))
_UNLISTED: Final = ("_step", "_move", "toggle", "stop")
"""Ends of the names of actions that zigbee2mqtt does not list: everybody knows them."""
_NUMBERS: Final = (DataType.NUMBER, DataType.INTEGER)


def listed(view: DeviceView) -> dict[str, Any]:
    """A device in ``bridge/devices``. What only the radio knows of it is null or empty."""
    facts = dict(view.facts)
    model = facts.get("model") or None
    eui64 = identity.eui64(view.address)
    done, supported = is_known(view), bool(view.properties or view.actions or view.events)
    return {
        "ieee_address": "0x" + eui64.replace(":", "") if eui64 else view.address.claim,
        "type": "EndDevice" if view.sleepy else "Router",
        "network_address": None,
        "supported": supported,
        "friendly_name": view.name,
        "disabled": False,
        "description": None,
        "definition": {
            "model": model or "",
            "vendor": facts.get("manufacturer", ""),
            "description": model or "",
            "exposes": exposes(view),
            "options": [_generic(each, view) for each in view.properties if each.writable and not each.readable],
            "supports_ota": False,
            "source": "native",
        }
        if supported
        else None,
        "power_source": "Battery" if view.sleepy else "Mains (single phase)",
        "software_build_id": facts.get("version") or facts.get("sw_version") or None,
        "date_code": facts.get("date_code") or None,
        "model_id": model,
        "interviewing": not done,
        "interview_completed": done,
        "interview_state": "SUCCESSFUL" if done else "PENDING",
        "manufacturer": facts.get("manufacturer") or None,
        "endpoints": {},
    }


def is_known(view: DeviceView) -> bool:
    """Whether a device has said what it is."""
    return bool(view.facts or view.properties or view.actions or view.events)


def exposes(view: DeviceView) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    specific: dict[str, list[dict[str, Any]]] = {}
    toggles = {each.entity for each in view.actions if each.name.startswith("toggle")}
    for each in view.properties:
        if not each.readable:
            continue
        features = _of_property(each, view, toggles)
        kind, _, end = each.entity.partition("_")
        if kind not in SPECIFIC or each.category:
            found += features
            continue
        if each.entity not in specific:
            whole = specific[each.entity] = []
            found.append({"type": kind, "features": whole} | ({"endpoint": end} if end else {}))
        specific[each.entity] += features
    if "invoke" in view.may:
        found += [_of_action(each) for each in view.actions if not _base(each.name)[0].endswith(_UNLISTED)]
    if view.events:
        found.append(
            {
                "type": "enum",
                "name": "action",
                "label": "Action",
                "property": "action",
                "access": _STATE,
                "values": sorted(each.name for each in view.events),
                "category": "diagnostic",
            }
        )
    return found


def _of_property(each: PropertyAffordance, view: DeviceView, toggles: Iterable[str]) -> list[dict[str, Any]]:
    if each.type is DataType.OBJECT and _base(each.name)[0] == "color":
        fields = dict(each.fields)
        access = _access(each, view)
        return [
            _named(each.name, name, access)
            | {"type": "composite", "features": [_schema(part, fields[part], access) for part in parts]}
            for name, parts in _COLORS
            if all(part in fields for part in parts)
        ]
    found = _generic(each, view)
    if each.type is DataType.BOOLEAN and each.entity in toggles and "invoke" in view.may:
        found["value_toggle"] = "TOGGLE"
    return [found]


def _generic(each: PropertyAffordance, view: DeviceView) -> dict[str, Any]:
    access = _access(each, view)
    found = _schema(each.name, each, access, on_off=each.writable)
    found.update(_named(each.name, _base(each.name)[0], access))
    if each.category:
        found["category"] = each.category
    return found


def _of_action(each: ActionAffordance) -> dict[str, Any]:
    base, _ = _base(each.name)
    head = _named(each.name, base, _SET)
    if each.input is None:
        return head | {"type": "enum", "values": [base]}
    return _schema(each.name, each.input, _SET) | head


def _named(full: str, name: str, access: int) -> dict[str, Any]:
    """The words of an expose; ``full``: the key of the state."""
    end = _base(full)[1]
    label = name.replace("_", " ").capitalize()
    return {"name": name, "label": label, "property": full, "access": access} | ({"endpoint": end} if end else {})


def _schema(name: str, schema: DataSchema, access: int, *, on_off: bool = False) -> dict[str, Any]:
    head: dict[str, Any] = {"type": "text"} | _named(name, name, access)
    if schema.type is DataType.BOOLEAN:
        yes, no = ("ON", "OFF") if on_off else (True, False)
        return head | {"type": "binary", "value_on": yes, "value_off": no}
    if schema.type in _NUMBERS:
        bounds: Mapping[str, float | None] = {
            "value_min": schema.minimum,
            "value_max": schema.maximum,
            "value_step": schema.multiple_of,
        }
        unit = UNITS.get(schema.unit, schema.unit)
        head |= {"type": "numeric"} | ({"unit": unit} if unit else {})
        return head | {word: number for word, number in bounds.items() if number is not None}
    if schema.type is DataType.OBJECT:
        return head | {"type": "composite", "features": [_schema(part, each, access) for part, each in schema.fields]}
    if schema.type is DataType.ARRAY:
        item = schema.items or DataSchema(type=DataType.STRING)
        return head | {"type": "list", "item_type": _schema("item", item, access)}
    return head | ({"type": "enum", "values": list(schema.enum)} if schema.enum else {})


def _access(each: PropertyAffordance, view: DeviceView) -> int:
    found = _SET if each.writable and "write" in view.may else 0
    if each.readable:
        found |= _STATE | (_GET if "read" in view.may else 0)
    return found


def _base(name: str) -> tuple[str, str]:
    """The name of a feature without the number of its endpoint, and that."""
    found = _END.fullmatch(name)
    return (name, "") if found is None else (found[1], found[2])
