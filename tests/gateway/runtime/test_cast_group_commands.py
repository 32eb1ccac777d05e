"""Groups by name: what the administrator's commands ask of the adapter, and the file of names around it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.api.errors import PeerError
from gateway.engine.policy import Action, PolicySet, Subject
from gateway.runtime import device_names, vocabularies
from gateway.runtime.cast_group_commands import CastGroupCommands
from gateway.runtime.config_source import InvalidConfigError, Source
from gateway.runtime.device_names import DeviceNames, DeviceTable
from gateway.runtime.explain import Question, answer
from gateway.runtime.policy_file import PolicyFile

LAMP = "00:0d:6f:00:00:00:00:01"
SUBJECTS = (
    Subject("desk", "zigbee", f"eui64:{LAMP}"),
    Subject("hall", "zigbee", "zigbee-group:0x0009"),
    Subject("phone", "coap", "psk:phone"),
)


class Adapter:
    """The adapter's side: numbers and addresses."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.groups: list[int] = []

    async def __call__(self, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append((command, dict(arguments)))
        if command == "group-add":
            number = arguments.get("id") or next(each for each in range(1, 99) if each not in self.groups)
            self.groups.append(number)
            return {"id": number, "members": [], "scenes": []}
        if command == "group-remove":
            self.groups.remove(arguments["id"])
            return {"id": arguments["id"], "pending": [f"{LAMP}/1"]}
        if command == "groups":
            member = {"eui64": LAMP, "endpoint": 1, "pending": False}
            found = [{"id": each, "members": [member], "scenes": [], "leaving": []} for each in self.groups]
            bound = {"from": LAMP, "from_endpoint": 1, "cluster": 6, "group": 9, "pending": False}
            return {"groups": found, "bindings": [bound]}
        if command == "bind":
            return {"bindings": [], "failed": [], "pending": []}
        return {"id": arguments.get("id"), "endpoint": 1, "pending": False}


class Names:
    """In the place of ``Reloads``: the file of names as it would be written; ``full``: it can't be."""

    def __init__(self, path: Path) -> None:
        policy = PolicySet(subjects=SUBJECTS, vocabulary=vocabularies.built_in())
        self.rules = PolicyFile(Source(path, {}, {}, {}), policy)
        self.names = device_names.NONE
        self.full = False

    @property
    def in_force(self) -> tuple[PolicySet, DeviceNames, PolicyFile]:
        return self.rules.with_names(self.names), self.names, self.rules

    async def rewrite_names(self, change: Any) -> None:
        if self.full:
            raise PeerError("devices.yaml can't be written")
        devices: dict[str, DeviceTable] = change(self.rules, self.names)
        self.names = device_names.parsed(device_names.written(devices), Path("devices.yaml"))


@pytest.fixture
def adapter() -> Adapter:
    return Adapter()


@pytest.fixture
def names(tmp_path: Path) -> Names:
    return Names(tmp_path / "policy.yaml")


@pytest.fixture
def do(adapter: Adapter, names: Names) -> Any:
    commands = CastGroupCommands(names, adapter).commands()  # type: ignore[arg-type]

    async def run(command: str, **arguments: Any) -> Mapping[str, Any]:
        return await commands[command](arguments)

    return run


async def test_a_group_gets_its_name_in_the_file_of_names(do: Any, names: Names) -> None:
    assert (await do("group-add", name="living"))["name"] == "living"
    assert names.names.devices["living"].zigbee_group == "0x0001"
    assert 'living: {zigbee_group: "0x0001"}' in device_names.written(names.names.devices)
    assert names.in_force[0].by_name["living"].claim == "zigbee-group:0x0001"
    listed = await do("groups")
    assert [each["name"] for each in listed["groups"]] == ["living"]
    assert listed["groups"][0]["members"][0]["name"] == "desk"
    assert listed["bindings"][0]["to"] == "hall"
    assert (await do("group-rename", **{"from": "living", "to": "parlour"}))["name"] == "parlour"
    assert list(names.names.devices) == ["parlour"]
    assert (await do("group-remove", group="parlour"))["pending"] == [{"name": "desk", "address": LAMP, "endpoint": 1}]
    assert not names.names.devices


async def test_a_new_group_never_gets_the_number_of_one_that_the_adapter_lost(
    do: Any, names: Names, adapter: Adapter
) -> None:
    """Devices are in that one still, and its name has rights."""
    for number, name in enumerate(("living", "kitchen"), 1):
        assert (await do("group-add", name=name))["id"] == number
    adapter.groups.clear()
    assert (await do("group-add", name="bath"))["id"] == 3
    assert adapter.groups == [1, 2, 3]  # those are there again, without members: no client may use them
    assert {name: each.zigbee_group for name, each in names.names.devices.items()} == {
        "living": "0x0001", "kitchen": "0x0002", "bath": "0x0003",
    }  # fmt: skip


async def test_a_name_of_the_policy_file_is_taken_with_its_number(do: Any, names: Names) -> None:
    assert (await do("group-add", name="hall", id=9))["id"] == 9
    assert not names.names.devices
    with pytest.raises(PeerError, match=r"edit .*policy\.yaml"):
        await do("group-rename", **{"from": "hall", "to": "corridor"})
    with pytest.raises(PeerError, match="the policy file names group 9 hall"):
        await do("group-add", name="corridor", id=9)
    assert (await do("group-remove", group="hall"))["policy"].endswith("policy.yaml:1")


async def test_a_group_whose_name_can_not_be_written_is_not_made(do: Any, adapter: Adapter, names: Names) -> None:
    names.full = True
    with pytest.raises(PeerError, match="can't be written"):
        await do("group-add", name="living")
    assert adapter.groups == []


async def test_a_group_that_its_adapter_has_lost_is_made_again_or_its_name_taken_away(
    do: Any, adapter: Adapter, names: Names
) -> None:
    await do("group-add", name="living", id=5)
    adapter.groups.clear()
    assert (await do("group-add", name="living"))["id"] == 5
    assert adapter.groups == [5]
    adapter.groups.clear()
    await do("group-remove", group="living")
    assert not names.names.devices
    with pytest.raises(PeerError, match="no such group"):
        await do("group-remove", group=5)


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("group-add", {"name": "desk"}, "the policy has this name"),
        ("group-add", {"name": "a/b"}, "expected a name of at most"),
        ("group-add", {"name": "x", "id": 0}, "expected the number of a group"),
        ("group-add", {"name": 7}, "expected name"),
        ("group-add", {"name": "x", "more": 1}, "unknown: more"),
        ("group-remove", {"group": "nothing"}, "nothing: no such group"),
        ("group-remove", {"group": "desk"}, "desk: no such group"),
        ("group-rename", {"from": "hall", "to": 3}, "expected from"),
        ("group-members-add", {"group": "hall", "device": "hall"}, "no device has this name"),
        ("group-members-add", {"group": "hall", "device": "phone"}, "no device has this name"),
        ("group-members-add", {"group": "hall"}, "expected a name or an address"),
        ("group-members-clear", {"group": "hall", "device": "desk"}, "expected either"),
        ("scene-store", {"name": "evening"}, "no such group"),
        ("bind", {"from": "desk", "to": "phone"}, "no device has this name"),
        ("bind", {"from": "desk", "to": "hall", "clusters": ["lamp"]}, "expected a cluster, one of"),
    ],
)
async def test_what_is_wrong_is_said_and_changes_nothing(
    do: Any, names: Names, adapter: Adapter, command: str, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(PeerError, match=words):
        await do(command, **arguments)
    assert not names.names.devices
    assert adapter.groups == []


async def test_devices_and_groups_come_to_the_adapter_by_address_and_number(do: Any, adapter: Adapter) -> None:
    await do("group-members-add", group="hall", device="desk", endpoint=2)
    await do("group-members-remove", group=9, device=LAMP.replace(":", ""))
    await do("bind", **{"from": "desk", "to": "hall", "clusters": ["genOnOff", "level", "0x0300"]})
    await do("scene-recall", group="0x0009", scene="evening")
    assert adapter.asked == [
        ("group-members-add", {"id": 9, "eui64": LAMP, "endpoint": 2}),
        ("group-members-remove", {"id": 9, "eui64": LAMP}),
        ("bind", {"from": LAMP, "group": 9, "clusters": [6, 8, 0x0300]}),
        ("scene-recall", {"scene": "evening", "id": 9}),
    ]


@pytest.mark.parametrize(
    "line",
    ['living: {zigbee_group: "0x0001", groups: [devices]}', "living: {}",
     'a: {eui64: "00:0d:6f:00:00:00:00:02", zigbee_group: 1}',
     'hall2: {zigbee_group: "0xffff"}'],
)  # fmt: skip
def test_a_line_of_the_file_is_a_device_or_a_group(line: str) -> None:
    with pytest.raises(InvalidConfigError):
        device_names.parsed(f"layer: 1\ndevices-version: 1\ndevices:\n  {line}\n", Path("devices.yaml"))


def test_two_names_for_one_group_are_a_mistake(names: Names) -> None:
    text = 'layer: 1\ndevices-version: 1\ndevices:\n  a: {zigbee_group: 1}\n  b: {zigbee_group: "0x1"}\n'
    with pytest.raises(InvalidConfigError, match="expected a group that no other device has"):
        names.rules.with_names(device_names.parsed(text, Path("devices.yaml")))
    text = "layer: 1\ndevices-version: 1\ndevices:\n  a: {zigbee_group: 9}\n"
    with pytest.raises(InvalidConfigError, match="expected a group that the policy doesn't name"):
        names.rules.with_names(device_names.parsed(text, Path("devices.yaml")))


def test_explain_says_of_whom_to_ask(names: Names) -> None:
    question = Question(sender="phone", receiver="hall", action=Action.WRITE)
    with pytest.raises(ValueError, match="hall is a group: its rights are those to each of its members"):
        list(answer(question, names.in_force[0]))
