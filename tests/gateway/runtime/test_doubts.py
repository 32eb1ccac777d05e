"""Settings that are right in form and can't work: warnings behind "good", with exit code 0, each with its line."""

# ruff: noqa: E501 - the tables read better in rows

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.runtime import doubts, settings
from tests.harness.config_folder import KEYS, POLICY, C, P, break_it

RULES = POLICY[POLICY.index("rules:") :]
SAN = '  tablet: {link: coap, san: "dns:tablet"}\n'


def rule(text: str) -> tuple[str, str, str]:
    return (P, RULES, f"rules:\n  - {{id: odd, {text}}}\n")


NEVER = "policy.yaml:12: rules.odd: warning: this rule never applies: "

# What is replaced in which file, by what, and what is warned of then.
WARNINGS = {
    "a target that is no name": ((C, "{to: phone}", "{to: fone}"), ["gateway.yaml:14: adapters.zigbee.protocols.200.to: warning: 'fone' is no name of the policy (did you mean phone?): no tunnel gets there"]),
    "settings of a device that is no subject": ((C, "    protocols:", '    devices: {"0x000D6F000B5DE3FF": {}}\n    protocols:'), ["gateway.yaml:13: adapters.zigbee.devices.00:0d:6f:00:0b:5d:e3:ff: warning: no subject of the policy has this address"]),
    "no dongle": ((C, "path: socket://127.0.0.1:6638", "path: /dev/ttyNONE"), ["gateway.yaml:10: adapters.zigbee.path: warning: /dev/ttyNONE isn't there; atls-gateway radios lists the dongles that are"]),
    "another broker in the policy": ((P, "broker: localhost", "broker: hub.local"), ["gateway.yaml:19: adapters.mqtt.broker: warning: no subject is the broker localhost: no devices on MQTT; the policy has hub.local"]),
    "no broker in the policy": ((P, "  broker: {link: mqtt, broker: localhost}\n", "  broker: {link: mqtt, user: broker}\n"), [
        "policy.yaml:17: rules.meter-reads: warning: this rule never applies: over MQTT devices and the gateway are for the subject {link: mqtt, broker: HOST}, not for users",
        "gateway.yaml:19: adapters.mqtt.broker: warning: no subject is the broker localhost: no devices on MQTT; add {link: mqtt, broker: localhost}",
    ]),
    "users without an ACL": ((C, "broker_acl: true", "broker_acl: false"), ["gateway.yaml:23: adapters.mqtt.broker_acl: warning: users count with broker_acl: true only, so cloud can have no sessions"]),
    "a broker without topics": ((C, "    devices: {base: home}\n", ""), ["gateway.yaml:18: adapters.mqtt.devices: warning: without this table broker has no topics of devices"]),
    "an identity without a key": ((P, "psk_identity: phone", "psk_identity: fone"), [
        "gateway.yaml:17: adapters.coap.psk_file: warning: no key for phone: they can't connect",
        "gateway.yaml:17: adapters.coap.psk_file: warning: keys of phone, which the policy does not name: they may do nothing",
    ]),
    "a certificate where none counts": ((P, "  broker:", SAN + "  broker:"), ["gateway.yaml:15: adapters.coap.trust_file: warning: tablet can't connect: certificates count with certificate_file and trust_file only"]),
    "an empty group": ((P, "devices: [lamp, meter]\nrules:", "devices: []\nrules:\n  - {id: odd, effect: deny, subject: phone, resource: group:devices}"), [NEVER + "group:devices names no peer or device"]),
    "what is no device": (rule("effect: permit, subject: broker, resource: [phone, cloud], action: read"), [NEVER + "none of its resources is a device that the gateway reads or sets"]),
    "a broker in a session": (rule("effect: permit, subject: broker, resource: lamp"), [NEVER + "a broker has no sessions; its users have, as {link: mqtt, user: NAME}"]),
    "a user who administers": (rule("effect: permit, subject: cloud, resource: gateway, action: admin"), [NEVER + "over MQTT devices and the gateway are for the subject {link: mqtt, broker: HOST}, not for users"]),
    "oneself by proxy": (
        rule("effect: permit, subject: phone, resource: phone, action: proxy"),
        [NEVER + "both of its parties are the same"],
    ),
    "oneself": (rule("effect: permit, subject: phone, resource: phone"), [NEVER + "both of its parties are the same"]),
    "a direction without a device": (rule("effect: permit, subject: phone, resource: cloud, direction: from-device"), [NEVER + "with direction from-device one of them has to be a zigbee device"]),
    "TLS 1.3 asked of CoAP": (rule("effect: permit, subject: phone, resource: lamp, condition: {require_link: {min_version: tls1.3}}"), [NEVER + "coap peers come by dtls1.2, so min_version can be dtls1.2 or tls1.2 at most"]),
}  # fmt: skip


SOCKET = {"ATLS_GATEWAY__GATEWAY__ADMIN_SOCKET": "admin.sock"}
"""The usual place is root's."""


def warned(folder: Path, environ: Mapping[str, str] = SOCKET) -> list[str]:
    found = doubts.every(settings.load(folder / C, environ))
    return [str(each).replace(f"{folder}/{C}:", f"{C}:").replace(f"{folder}/{P}:", f"{P}:") for each in found]


def test_a_config_that_works_has_no_warning(folder: Path) -> None:
    assert warned(folder) == []


@pytest.mark.parametrize("name", WARNINGS)
def test_a_setting_that_cannot_work_is_a_warning(name: str, folder: Path) -> None:
    (path, old, new), lines = WARNINGS[name]
    break_it(folder, path, old, new)
    assert warned(folder) == lines


@pytest.mark.parametrize(
    "text",
    [
        "effect: permit, subject: [phone, cloud], resource: lamp, direction: to-device",
        "effect: permit, subject: phone, resource: lamp, action: forward, direction: from-device",
        "effect: permit, subject: broker, resource: [lamp, phone], action: [read, write]",
        'effect: deny, subject: "*", resource: "*"',
        "effect: permit, subject: [broker, cloud], resource: gateway, action: admin",
        "effect: permit, subject: cloud, resource: lamp, condition: {require_link: {min_version: tls1.3}}",
        "effect: permit, subject: phone, resource: group:later, action: write",
    ],
)
def test_rules_that_can_apply_are_left_alone(text: str, folder: Path) -> None:
    path, old, new = rule(text)
    break_it(folder, path, old, new)
    break_it(folder, P, "groups:\n", "groups:\n  later: {assignable: true}\n")
    assert warned(folder) == []


def test_a_state_folder_that_cannot_be_made_or_that_others_can_read_is_a_warning(folder: Path) -> None:
    break_it(folder, C, "state_dir: state", "state_dir: coap-keys/state")
    place = f"{C}:5: gateway.state_dir: warning: {folder}/coap-keys/state"
    assert warned(folder) == [f"{place} isn't there, and this user can't make it in {folder}/coap-keys"]
    break_it(folder, C, "state_dir: coap-keys/state", "state_dir: state")
    (folder / "state").mkdir(mode=0o755)
    (folder / "state").chmod(0o755)
    place = f"{C}:5: gateway.state_dir: warning: {folder}/state"
    assert warned(folder) == [
        f"{place} is open to others, so no gateway will start; fix it with: chmod 700 {folder}/state"
    ]


def test_a_socket_that_cannot_be_bound_is_a_warning(folder: Path) -> None:
    place = f"{C}:6: gateway.admin_socket: warning: {folder}"
    for socket, why in (
        ("coap-keys/admin.sock", "/coap-keys is no folder"),
        ("x" * 100, f"/{'x' * 100} is too long for a socket: at most 107 octets"),
    ):
        break_it(folder, C, "  log_level: info", f"  admin_socket: {socket}\n  log_level: info")
        assert warned(folder, {}) == [place + why]
        break_it(folder, C, f"  admin_socket: {socket}\n", "")


@pytest.mark.process
def test_check_config_prints_them_behind_good_and_succeeds(folder: Path) -> None:
    (folder / "coap-keys").write_text(KEYS + "".join(f"k{n}:{'5a' * 16}\n" for n in range(7)))

    def check(*options: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "gateway.cli", "check-config", "-c", str(folder / C), *options]
        return subprocess.run(words, env={**os.environ, **SOCKET}, capture_output=True, text=True, check=False)

    done = check()
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first == f"{folder / C}: good (adapters: zigbee, coap, mqtt; 2 rules in policy.yaml)"
    message = "keys of k0, k1, k2, k3, k4 and 2 more, which the policy does not name: they may do nothing"
    assert second == f"{folder / C}:17: adapters.coap.psk_file: warning: {message}"
    assert json.loads(check("--json").stdout)["warnings"] == [second]


@pytest.mark.process
def test_the_daemon_logs_them_once_and_tells_them_until_they_are_gone(home) -> None:
    """Also by ``status --check``, whose exit code stays 0: who has a reason to live with one is not called at night."""
    here = ["-c", "gateway.yaml"]
    good = home.policy.read_text()
    home.policy.write_text(good.replace("resource: app", "resource: lamp"))
    daemon = home.start()
    daemon.wait_notify("READY=1")
    why = f"{home.policy}:9: rules.lamp-out: warning: this rule never applies: both of its parties are the same"
    assert daemon.log.count("WARNING") == 1
    assert f"WARNING gateway.runtime.doubts: {why.replace('warning: ', '')}" in daemon.log
    checked = home.cli("status", "--check", *here)
    assert (checked.returncode, checked.stdout) == (0, f"home: healthy: {why}\n")
    found = json.loads(home.cli("status", "--check", "--json", *here).stdout)
    assert found == {"name": "home", "healthy": True, "state": "healthy", "why": [], "warnings": [why]}
    assert home.cli("reload", *here).returncode == 0
    assert daemon.log.count("WARNING") == 1
    home.policy.write_text(good)
    assert home.cli("reload", *here).returncode == 0
    checked = home.cli("status", "--check", *here)
    assert (checked.returncode, checked.stdout) == (0, "home: healthy\n")
    os.kill(daemon.process.pid, 15)
    assert daemon.ended() == 0
    assert home.cli("status", "--check", *here).returncode == 69
