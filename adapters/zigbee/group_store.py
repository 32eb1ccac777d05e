"""The cast groups of this adapter with their members and scenes, and the bindings between devices, in a file.

The file says what is wanted; ``done`` of a member or a binding says whether the device has confirmed it. What a device
has still to be rid of is kept as well, so that a restart forgets neither. Every change is on the disk before it is
answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from carriage.zigbee.groups import FIRST_GROUP, LAST_GROUP
from gateway.kit.json_file import JsonFile

FILE: Final = "groups.json"
MAX_GROUPS: Final = 256
MAX_MEMBERS: Final = 256
"""Of one group."""
MAX_SCENES: Final = 64
"""Of one group; many devices keep 16 in all."""
MAX_BINDINGS: Final = 1024
MAX_REST: Final = 1024
"""What devices that were not heard have still to be rid of, and groups of devices that left; the oldest are forgotten.
"""


class DeviceEndpoint(NamedTuple):
    """An endpoint of a device."""

    eui64: str
    endpoint: int

    def __str__(self) -> str:
        return f"{self.eui64}/{self.endpoint}"


class ClusterBinding(NamedTuple):
    """What a cluster of ``source`` sends goes to ``to``, too: an endpoint of another device, or a group."""

    source: DeviceEndpoint
    cluster: int
    to: DeviceEndpoint | int


Rest = dict[tuple[int, DeviceEndpoint] | ClusterBinding, None]


@dataclass(slots=True, eq=False)
class Group:
    """``members``: by endpoint, whether the device has confirmed it. ``scenes``: their names by number."""

    number: int
    members: dict[DeviceEndpoint, bool] = field(default_factory=dict)
    scenes: dict[int, str] = field(default_factory=dict)


class GroupStore:
    """``rest``: memberships (group, endpoint) and bindings that devices have to be rid of. ``former``: the groups of
    devices that left by themselves, which they get again should they come back."""

    def __init__(self, path: Path) -> None:
        self._file = JsonFile(path, "groups, scenes and bindings are lost, and have to be made again")
        self.groups: dict[int, Group] = {}
        self.bindings: dict[ClusterBinding, bool] = {}
        self.rest: Rest = {}
        self.former: dict[tuple[int, DeviceEndpoint], None] = {}
        self._file.read(self._load)

    def _load(self, found: Any) -> None:
        groups = {}
        for number, row in found["groups"].items():
            members = {_place(place): bool(done) for place, done in row["members"].items()}
            scenes = {int(scene) & 0xFF: str(name) for scene, name in row["scenes"].items()}
            groups[_number(number)] = Group(_number(number), members, scenes)
        bindings = {_binding(row): bool(row["done"]) for row in found["bindings"]}
        rest: Rest = {_membership(row): None for row in found["leaving"]}
        rest.update((_binding(row), None) for row in found["unbinding"])
        former = {_membership(row): None for row in found["former"]}
        self.groups, self.bindings, self.rest, self.former = groups, bindings, rest, former

    def save(self) -> None:
        for table in (self.rest, self.former):
            while len(table) > MAX_REST:
                del table[next(iter(table))]  # type: ignore[arg-type]
        self._file.write(
            {
                "groups": {
                    f"{group.number}": {
                        "members": {f"{place}": done for place, done in group.members.items()},
                        "scenes": {f"{number}": name for number, name in group.scenes.items()},
                    }
                    for group in self.groups.values()
                },
                "bindings": [_row(each) | {"done": done} for each, done in self.bindings.items()],
                "leaving": [[group, f"{place}"] for group, place in _memberships(self.rest)],
                "unbinding": [_row(each) for each in self.rest if isinstance(each, ClusterBinding)],
                "former": [[group, f"{place}"] for group, place in self.former],
            }
        )

    def free_number(self) -> int | None:
        """The least number that no group has, and none of which devices have still to be rid of."""
        taken = self.groups.keys() | {group for group, _ in _memberships(self.rest)}
        return next((each for each in range(FIRST_GROUP, LAST_GROUP + 1) if each not in taken), None)

    def leaving(self, number: int) -> list[DeviceEndpoint]:
        """Those who are to leave a group and have not confirmed it."""
        return [place for group, place in _memberships(self.rest) if group == number]

    def of(self, eui64: str) -> Iterator[tuple[Group, DeviceEndpoint]]:
        """The memberships of a device."""
        for group in self.groups.values():
            for place in group.members:
                if place.eui64 == eui64:
                    yield group, place


def _memberships(rest: Rest) -> Iterator[tuple[int, DeviceEndpoint]]:
    for each in rest:
        if not isinstance(each, ClusterBinding):
            yield each


def _row(binding: ClusterBinding) -> dict[str, Any]:
    to = binding.to if isinstance(binding.to, int) else f"{binding.to}"
    return {"from": f"{binding.source}", "cluster": binding.cluster, "to": to}


def _binding(row: Any) -> ClusterBinding:
    to = row["to"]
    return ClusterBinding(_place(row["from"]), int(row["cluster"]) & 0xFFFF, to if isinstance(to, int) else _place(to))


def _membership(row: Any) -> tuple[int, DeviceEndpoint]:
    number, place = row
    return _number(number), _place(place)


def _number(found: Any) -> int:
    number = int(found)
    if not FIRST_GROUP <= number <= LAST_GROUP:
        raise ValueError("not a group")
    return number


def _place(text: str) -> DeviceEndpoint:
    eui64, endpoint = text.split("/")
    if len(bytes.fromhex(eui64.replace(":", ""))) != 8:
        raise ValueError("not an EUI64")
    return DeviceEndpoint(eui64, int(endpoint) & 0xFF)
