"""The setup of devices and their answers to it, in a file: a restart does not ask for it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from adapters.zigbee.reports import Model
from carriage.zigbee.datatypes import TYPES, ZclType
from carriage.zigbee.foundation import Status
from gateway.kit.json_file import JsonFile

MEMORY: Final = "reporting.json"
SUCCESS: Final = Status.SUCCESS.name
UNSUPPORTED: Final = Status.UNSUPPORTED_ATTRIBUTE.name
WRONG_TYPE: Final = Status.INVALID_DATA_TYPE.name

Entry = dict[str, Any]


class ReportingMemory:
    """By device and ``endpoint/cluster``: ``{"wanted": ..., "bind": "SUCCESS", "reports": {"0021": "SUCCESS"}}``.

    ``"absent": ["0021"]`` are attributes that the device doesn't have, ``"types": {"0021": 33}`` those that it has as
    another type than the row's. An older file has none of them.
    """

    def __init__(self, path: Path) -> None:
        # Lost at a power cut it only means that devices are set up again: so it isn't synced to the disk.
        self._file = JsonFile(path, "devices are set up again", synced=False)
        self.devices: dict[str, dict[str, Entry]] = {}
        self._file.read(self._take)

    def _take(self, found: Any) -> None:
        self.devices = {
            str(eui64): {str(name): dict(entry) for name, entry in device.items()} for eui64, device in found.items()
        }

    def save(self) -> None:
        self._file.write(self.devices)

    def recall(self, model: Model) -> None:
        """A device is there since before this start: what it doesn't have it did not have then."""
        known = self.devices.get(model.eui64, {})
        for slot in model.slots.values():
            entry, attribute = known.get(name_of(slot.endpoint, slot.row.cluster), {}), f"{slot.row.attribute:04x}"
            slot.absent = attribute in _absent(entry)
            slot.type = _type(entry, attribute, slot.row.type)

    def remember(self, model: Model) -> None:
        """Keep which properties a device doesn't have."""
        device = self.devices.setdefault(model.eui64, {})
        for at, slots in model.places.items():
            name = name_of(at >> 16, at & 0xFFFF)
            absent = [f"{attribute:04x}" for attribute, slot in slots.items() if slot.absent]
            if absent or name in device:
                device.setdefault(name, {})["absent"] = absent
        self.save()


def name_of(endpoint: int, cluster: int) -> str:
    return f"{endpoint}/{cluster:04x}"


def refused(entry: Entry, word: str) -> list[str]:
    """The attributes for which this was the answer to the question to report them."""
    reports = entry.get("reports")
    return [name for name, said in reports.items() if said == word] if isinstance(reports, dict) else []


def state(entry: Entry) -> str:
    """``configured``, or what the device refused."""
    reports = entry.get("reports")
    words = {"bind": entry.get("bind"), **(reports if isinstance(reports, dict) else {})}
    failed = [f"{name} {word}" for name, word in words.items() if word not in (SUCCESS, None)]
    return ", ".join(failed) or ("configured" if reports else "bound")


def _absent(entry: Entry) -> list[str]:
    found = entry.get("absent")
    return found if isinstance(found, list) else refused(entry, UNSUPPORTED)


def _type(entry: Entry, attribute: str, usual: ZclType) -> ZclType:
    types = entry.get("types")
    number = types.get(attribute) if isinstance(types, dict) else None
    return TYPES.get(number, usual) if isinstance(number, int) else usual
