"""Every mistake in a config or policy is one line ``FILE:LINE: KEY: EXPECTATION``, and exit code 78 of the command."""

# ruff: noqa: E501 - the tables read better in rows

from __future__ import annotations

import dataclasses
import os

import pytest

from gateway.engine.limits import EngineLimits
from gateway.runtime import settings
from gateway.runtime.config_source import InvalidConfigError

# What is replaced in the config of conftest, by what, and the line of the error.
CONFIG_MISTAKES = [
    ("layer: 1", "layer: 0", "gateway.yaml:1: layer: expected 1: the gateway reads files for layer 1 only (this file is for an endpoint, which this daemon must not serve)"),
    ("layer: 1", "layer: true", "gateway.yaml:1: layer: expected 1: the gateway reads files for layer 1 only"),
    ("layer: 1\n", "", "gateway.yaml:1: layer: expected 1: the gateway reads files for layer 1 only"),
    ("config-version: 1", "config-version: 2", "gateway.yaml:2: config-version: expected a config of this version"),
    ("config-version: 1\n", "", "gateway.yaml:1: config-version: expected a value: this key is required"),
    ("  name: home", "  nane: home", "gateway.yaml:4: gateway.nane: expected no such key here (did you mean name?)"),
    ("  name: home", "  name: 0123", "gateway.yaml:4: gateway.name: expected a string (in quotes if it looks like a number)"),
    ("  name: home", "  name: ''", "gateway.yaml:4: gateway.name: expected text that is not empty"),
    ("  name: home", "  log_level: loud", "gateway.yaml:4: gateway.log_level: expected 'debug', 'info', 'warning' or 'error'"),
    ("  name: home", "  core_dumps: no", "gateway.yaml:4: gateway.core_dumps: expected true or false"),
    ("  name: home", "  audit_lines: 0", "gateway.yaml:4: gateway.audit_lines: expected at least 1"),
    ("policy: policy.yaml", "policy: 7", "gateway.yaml:7: policy: expected a string (in quotes if it looks like a number)"),
    ("policy: policy.yaml", "policy: none.yaml", "gateway.yaml:7: policy: expected a policy file: {home}/none.yaml isn't one"),
    ("policy: policy.yaml", "policy: " + "x" * 300, "gateway.yaml:7: policy: expected a policy file: {home}/" + "x" * 300 + " can't be opened: File name too long"),
    ("policy: policy.yaml\n", "", "gateway.yaml:1: policy: expected a value: this key is required"),
    ("  right:\n    folder: right", "  rihgt:\n    folder: right", "gateway.yaml:11: adapters.rihgt: expected an installed adapter: one of "),
    ("  right:\n    folder: right", "  right: []", "gateway.yaml:11: adapters.right: expected a table (lines of 'key: value')"),
    ("  right:\n    folder: right", "  left: {folder: x}", "gateway.yaml:11: adapters.left: expected each key once (first on line 9)"),
    ("    folder: right", "    folder: 8", "gateway.yaml:12: adapters.right.folder: expected a string (in quotes if it looks like a number)"),
    ("    folder: right", "    settle: true", "gateway.yaml:11: adapters.right.folder: expected a value: this key is required"),
    ("    folder: right", "    folder: x\n    inner: {depth: 10}", "gateway.yaml:13: adapters.right.inner.depth: expected at most 9"),
    ("    folder: right", "    folder: x\n    inner:\n      depht: 1", "gateway.yaml:14: adapters.right.inner.depht: expected no such key here (did you mean depth?)"),
    ("    folder: right", "    folder: x\n    inner:\n      depth: 7", "gateway.yaml:14: adapters.right.inner.depth: expected any depth but 7"),
    ("    folder: right", "    folder: x\n    key_file: none.pem", "gateway.yaml:13: adapters.right.key_file: expected a usable credential file: {home}/none.pem: can't be read (No such file or directory)"),
    ("    folder: right", "    folder: x\n    key_file: open.pem", "gateway.yaml:13: adapters.right.key_file: expected a usable credential file: {home}/open.pem: is open to others: chmod 600 {home}/open.pem"),
    ("    folder: right", "    folder: x\n    key_file: $CREDENTIALS_DIRECTORY/a", "gateway.yaml:13: adapters.right.key_file: expected to run under systemd: CREDENTIALS_DIRECTORY isn't set (to check what the service gets: atls-gateway check-config --as-service)"),
    ("adapters:", "limits: {idle: 60}\nadapters:", "gateway.yaml:8: limits.idle: expected a duration with its unit, such as 30s, 5min, 1h or 1d"),
    ("adapters:", "limits:\n  max_sessions: 0\nadapters:", "gateway.yaml:9: limits.max_sessions: expected at least 1"),
    ("adapters:", "adapters: {}\ngateway2:", "gateway.yaml:8: adapters: expected at least one entry"),
    ("policy: policy.yaml", "policy: gateway.yaml", "gateway.yaml:1: policy-version: expected a value: this key is required"),
]  # fmt: skip

POLICY_MISTAKES = [
    ("layer: 1", "layer: 0", "policy.yaml:1: layer: expected 1: the gateway reads files for layer 1 only (this file is for an endpoint, which this daemon must not serve)"),
    ("policy-version: 1", "policy-version: '1'", "policy.yaml:2: policy-version: expected 1"),
    ("policy-version: 1", "policy-version: 1\ndefault: permit", "policy.yaml:3: default: expected 'deny'"),
    ("    subject: lamp", "    subject: lmap", "policy.yaml:11: rules.lamp-out.subject: expected names that the policy defines, 'lmap' is none (did you mean lamp?)"),
    ("    subject: lamp", "    subject: group:home", "policy.yaml:11: rules.lamp-out.subject: expected names that the policy defines, 'group:home' is none"),
    ("    resource: app", "    resource: [app, moon]", "policy.yaml:12: rules.lamp-out.resource: expected names that the policy defines, 'moon' is none"),
    ("    resource: app", "    resource: []", "policy.yaml:12: rules.lamp-out.resource: expected at least one name"),
    ("    resource: app\n", "", "policy.yaml:9: rules.lamp-out.resource: expected a value: this key is required"),
    ("    effect: permit", "    effect: allow", "policy.yaml:10: rules.lamp-out.effect: expected 'permit' or 'deny'"),
    ("    effect: permit", "    effect: permit\n    action: [open, fly]", "policy.yaml:11: rules.lamp-out.action.1: expected 'open', 'forward', 'read', 'observe', 'write', 'invoke', 'admin' or 'proxy'"),
    ("    effect: permit", "    effect: permit\n    action: [open, read]", "policy.yaml:11: rules.lamp-out.action: expected actions of one of these groups only: open and forward; read, observe and write; admin; proxy"),
    ("    effect: permit", "    effect: permit\n    action: admin", "policy.yaml:13: rules.lamp-out.resource: expected 'gateway' alone: it is what admin is about"),
    ("    resource: app", "    resource: gateway", "policy.yaml:9: rules.lamp-out.action: expected admin: it is the only action on 'gateway'"),
    ("  app: {subject: phone}", "  app: {subject: phone}\n  gateway: {subject: phone}", "policy.yaml:8: resources.gateway: expected another name: 'gateway' is reserved for the gateway itself"),
    ("    effect: permit", "    effect: permit\n    action: read\n    content: [atls]", "policy.yaml:12: rules.lamp-out.content: expected none: a rule for read, observe and write is not about sessions"),
    ("    effect: permit", "    effect: permit\n    action: write\n    direction: to-device", "policy.yaml:12: rules.lamp-out.direction: expected none: a rule for read, observe and write goes from subject to resource"),
    ("    effect: permit", "    effect: permit\n    action: write\n    condition: {units: 3/s}", "policy.yaml:12: rules.lamp-out.condition.units: expected none: a rule for read, observe and write is not about sessions"),
    ("    effect: permit", "    effect: permit\n    action: write\n    condition: {commands: 3}", "policy.yaml:12: rules.lamp-out.condition.commands: expected a rate such as 3/min or 8KiB/min"),
    ("    effect: permit", "    effect: permit\n    action: write\n    obligation: {on_excess: drop}", "policy.yaml:12: rules.lamp-out.obligation: expected none: a rule for read, observe and write has no obligations"),
    ("    effect: permit", "    effect: permit\n    action: observe\n    condition: {commands: 3/s}", "policy.yaml:12: rules.lamp-out.condition.commands: expected in rules for read, write or admin only"),
    ("    effect: permit", "    effect: permit\n    condition: {commands: 3/s}", "policy.yaml:11: rules.lamp-out.condition.commands: expected in rules for read, write or admin only"),
    ("    effect: permit", "    effect: permit\n    action: [proxy, read]", "policy.yaml:11: rules.lamp-out.action: expected actions of one of these groups only: open and forward; read, observe and write; admin; proxy"),
    ("    effect: permit", "    effect: permit\n    action: proxy\n    condition: {methods: [get]}", "policy.yaml:12: rules.lamp-out.condition.methods.0: expected a method in upper case, such as GET or POST"),
    ("    effect: permit", "    effect: permit\n    action: proxy\n    condition: {methods: []}", "policy.yaml:12: rules.lamp-out.condition.methods: expected at least one entry"),
    ("    effect: permit", "    effect: permit\n    action: proxy\n    condition: {paths: [/a, a*]}", "policy.yaml:12: rules.lamp-out.condition.paths.1: expected a path such as /sensors/1, with * for any one segment, or with /** at its end"),
    ("    effect: permit", "    effect: permit\n    action: proxy\n    condition: {paths: [/a/../b]}", "policy.yaml:12: rules.lamp-out.condition.paths.0: expected a path without dot segments, empty segments, control characters, \\ or %2F"),
    ("    effect: permit", "    effect: permit\n    action: proxy\n    condition: {commands: 3/s}", "policy.yaml:12: rules.lamp-out.condition.commands: expected in rules for read, write or admin only"),
    ("    effect: permit", "    effect: permit\n    action: proxy\n    condition: {versions: [tls1.3]}", "policy.yaml:12: rules.lamp-out.condition.versions: expected none: a rule for proxy is not about sessions"),
    ("    effect: permit", "    effect: permit\n    action: write\n    condition: {paths: [/a]}", "policy.yaml:12: rules.lamp-out.condition.paths: expected in rules for proxy only"),
    ("    effect: permit", "    effect: permit\n    condition: {exchanges: 3/s}", "policy.yaml:11: rules.lamp-out.condition.exchanges: expected in rules for proxy only"),
    ("    effect: permit", "    effect: deny\n    action: proxy\n    condition: {max_unit: 1KiB}", "policy.yaml:12: rules.lamp-out.condition: expected no condition but hours, methods and paths: a deny has no others"),
    ("    effect: permit", "    effect: permit\n    content: [tls]", "policy.yaml:11: rules.lamp-out.content.0: expected 'atls', 'adtls', 'atls-data', 'oscore' or 'edhoc' (did you mean atls?)"),
    ("    effect: permit", "    effect: permit\n    condition: {bytes: 8KiB}", "policy.yaml:11: rules.lamp-out.condition.bytes: expected an amount per s, min, h or day, such as 3/min or 8KiB/min"),
    ("    effect: permit", "    effect: permit\n    condition:\n      idle: 1", "policy.yaml:12: rules.lamp-out.condition.idle: expected a duration with its unit, such as 30s, 5min, 1h or 1d"),
    ("    effect: permit", "    effect: permit\n    condition:\n      record_types: [20, 300]", "policy.yaml:12: rules.lamp-out.condition.record_types.1: expected at most 255"),
    ("    effect: permit", "    effect: permit\n    condition: {versions: [ssl3]}", "policy.yaml:11: rules.lamp-out.condition.versions.0: expected 'tls1.2', 'tls1.3', 'dtls1.2' or 'dtls1.3'"),
    ("    effect: permit", "    effect: deny\n    condition: {max_unit: 1KiB}", "policy.yaml:11: rules.lamp-out.condition: expected no condition but hours: a deny has no others"),
    ("  - id: lamp-out", "  - {id: lamp-out, effect: deny, subject: lamp, resource: app}\n  - id: lamp-out", "policy.yaml:10: rules.lamp-out.id: expected a unique name, 'lamp-out' is taken"),
    ("{link: left, user: lamp}", "{link: zigbee, user: lamp}", "policy.yaml:4: subjects.lamp.link: expected one of the gateway's adapters: left, right"),
    ("{link: left, user: lamp}", "{link: left}", "policy.yaml:4: subjects.lamp: expected exactly one of psk_identity, spki_sha256, san, bearer, url, user, broker, eui64, zigbee_group"),
    ("{link: left, user: lamp}", "{link: left, user: lamp, psk_identity: lamp}", "policy.yaml:4: subjects.lamp: expected exactly one of psk_identity, spki_sha256, san, bearer, url, user, broker, eui64, zigbee_group"),
    ("{link: left, user: lamp}", "{link: left, eui64: 00:0D:6F:00:0B:5D}", "policy.yaml:4: subjects.lamp.eui64: expected an address such as \"00:0d:6f:00:0b:5d:e3:b6\", in quotes"),
    ("{link: right, user: phone}", "{link: left, user: lamp}", "policy.yaml:5: subjects.phone: expected a unique identity, 'lamp' has this one"),
    ("app: {subject: phone}", "app: {subject: fone}", "policy.yaml:7: resources.app: expected the name of a subject, 'fone' is none (did you mean phone?)"),
    ("app: {subject: phone}", "phone: {subject: phone}", "policy.yaml:7: resources.phone: expected a name that no subject and no other resource has"),
    ("resources:", "groups: {home: [lamp, moon]}\nresources:", "policy.yaml:6: groups.home: expected names of subjects, 'moon' is none"),
    ("    effect: permit", "    effect: permit\n    condition:\n      max_units: 3", "policy.yaml:12: rules.lamp-out.condition.max_units: expected no such key here (did you mean max_unit?)"),
    ("subjects:", "subjetcs:", "policy.yaml:3: subjetcs: expected no such key here (did you mean subjects?)"),
]  # fmt: skip


@pytest.fixture
def broken(home, monkeypatch, hop_site):
    """Replaces something in a file of the home and gives back the lines of the mistakes that are found then."""
    monkeypatch.chdir(home.folder)
    (home.folder / "open.pem").write_text("x")
    (home.folder / "open.pem").chmod(0o644)

    def replace(path, old, new):
        text = path.read_text()
        assert text.count(old) >= 1
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(InvalidConfigError) as caught:
            settings.load(home.config, {})
        return str(caught.value).replace(f"{home.folder}/policy.yaml:", "policy.yaml:").replace(
            f"{home.folder}/gateway.yaml:", "gateway.yaml:"
        ).split("\n")  # fmt: skip

    return replace


@pytest.mark.parametrize(("old", "new", "line"), CONFIG_MISTAKES)
def test_a_mistake_in_the_config_is_reported_with_its_line(home, broken, old, new, line):
    assert broken(home.config, old, new)[0].startswith(line.replace("{home}", str(home.folder)))


@pytest.mark.parametrize(("old", "new", "line"), POLICY_MISTAKES)
def test_a_mistake_in_the_policy_is_reported_with_its_line(home, broken, old, new, line):
    assert broken(home.policy, old, new)[0] == line


def test_all_mistakes_are_reported_at_once(home, broken):
    home.policy.write_text(home.policy.read_text().replace("layer: 1", "layer: 0"))
    lines = broken(home.config, "    folder: left", "    folder: 1\n    other: 2")
    assert [line.split(": ")[:2] for line in lines] == [
        ["gateway.yaml:10", "adapters.left.folder"],
        ["gateway.yaml:11", "adapters.left.other"],
        ["policy.yaml:1", "layer"],
    ]


def test_a_mistake_never_shows_the_value(home, broken):
    lines = broken(home.config, "    folder: right", "    folder: x\n    inner: {depth: s3cret}")
    assert len(lines) == 1
    assert "s3cret" not in lines[0]


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("ATLS_GATEWAY__GATEWAY__LOG_LEVEL", "loud", "gateway.log_level: expected 'debug', 'info', 'warning' or 'error'"),
        ("ATLS_GATEWAY__ADAPTERS__LEFT__INNER__DEPTH", "12", "adapters.left.inner.depth: expected at most 9"),
        ("ATLS_GATEWAY__GATEWAY__NOSUCH", "1", "gateway.nosuch: expected no such key here (known: admin_socket, audit_lines, core_dumps, hide_memory, log_level, name, state_dir)"),
        ("ATLS_GATEWAY__POLICY__X", "1", "policy: expected a table to override a key in"),
        ("ATLS_GATEWAY____X", "1", "(top level): expected ATLS_GATEWAY__SECTION__KEY"),
        ("ATLS_GATEWAY__POLICY", "[", "(top level): expected the ] or } that closes what was opened"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_environment_names_the_variable(home, hop_site, variable, value, line):
    with pytest.raises(InvalidConfigError) as caught:
        settings.load(home.config, {variable: value})
    assert str(caught.value).replace(":1: ", ": ") == f"${variable}: {line}"


def test_every_limit_of_the_engine_can_be_set():
    assert set(settings.LimitsTable.model_fields) == {field.name for field in dataclasses.fields(EngineLimits)}


def test_the_environment_overrides_the_file_before_it_is_checked(home, hop_site):
    environ = {"ATLS_GATEWAY__GATEWAY__NAME": "other", "ATLS_GATEWAY__LIMITS__IDLE": "2h"}
    home.config.write_text(home.config.read_text().replace("name: home", "name: 0123"))
    found = settings.load(home.config, environ)
    assert found.table.gateway.name == "other"
    assert found.limits.idle == 7200.0


def test_credentials_of_the_service_manager_are_found(home, hop_site):
    folder = home.folder / "credentials"
    folder.mkdir()
    (folder / "key").touch(mode=0o600)
    text = home.config.read_text().replace("folder: right", "folder: x\n    key_file: $CREDENTIALS_DIRECTORY/key")
    home.config.write_text(text)
    found = settings.load(home.config, {"CREDENTIALS_DIRECTORY": str(folder)})
    assert found.adapters["right"].first.table.key_file == str(folder / "key")


@pytest.mark.process
@pytest.mark.parametrize("number", [0, 23])
def test_the_command_prints_one_line_and_exits_with_78(home, number):
    old, new, line = CONFIG_MISTAKES[number]
    (home.folder / "open.pem").write_text("x")
    (home.folder / "open.pem").chmod(0o644)
    home.config.write_text(home.config.read_text().replace(old, new, 1))
    for command in ("check-config", "run"):
        answer = home.cli(command, "-c", "gateway.yaml")
        assert answer.returncode == 78
        assert answer.stdout == ""
        assert answer.stderr.startswith(line.replace("{home}", os.path.realpath(home.folder)))
        assert answer.stderr.count("\n") == 1


@pytest.mark.process
def test_check_config_says_that_a_good_config_is_good(home):
    answer = home.cli("check-config", ATLS_GATEWAY_CONFIG=str(home.config))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout == f"{home.config}: good (adapters: left, right; 1 rule in policy.yaml)\n"
    assert not (home.folder / "state").exists()
