"""Dockerfile, .dockerignore and compose.yaml, as far as they can be judged without an engine; tests/image runs them."""

from __future__ import annotations

import fnmatch
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

from adapters.http.config import HttpTable
from endpoint import cli as endpoint_cli
from gateway.cli.main import main as gateway_cli
from gateway.runtime import policy_file
from gateway.runtime.config_source import DEFAULT_CONFIG, DEFAULT_SOCKET
from simulator import cli as simulator_cli
from tests.harness import docs_page

ROOT = Path(__file__).parents[2]
DOCKERFILE = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text())
LAST_STAGE = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
USER = "5684"
COMMANDS: dict[str, click.Command] = {
    "atls-gateway": gateway_cli,
    "atls-endpoint": endpoint_cli.main,
    "atls-simulator": simulator_cli.main,
}


def read(name: str) -> dict[str, Any]:
    yaml = YAML(typ="safe")
    return dict(yaml.load(ROOT / name))


def instruction(word: str) -> str:
    (found,) = re.findall(rf"^{word} (.+)$", LAST_STAGE, re.MULTILINE)
    return str(found)


COMPOSE, TRY = read("compose.yaml"), read("docker/try.yaml")
SERVICES = {**COMPOSE["services"], **{name: each for name, each in TRY["services"].items() if name != "gateway"}}


def test_the_image_runs_as_its_own_user_and_says_what_it_is() -> None:
    assert instruction("USER") == f"{USER}:{USER}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert instruction("ARG") == f"VERSION={project['version']}"
    assert f'licenses="{project["license"]}"' in LAST_STAGE
    for label in ("title", "description", "version", "documentation"):
        assert f"org.opencontainers.image.{label}=" in LAST_STAGE
    assert instruction("STOPSIGNAL") == "SIGTERM"


def test_the_base_is_named_by_default_and_can_be_another() -> None:
    assert re.search(r"^ARG BASE=docker\.io/library/debian:\w+-slim$", DOCKERFILE, re.MULTILINE)
    assert re.search(r"^FROM \$\{BASE\} AS base$", DOCKERFILE, re.MULTILINE)


def understood(words: list[str]) -> None:
    """click.UsageError for a command that isn't ours."""
    command: click.Command = COMMANDS[words[0]]
    words = words[1:]
    context = click.Context(command, **command.context_settings)
    while isinstance(command, click.Group) and words:
        command = command.commands[words.pop(0)]
    command.make_context("command", words, parent=context)


def test_entry_and_healthcheck_are_our_commands_in_exec_form() -> None:
    entry, command, check = (instruction(word) for word in ("ENTRYPOINT", "CMD", "HEALTHCHECK"))
    for words in (entry, command, check.partition("CMD ")[2]):
        assert words.startswith("[")
    understood([*YAML(typ="safe").load(entry), *YAML(typ="safe").load(command)])
    understood(list(YAML(typ="safe").load(check.partition("CMD ")[2])))


@pytest.mark.parametrize("service", ["app", "simulator", "lamp"])
def test_the_services_commands_are_understood(service: str, tmp_path: Path) -> None:
    words = [*SERVICES[service]["entrypoint"], *shlex.split(SERVICES[service]["command"])]
    understood([str(ROOT / "docker/network.yaml") if word.endswith("network.yaml") else word for word in words])


def ignored(path: str) -> bool:
    """As docker reads .dockerignore, for the forms of patterns that are in ours: the last that fits counts."""
    result = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.lstrip("!")
        if not pattern or pattern.startswith("#"):
            continue
        parents = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
        if any(fnmatch.fnmatchcase(each, pattern) or fnmatch.fnmatchcase("/" + each, pattern) for each in parents):
            result = not line.startswith("!")
    return result


def test_keys_state_and_history_stay_out_of_the_build() -> None:
    private = """home/gateway/keys/coap-keys home/secrets/mqtt-password .env keys/coap-keys config/keys/coap-keys
        state/store.db .git/config .venv/bin/python tests/conftest.py gateway.pem
        gateway/__pycache__/x.pyc backup.atls"""
    for path in private.split():
        assert ignored(path), path


def test_all_that_the_wheel_is_built_of_gets_into_the_build() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [f"{package}/__init__.py" for package in wheel["packages"]]
    needed += [*wheel["force-include"], *project["project"]["license-files"], project["project"]["readme"]]
    for path in (*needed, "pyproject.toml", "docker/root-of-packages"):
        assert not ignored(path), path


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    # Only those that give files to their users, and end, may do that; they have no network.
    if name in ("prepare", "restore"):
        assert service["network_mode"] == "none"
        assert service["profiles"] == [name]
    else:
        assert "cap_add" not in service
        assert service.get("user", USER).split(":")[0] not in ("0", "root")


def test_the_gateway_finds_state_socket_config_and_dongle() -> None:
    gateway = COMPOSE["services"]["gateway"]
    targets = dict(reversed(volume.removesuffix(":ro").split(":")) for volume in gateway["volumes"])
    assert targets["/var/lib/atls-gateway"] == "state"
    assert targets[str(Path(DEFAULT_SOCKET).parent)] == "admin"
    assert targets[str(DEFAULT_CONFIG.parent)] == "./home/gateway"
    assert "./home/gateway:/etc/atls-gateway:ro" in gateway["volumes"]
    assert targets["/dev"] == "/dev"
    assert gateway["device_cgroup_rules"] == ["c 188:* rw", "c 166:* rw"]
    assert gateway["ports"] == ["${COAPS_PORT:-5684}:5684/udp"]
    for name in ("admin", "state", "shm"):
        assert name in COMPOSE["volumes"]


def test_the_broker_without_tls_is_reached_from_this_machine_only() -> None:
    assert all(port.startswith("127.0.0.1:") for port in COMPOSE["services"]["mosquitto"]["ports"])
    assert COMPOSE["networks"]["broker"] == {"internal": True}


def test_secrets_are_files_out_of_reach_of_git() -> None:
    assert "/home/" in (ROOT / ".gitignore").read_text().splitlines()
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", ())}
    assert used == set(COMPOSE["secrets"])
    made = (ROOT / "docker" / "prepare.py").read_text()
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./home/secrets/{name}"}
        assert f'"{name}"' in made


def test_the_samples_load_and_fit_each_other() -> None:
    gateway = read("docker/gateway.yaml")
    policy = policy_file.load(ROOT / "docker" / "policy.yaml", ("zigbee", "coap", "mqtt"))
    assert read("docker/policy.yaml")["subjects"]["broker"]["broker"] == gateway["adapters"]["mqtt"]["broker"]
    assert gateway["adapters"]["mqtt"]["broker"] in COMPOSE["services"]
    assert {rule.id for rule in policy.rules} >= {"home-uses-devices", "lamp-opens-to-app"}
    assert gateway["adapters"]["mqtt"]["password_file"].removeprefix("/run/secrets/") in COMPOSE["secrets"]
    assert read("docker/app.yaml")["credentials"]["psk_file"].removeprefix("/run/secrets/") in COMPOSE["secrets"]


def test_what_is_commented_out_for_http_fits_the_page_and_the_image(tmp_path: Path) -> None:
    for name, heads in (("gateway.yaml", ["http:"]), ("policy.yaml", ["dashboard:", "- id: dashboard"])):
        commented = re.compile(rf"^  # (?:{'|'.join(heads)}).*\n(?:  #   .*\n)*", re.MULTILINE)
        text, blocks = commented.subn(
            lambda block: re.sub("^  # ", "  ", block[0], flags=re.MULTILINE), (ROOT / "docker" / name).read_text()
        )
        assert blocks == len(heads)
        (tmp_path / name).write_text(text)
    table = HttpTable.model_validate(YAML(typ="safe").load(tmp_path / "gateway.yaml")["adapters"]["http"])
    policy = policy_file.load(tmp_path / "policy.yaml", ("zigbee", "coap", "mqtt", "http"))
    assert "dashboard-uses-devices" in {rule.id for rule in policy.rules}
    published = YAML(typ="safe").load(docs_page.read("docker.md").block("yaml", "docker-https"))
    assert published == {"services": {"gateway": {"ports": ["${HTTPS_PORT:-8443}:8443"]}}}
    assert table.listen == "0.0.0.0:8443" and "8443/tcp" in instruction("EXPOSE").split()
