"""Mistakes that people make when they write a config or a policy, and the messages for them, in full.

All through the real adapters. No message has a regular expression or the name of an exception, and each has its place.
"""

# ruff: noqa: E501 - the tables read better in rows

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.runtime import settings
from gateway.runtime.config_source import InvalidConfigError
from gateway.runtime.version import version
from tests.harness.config_folder import KEYS, C, P, break_it

# What is replaced in which file, by what, and all messages then.
MISTAKES = {
    "tab as indent": (C, "    form: if-blank", "\tform: if-blank", ["gateway.yaml:11: (top level): expected spaces, not a tab"]),
    "a misspelt key": (C, "channel: 15", "chanel: 15", ["gateway.yaml:12: adapters.zigbee.chanel: expected no such key here (did you mean channel?)"]),
    "an unquoted number for an address": (P, '"00:0d:6f:00:0b:5d:e3:b6"', "0x000d6f000b5de3b6", ['policy.yaml:4: subjects.lamp.eui64: expected an address such as "00:0d:6f:00:0b:5d:e3:b6", in quotes; without them YAML reads a number']),
    "an address too short": (P, '"00:0d:6f:00:0b:5d:e3:b6"', '"00:0d:6f"', ['policy.yaml:4: subjects.lamp.eui64: expected an address such as "00:0d:6f:00:0b:5d:e3:b6", in quotes']),
    "an unquoted IPv6 address with a port": (C, '"[::]:5684"', "[::]:5684", ["gateway.yaml:16: (top level): expected text with [ or { or : in quotes"]),
    "an unquoted IPv6 address": (C, '"[::]:5684"', "[::]", ["gateway.yaml:16: adapters.coap.listen: expected a string, in quotes since it has [ or {"]),
    "a name where an address belongs": (C, '"[::]:5684"', "::1:5684", ["gateway.yaml:16: adapters.coap.listen: expected ADDRESS or ADDRESS:PORT, an IPv6 address in brackets"]),
    "bad lines among the keys": ("coap-keys", KEYS, "phone:00\nnonsense\ntablet=abc:zz\n", ["gateway.yaml:17: adapters.coap.psk_file: {home}/coap-keys: line 1: a PSK has 16 to 64 octets, not 1; line 2: expected identity:hexkey; line 3: the key is not hexadecimal"]),
    "a rule names no subject": (P, "subject: broker", "subject: metre", ["policy.yaml:19: rules.meter-reads.subject: expected names that the policy defines, 'metre' is none (did you mean meter?)"]),
    "actions of two kinds": (P, "[read, observe]", "[open, read]", ["policy.yaml:21: rules.meter-reads.action: expected actions of one of these groups only: open and forward; read, observe and write; admin; proxy"]),
    "credentials by hand": (C, "psk_file: coap-keys", "psk_file: $CREDENTIALS_DIRECTORY/coap-keys", ["gateway.yaml:17: adapters.coap.psk_file: expected to run under systemd: CREDENTIALS_DIRECTORY isn't set (to check what the service gets: atls-gateway check-config --as-service)"]),
    "a URL for the broker": (C, "broker: localhost:8883", "broker: mqtts://localhost:8883", ["gateway.yaml:19: adapters.mqtt.broker: expected HOST or HOST:PORT, without mqtts:// (and an IPv6 address in brackets)"]),
    "form: yes": (C, "form: if-blank", "form: yes", ["gateway.yaml:11: adapters.zigbee.form: expected 'never' or 'if-blank'"]),
    "the level in capitals": (C, "log_level: info", "log_level: INFO", ["gateway.yaml:6: gateway.log_level: expected 'debug', 'info', 'warning' or 'error' (did you mean info?)"]),
    "a duration without unit": (C, "idle: 1h", "idle: 3600", ["gateway.yaml:26: limits.idle: expected a duration with its unit, such as 30s, 5min, 1h or 1d"]),
    "tls: no": (C, "    user: gateway", "    tls: no\n    user: gateway", ["gateway.yaml:21: adapters.mqtt.tls: expected true or false"]),
    "a key twice": (C, "    user: gateway", "    user: gateway\n    user: other", ["gateway.yaml:22: adapters.mqtt.user: expected each key once (first on line 21)"]),
    "a colon forgotten": (C, "  name: home", "  name home", ["gateway.yaml:4: (top level): expected 'key: value', with the colon and a space behind it"]),
    "no space behind the colon": (C, "  name: home", "  name:home", ["gateway.yaml:4: (top level): expected 'key: value', with the colon and a space behind it"]),
    "hours as people say them": (P, '"06:00-23:00"', "11pm", ["policy.yaml:16: rules.phone-to-lamp.condition.hours: expected two times of the day, such as 06:00-23:00"]),
    "an endpoint's file as policy": (P, "layer: 1", "layer: 0", ["policy.yaml:1: layer: expected 1: the gateway reads files for layer 1 only (this file is for an endpoint, which this daemon must not serve)"]),
    "no such policy": (C, "policy: policy.yaml", "policy: polcy.yaml", ["gateway.yaml:7: policy: expected a policy file: {home}/polcy.yaml isn't one"]),
    "no such adapter": (C, "  mqtt:\n", "  mqqt:\n", ["gateway.yaml:18: adapters.mqqt: expected an installed adapter: one of coap, http, mqtt, zigbee (did you mean mqtt?)"]),
    "a subject of an adapter that there is none": (P, "{link: coap, psk_identity: phone}", "{link: caop, psk_identity: phone}", ["policy.yaml:6: subjects.phone.link: expected one of the gateway's adapters: coap, mqtt, zigbee (did you mean coap?)"]),
    "a number for a name": (P, "    resource: meter", "    resource: 123", ["policy.yaml:20: rules.meter-reads.resource: expected a string (in quotes if it looks like a number)"]),
    "effect: allow": (P, "effect: permit", "effect: allow", ["policy.yaml:13: rules.phone-to-lamp.effect: expected 'permit' or 'deny'"]),
    "files that are not there": (C, "psk_file: coap-keys\n  mqtt:\n", "psk_file: keys\n  mqtt:\n    certificate_file: mine.pem\n    key_file: mine.key\n", [
        "gateway.yaml:17: adapters.coap.psk_file: {home}/keys: can't be opened: No such file or directory; the first key is made by: atls-gateway clients add NAME",
        "gateway.yaml:20: adapters.mqtt.key_file: {home}/mine.key: can't be opened: No such file or directory",
        "gateway.yaml:19: adapters.mqtt.certificate_file: {home}/mine.pem: can't be opened: No such file or directory",
    ]),
    "the config of a newer version": (C, "config-version: 1", "config-version: 2", [f"gateway.yaml:2: config-version: expected a config of this version ({version()}) or an older one, and a newer version of atls-gateway wrote it: install that version again, or put back the backup that was made before the upgrade (atls-gateway restore FILE)"]),
    "the policy of a newer version": (P, "policy-version: 1", "policy-version: 2", [f"policy.yaml:2: policy-version: expected a policy of this version ({version()}) or an older one, and a newer version of atls-gateway wrote it: install that version again, or put back the backup that was made before the upgrade (atls-gateway restore FILE)"]),
    "no broker-setup yet": (C, "ca.pem\n    user: gateway\n    password_file: password", "no.pem\n    user: gateway\n    password_file: none", [
        "gateway.yaml:22: adapters.mqtt.password_file: {home}/none: can't be opened: No such file or directory; atls-gateway broker-setup makes one",
        "gateway.yaml:20: adapters.mqtt.ca_file: {home}/no.pem: can't be opened: No such file or directory; atls-gateway broker-setup makes one",
    ]),
    # Ten more.
    "a text that has a colon": (C, "  name: home", "  name: home: upstairs", ["gateway.yaml:4: (top level): expected text with ': ' in it in quotes"]),
    "everybody without quotes": (P, "subject: broker", "subject: *", ["policy.yaml:19: (top level): expected text that begins with * in quotes"]),
    "a quote that is never closed": (P, '"06:00-23:00"}', '"06:00-23:00}', ["policy.yaml:16: (top level): expected the closing quote of the text that begins here"]),
    "a rule that is indented otherwise": (P, "  - id: meter-reads", "   - id: meter-reads", ["policy.yaml:17: (top level): expected as many spaces before this as before its neighbours"]),
    "a group without the word": (P, "    resource: lamp", "    resource: devices", ["policy.yaml:15: rules.phone-to-lamp.resource: expected names that the policy defines, 'devices' is none (did you mean group:devices?)"]),
    "a URL for the broker of a subject": (P, "broker: localhost}", "broker: mqtt://localhost}", ["policy.yaml:7: subjects.broker.broker: expected the host name alone, without mqtt://"]),
    "a protocol id that is none": (C, "      200: {to: phone}", "      20: {to: phone}", ["gateway.yaml:14: adapters.zigbee.protocols.20: expected at least 200"]),
    "a device twice, in two spellings": (C, "    protocols:", '    devices: {"0x000D6F000B5DE3B6": {}, "00:0d:6f:00:0b:5d:e3:b6": {}}\n    protocols:', ["gateway.yaml:13: adapters.zigbee.devices: expected each device once, 00:0d:6f:00:0b:5d:e3:b6 is there in two spellings"]),
    "a list entry forgotten to be one": (P, "  devices: [lamp, meter]", "  devices: lamp", ["policy.yaml:10: groups.devices: expected a list of names, or a table with members and assignable"]),
    "a rate without a time": (P, 'condition: {hours: "06:00-23:00"}', "condition: {units: 100}", ["policy.yaml:16: rules.phone-to-lamp.condition.units: expected a rate such as 3/min or 8KiB/min"]),
    "two subjects with one identity": (P, "user: cloud}", "broker: localhost}", ["policy.yaml:8: subjects.cloud: expected a unique identity, 'broker' has this one"]),
    "a password that is readable by all": ("password", "", "chmod 644", ["gateway.yaml:22: adapters.mqtt.password_file: {home}/password: can be read by group or others; fix it with: chmod 600 {home}/password"]),
    "a misspelt table of the policy": (P, "subjects:", "subjetcs:", ["policy.yaml:3: subjetcs: expected no such key here (did you mean subjects?)"]),
}  # fmt: skip


def reported(folder: Path) -> list[str]:
    with pytest.raises(InvalidConfigError) as caught:
        settings.load(folder / C, {})
    return [str(error).replace(f"{folder}/{C}:", f"{C}:").replace(f"{folder}/{P}:", f"{P}:").replace(str(folder), "{home}") for error in caught.value.errors]  # fmt: skip


def test_the_files_are_good_before(folder: Path) -> None:
    assert settings.load(folder / C, {}).policy.rules


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_has_its_full_message(name: str, folder: Path) -> None:
    path, old, new, lines = MISTAKES[name]
    break_it(folder, path, old, new)
    assert reported(folder) == lines
    for line in lines:
        assert re.match(r"[\w.]+:\d+: (\(top level\)|[\w.-]+): ", line), "a place"
        assert not re.search(r"\w(Error|Exception)\b|\^\(|\[\w-\w\]|\$\)|\?P<", line)


@pytest.mark.parametrize("eui64", ['"00:0D:6F:00:0B:5D:E3:B6"', "00:0D:6F:00:0B:5D:E3:B6", '"0x000d6f000b5de3b6"'])
def test_an_address_is_taken_as_other_programs_print_it(eui64: str, folder: Path) -> None:
    break_it(folder, P, '"00:0d:6f:00:0b:5d:e3:b6"', eui64)
    assert settings.load(folder / C, {}).policy.by_name["lamp"].claim == "eui64:00:0d:6f:00:0b:5d:e3:b6"


def test_the_mistakes_of_all_tables_and_files_are_reported_in_one_run(folder: Path) -> None:
    """Mistakes of form in one table hide neither the meaning of the rest nor what is wrong with the files."""
    (folder / "coap-keys").write_text("phone:00\n")
    for path, old, new in (
        (C, "log_level: info", "log_level: INFO"),
        (C, "form: if-blank", "form: maybe"),
        (C, '"[::]:5684"', '"::1"'),
        (C, "ca_file: ca.pem", "ca_file: no-ca.pem"),
        (C, "broker: localhost:8883", "borker: localhost:8883"),
        (C, "password_file: password", "password_file: no-password"),
        (C, "idle: 1h", "idle: 1"),
        (P, '"00:0d:6f:00:0b:5d:e3:b6"', "00:0d"),
        (P, "psk_identity: phone", "user: phone"),
        (P, "devices: [lamp, meter]", "devices: [lamp, metre]"),
        (P, "effect: permit", "effect: allow"),
        (P, "subject: phone\n    resource: lamp", "subject: fone\n    resource: lamp"),
        (P, "action: [read, observe]", "action: [read, open]"),
    ):
        break_it(folder, path, old, new)
    assert [line.split(": expected")[0].split(": {home}")[0] for line in reported(folder)] == [
        "gateway.yaml:6: gateway.log_level",
        "gateway.yaml:26: limits.idle",
        "gateway.yaml:11: adapters.zigbee.form",
        "gateway.yaml:16: adapters.coap.listen",
        "gateway.yaml:17: adapters.coap.psk_file",
        "gateway.yaml:18: adapters.mqtt.broker",
        "gateway.yaml:19: adapters.mqtt.borker",
        "gateway.yaml:20: adapters.mqtt.ca_file",
        "gateway.yaml:22: adapters.mqtt.password_file",
        "policy.yaml:4: subjects.lamp.eui64",
        "policy.yaml:6: subjects.phone.user",
        "policy.yaml:10: groups.devices",
        "policy.yaml:13: rules.phone-to-lamp.effect",
        "policy.yaml:14: rules.phone-to-lamp.subject",
        "policy.yaml:21: rules.meter-reads.action",
    ]


MANGLED = ("", "  - 5", "x: [", "  lamp: []", "    resource: {a: 1}", "rules: 7", "{line}: {line}", "{line}\n{line}")


@pytest.mark.parametrize("name", [C, P])
def test_no_mangled_line_ends_the_check_otherwise_than_by_mistakes(name: str, folder: Path) -> None:
    """What is left of a file without its mistakes is checked as well: that must bear whatever is left."""
    text = (folder / name).read_text()
    lines = text.splitlines()
    refused = 0
    for at, line in enumerate(lines):
        for junk in MANGLED:
            changed = [*lines[:at], junk.replace("{line}", line), *lines[at + 1 :]]
            (folder / name).write_text("\n".join(changed) + "\n")
            try:
                settings.load(folder / C, {})
            except InvalidConfigError as error:
                refused += 1
                assert error.errors and all(mistake.line for mistake in error.errors)
    assert refused > len(lines)
