"""Subjects of the policy file: the identity must be one that the peers of its link prove."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.runtime import policy_file
from gateway.runtime.source import InvalidConfigError

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
        ("{link: zigbee, psk_identity: lamp}", "psk_identity", "a zigbee peer proves: eui64"),
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
