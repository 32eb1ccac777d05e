"""The ``atls-gateway`` command as people run it: output, exit codes, help, and how little it loads."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys

import pytest

from gateway.runtime.admin import AdminServer

pytestmark = pytest.mark.process


def test_listing_devices_and_sessions_and_letting_devices_join(home):
    home.start().told("READY=1")
    lamp = home.peer("left", "lamp")
    home.peer("right", "phone")
    lamp.say("open", to="app", nonce="01")
    session = lamp.hear_until("session")["session"]
    here = ["-c", "gateway.yaml"]

    devices = home.cli("devices", *here)
    assert (devices.returncode, devices.stdout) == (0, "left: 1 devices\nname\nlamp\n")

    listed = json.loads(home.cli("sessions", "--json", *here).stdout)["sessions"]
    assert [(row["session"], row["opener"], row["target"], row["units"]) for row in listed] == [
        (session, "lamp", "phone", [0, 0])
    ]
    table = home.cli("sessions", *here).stdout.splitlines()
    assert table[0] == "1 sessions"
    assert table[1].split()[:4] == ["session", "content", "opener", "target"]

    assert home.cli("permit-join", "--seconds", "254", *here).stdout == "left: open for 254 s\n"
    status = home.cli("status", *here)
    assert "    joining: 254\n" in status.stdout
    assert status.stdout.startswith("home: healthy, pid ")
    assert home.cli("permit-join", "--seconds", "0", *here).stdout == "left: closed\n"
    for wrong in ("255", "-1", "1.5"):
        assert home.cli("permit-join", "--seconds", wrong, *here).returncode == 2


def test_outside_of_the_service_its_credentials_are_no_matter(home):
    config = home.folder / "gateway.yaml"
    config.write_text(config.read_text() + "  other:\n    key_file: $CREDENTIALS_DIRECTORY/key\n")
    answer = home.cli("status", "-c", "gateway.yaml")
    assert answer.returncode == 69, answer.stderr
    assert home.cli("check-config", "-c", "gateway.yaml").returncode == 78


def test_a_daemon_that_is_not_there_is_69(home):
    answer = home.cli("status", "-c", "gateway.yaml")
    assert (answer.returncode, answer.stdout) == (69, "")
    assert "admin.sock: the gateway isn't reachable" in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_config_that_is_not_there_is_78(home):
    for command in ("status", "run", "check-config"):
        answer = home.cli(command, "-c", "none.yaml")
        assert answer.returncode == 78
        assert answer.stderr == "none.yaml: (top level): expected a readable file: No such file or directory\n"


async def test_a_daemon_of_somebody_else_is_77(home):
    server = AdminServer(home.folder / "admin.sock", {}, allowed=frozenset({os.geteuid() + 1}))
    await server.start()
    answer = await asyncio.to_thread(home.cli, "status", "-c", "gateway.yaml")
    await server.stop()
    assert answer.returncode == 77, answer.stderr
    assert answer.stderr == "expected root or the user that the gateway runs as\n"


def test_a_refusal_is_1(home):
    text = home.config.read_text().replace("  left:\n    folder: left\n", "")
    home.config.write_text(text)
    home.policy.write_text("layer: 1\npolicy-version: 1\n")
    home.start().told("READY=1")
    answer = home.cli("permit-join", "--seconds", "5", "-c", "gateway.yaml")
    assert answer.returncode == 1
    assert answer.stderr == (
        "no adapter can do permit-join now (right: permit-join is not for this adapter)\n"
    )  # fmt: skip


def test_help_teaches_by_example_and_tells_the_exit_codes(home):
    answer = home.cli("--help")
    for part in ("atls-gateway check-config -c gateway.yaml", "permit-join --seconds 120", "78  the configuration"):
        assert part in answer.stdout
    for command in ("run", "check-config", "status", "devices", "permit-join", "sessions"):
        text = home.cli(command, "--help") if command in ("run", "permit-join") else answer
        assert "Exit codes:" in text.stdout
        assert command in answer.stdout


def test_the_version(home):
    assert home.cli("--version").stdout.startswith("atls-gateway ")


@pytest.mark.parametrize("command", ["status", "permit-join --seconds 1", "--help"])
def test_brief_commands_load_nothing_heavy(home, command):
    code = f"""
import sys
sys.argv = ["atls-gateway", *{command!r}.split(), *([] if {command!r} == "--help" else ["-c", "gateway.yaml"])]
from gateway.cli import main
try:
    main()
except SystemExit:
    pass
print(sorted({{"pydantic", "bellows", "zigpy", "asyncio", "cryptography", "OpenSSL", "paho"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=home.environ, cwd=home.folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
