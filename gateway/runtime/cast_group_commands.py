"""The administrator's commands about cast groups, scenes and bindings: names in, names out.

The adapter of the device network keeps groups by number and devices by address; here each has its name. The name of a
group stands in the policy file, or beside those of devices in ``devices.yaml``. A refusal is a PeerError, whose text
says what to do instead.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from gateway.api.cast_group import parse_group
from gateway.api.errors import PeerError
from gateway.engine.policy import PolicySet
from gateway.runtime import device_names, naming
from gateway.runtime.device_names import DeviceNames, DeviceTable
from gateway.runtime.policy_file import PolicyFile
from gateway.runtime.reloading import Reloads

_LOG = logging.getLogger(__name__)

PREFIX: Final = "zigbee-group:"
Arguments = Mapping[str, Any]
Ask = Callable[[str, Arguments], Awaitable[Mapping[str, Any]]]
"""Gives the adapter of the device network a command."""

SCENES: Final = ("scene-add", "scene-store", "scene-rename", "scene-remove", "scene-recall")
CLUSTERS: Final[Mapping[str, int]] = {
    "scenes": 0x0005, "on_off": 0x0006, "level": 0x0008, "window_covering": 0x0102, "thermostat": 0x0201,
    "fan": 0x0202, "color": 0x0300, "illuminance": 0x0400, "temperature": 0x0402, "humidity": 0x0405,
    "occupancy": 0x0406,
}  # fmt: skip
"""Words for the clusters that people bind; any other by its number."""
OF_ZIGBEE2MQTT: Final[Mapping[str, int]] = {
    "genscenes": 0x0005, "genonoff": 0x0006, "genlevelctrl": 0x0008, "closureswindowcovering": 0x0102,
    "hvacthermostat": 0x0201, "hvacfanctrl": 0x0202, "lightingcolorctrl": 0x0300, "msilluminancemeasurement": 0x0400,
    "mstemperaturemeasurement": 0x0402, "msrelativehumidity": 0x0405, "msoccupancysensing": 0x0406,
}  # fmt: skip


class CastGroupCommands:
    """The commands by their names in ``commands``."""

    def __init__(self, reloads: Reloads, ask: Ask) -> None:
        self._reloads = reloads
        self._ask = ask

    def commands(self) -> dict[str, Callable[[Arguments], Awaitable[Mapping[str, Any]]]]:
        return {
            "groups": self.listed,
            "group-add": self.add,
            "group-remove": self.remove,
            "group-rename": self.rename,
            "group-members-add": self.members_add,
            "group-members-remove": self.members_remove,
            "group-members-clear": self.members_clear,
            **{name: self._scene(name) for name in SCENES},
            **{name: self._bind(name) for name in ("bind", "unbind")},
        }

    # Groups --------------------------------------------------------------------------------------------------------

    async def listed(self, arguments: Arguments) -> Mapping[str, Any]:
        _only(arguments)
        answer, policy = await self._ask("groups", {}), self._policy
        return {
            "groups": [
                {
                    "name": _group_name(group["id"], policy),
                    "id": group["id"],
                    "members": [_member(each, policy) for each in group["members"]],
                    "leaving": [_member(each, policy) for each in group["leaving"]],
                    "scenes": group["scenes"],
                }
                for group in answer["groups"]
            ],
            "bindings": [_binding(each, policy) for each in answer["bindings"]],
        }

    async def add(self, arguments: Arguments) -> Mapping[str, Any]:
        """``name``, and ``id`` for a number of one's own choice."""
        _only(arguments, "name", "id")
        wanted, asked = arguments.get("name"), arguments.get("id")
        if not isinstance(wanted, str) or (
            asked is not None and (isinstance(asked, bool) or not isinstance(asked, int))
        ):
            raise PeerError("expected name, and id: a whole number, if need be")
        _, names, rules = self._reloads.in_force
        claim = None if asked is None else PREFIX + _number(asked)
        if claim is not None and (named := _claimed(claim, rules.policy)):
            if named != naming.normal(wanted):
                raise PeerError(
                    f"the policy file names group {asked} {named}: atls-gateway groups add {named} --id {asked}"
                )
            return {"name": named, **await self._ask("group-add", {"id": asked})}
        new = naming.free_name(wanted, rules)
        taken = names.devices.get(new)
        if taken is not None and taken.zigbee_group and int(taken.zigbee_group, 16) not in await self._known():
            asked = int(taken.zigbee_group, 16)  # its adapter has lost it
            return {"name": new, **await self._ask("group-add", {"id": asked})}
        _free(new, names)
        made = await self._ask("group-add", {} if asked is None else {"id": asked})
        while asked is None and (former := _group_name(made["id"], self._policy)):
            # Its adapter had lost it: it is there again, without members. Another group with its number would be cast
            # to devices that are still in it.
            _LOG.warning("group %s (%s) was lost, and has to get its members again", made["id"], former)
            made = await self._ask("group-add", {})
        number = _number(made["id"])

        def change(rules: PolicyFile, names: DeviceNames) -> dict[str, DeviceTable]:
            name = naming.free_name(wanted, rules)
            _free(name, names)
            left = {each: device for each, device in names.devices.items() if device.zigbee_group != number}
            return left | {name: DeviceTable(zigbee_group=number)}

        try:
            await self._reloads.rewrite_names(change)
        except PeerError:
            await self._ask("group-remove", {"id": made["id"]})
            raise
        _LOG.info("group %s is %s", number, new)
        return {"name": new, **made}

    async def rename(self, arguments: Arguments) -> Mapping[str, Any]:
        """``from`` (a name or a number) and ``to``."""
        _only(arguments, "from", "to")
        old, wanted = arguments.get("from"), arguments.get("to")
        if not isinstance(wanted, str):
            raise PeerError("expected from (a group) and to (its new name)")
        number = self._number_of(old)

        def change(rules: PolicyFile, names: DeviceNames) -> dict[str, DeviceTable]:
            if named := _claimed(PREFIX + number, rules.policy):
                place = device_names.place(rules.source, ("subjects", named))
                raise PeerError(f"{named} has its name in the policy file: edit {place}, then atls-gateway reload")
            new, before = naming.free_name(wanted, rules), names.of_group(number)
            if new != before:
                _free(new, names)
            renamed = {new if each == before else each: device for each, device in names.devices.items()}
            return renamed if before is not None else renamed | {new: DeviceTable(zigbee_group=number)}

        if int(number, 16) not in await self._known():
            raise PeerError(f"{old}: no such group; atls-gateway groups lists those that there are")
        await self._reloads.rewrite_names(change)
        _LOG.info("group %s is %s", number, naming.normal(wanted))
        return {"id": int(number, 16), "name": naming.normal(wanted), "was": old}

    async def remove(self, arguments: Arguments) -> Mapping[str, Any]:
        """``group``: its name or number. Its members are rid of it as they are heard."""
        _only(arguments, "group")
        number = self._number_of(arguments.get("group"))
        name = _group_name(int(number, 16), self._policy)
        answer: Mapping[str, Any] = {"id": int(number, 16), "pending": []}
        if answer["id"] in await self._known():
            answer = await self._ask("group-remove", {"id": answer["id"]})
        elif self._reloads.in_force[1].of_group(number) is None:
            raise PeerError(f"{arguments['group']}: no such group; atls-gateway groups lists those that there are")

        def change(rules: PolicyFile, names: DeviceNames) -> dict[str, DeviceTable]:
            return {each: device for each, device in names.devices.items() if device.zigbee_group != number}

        if self._reloads.in_force[1].of_group(number) is not None:
            await self._reloads.rewrite_names(change)
        kept = _claimed(PREFIX + number, self._reloads.in_force[2].policy)
        place = None if kept is None else device_names.place(self._reloads.in_force[2].source, ("subjects", kept))
        _LOG.info("group %s (%s) is removed", number, name)
        return {"name": name, "policy": place, **self._named(answer)}

    async def members_add(self, arguments: Arguments) -> Mapping[str, Any]:
        """``group``, ``device``, and ``endpoint`` unless the first that can be in a group is meant."""
        _only(arguments, "group", "device", "endpoint")
        answer = await self._ask("group-members-add", self._membership(arguments))
        return {**answer, **self._words(arguments)}

    async def members_remove(self, arguments: Arguments) -> Mapping[str, Any]:
        """As ``members_add``; without ``endpoint`` the whole device."""
        _only(arguments, "group", "device", "endpoint")
        answer = await self._ask("group-members-remove", self._membership(arguments))
        return {**self._named(answer), **self._words(arguments)}

    async def members_clear(self, arguments: Arguments) -> Mapping[str, Any]:
        """All members of ``group``, or ``device`` out of all groups that it is in."""
        _only(arguments, "group", "device")
        if ("group" in arguments) == ("device" in arguments):
            raise PeerError("expected either group or device")
        if "device" in arguments:
            wanted = {"eui64": self._address(arguments["device"])}
        else:
            wanted = {"id": int(self._number_of(arguments["group"]), 16)}  # type: ignore[dict-item]
        return self._named(await self._ask("group-members-clear", wanted))

    async def _known(self) -> list[int]:
        """The numbers of the groups that there are."""
        return [each["id"] for each in (await self._ask("groups", {}))["groups"]]

    def _membership(self, arguments: Arguments) -> dict[str, Any]:
        found = {
            "id": int(self._number_of(arguments.get("group")), 16),
            "eui64": self._address(arguments.get("device")),
        }
        return found | ({"endpoint": arguments["endpoint"]} if arguments.get("endpoint") is not None else {})

    def _words(self, arguments: Arguments) -> dict[str, Any]:
        """Group and device as they are called, whatever word was asked by."""
        policy = self._policy
        group = _group_name(int(self._number_of(arguments["group"]), 16), policy)
        address = self._address(arguments["device"])
        return {"group": group, "device": _claimed(f"eui64:{address}", policy) or address}

    # Scenes --------------------------------------------------------------------------------------------------------

    def _scene(self, command: str) -> Callable[[Arguments], Awaitable[Mapping[str, Any]]]:
        async def do(arguments: Arguments) -> Mapping[str, Any]:
            found = dict(arguments)
            number = self._number_of(found.pop("group", None))
            found["id"] = int(number, 16)
            answer = await self._ask(command, found)
            return {"group": _group_name(found["id"], self._policy), **self._named(answer)}

        return do

    # Bindings ------------------------------------------------------------------------------------------------------

    def _bind(self, command: str) -> Callable[[Arguments], Awaitable[Mapping[str, Any]]]:
        async def do(arguments: Arguments) -> Mapping[str, Any]:
            """``from`` (a device), ``to`` (a device or a group), endpoints, and ``clusters``: words or numbers."""
            _only(arguments, "from", "from_endpoint", "to", "to_endpoint", "clusters")
            wanted: dict[str, Any] = {"from": self._address(arguments.get("from"))}
            for key in ("from_endpoint", "to_endpoint"):
                if arguments.get(key) is not None:
                    wanted[key] = arguments[key]
            target = arguments.get("to")
            if (number := self._find_group(target)) is not None:
                wanted["group"] = int(number, 16)
            else:
                wanted["to"] = self._address(target)
            clusters = arguments.get("clusters")
            if clusters is not None:
                if not isinstance(clusters, list) or not clusters:
                    raise PeerError("clusters: expected a list")
                wanted["clusters"] = [cluster_of(each) for each in clusters]
            answer = await self._ask(command, wanted)
            policy = self._policy
            return {key: [_binding(each, policy) for each in rows] for key, rows in answer.items()}

        return do

    # Names ---------------------------------------------------------------------------------------------------------

    @property
    def _policy(self) -> PolicySet:
        return self._reloads.in_force[0]

    def _address(self, asked: object) -> str:
        if not isinstance(asked, str):
            raise PeerError("device: expected a name or an address")
        return naming.resolve(naming.normal(asked), self._policy)

    def _find_group(self, asked: object) -> str | None:
        subject = self._policy.by_name.get(naming.normal(asked)) if isinstance(asked, str) else None
        if subject is not None:
            return subject.claim.removeprefix(PREFIX) if subject.claim.startswith(PREFIX) else None
        try:
            return parse_group(asked)
        except ValueError:
            return None

    def _number_of(self, asked: object) -> str:
        number = self._find_group(asked)
        if number is None:
            shown = asked if isinstance(asked, str | int) else "group"
            raise PeerError(f"{shown}: no such group; atls-gateway groups lists those that there are")
        return number

    def _named(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """An answer of the adapter with the names of devices in the place of their addresses."""
        policy, found = self._policy, dict(answer)
        if "pending" in found and isinstance(found["pending"], list):
            found["pending"] = [_place(each, policy) for each in found["pending"]]
        if "failed" in found:
            found["failed"] = [_member(each, policy) for each in found["failed"]]
        return found


def cluster_of(asked: object) -> int:
    """A cluster by its word here or in zigbee2mqtt, or by its number. PeerError: unknown."""
    if isinstance(asked, int) and not isinstance(asked, bool):
        return asked
    if isinstance(asked, str):
        word = asked.strip().lower()
        if word in CLUSTERS:
            return CLUSTERS[word]
        if word in OF_ZIGBEE2MQTT:
            return OF_ZIGBEE2MQTT[word]
        try:
            return int(word, 0)
        except ValueError:
            pass
    raise PeerError(f"{asked}: expected a cluster, one of {', '.join(CLUSTERS)}, or a number such as 0x0006")


def _only(arguments: Arguments, *known: str) -> None:
    if unknown := sorted(set(arguments) - set(known)):
        raise PeerError(f"unknown: {', '.join(unknown)}; expected {', '.join(known) or 'nothing'}")


def _number(asked: object) -> str:
    try:
        return parse_group(asked)
    except ValueError as error:
        raise PeerError(f"id: {error}") from None


def _free(name: str, names: DeviceNames) -> None:
    taken = names.devices.get(name)
    if taken is not None:
        raise PeerError(f"{name}: {taken.eui64 or f'group {taken.zigbee_group}'} has this name")


def _claimed(claim: str, policy: PolicySet) -> str | None:
    return next((subject.name for subject in policy.subjects if subject.claim == claim), None)


def _group_name(number: int, policy: PolicySet) -> str | None:
    return _claimed(f"{PREFIX}0x{number:04x}", policy)


def _place(text: str, policy: PolicySet) -> dict[str, Any]:
    eui64, _, endpoint = text.partition("/")
    return _member({"eui64": eui64, "endpoint": int(endpoint)}, policy)


def _member(found: Mapping[str, Any], policy: PolicySet) -> dict[str, Any]:
    rest = {key: value for key, value in found.items() if key != "eui64"}
    return {"name": _claimed(f"eui64:{found['eui64']}", policy), "address": found["eui64"], **rest}


def _binding(found: Mapping[str, Any], policy: PolicySet) -> dict[str, Any]:
    shown = dict(found)
    shown["from"] = _claimed(f"eui64:{found['from']}", policy) or found["from"]
    if "to" in found:
        shown["to"] = _claimed(f"eui64:{found['to']}", policy) or found["to"]
    if "group" in found:
        shown["to"] = _group_name(shown.pop("group"), policy) or found["group"]
    word = next((word for word, number in CLUSTERS.items() if number == found["cluster"]), None)
    shown["cluster"] = word or f"0x{found['cluster']:04x}"
    return shown
