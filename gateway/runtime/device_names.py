"""``devices.yaml`` in the state folder: names that devices and groups got by a command, part of the policy.

It has names, addresses and groups only, and its groups are those that the policy file marks ``assignable``: who may do
what with a device is said there, by its rules. ``read`` and ``merged`` are its way into the policy, ``write`` the way
back to the file, whole or not at all. Who writes holds the lock of the state folder: a daemon, or a command while none
runs. What the commands change is in ``naming``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from common.replacing import replace as replace_file
from gateway.api.cast_group import parse_group
from gateway.api.errors import ConfigError
from gateway.engine.policy import GATEWAY, PolicySet, Subject
from gateway.runtime import config_errors, strict_yaml
from gateway.runtime.config_source import InvalidConfigError, Source, read_table
from gateway.runtime.config_types import StrictTable, parse_eui64
from gateway.runtime.strict_yaml import Key

FILE: Final = "devices.yaml"
HEAD: Final = """\
# Names of devices, written by `atls-gateway devices name`, `rename` and `remove` (comments are not kept).
# What a device may do, and who may use it, is said in the policy file only.
layer: 1
devices-version: 1
"""
MAX_DEVICES: Final = 1024
MAX_NAME: Final = 64
CLAIM: Final = "eui64"
"""The claim of the policy by which the file names devices, of the device network that proves it."""
GROUP_CLAIM: Final = "zigbee_group"
"""The claim by which it names cast groups of that network."""
_RESERVED: Final = frozenset({GATEWAY, "bridge"})
"""The resource of ``admin``, and the topic of the gateway itself among those of devices."""

_Eui64 = Annotated[
    str,
    BeforeValidator(parse_eui64),
    WithJsonSchema({"type": "string", "examples": ["00:0d:6f:00:0b:5d:e3:b6"]}),
]


_Group = Annotated[
    str,
    BeforeValidator(parse_group),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["0x0001"]}),
]


class DeviceTable(StrictTable):
    """A device by its address, or a cast group by its number."""

    eui64: _Eui64 = Field(default="", description="Its address, in quotes.")
    zigbee_group: _Group = Field(default="", description="Of a cast group its number, in the place of an address.")
    groups: list[str] = Field(default=[], description="Groups of the policy, each marked assignable there.")

    @property
    def claim(self) -> str:
        """What its link proves."""
        return f"zigbee-group:{self.zigbee_group}" if self.zigbee_group else f"{CLAIM}:{self.eui64}"


class DevicesTable(StrictTable):
    """The names that devices got by a command. Part of the layer-1 policy, but without rules."""

    layer: Literal[1] = Field(description="Always 1.")
    devices_version: Literal[1] = Field(alias="devices-version", description="The version of this format.")
    devices: dict[str, DeviceTable] = Field(default={}, max_length=MAX_DEVICES, description="The devices by name.")


@dataclass(frozen=True, slots=True)
class DeviceNames:
    """The content of the file. ``source`` has the lines."""

    devices: Mapping[str, DeviceTable]
    source: Source

    def of(self, eui64: str) -> str | None:
        """The name that the file gives this address."""
        return next((name for name, device in self.devices.items() if device.eui64 == eui64), None)

    def of_group(self, number: str) -> str | None:
        """The name that the file gives this cast group."""
        return next((name for name, device in self.devices.items() if device.zigbee_group == number), None)


NONE: Final = DeviceNames({}, Source(Path(FILE), {}, {}, {}))


def read(path: Path) -> DeviceNames:
    """Read the file; no names if there is none. Raises InvalidConfigError."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return replace(NONE, source=Source(path, {}, {}, {}))
    except OSError:
        pass  # the reader says why
    try:
        source = read_table(path)
    except ConfigError as error:
        raise InvalidConfigError([error]) from None
    return _names(source)


def parsed(text: str, path: Path) -> DeviceNames:
    """The content of a text that will be written to ``path``. Raises InvalidConfigError."""
    if len(text.encode()) > strict_yaml.MAX_OCTETS:  # which no start would read
        what = f"expected at most {strict_yaml.MAX_OCTETS} octets"
        raise InvalidConfigError([ConfigError("", what, file=str(path))])
    try:
        document = strict_yaml.parse(text, str(path))
    except ConfigError as error:
        raise InvalidConfigError([error]) from None
    return _names(Source(path, document.data, document.lines, {}))


def _names(source: Source) -> DeviceNames:
    table, wrong = config_errors.read(DevicesTable, source.data, source)
    if table is None or source.found:
        raise InvalidConfigError([*source.found, *(mistake for _, mistake in wrong)])
    if found := [
        source.mistake(("devices", name), "expected either eui64 or zigbee_group, and groups with eui64 only")
        for name, device in table.devices.items()
        if bool(device.eui64) == bool(device.zigbee_group) or (device.zigbee_group and device.groups)
    ]:
        raise InvalidConfigError(found)
    return DeviceNames(table.devices, source)


def merged(policy: PolicySet, rules: Source, names: DeviceNames) -> PolicySet:
    """The policy with these devices as subjects of it, and in their groups. ``rules``: the policy file's.

    Raises InvalidConfigError with everything in ``names`` that the policy doesn't allow.
    """
    if found := list(_contradictions(policy, rules, names)):
        raise InvalidConfigError(found)
    groups = {name: list(members) for name, members in policy.groups.items()}
    for name, device in names.devices.items():
        for group in device.groups:
            groups[group].append(name)
    link = policy.vocabulary.network_of(CLAIM)
    subjects = tuple(Subject(name, link, device.claim) for name, device in names.devices.items())
    return replace(
        policy,
        subjects=policy.subjects + subjects,
        groups={name: tuple(dict.fromkeys(members)) for name, members in groups.items()},
    )


def wrong_name(name: str) -> str | None:
    """The mistake in a new name of a device; None: there is none."""
    if not (0 < len(name) <= MAX_NAME) or any(not (c.isalnum() or c in "._-") for c in name) or not name[0].isalnum():
        return f"expected a name of at most {MAX_NAME} letters, digits, '.', '_' and '-', a letter or digit first"
    if name in _RESERVED:
        return f"expected another name: {name!r} is reserved for the gateway itself"
    try:
        parse_eui64(name)
    except ValueError:
        return None
    return "expected a name, not an address"


def _contradictions(policy: PolicySet, rules: Source, names: DeviceNames) -> Iterator[ConfigError]:
    mistake = names.source.mistake
    link = policy.vocabulary.network_of(CLAIM)
    claims = {subject.claim: subject.name for subject in policy.subjects if subject.link == link}
    seen: dict[str, str] = {}
    for name, device in names.devices.items():
        key: Key = ("devices", name)
        if wrong := wrong_name(name):
            yield mistake(key, wrong)
        elif name in policy.aliases:
            table = "subjects" if name in policy.by_name else "resources"
            remedy = f"another one: atls-gateway devices rename {name} NAME"
            yield mistake(
                key, f"expected a name that the policy doesn't have ({place(rules, (table, name))}); {remedy}"
            )
        what, key_of = ("a group", GROUP_CLAIM) if device.zigbee_group else ("an address", CLAIM)
        if other := claims.get(device.claim):
            where = place(rules, ("subjects", other))
            yield mistake((*key, key_of), f"expected {what} that the policy doesn't name ({where}: {other})")
        elif (first := seen.setdefault(device.claim, name)) != name:
            where = place(names.source, ("devices", first))
            yield mistake((*key, key_of), f"expected {what} that no other device has ({where}: {first})")
        for index, group in enumerate(device.groups):
            if group not in policy.assignable:
                yield mistake((*key, "groups", index), _not_assignable(group, policy, rules))


def _not_assignable(group: str, policy: PolicySet, rules: Source) -> str:
    known = f" (such groups: {', '.join(sorted(policy.assignable)) or 'none'})"
    found = f"{group!r} is none"
    if group in policy.groups:
        found = f"{group!r} isn't ({place(rules, ('groups', group))})"
    return f"expected a group that the policy marks assignable: {found}{known}"


def place(source: Source, key: Key) -> str:
    """``FILE:LINE`` of a key."""
    found = source.mistake(key, "")
    return f"{found.file}:{found.line}" if found.line else found.file


def written(devices: Mapping[str, DeviceTable]) -> str:
    """The text of a file with these devices."""
    lines = [f"  {_plain(name)}: {_line(device)}\n" for name, device in devices.items()]
    return HEAD + ("devices:\n" + "".join(lines) if lines else "devices: {}\n")


def write(path: Path, devices: Mapping[str, DeviceTable]) -> None:
    """Put a file with these devices in the place of the one that is there; OSError changes nothing.

    It gets the owner of its folder: root may write it for the user that the service runs as.
    """
    owner = path.parent.stat()
    replace_file(path, written(devices), owner=(owner.st_uid, owner.st_gid) if os.geteuid() == 0 else None)


def _line(device: DeviceTable) -> str:
    if device.zigbee_group:
        return f'{{zigbee_group: "{device.zigbee_group}"}}'
    groups = f", groups: [{', '.join(map(_plain, device.groups))}]" if device.groups else ""
    return f'{{eui64: "{device.eui64}"{groups}}}'


def _plain(text: str) -> str:
    """A word as it is, anything else in quotes; words that YAML takes for something else are that in values only."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", text) and text.lower() not in ("null", "true", "false")
    return text if plain else json.dumps(text, ensure_ascii=False)
