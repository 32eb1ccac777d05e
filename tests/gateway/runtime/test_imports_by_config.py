"""What a process of ``atls-gateway`` imports: what its config, or its command, needs, and nothing else.

Each is a real process; with ``PYTHONPROFILEIMPORTTIME`` it writes the name of every module that it loads on standard
error.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

import gateway.cli
from tests.harness.running_daemon import Home

POLICY = "layer: 1\npolicy-version: 1\n"
CONFIG = """\
layer: 1
config-version: 1
gateway: {name: home, state_dir: state, admin_socket: admin.sock}
policy: policy.yaml
adapters:
"""
COAP = "  coap: {{listen: '127.0.0.1:{port}', psk_file: psk}}\n"
SESSIONS = "  mqtt: {{broker: '127.0.0.1:1', tls: false, broker_acl: true}}\n"
TOPICS = "  mqtt: {{broker: '127.0.0.1:1', tls: false, devices: {{base: home}}}}\n"
HTTP = "  http: {{http_listen: '127.0.0.1:{port}', tokens_file: tokens}}\n"
ZIGBEE = "  zigbee: {{path: no-dongle}}\n"

OF_COAP = {"OpenSSL", "cryptography", "layer.cookie", "carriage.coap", "adapters.coap.adapter"}
OF_HTTP = {"aiohttp", "cryptography", "OpenSSL", "adapters.http.south"}
OF_MQTT = {"paho", "carriage.mqtt", "adapters.mqtt.adapter"}
OF_SESSIONS = OF_MQTT | {"adapters.mqtt.sessions"}
OF_TOPICS = OF_MQTT | {"adapters.mqtt.devices"}
OF_ZIGBEE = {"zigpy", "bellows", "cryptography", "carriage.zigbee", "adapters.zigbee.adapter"}
OF_DAEMON = {"gateway.cli.entry", "gateway.cli.serving", "gateway.cli.codes"}
COMMANDS = {f"gateway.cli.{path.stem}" for path in Path(gateway.cli.__path__[0]).glob("*.py")}
WATCHED = OF_COAP | OF_HTTP | OF_SESSIONS | OF_TOPICS | OF_ZIGBEE | COMMANDS | {"serial", "click"}
HEAVY = {
    "pydantic",
    "asyncio",
    "email",
    "cryptography",
    "OpenSSL",
    "paho",
    "zigpy",
    "bellows",
    "serial",
    "gateway.runtime.daemon",
}


def imported(text: str) -> set[str]:
    """The names on lines such as ``import time:       120 |        340 |   gateway.api``."""
    return set(re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("adapters", "needs"),
    [
        (COAP, OF_COAP),
        (HTTP, OF_HTTP),
        (SESSIONS, OF_SESSIONS),
        (TOPICS, OF_TOPICS),
        (ZIGBEE, OF_ZIGBEE),
        (COAP + SESSIONS, OF_COAP | OF_SESSIONS),
        (ZIGBEE + TOPICS, OF_ZIGBEE | OF_TOPICS),
    ],
    ids=["coap", "http", "mqtt sessions", "mqtt devices", "zigbee", "coap and mqtt", "zigbee and mqtt"],
)
def test_the_daemon_imports_what_its_config_needs(home: Home, adapters: str, needs: set[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home.config.write_text(CONFIG + adapters.format(port=port))
    home.policy.write_text(POLICY)
    (home.folder / "psk").touch(mode=0o600)
    (home.folder / "psk").write_text(f"phone:{'ab' * 16}\n")
    (home.folder / "tokens").touch(mode=0o600)
    (home.folder / "tokens").write_text(f"phone:{'ab' * 32}\n")
    daemon = home.start(PYTHONPROFILEIMPORTTIME="1")
    daemon.wait_notify("READY=1")
    assert imported(daemon.log) & WATCHED == needs | OF_DAEMON


@pytest.mark.parametrize(
    ("arguments", "modules"),
    [
        ("--version", {"main", "commands", "codes", "entry"}),
        ("--help", {"main", "commands", "codes", "entry"}),
        (
            "status -c gateway.yaml",
            {"main", "commands", "codes", "entry", "service", "asking", "screen", "status_view"},
        ),
        ("restart -c gateway.yaml", {"main", "commands", "codes", "entry", "restart", "asking"}),
    ],
)
def test_a_command_imports_its_module_and_nothing_heavy(home: Home, arguments: str, modules: set[str]) -> None:
    done = home.cli(*arguments.split(), PYTHONPROFILEIMPORTTIME="1")
    names = imported(done.stderr)
    assert names & COMMANDS == {f"gateway.cli.{name}" for name in modules}
    assert names & HEAVY == ({"email"} if arguments == "--version" else set())  # importlib.metadata brings it
