"""Every config that ``config sample`` can print, with its policy and the keys that our own commands make, is good."""

from __future__ import annotations

import hashlib
import itertools
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509

from adapters.coap.plugin import CoapPlugin
from adapters.http.plugin import HttpPlugin
from adapters.mqtt.plugin import MqttPlugin
from adapters.zigbee.plugin import ZigbeePlugin
from gateway.api.model import LinkSecurity
from gateway.cli.main import main
from gateway.engine.decision import AccessRequest, Permit, decide
from gateway.engine.policy import GATEWAY, Action
from gateway.runtime import doubts, plugins, policy_file, samples, settings, strict_yaml
from tests.harness.layer_pair import Authority

PLUGINS = {"coap": CoapPlugin(), "http": HttpPlugin(), "mqtt": MqttPlugin(), "zigbee": ZigbeePlugin()}
WITHOUT = [names for count in range(len(samples.ADAPTERS)) for names in itertools.combinations(samples.ADAPTERS, count)]
choices = pytest.mark.parametrize("simple", [False, True], ids=["whole", "simple"])
withouts = pytest.mark.parametrize("without", WITHOUT, ids=lambda names: "-".join(names) or "all")


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "load", lambda scheme, candidates: PLUGINS[scheme])


def cli(*words: object) -> str:
    answer = CliRunner().invoke(main, [str(word) for word in words], prog_name="atls-gateway")
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def written(folder: Path, *options: str) -> Path:
    """A folder as it is after the steps of the README."""
    config = folder / "gateway.yaml"
    config.write_text(cli("config", "sample", *options))
    (folder / "policy.yaml").write_text(cli("config", "sample", "--policy", *options))
    text = config.read_text()
    if "psk_file" in text:
        cli("clients", "add", "phone", "-c", config)
    if "ca_file" in text:
        cli("broker-setup", "-c", config)
    return config


@choices
@withouts
def test_each_choice_passes_the_check_and_names_no_absent_party(
    tmp_path: Path, simple: bool, without: tuple[str, ...]
) -> None:
    options = [*(["--simple"] if simple else []), *(word for name in without for word in ("--without", name))]
    config = written(tmp_path, *options)
    loaded = settings.load(config, {})
    assert set(loaded.adapters) == set(samples.ADAPTERS) - set(without)
    assert {subject.link for subject in loaded.policy.subjects} <= set(loaded.adapters)
    gone = set(samples._gone(strict_yaml.parse(samples.sample("policy.yaml", simple=simple), "policy").data, without))
    for name in ("gateway.yaml", "policy.yaml"):
        text = (tmp_path / name).read_text()
        assert "\n\n\n" not in text and text.endswith("\n") and not text.endswith("\n\n")
        assert text.startswith(f"# yaml-language-server: $schema={name.replace('yaml', 'schema.json')}\n")
        values = [line.partition("#")[0] for line in text.splitlines()]
        for word in gone - {"broker"}:  # which is a key of the config, too
            assert not any(f" {word}" in value or f"[{word}" in value for value in values)
    zigbee = strict_yaml.read(config).data["adapters"].get("zigbee", {})
    for target in zigbee.get("protocols", {}).values():
        assert target["to"] in loaded.policy.aliases


def test_nothing_taken_out_is_the_file_that_is_shipped() -> None:
    for folder, options in (("config", ()), ("config/simple", ("--simple",))):
        for name, more in (("gateway.yaml", ()), ("policy.yaml", ("--policy",))):
            shipped = Path(__file__).parents[2] / folder / name
            assert cli("config", "sample", *options, *more) == shipped.read_text()


def test_comments_stay_with_what_they_are_about(tmp_path: Path) -> None:
    text = samples.sample("gateway.yaml", without=("mqtt",))
    assert "# One client a line" in text and "ACL" not in text
    assert text.endswith("limits:\n  max_sessions: 1024\n  idle: 1d\n")
    text = samples.sample("policy.yaml", without=("mqtt",))
    assert "cloud" not in text and "broker" not in text
    text = samples.sample("policy.yaml", without=("coap",))
    assert "rules:\n  - id: meter-to-service\n" in text and "what a home automation at the broker needs" in text


@choices
def test_what_is_commented_out_for_http_is_good_once_its_files_are_there(tmp_path: Path, simple: bool) -> None:
    config = written(tmp_path, *(["--simple"] if simple else []))
    for name, heads in (("gateway.yaml", ["http:"]), ("policy.yaml", ["dashboard:", "- id: dashboard"])):
        path = tmp_path / name
        commented = re.compile(rf"^  # (?:{'|'.join(heads)}).*\n(?:  #   .*\n)*", re.MULTILINE)
        text, blocks = commented.subn(
            lambda found: re.sub("^  # ", "  ", found[0], flags=re.MULTILINE), path.read_text()
        )
        assert blocks == len(heads)
        path.write_text(text)
    ours = Authority("home").issue("gateway", x509.DNSName("gateway.example"))
    (tmp_path / "keys").mkdir(exist_ok=True)
    tokens = f"dashboard:{hashlib.sha256(b'token').hexdigest()}\n"
    for name, octets in (("keys/gateway.key", ours.key_pem), ("keys/tokens", tokens.encode())):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_bytes(octets)
    (tmp_path / "gateway.pem").write_bytes(ours.chain)
    loaded = settings.load(config, {})
    assert set(loaded.adapters) == {*samples.ADAPTERS, "http"}
    assert "dashboard" in {subject.name for subject in loaded.policy.subjects}
    assert not [each for each in doubts.of_adapters(loaded) if "adapters.http" in str(each)]


def test_nothing_left_is_refused() -> None:
    words = ["config", "sample", *(word for name in samples.ADAPTERS for word in ("--without", name))]
    answer = CliRunner().invoke(main, words)
    assert answer.exit_code == 2 and "expected an adapter to be left" in answer.output


def test_the_simple_policy_lets_devices_join_and_be_used_at_once(tmp_path: Path) -> None:
    written(tmp_path, "--simple")
    path = tmp_path / "policy.yaml"
    lamp = '  lamp: {link: zigbee, eui64: "00:0d:6f:00:0b:5d:e3:c1"}\n'
    text = path.read_text().replace("groups:", f"{lamp}groups:").replace("members: []", "members: [lamp]")
    path.write_text(text)
    policy = policy_file.load(path, samples.ADAPTERS)
    link = LinkSecurity(protocol="none")

    def permitted(sender: str, receiver: str, action: Action) -> bool:
        request = AccessRequest(action=action, sender=sender, receiver=receiver, content=None, link=link)
        return isinstance(decide(request, policy), Permit)

    for action in (Action.READ, Action.OBSERVE, Action.WRITE):
        assert permitted("phone", "lamp", action) and permitted("broker", "lamp", action)
    assert permitted("broker", GATEWAY, Action.ADMIN) and not permitted("phone", GATEWAY, Action.ADMIN)
