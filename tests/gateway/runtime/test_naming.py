"""``devices name``, ``rename`` and ``remove``: what they change, what they refuse and what they say to do instead."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.api.errors import PeerError
from gateway.engine.policy import Action, Effect, Rule
from gateway.runtime import admin_client, admin_commands, device_names, naming, policy_file

LAMP, ATTIC, CELLAR = (f"00:0d:6f:00:0b:5d:e3:{last}" for last in ("b6", "b7", "b8"))
POLICY = f"""\
layer: 1
policy-version: 1
subjects:
  lamp: {{link: zigbee, eui64: "{LAMP}"}}
  phone: {{link: coap, psk_identity: phone}}
  broker: {{link: mqtt, broker: localhost}}
groups:
  devices: {{members: [lamp], assignable: true}}
  people: [phone]
rules:
  - {{id: use, effect: permit, subject: [phone, broker], resource: "group:devices", action: [read, write]}}
  - {{id: night, effect: deny, subject: "*", resource: "group:devices", action: write}}
"""
TWO_GROUPS = POLICY.replace("people: [phone]", "people: {members: [phone], assignable: true}")
NO_GROUP = POLICY.replace(", assignable: true", "")


def files(
    folder: Path, policy: str = POLICY, names: str = ""
) -> tuple[policy_file.PolicyFile, device_names.DeviceNames]:
    (folder / "policy.yaml").write_text(policy)
    head = "layer: 1\ndevices-version: 1\n"
    (folder / "devices.yaml").write_text(f"{head}devices:\n{names}" if names else head)
    return policy_file.read(folder / "policy.yaml", ("zigbee", "coap", "mqtt"), folder / "devices.yaml")


def changed(folder: Path, change: Any, policy: str = POLICY, names: str = "") -> dict[str, tuple[str, list[str]]]:
    return {name: (each.eui64, each.groups) for name, each in change(*files(folder, policy, names)).items()}


NAMED = f'  attic: {{eui64: "{ATTIC}", groups: [devices]}}\n'


def test_a_name_goes_to_the_only_assignable_group(tmp_path: Path) -> None:
    change = naming.name(f"0x{ATTIC.replace(':', '').upper()}", "attic", None)
    assert changed(tmp_path, change) == {"attic": (ATTIC, ["devices"])}


def test_the_same_name_again_changes_nothing_and_other_groups_change_those(tmp_path: Path) -> None:
    again = changed(tmp_path, naming.name(ATTIC, "attic", None), TWO_GROUPS, NAMED)
    assert again == {"attic": (ATTIC, ["devices"])}
    more = changed(tmp_path, naming.name(ATTIC, "attic", ["people", "devices", "people"]), TWO_GROUPS, NAMED)
    assert more == {"attic": (ATTIC, ["people", "devices"])}


def test_of_two_ways_to_write_an_umlaut_one_is_kept(tmp_path: Path) -> None:
    assert changed(tmp_path, naming.name(ATTIC, "Ku\u0308che", None)) == {"K\u00fcche": (ATTIC, ["devices"])}


def test_a_rename_keeps_address_and_groups_by_name_and_by_address(tmp_path: Path) -> None:
    for old in ("attic", ATTIC.upper()):
        assert changed(tmp_path, naming.rename(old, "roof"), names=NAMED) == {"roof": (ATTIC, ["devices"])}
    assert changed(tmp_path, naming.rename("attic", "attic"), names=NAMED) == {"attic": (ATTIC, ["devices"])}


def test_a_device_without_a_name_is_renamed_from_its_address(tmp_path: Path) -> None:
    assert changed(tmp_path, naming.rename(CELLAR, "x")) == {"x": (CELLAR, ["devices"])}
    assert changed(tmp_path, naming.rename(CELLAR, "x", ["people"]), TWO_GROUPS) == {"x": (CELLAR, ["people"])}


OF_POLICY = "in the policy file, which no command changes: edit FOLDER/policy.yaml:4"
NOT_MARKED = "people: the policy doesn't mark this group assignable (FOLDER/policy.yaml:9; groups that devices may be"

REFUSALS: dict[str, tuple[Any, str, str]] = {
    "no address": (naming.name("lamp", "x", None), POLICY, "lamp: expected an address such as"),
    "no name": (naming.name(CELLAR, "a b", None), POLICY, "a b: expected a name of at most 64 letters, digits"),
    "an address": (naming.name(CELLAR, ATTIC.replace(":", "-"), None), POLICY, "expected a name, not an address"),
    "reserved": (naming.name(CELLAR, "gateway", None), POLICY, "'gateway' is reserved for the gateway itself"),
    "the policy's": (
        naming.name(CELLAR, "phone", None),
        POLICY,
        "phone: the policy has this name (FOLDER/policy.yaml:5",
    ),
    "another device's": (naming.name(CELLAR, "attic", None), POLICY, f"attic: {ATTIC} has this name"),
    "another name": (naming.name(ATTIC, "roof", None), POLICY, "another name: atls-gateway devices rename attic roof"),
    "the policy's device": (naming.name(LAMP, "roof", None), POLICY, f"{LAMP} has its name, lamp, {OF_POLICY}"),
    "the policy's device, renamed": (naming.rename("lamp", "roof"), POLICY, OF_POLICY),
    "two groups": (naming.name(CELLAR, "x", None), TWO_GROUPS, "a group, one of devices, people: --group devices"),
    "no group": (naming.name(CELLAR, "x", None), NO_GROUP, "has no group that devices may be put in. Mark one"),
    "not assignable": (naming.name(CELLAR, "x", ["people"]), POLICY, NOT_MARKED),
    "no such group": (naming.name(CELLAR, "x", ["lights"]), POLICY, "lights: the policy has no such group (groups"),
    "the name first": (
        naming.name("attic", CELLAR, None),
        POLICY,
        f"expected the address first: atls-gateway devices name {CELLAR} attic",
    ),
    "an unknown name": (naming.rename("shed", "x"), POLICY, "shed: no device has this name"),
    "groups with another name": (naming.rename("attic", "x", ["devices"]), POLICY, "devices name changes them"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_says_what_to_do(case: str, tmp_path: Path) -> None:
    change, policy, message = REFUSALS[case]
    with pytest.raises(PeerError) as caught:
        names = NAMED if policy is not NO_GROUP else ""
        changed(tmp_path, change, policy, names)
    assert message.replace("FOLDER", str(tmp_path)) in str(caught.value)


def test_the_rules_that_reach_a_device_are_listed_with_their_parties_and_actions(tmp_path: Path) -> None:
    rules, names = files(tmp_path, names=NAMED)
    assert naming.reaching("attic", rules.with_names(names)) == [
        {"id": "use", "effect": "permit", "actions": ["read", "write"], "from": ["broker", "phone"], "to": ["attic"]},
        {"id": "night", "effect": "deny", "actions": ["write"], "from": ["broker", "lamp", "phone"], "to": ["attic"]},
    ]


async def test_a_change_is_finished_though_its_client_has_gone() -> None:
    """As where the broker goes away while the file of names is written for one of its clients."""
    goes_on, done = asyncio.Event(), asyncio.Event()

    async def change(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        await goes_on.wait()
        done.set()
        return arguments

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await admin_commands.to_its_end(change)({})
    goes_on.set()
    async with asyncio.timeout(5):
        await done.wait()
    assert await admin_commands.to_its_end(change)({"a": 1}) == {"a": 1}


def test_every_action_of_a_rule_has_its_place_in_an_answer() -> None:
    rule = Rule(id="all", effect=Effect.PERMIT, subjects=("*",), resources=("*",), actions=frozenset(Action))
    assert naming._actions(rule) == [action.value for action in Action]


async def test_names_are_changed_by_commands_that_end() -> None:
    nothing: Any = None
    commands = admin_commands.commands(nothing, "home", nothing, nothing)
    changing = {name for name, command in commands.items() if "to_its_end" in command.__qualname__}
    groups = {name for name in commands if name.startswith(("group-", "scene-"))} | {"groups", "bind", "unbind"}
    assert changing == {"name-device", "rename-device", "remove-device", "device-options"} | groups


def test_a_name_whose_group_is_no_longer_assignable_can_be_taken_away(home: Any) -> None:
    """The gateway does not start with it."""
    here = ("-c", str(home.config))
    state = home.folder / "state"
    state.mkdir(mode=0o700)
    (state / "lock").touch()
    (state / "devices.yaml").write_text(f"layer: 1\ndevices-version: 1\ndevices:\n{NAMED}")
    (state / "devices.yaml").chmod(0o600)
    assert home.cli("check-config", *here).returncode == 78
    forced = home.cli("devices", "remove", *here, "attic", "--force")
    assert forced.returncode == 0, forced.stderr
    assert home.cli("check-config", *here).returncode == 0


HOME = """\
groups: {devices: {assignable: true}}
"""
RULE = "  - {id: see, effect: permit, subject: phone, resource: roof, action: read}\n"


@pytest.mark.process
def test_in_the_daemon(home: Any) -> None:
    home.policy.write_text(home.policy.read_text() + HOME)
    daemon = home.start()
    daemon.wait_notify("READY=1")
    path = home.folder / "state/devices.yaml"

    def do(command: str, **arguments: Any) -> Any:
        return admin_client.ask(home.folder / "admin.sock", command, arguments)

    def refused(command: str, **arguments: Any) -> str:
        before = path.read_text()
        with pytest.raises(PeerError) as caught:
            do(command, **arguments)
        assert path.read_text() == before
        return str(caught.value)

    named = home.cli("devices", "name", ATTIC, "attic", "-c", "gateway.yaml")
    unused = "  no rule permits anything with it: no client can see or reach it\n"
    yet = "No device of this address is there yet, or it is still asked what it is: it goes by this name then.\n"
    assert (named.returncode, named.stdout) == (0, f"{ATTIC} is attic in the group devices\n{unused}{yet}"), (
        named.stderr
    )
    assert path.read_text().endswith(NAMED) and path.stat().st_mode & 0o777 == 0o600
    answer = {"name": "roof", "address": ATTIC, "groups": ["devices"], "rules": [], "was": "attic", "present": False}
    assert do("rename-device", **{"from": "attic", "to": "roof"}) == answer

    text = home.policy.read_text()
    home.policy.write_text(text + "nonsense: 1\n")  # half an edit, not reloaded
    assert do("rename-device", **{"from": "roof", "to": "attic"})["name"] == "attic"
    assert do("rename-device", **{"from": "attic", "to": "roof"})["name"] == "roof"
    home.policy.write_text(text.replace("rules:\n", f"rules:\n{RULE}"))
    assert do("reload")["ok"]
    message = "policy.yaml:9: rules.see.resource: expected names that the policy defines"
    assert message in refused("rename-device", **{"from": "roof", "to": "attic"})
    assert message in refused("remove-device", device="roof", force=True)

    before = path.read_text()
    path.write_text(before.replace("eui64", "eui"))  # an edit by hand
    assert f"{path}:6: devices.roof.eui" in refused("name-device", eui64=CELLAR, name="cellar")
    path.write_text(before)
    assert "shed: no device has this name" in refused("remove-device", device="shed")
    assert refused("remove-device", device=CELLAR) == "the adapter zigbee isn't running now"
    for wrong in ({}, {"eui64": 1, "name": "x"}, {"eui64": CELLAR, "name": "x", "group": "devices"}):
        assert refused("name-device", **wrong).startswith("expected eui64, name as text")
    assert refused("name-device", eui64=CELLAR, name="x", groups="devices") == "groups: expected a list of names"
    assert f"{ATTIC}, until now attic, is roof" in daemon.log


@pytest.mark.process
def test_without_a_daemon_names_are_changed_for_the_next_start(home: Any) -> None:
    home.policy.write_text(home.policy.read_text() + HOME)
    here = ("-c", "gateway.yaml")
    done = home.cli("devices", "name", ATTIC, "attic", *here)
    assert (done.returncode, "no gateway has ever run from this state folder" in done.stderr) == (1, True), done.stderr
    daemon = home.start()
    daemon.wait_notify("READY=1")
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0

    named = home.cli("devices", "name", ATTIC, "attic", *here)
    assert (named.returncode, named.stdout.splitlines()[-1]) == (
        0, "The gateway isn't running: it's in force when it starts.",
    ), named.stderr  # fmt: skip
    path = home.folder / "state/devices.yaml"
    assert path.read_text().endswith(NAMED)
    assert home.cli("devices", "rename", "attic", "roof", *here).returncode == 0
    assert "roof" in path.read_text()
    removed = home.cli("devices", "remove", "roof", *here)
    assert (removed.returncode, "The gateway must run" in removed.stderr) == (69, True), removed.stderr
    removed = home.cli("devices", "remove", "roof", "--force", *here)
    assert (removed.returncode, removed.stdout.splitlines()[-1]) == (
        0, f"When it runs: atls-gateway devices remove {ATTIC}",
    ), removed.stderr  # fmt: skip
    assert path.read_text().endswith("devices: {}\n")
    wrong = home.cli("devices", "name", ATTIC, "lamp", *here)
    assert (wrong.returncode, "lamp: the policy has this name (" in wrong.stderr) == (1, True), wrong.stderr
