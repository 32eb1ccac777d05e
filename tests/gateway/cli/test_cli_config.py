"""``config show`` and ``config sample``: what they print is a config, says where it is from, and holds no secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from adapters.coap.plugin import CoapPlugin
from adapters.http.plugin import HttpPlugin
from adapters.mqtt.plugin import MqttPlugin
from adapters.zigbee.plugin import ZigbeePlugin
from gateway.cli.codes import BAD_CONFIG
from gateway.cli.main import main
from gateway.runtime import config_errors, effective, plugins, strict_yaml
from gateway.runtime.config_source import read_config
from gateway.runtime.settings import ConfigTable

SAMPLES = Path(__file__).parents[3] / "config"
OVERRIDES = {"ATLS_GATEWAY__ADAPTERS__MQTT__USER": "someone", "ATLS_GATEWAY__LIMITS": "{idle: 2h, max_sessions: 7}"}


@pytest.fixture
def cli(monkeypatch):
    """Runs the command with the project's own adapters, installed or not, and these overrides."""
    found = {"coap": CoapPlugin(), "http": HttpPlugin(), "mqtt": MqttPlugin(), "zigbee": ZigbeePlugin()}
    monkeypatch.setattr(plugins, "load", lambda scheme, candidates: plugins.checked(found[scheme], scheme, scheme))

    def run(*arguments: str, **environ: str):
        return CliRunner().invoke(main, list(arguments), env=environ)

    return run


def test_the_printed_config_reads_as_the_same_config(cli, tmp_path):
    path = SAMPLES / "gateway.yaml"
    answer = cli("config", "show", "-c", str(path), **OVERRIDES)
    assert answer.exit_code == 0, answer.stderr
    (tmp_path / "again.yaml").write_text(answer.stdout)
    before, after = read_config(path, OVERRIDES, credentials=False), read_config(tmp_path / "again.yaml", {})
    assert config_errors.validated(ConfigTable, before.data, before).limits == (
        config_errors.validated(ConfigTable, after.data, after).limits
    )
    for scheme, plugin in (("coap", CoapPlugin), ("mqtt", MqttPlugin), ("zigbee", ZigbeePlugin)):
        tables = [plugin.config_model.model_validate(source.data["adapters"][scheme]) for source in (before, after)]
        assert tables[0] == tables[1]


def test_each_value_says_where_it_is_from(cli):
    answer = cli("config", "show", "--json", "-c", str(SAMPLES / "gateway.yaml"), **OVERRIDES)
    values = {value["key"]: (value["value"], value["from"]) for value in json.loads(answer.stdout)["values"]}
    lines = (SAMPLES / "gateway.yaml").read_text().splitlines()
    assert values["adapters.mqtt.user"] == ("someone", "$ATLS_GATEWAY__ADAPTERS__MQTT__USER")
    assert values["limits.idle"] == ("7200s", "$ATLS_GATEWAY__LIMITS")
    assert values["limits.max_sessions"] == (7, "$ATLS_GATEWAY__LIMITS")
    assert values["adapters.coap.psk_file"][1] == f"gateway.yaml:{lines.index('    psk_file: keys/coap-keys') + 1}"
    assert values["gateway.audit_lines"] == (60, "default")


def test_redacted_does_not_show_which_house_it_is(cli, tmp_path):
    private = ["alice", "broker.example", "00:0d:6f:00:0b:5d:e3:b7", "serial-8213", "secretary", "my-keys", "10.1.2.3"]
    (tmp_path / "gateway.yaml").write_text(
        "layer: 1\nconfig-version: 1\ngateway: {name: secretary}\npolicy: policy.yaml\nadapters:\n"
        "  zigbee:\n    path: /dev/serial/by-id/serial-8213\n"
        '    devices: {"00:0d:6f:00:0b:5d:e3:b7": {protocols: {200: {to: alice}}}}\n'
        '  coap: {listen: "10.1.2.3:5684", psk_file: $CREDENTIALS_DIRECTORY/my-keys}\n'
        "  mqtt: {broker: broker.example, user: alice, password_file: my-keys, broker_acl: true}\n"
    )
    plain = cli("config", "show", "-c", str(tmp_path / "gateway.yaml"))
    redacted = cli("config", "show", "--redacted", "-c", str(tmp_path / "gateway.yaml"))
    assert redacted.exit_code == 0, redacted.stderr
    for word in private:
        assert word in plain.stdout
        assert word not in redacted.stdout
    assert "baudrate: 115200" in redacted.stdout


def test_redacted_does_not_show_the_names_and_services_of_http(cli, tmp_path):
    private = ["10.1.2.3", "house.example", "page.example", "cloud.example", "my-token", "proxy.example", "my-login"]
    (tmp_path / "gateway.yaml").write_text(
        "layer: 1\nconfig-version: 1\npolicy: policy.yaml\nadapters:\n  http:\n"
        '    http_listen: "10.1.2.3:8080"\n    names: [house.example]\n    origins: ["https://page.example"]\n'
        "    tokens_file: $CREDENTIALS_DIRECTORY/my-tokens\n    services:\n"
        "      - {url: https://cloud.example/, token_file: my-token, min_version: tls1.3,"
        " proxy: {url: 'http://proxy.example:3128', login_file: my-login}}\n"
    )
    plain = cli("config", "show", "-c", str(tmp_path / "gateway.yaml"))
    redacted = cli("config", "show", "--redacted", "-c", str(tmp_path / "gateway.yaml"))
    assert redacted.exit_code == 0, redacted.stderr
    for word in private:
        assert word in plain.stdout
        assert word not in redacted.stdout
    assert '"min_version": "tls1.3"' in redacted.stdout


def test_no_file_that_a_key_names_is_opened(cli, tmp_path):
    """Neither is there any: they would be missed."""
    answer = cli("config", "show", "-c", str(SAMPLES / "gateway.yaml"))
    assert (answer.exit_code, answer.stderr) == (0, "")


@pytest.mark.parametrize("key", ["password", "api_token", "psk", "shared_secret", "key"])
def test_a_value_named_as_a_secret_is_never_shown(key):
    for value in (effective.Value((*way, key), "hunter2", "x") for way in ((), ("adapters", "other"))):
        assert effective._without_secrets(value).value == effective.REDACTED
        assert effective._redacted(value).value == effective.REDACTED
    assert effective._without_secrets(effective.Value((f"{key}_file",), "a", "x")).value == "a"


def test_config_show_reports_a_mistake_as_check_config_does(cli, tmp_path):
    (tmp_path / "gateway.yaml").write_text("layer: 1\nconfig-version: 1\npolicy: p\nadapters: {coap: {lisen: x}}\n")
    answer = cli("config", "show", "-c", str(tmp_path / "gateway.yaml"))
    assert answer.exit_code == BAD_CONFIG
    assert "gateway.yaml:4: adapters.coap.lisen: expected no such key here (did you mean listen?)" in answer.stderr


def test_the_samples_are_those_that_are_shipped(cli):
    for option, name in (((), "gateway.yaml"), (("--policy",), "policy.yaml")):
        answer = cli("config", "sample", *option)
        assert answer.exit_code == 0
        assert answer.stdout == (SAMPLES / name).read_text()
        strict_yaml.parse(answer.stdout, name)
        assert json.loads(cli("config", "sample", "--json", *option).stdout)["text"] == answer.stdout
