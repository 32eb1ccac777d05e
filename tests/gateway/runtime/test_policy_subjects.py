"""Subjects of the policy file: the identity must be one that the peers of its link prove."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.runtime import policy_file
from gateway.runtime.config_source import InvalidConfigError

SCHEMES = {"zigbee", "coap", "mqtt"}
HEAD = "layer: 1\npolicy-version: 1\nsubjects:\n  x: "


@pytest.mark.parametrize(
    "subject",
    [
        '{link: zigbee, eui64: "00:0d:6f:00:0b:5d:e3:b6"}',
        "{link: coap, psk_identity: phone}",
        '{link: coap, san: "dns:phone.example"}',
        f"{{link: coap, spki_sha256: {'ab' * 32}}}",
        "{link: mqtt, user: app}",
    ],
)
def test_fitting_identities(subject: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(f"{HEAD}{subject}\n")
    assert [each.name for each in policy_file.load(path, SCHEMES).subjects] == ["x"]


@pytest.mark.parametrize(
    ("subject", "key", "fitting"),
    [
        ("{link: zigbee, psk_identity: lamp}", "psk_identity", "a zigbee peer proves: eui64, zigbee_group"),
        ("{link: mqtt, psk_identity: app}", "psk_identity", "a mqtt peer proves: user, broker"),
        ("{link: coap, user: phone}", "user", "a coap peer proves: psk_identity, spki_sha256, san"),
    ],
)
def test_an_identity_of_another_link_is_a_mistake(subject: str, key: str, fitting: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(f"{HEAD}{subject}\n")
    with pytest.raises(InvalidConfigError) as caught:
        policy_file.load(path, SCHEMES)
    assert [str(error) for error in caught.value.errors] == [f"{path}:4: subjects.x.{key}: expected what {fitting}"]


@pytest.mark.parametrize(
    "eui64",
    [
        '"00:0D:6F:00:0B:5D:E3:B6"',
        "00:0D:6F:00:0B:5D:E3:B6",
        '"000d6f000b5de3b6"',
        '"0x000D6F000B5DE3B6"',
        "000d6f000b5de3b6",
        '"00-0d-6f-00-0b-5d-e3-b6"',
        '" 00:0d:6f:00:0b:5d:e3:b6"',
    ],
)
def test_every_usual_spelling_of_an_eui64(eui64: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(f"{HEAD}{{link: zigbee, eui64: {eui64}}}\n")
    assert [each.claim for each in policy_file.load(path, SCHEMES).subjects] == ["eui64:00:0d:6f:00:0b:5d:e3:b6"]


@pytest.mark.parametrize(
    ("eui64", "more"),
    [
        ("0x000d6f000b5de3b6", "; without them YAML reads a number"),
        ("0011223344556677", "; without them YAML reads a number"),
        ('"00:0d:6f:00:0b:5d:e3"', ""),
        ('"00:0d-6f:00:0b:5d:e3:b6"', ""),
        ("true", ""),
    ],
)
def test_a_policy_with_a_malformed_eui64_is_refused(eui64: str, more: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(f"{HEAD}{{link: zigbee, eui64: {eui64}}}\n")
    with pytest.raises(InvalidConfigError) as caught:
        policy_file.load(path, SCHEMES)
    expected = f'expected an address such as "00:0d:6f:00:0b:5d:e3:b6", in quotes{more}'
    assert [str(error) for error in caught.value.errors] == [f"{path}:4: subjects.x.eui64: {expected}"]


def test_one_device_in_two_spellings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        f'{HEAD}{{link: zigbee, eui64: "0x000D6F000B5DE3B6"}}\n  y: {{link: zigbee, eui64: 00:0d:6f:00:0b:5d:e3:b6}}\n'
    )
    with pytest.raises(InvalidConfigError, match="expected a unique identity, 'x' has this one"):
        policy_file.load(path, SCHEMES)


@pytest.mark.parametrize("eui64", ["00:0d:6f:00:0b:5d:e3:b6", "00:11:22:33:44:55:12:34"])
def test_an_eui64_needs_no_quotes(eui64: str, tmp_path: Path) -> None:
    """YAML 1.1 would take the second for a number to the base of sixty."""
    path = tmp_path / "policy.yaml"
    path.write_text(f"{HEAD}{{link: zigbee, eui64: {eui64}}}\n")
    assert [each.claim for each in policy_file.load(path, SCHEMES).subjects] == [f"eui64:{eui64}"]
