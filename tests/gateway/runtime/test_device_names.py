"""``devices.yaml``: names that devices got by a command are part of the policy; contradictions name both lines."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway.api.model import Address
from gateway.engine.policy import PolicySet
from gateway.runtime import device_names, policy_file, settings, strict_yaml
from gateway.runtime.config_source import InvalidConfigError
from gateway.runtime.device_names import DeviceTable

LAMP, ATTIC, CELLAR = (f"00:0d:6f:00:0b:5d:e3:{last}" for last in ("b6", "b7", "b8"))
POLICY = f"""\
layer: 1
policy-version: 1
subjects:
  lamp: {{link: zigbee, eui64: "{LAMP}"}}
  phone: {{link: coap, psk_identity: phone}}
groups:
  devices: {{members: [lamp], assignable: true}}
  people: [phone]
resources:
  light: {{subject: lamp}}
rules:
  - {{id: use, effect: permit, subject: group:people, resource: "group:devices", action: [read, write]}}
"""
HEAD = "layer: 1\ndevices-version: 1\ndevices:\n"
TAKEN = (
    "devices.yaml:4: devices.{0}: expected a name that the policy doesn't have (policy.yaml:{1}); "
    "another one: atls-gateway devices rename {0} NAME"
)


def load(folder: Path, names: str | None, policy: str = POLICY) -> PolicySet:
    (folder / "policy.yaml").write_text(policy)
    if names is not None:
        (folder / "devices.yaml").write_text(names)
    return policy_file.load(folder / "policy.yaml", ("zigbee", "coap"), folder / "devices.yaml")


def refused(folder: Path, names: str, policy: str = POLICY) -> list[str]:
    with pytest.raises(InvalidConfigError) as caught:
        load(folder, names, policy)
    return [str(error).replace(f"{folder}/", "") for error in caught.value.errors]


def test_a_named_device_is_a_subject_in_its_groups(tmp_path: Path) -> None:
    policy = load(
        tmp_path, f'{HEAD}  attic: {{eui64: "{ATTIC}", groups: [devices]}}\n  cellar: {{eui64: "{CELLAR}"}}\n'
    )
    assert policy.address_of("attic") == Address(scheme="zigbee", claim=f"eui64:{ATTIC}")
    assert policy.groups == {"devices": ("lamp", "attic"), "people": ("phone",)}
    assert policy.assignable == {"devices"}
    ((_, parties),) = policy.ordered
    assert parties.resources == {"lamp", "attic"}


def test_no_file_is_no_names(tmp_path: Path) -> None:
    assert set(load(tmp_path, None).by_name) == {"lamp", "phone"}


def test_rules_of_the_policy_may_name_such_a_device(tmp_path: Path) -> None:
    policy = POLICY + "  - {id: night, effect: deny, subject: phone, resource: attic, action: write}\n"
    assert "attic" in load(tmp_path, f'{HEAD}  attic: {{eui64: "{ATTIC}"}}\n', policy).by_name
    (mistake,) = refused(tmp_path, "layer: 1\ndevices-version: 1\n", policy)
    assert mistake.startswith("policy.yaml:13: rules.night.resource: expected names that the policy defines, 'attic'")


@pytest.mark.parametrize("eui64", [ATTIC.upper(), ATTIC.replace(":", ""), f"0x{ATTIC.replace(':', '')}"])
def test_any_usual_spelling_of_an_address(eui64: str, tmp_path: Path) -> None:
    assert load(tmp_path, f'{HEAD}  attic: {{eui64: "{eui64}"}}\n').by_name["attic"].claim == f"eui64:{ATTIC}"


MISTAKES: dict[str, tuple[str, list[str]]] = {
    "the name is the policy's": (
        f'  lamp: {{eui64: "{ATTIC}"}}\n',
        [TAKEN.format("lamp", 4)],
    ),
    "the name is an alias of the policy": (
        f'  light: {{eui64: "{ATTIC}"}}\n',
        [TAKEN.format("light", 10)],
    ),
    "the address is the policy's": (
        f'  attic: {{eui64: "{LAMP.upper()}"}}\n',
        ["devices.yaml:4: devices.attic.eui64: expected an address that the policy doesn't name (policy.yaml:4: lamp)"],
    ),
    "the address is another device's": (
        f'  attic: {{eui64: "{ATTIC}"}}\n  roof: {{eui64: "{ATTIC}"}}\n',
        ["devices.yaml:5: devices.roof.eui64: expected an address that no other device has (devices.yaml:4: attic)"],
    ),
    "a group that is not assignable": (
        f'  attic: {{eui64: "{ATTIC}", groups: [people]}}\n',
        [
            "devices.yaml:4: devices.attic.groups.0: expected a group that the policy marks assignable: "
            "'people' isn't (policy.yaml:8) (such groups: devices)"
        ],
    ),
    "no such group": (
        f'  attic: {{eui64: "{ATTIC}", groups: [device]}}\n',
        [
            "devices.yaml:4: devices.attic.groups.0: expected a group that the policy marks assignable: "
            "'device' is none (such groups: devices)"
        ],
    ),
    "a name that is reserved": (
        f'  bridge: {{eui64: "{ATTIC}"}}\n',
        ["devices.yaml:4: devices.bridge: expected another name: 'bridge' is reserved for the gateway itself"],
    ),
    "a name that no topic can have": (
        f'  attic/lamp: {{eui64: "{ATTIC}"}}\n',
        [
            "devices.yaml:4: devices.attic/lamp: expected a name of at most 64 letters, digits, '.', '_' and '-', "
            "a letter or digit first"
        ],
    ),
    "no address": (
        "  attic: {eui64: 13}\n",
        [
            'devices.yaml:4: devices.attic.eui64: expected an address such as "00:0d:6f:00:0b:5d:e3:b6", in quotes; '
            "without them YAML reads a number"
        ],
    ),
    "a key that there isn't": (
        f'  attic: {{eui64: "{ATTIC}", group: [devices]}}\n',
        ["devices.yaml:4: devices.attic.group: expected no such key here (did you mean groups?)"],
    ),
    "several at once": (
        f'  lamp: {{eui64: "{LAMP}"}}\n  roof: {{eui64: "{ATTIC}", groups: [people]}}\n',
        [
            TAKEN.format("lamp", 4),
            "devices.yaml:4: devices.lamp.eui64: expected an address that the policy doesn't name (policy.yaml:4: "
            "lamp)",
            "devices.yaml:5: devices.roof.groups.0: expected a group that the policy marks assignable: "
            "'people' isn't (policy.yaml:8) (such groups: devices)",
        ],
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_contradiction_is_reported_with_both_lines(case: str, tmp_path: Path) -> None:
    devices, expected = MISTAKES[case]
    assert refused(tmp_path, HEAD + devices) == expected


def test_mistakes_of_both_files_are_reported_together(tmp_path: Path) -> None:
    mistakes = refused(tmp_path, "layer: 1\ndevices-version: 2\n", POLICY.replace("permit", "allow"))
    assert [mistake.split(":")[:2] for mistake in mistakes] == [["devices.yaml", "2"], ["policy.yaml", "12"]]


@pytest.mark.parametrize("text", ["layer: 0\n", "- 1\n", "layer: 1\nrules: []\n", "a: &b 1\n"])
def test_anything_else_is_no_file_of_names(text: str, tmp_path: Path) -> None:
    assert refused(tmp_path, text)[0].startswith("devices.yaml:")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("devices: lamp", "policy.yaml:7: groups.devices: expected a list of names, or a table with members and"),
        (
            "devices: {member: [lamp]}",
            "policy.yaml:7: groups.devices.member: expected no such key here (did you mean m",
        ),
        ("devices: [13]", "policy.yaml:7: groups.devices.0: expected a string"),
        ("devices: {members: [moon]}", "policy.yaml:7: groups.devices: expected names of subjects, 'moon' is none"),
    ],
)
def test_mistakes_in_a_group(groups: str, message: str, tmp_path: Path) -> None:
    policy = POLICY.replace("devices: {members: [lamp], assignable: true}", groups)
    assert refused(tmp_path, "layer: 1\ndevices-version: 1\n", policy)[0].startswith(message)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "devices.yaml"
    names = ("attic", "Küche", "null", "1.floor", "a.b_c-d", "x" * 64)
    devices = {
        name: DeviceTable(eui64=f"00:0d:6f:00:0b:5d:e3:{at:02x}", groups=["devices"] * (at % 2))
        for at, name in enumerate(names)
    }
    device_names.write(path, devices)
    assert device_names.read(path).devices == devices
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().startswith("# Names of devices, written by `atls-gateway devices name`")
    schema = json.loads((Path(__file__).parents[3] / "config/devices.schema.json").read_text())
    jsonschema.validate(strict_yaml.read(path).data, schema)
    device_names.write(path, {})
    assert device_names.read(path).devices == {}
    assert list(tmp_path.iterdir()) == [path]


def test_what_no_start_would_read_is_not_written(tmp_path: Path) -> None:
    groups = [f"{'g' * 200}{number}" for number in range(8)]
    many = {f"x{at}": DeviceTable(eui64=f"00:0d:6f:00:00:00:00:{at:02x}", groups=groups) for at in range(256)}
    with pytest.raises(InvalidConfigError, match=r"devices.yaml: \(top level\): expected at most 262144 octets"):
        device_names.parsed(device_names.written(many), tmp_path / "devices.yaml")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "devices.yaml"
    device_names.write(path, {"attic": DeviceTable(eui64=ATTIC)})
    before = path.read_text()

    def full(descriptor: int) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        device_names.write(path, {"cellar": DeviceTable(eui64=CELLAR)})
    assert path.read_text() == before


NAMES = f'{HEAD}  attic: {{eui64: "{ATTIC}", groups: [devices]}}\n'
RULE = """\
groups: {devices: {members: [], assignable: true}}
"""


@pytest.fixture
def named(home: Any) -> Any:
    """A gateway's files with a name of a device among them; the state folder has been made by a start."""
    home.policy.write_text(home.policy.read_text() + RULE)
    (home.folder / "state").mkdir(mode=0o700)
    (home.folder / "state/devices.yaml").write_text(NAMES)
    (home.folder / "state/devices.yaml").chmod(0o600)
    return home


def test_names_that_belong_to_the_service_are_no_warning_to_root(
    named: Any, hop_site: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root checks the config of a service that runs as somebody else."""
    path = named.folder / "state/devices.yaml"
    if os.geteuid() == 0:
        for each in (path.parent, path):
            os.chown(each, 4242, 4242)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4242)
    found = settings.load(named.config, {})
    assert found.names.devices.keys() == {"attic"}
    assert not any("devices.yaml" in str(warning) for warning in found.doubts)


@pytest.mark.process
def test_all_that_read_the_policy_read_the_names(named: Any) -> None:
    checked = named.cli("check-config", "-c", "gateway.yaml")
    assert (checked.returncode, "1 name in " in checked.stdout) == (0, True), checked.stderr
    assert json.loads(named.cli("check-config", "--json", "-c", "gateway.yaml").stdout)["devices"] == 1
    dry = named.cli("run", "--dry-run", "-c", "gateway.yaml")
    assert f"names of devices: {named.folder}/state/devices.yaml, 1\n" in dry.stdout
    assert named.cli("explain", "phone", "attic", "-c", "gateway.yaml").stdout.startswith("denied: phone open attic")
    shown = named.cli("config", "show", "-c", "gateway.yaml")
    assert shown.stdout.endswith(f"# names of devices: {named.folder}/state/devices.yaml\n")


@pytest.mark.process
def test_a_broken_file_of_names_ends_no_daemon_and_starts_none(named: Any) -> None:
    """A policy with devices left out is another policy: a deny that names one of them would be gone with it."""
    path = named.folder / "state/devices.yaml"
    daemon = named.start()
    daemon.wait_notify("READY=1")
    path.write_text(NAMES.replace("devices]", "people]"))
    message = f"{path}:4: devices.attic.groups.0: expected a group that the policy marks assignable: 'people' is none"
    reloaded = named.cli("reload", "-c", "gateway.yaml")
    assert (reloaded.returncode, reloaded.stderr.startswith(message)) == (78, True), reloaded.stderr
    path.write_text(NAMES.replace("attic", "roof"))
    assert named.cli("reload", "-c", "gateway.yaml").stdout.split("\n")[1].split() == ["policy", "now"]
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0
    path.write_text(NAMES.replace("eui64", "eui"))
    for command in (("check-config",), ("run", "--dry-run"), ("run",), ("explain", "phone", "lamp")):
        answer = named.cli(*command, "-c", "gateway.yaml")
        assert (answer.returncode, f"{path}:4: devices.attic.eui" in answer.stderr) == (78, True), answer.stderr
