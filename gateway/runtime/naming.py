"""The commands that give devices their names and take them away: what they change, and the answer to each.

``Naming`` does them in the daemon: it changes ``devices.yaml`` and puts the policy with it in force, or does neither.
``without_daemon`` makes the same changes for a command that finds none. A refusal is a PeerError, whose text says what
to do instead.
"""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.printable import printable
from gateway.api.errors import PeerError
from gateway.engine.policy import Action, Effect, PolicySet, Rule
from gateway.runtime import device_names, explain, harden, state_folder
from gateway.runtime.config_types import parse_eui64
from gateway.runtime.device_names import DeviceNames, DeviceTable
from gateway.runtime.policy_file import PolicyFile
from gateway.runtime.reloading import Change, Reloads, rewritten

_LOG = logging.getLogger(__name__)

DeviceNaming = dict[str, DeviceTable]
_HOW = {True: ": it left the network", False: ", though it did not say that it leaves"}
_ORDER = tuple(action.value for action in Action)


def name(eui64: str, wanted: str, groups: Sequence[str] | None) -> Change:
    """Give a device its name. ``groups``: None for the only group that is assignable."""

    def change(rules: PolicyFile, names: DeviceNames) -> DeviceNaming:
        if _is_address(wanted) and not _is_address(eui64):
            raise PeerError(f"expected the address first: atls-gateway devices name {wanted} {eui64}")
        address, new = address_of(eui64), _new_name(wanted, rules, names, eui64)
        before = names.of(address)
        if before is not None and before != new:
            raise PeerError(f"{address} is {before} already; another name: atls-gateway devices rename {before} {new}")
        _not_in_policy(address, rules)
        if groups is None and before is not None:
            return dict(names.devices)
        chosen = _only_group(rules.policy) if groups is None else list(dict.fromkeys(groups))
        for group in chosen:
            _assignable(group, rules)
        return dict(names.devices) | {new: DeviceTable(eui64=address, groups=chosen)}

    return change


def rename(old: str, wanted: str, groups: Sequence[str] | None = None) -> Change:
    """Give a device another name. ``old`` may be its address; of one without a name this is the first."""

    def change(rules: PolicyFile, names: DeviceNames) -> DeviceNaming:
        before = _named(old, rules, names)
        if before is None:
            return name(old, wanted, groups)(rules, names)
        if names.devices[before].zigbee_group:
            raise PeerError(f"{before} is a group: atls-gateway groups rename {before} {wanted}")
        if groups is not None:
            raise PeerError(f"{before} has its groups: atls-gateway devices name changes them")
        new = _new_name(wanted, rules, names, names.devices[before].eui64)
        return {new if each == before else each: device for each, device in names.devices.items()}

    return change


def forget(address: str) -> Change:
    """Take away the name of an address, if it has one in this file."""

    def change(rules: PolicyFile, names: DeviceNames) -> DeviceNaming:
        return {each: device for each, device in names.devices.items() if device.eui64 != address}

    return change


def resolve(asked: str, policy: PolicySet) -> str:
    """The address of a device by its name or address. PeerError: neither."""
    subject = policy.by_name.get(asked)
    if subject is not None and subject.claim.startswith("eui64:"):
        return subject.claim.removeprefix("eui64:")
    try:
        return parse_eui64(asked)
    except ValueError:
        raise PeerError(f"{asked}: no device has this name; atls-gateway devices lists those that there are") from None


def _is_address(text: object) -> bool:
    try:
        return bool(parse_eui64(text))
    except ValueError:
        return False


def address_of(text: object) -> str:
    try:
        return parse_eui64(text)
    except ValueError as error:
        raise PeerError(f"{text}: {error}") from None


def reaching(device: str, policy: PolicySet) -> list[dict[str, Any]]:
    """The rules that a device is a party of: ``id``, ``effect``, ``actions``, ``from`` and ``to`` (lists of names)."""
    found: list[dict[str, Any]] = []
    for rule, parties in policy.ordered:
        others = {"from": sorted(parties.subjects), "to": sorted(parties.resources)}
        if device in parties.resources:
            others = {"from": sorted(parties.subjects - {device}), "to": [device]}
        elif device in parties.subjects:
            others = {"from": [device], "to": sorted(parties.resources - {device})}
        else:
            continue
        if all(others.values()):
            found.append({"id": rule.id, "effect": rule.effect.value, "actions": _actions(rule), **others})
    return sorted(found, key=lambda each: each["effect"] == Effect.DENY.value)


def answer(new: str, policy: PolicySet, names: DeviceNames, **more: Any) -> dict[str, Any]:
    """The answer about a device that has its name now."""
    device = names.devices[new]
    return {"name": new, "address": device.eui64, "groups": device.groups, "rules": reaching(new, policy)} | more


class Naming:
    """``leave`` has an adapter ask a device to leave: its address, and whether to forget it in any case. ``present``:
    whether a device of this name is there."""

    def __init__(
        self,
        reloads: Reloads,
        leave: Callable[[str, bool], Awaitable[Mapping[str, Any]]],
        present: Callable[[str], bool],
    ) -> None:
        self._reloads = reloads
        self._leave = leave
        self._present = present

    async def name(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """``eui64``, ``name`` and, unless there is but one assignable group, ``groups``."""
        eui64, wanted = _texts(arguments, "eui64", "name", optional=("groups",))
        policy, names = await self._reloads.rewrite_names(name(eui64, wanted, _groups(arguments)))
        _LOG.info("%s is %s", address_of(eui64), normal(wanted))
        return answer(normal(wanted), policy, names, present=self._present(normal(wanted)))

    async def rename(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """``from`` (a name or an address), ``to`` and, for a first name, ``groups`` as above."""
        old, wanted = _texts(arguments, "from", "to", optional=("groups",))
        policy, names = await self._reloads.rewrite_names(rename(old, wanted, _groups(arguments)))
        _LOG.info("%s, until now %s, is %s", names.devices[normal(wanted)].eui64, printable(old, 120), normal(wanted))
        return answer(normal(wanted), policy, names, was=old, present=self._present(normal(wanted)))

    async def remove(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """``device`` (a name or an address) and ``force``: forget it even if it doesn't leave."""
        (asked,) = _texts(arguments, "device", optional=("force",))
        force = arguments.get("force", False)
        if not isinstance(force, bool):
            raise PeerError("force: expected true or false")
        policy, names, rules = self._reloads.in_force
        address = resolve(asked, policy)
        self._reloads.check_names(forget(address))  # before it is asked to leave: afterwards is too late
        left = await self._leave(address, force)
        await self._reloads.rewrite_names(forget(address))
        kept = next((each.name for each in rules.policy.subjects if each.claim == f"eui64:{address}"), None)
        place = None if kept is None else device_names.place(rules.source, ("subjects", kept))
        found = names.of(address) or kept
        _LOG.info("%s (%s) is removed%s", found or "a device without a name", address, _HOW[bool(left.get("left"))])
        return {"name": found, "address": address, "policy": place} | dict(left)


def normal(text: str) -> str:
    """A name as it is kept: of the ways to write an umlaut in Unicode, one."""
    return unicodedata.normalize("NFC", text)


def _texts(arguments: Mapping[str, Any], *keys: str, optional: Sequence[str] = ()) -> list[str]:
    unknown = sorted(set(arguments) - set(keys) - set(optional))
    if unknown or any(not isinstance(arguments.get(key), str) for key in keys):
        raise PeerError(f"expected {', '.join(keys)} as text{''.join(f', {each} if need be' for each in optional)}")
    return [arguments[key] for key in keys]


def _groups(arguments: Mapping[str, Any]) -> list[str] | None:
    groups = arguments.get("groups")
    if groups is None or (isinstance(groups, list) and all(isinstance(each, str) for each in groups)):
        return groups
    raise PeerError("groups: expected a list of names")


def free_name(wanted: str, rules: PolicyFile) -> str:
    """A name for a device or a cast group, as it is kept. PeerError: the policy file has it, or it can be none."""
    new = normal(wanted)
    if wrong := device_names.wrong_name(new):
        raise PeerError(f"{wanted}: {wrong}")
    if new in rules.policy.aliases:
        table = "subjects" if new in rules.policy.by_name else "resources"
        raise PeerError(f"{new}: the policy has this name ({device_names.place(rules.source, (table, new))})")
    return new


def _new_name(wanted: str, rules: PolicyFile, names: DeviceNames, eui64: str) -> str:
    new = free_name(wanted, rules)
    taken = names.devices.get(new)
    if taken is not None and taken.eui64 != address_of(eui64):
        raise PeerError(f"{new}: {taken.eui64 or f'group {taken.zigbee_group}'} has this name")
    return new


def _named(asked: str, rules: PolicyFile, names: DeviceNames) -> str | None:
    """The name in the file of a device by its name or address; None: this address has none."""
    found = normal(asked)
    if found in names.devices:
        return found
    address = resolve(found, rules.policy)
    _not_in_policy(address, rules)
    return names.of(address)


def _not_in_policy(address: str, rules: PolicyFile) -> None:
    subject = next((each for each in rules.policy.subjects if each.claim == f"eui64:{address}"), None)
    if subject is not None:
        where = device_names.place(rules.source, ("subjects", subject.name))
        raise PeerError(
            f"{address} has its name, {subject.name}, in the policy file, which no command changes: edit {where},"
            " then atls-gateway reload"
        )


def _only_group(policy: PolicySet) -> list[str]:
    groups = sorted(policy.assignable)
    if not groups:
        raise PeerError(
            "the policy has no group that devices may be put in. Mark one in the policy file, such as groups:"
            " {devices: {members: [], assignable: true}}, give it a rule, and atls-gateway reload"
        )
    if len(groups) > 1:
        raise PeerError(f"expected a group, one of {', '.join(groups)}: --group {groups[0]}")
    return groups


def _assignable(group: str, rules: PolicyFile) -> None:
    if group in rules.policy.assignable:
        return
    known = f"groups that devices may be put in: {', '.join(sorted(rules.policy.assignable)) or 'none'}"
    if group not in rules.policy.groups:
        raise PeerError(f"{group}: the policy has no such group ({known})")
    where = device_names.place(rules.source, ("groups", group))
    raise PeerError(f"{group}: the policy doesn't mark this group assignable ({where}; {known})")


def _actions(rule: Rule) -> list[str]:
    return sorted((action.value for action in rule.actions), key=_ORDER.index)


def forgotten(config: Path, environ: Mapping[str, str], device: str) -> dict[str, Any]:
    """Take a name away while no daemon runs; otherwise as ``without_daemon``. ``known`` is None: no device list was
    asked."""
    rules, names = explain.files(config, environ)
    known = names.devices.get(normal(device))  # whatever else is wrong with it: to take it away may be the mend
    if known is not None and known.zigbee_group:
        raise PeerError(f"{device} is a group; the gateway must run to remove it")
    address = resolve(device, rules.policy) if known is None else known.eui64
    if names.of(address) is None:
        raise PeerError(f"{device} has no name in {names.source.path}; the gateway must run to have it leave")
    without_daemon(config, environ, forget(address))
    return {"name": names.of(address), "address": address, "policy": None, "known": None, "left": False}


def without_daemon(config: Path, environ: Mapping[str, str], change: Change) -> tuple[PolicySet, DeviceNames]:
    """Make a change while no daemon runs, as the next start will find it.

    InvalidConfigError: the files have mistakes. PeerError: the change can't be made. PermissionError: not by this user.
    """
    rules, names = explain.files(config, environ)
    path = names.source.path
    lock = path.with_name("lock")
    if not lock.exists():  # made by us it could be another user's than the service's
        raise PeerError(f"{path.parent}: no gateway has ever run from this state folder, so there are no devices")
    try:
        held = harden.lock(lock)
    except ValueError as error:
        if not os.access(lock, os.R_OK | os.W_OK):
            raise PermissionError(f"{path.parent}: expected root or the user that the gateway runs as") from None
        raise PeerError(f"{path.parent}: {error}; is it just starting or stopping?") from None
    try:
        if why := state_folder.refusal(path.parent):
            raise PeerError(f"{path.parent}: {why}")
        changed, policy = rewritten(path, rules, change)
        device_names.write(path, changed.devices)
    except OSError as error:
        raise PeerError(f"{path} can't be written: {error.strerror}; nothing was changed") from None
    finally:
        os.close(held)
    return policy, changed
