"""The setup of devices and their answers to it, in a file: a restart does not ask for it again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from adapters.zigbee.device_model import Model, place
from carriage.zigbee.datatypes import TYPES, Value, ZclType
from carriage.zigbee.foundation import Status
from gateway.api.model import Scalar
from gateway.kit.json_file import JsonFile

MEMORY: Final = "reporting.json"
SUCCESS: Final = Status.SUCCESS.name
UNSUPPORTED: Final = Status.UNSUPPORTED_ATTRIBUTE.name
WRONG_TYPE: Final = Status.INVALID_DATA_TYPE.name

Entry = dict[str, Any]
_PLACE: Final = re.compile(r"([0-9]{1,3})/([0-9a-f]{4})(?:/([0-9a-f]{4}))?")
_ATTRIBUTE: Final = re.compile(r"[0-9a-f]{4}")


class ReportingMemory:
    """By device and ``endpoint/cluster``: ``{"wanted": ..., "bind": "SUCCESS", "reports": {"0021": "SUCCESS"}}``.

    ``"absent": ["0021"]`` are attributes that the device doesn't have, ``"types": {"0021": 33}`` those that it has as
    another type than the row's, ``"constants": {"0301": 1, "0302": null}`` those that rows depend on (null: it doesn't
    have it), ``"attempts": {"0505": 1}`` those with a gentler reporting than the row's, ``"set"`` what setup wrote,
    ``"set_up": {"address": "SUCCESS"}`` its answers to requests that are made once. An older file has none of them. A
    manufacturer's own attributes are under ``endpoint/cluster/code``.
    """

    def __init__(self, path: Path) -> None:
        # Lost at a power cut it only means that devices are set up again: so it isn't synced to the disk.
        self._file = JsonFile(path, "devices are set up again", synced=False)
        self.devices: dict[str, dict[str, Entry]] = {}
        self._file.read(self._take)

    def _take(self, found: Any) -> None:
        devices = {eui64: {name: dict(entry) for name, entry in device.items()} for eui64, device in found.items()}
        for name in {name for device in devices.values() for name in device}:
            _place_of(name)  # ValueError: another form
        self.devices = devices

    def save(self) -> None:
        self._file.write(self.devices)

    def recall(self, model: Model) -> None:
        """A device is there since before this start: what it doesn't have it did not have then."""
        known = self.devices.get(model.eui64, {})
        for slot in model.slots.values():
            for each in slot.slots:
                entry, attribute = known.get(name_of(each.place), {}), f"{each.row.attribute:04x}"
                each.absent = _absent(entry, attribute, optional=each.row.optional)
                each.type = _type(entry, attribute, each.row.type)
                each.attempt = _attempt(entry, attribute)

    def remember(self, model: Model) -> None:
        """Keep which properties a device doesn't have."""
        device = self.devices.setdefault(model.eui64, {})
        for at, slots in model.places.items():
            name = name_of(at)
            absent = [f"{attribute:04x}" for attribute, slot in slots.items() if slot.absent]
            if absent or name in device or any(slot.row.optional for slot in slots.values()):
                device.setdefault(name, {})["absent"] = absent
        self.save()

    def is_set(self, eui64: str, at: int, payload: bytes) -> bool:
        """Whether a device got what setup writes; with nothing to write, whether it was asked to be bound."""
        entry = self.devices.get(eui64, {}).get(name_of(at), {})
        return entry.get("set") == payload.hex() if payload else "bind" in entry

    def constants(self, eui64: str) -> dict[int, dict[int, Value]]:
        """By place what a device said of the attributes that its rows depend on."""
        found: dict[int, dict[int, Value]] = {}
        for name, entry in self.devices.get(eui64, {}).items():
            values = entry.get("constants")
            if isinstance(values, dict):
                found[_place_of(name)] = {
                    int(attribute, 16): value
                    for attribute, value in values.items()
                    if _ATTRIBUTE.fullmatch(attribute) and (value is None or isinstance(value, Scalar))
                }
        return found


def name_of(at: int) -> str:
    """The key of a place: ``1/0021``; ``1/fcc0/115f`` for a manufacturer's own attributes."""
    name = f"{at >> 16 & 0xFF}/{at & 0xFFFF:04x}"
    return f"{name}/{at >> 32:04x}" if at >> 32 else name


def _place_of(name: str) -> int:
    found = _PLACE.fullmatch(name)
    if found is None:
        raise ValueError("no place")
    endpoint, cluster, manufacturer = found.groups("0")
    return place(int(endpoint), int(cluster, 16), int(manufacturer, 16))


def refused(entry: Entry, word: str) -> list[str]:
    """The attributes for which this was the answer to the question to report them."""
    reports = entry.get("reports")
    return [name for name, said in reports.items() if said == word] if isinstance(reports, dict) else []


def part(entry: Entry, name: str) -> dict[str, Any]:
    """A table of an entry; what else a file had in its place is thrown away."""
    if not isinstance(entry.get(name), dict):
        entry[name] = {}
    found: dict[str, Any] = entry[name]
    return found


def state(entry: Entry) -> str:
    """``configured``, or what the device refused."""
    reports = entry.get("reports")
    words = {"bind": entry.get("bind"), **(reports if isinstance(reports, dict) else {})}
    failed = [f"{name} {word}" for name, word in words.items() if word not in (SUCCESS, None)]
    once = entry.get("set_up")
    said = [f"{name} {word}" for name, word in once.items()] if isinstance(once, dict) else []
    return ", ".join(failed + said) or ("configured" if reports else "bound")


def _absent(entry: Entry, attribute: str, *, optional: bool) -> bool:
    found = entry.get("absent")
    return attribute in found if isinstance(found, list) else optional or attribute in refused(entry, UNSUPPORTED)


def _type(entry: Entry, attribute: str, usual: ZclType) -> ZclType:
    types = entry.get("types")
    number = types.get(attribute) if isinstance(types, dict) else None
    return TYPES.get(number, usual) if isinstance(number, int) else usual


def _attempt(entry: Entry, attribute: str) -> int:
    attempts = entry.get("attempts")
    number = attempts.get(attribute) if isinstance(attempts, dict) else None
    return number if isinstance(number, int) else 0
