"""The ``atls-gateway`` command as people run it: output, exit codes, help, and how little it loads."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata

import click
import pytest
from click.testing import CliRunner

from gateway.cli.asking import other_gateways
from gateway.cli.codes import MEANINGS
from gateway.cli.main import main
from gateway.runtime.admin import AdminServer
from gateway.runtime.build import build

pytestmark = pytest.mark.process


def test_listing_devices_and_sessions_and_letting_devices_join(home):
    home.start().wait_notify("READY=1")
    lamp = home.peer("left", "lamp")
    home.peer("right", "phone")
    lamp.say("open", to="app", nonce="01")
    session = lamp.hear_until("session")["session"]
    here = ["-c", "gateway.yaml"]

    (home.folder / "left" / "stranger.peer").touch()
    devices = home.cli("devices", *here)
    assert devices.returncode == 0, devices.stderr
    assert [line.split() for line in devices.stdout.splitlines()[:3]] == [
        ["NAME", "ADDRESS", "LINK"],
        ["lamp", "lamp", "left"],
        ["-", "stranger", "left"],
    ]
    assert home.cli("devices", "show", "lamp", *here).stdout.startswith("lamp: ")
    assert json.loads(home.cli("devices", "--json", "show", "lamp", *here).stdout)["identity"] == "user:lamp"
    stranger = home.cli("devices", *here, "show", "stranger").stdout
    assert '  device-stranger: {link: left, user: "stranger"}\n' in stranger
    nobody = home.cli("devices", "show", "nobody", *here)
    assert (nobody.returncode, nobody.stderr.split(":")[0]) == (1, "nobody")

    listed = json.loads(home.cli("sessions", "--json", *here).stdout)["sessions"]
    assert [(row["session"], row["opener"], row["target"], row["units"]) for row in listed] == [
        (session, "lamp", "phone", [0, 0])
    ]
    table = home.cli("sessions", *here).stdout.splitlines()
    assert [line.split()[:3] for line in table] == [["SESSION", "OPENER", "TARGET"], [session, "lamp", "phone"]]

    opened = home.cli("permit-join", "--seconds", "254", *here).stdout
    assert re.fullmatch(r"left: open for 254 s, until (\S+ )?\d\d:\d\d:\d\d\n", opened)
    status = home.cli("status", *here)
    assert "\nleft:\n  counts: joining 254\n" in status.stdout
    assert status.stdout.startswith("home: healthy, pid ")
    assert ["left", "ready"] in [line.split()[:2] for line in status.stdout.splitlines()]
    assert "\033" not in status.stdout
    assert home.cli("permit-join", "--close", *here).stdout == "left: closed\n"
    assert json.loads(home.cli("status", "--json", *here).stdout)["adapters"]["left"]["detail"] == {"joining": 0}
    for wrong in (["--seconds", "255"], ["--seconds", "-1"], ["--seconds", "1.5"], [], ["--close", "--seconds", "9"]):
        assert home.cli("permit-join", *wrong, *here).returncode == 2


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
    assert answer.stderr.count("\n") == 2


def test_a_command_without_a_config_says_which_gateway_it_asked():
    assert other_gateways(None, {}) == [
        "This is the gateway of /etc/atls-gateway/gateway.yaml; for another one name its config: -c FILE"
    ]
    assert other_gateways("gateway.yaml", {}) == other_gateways(None, {"ATLS_GATEWAY_CONFIG": "gateway.yaml"}) == []


def test_a_config_that_is_not_there_is_78(home):
    for command in ("status", "run", "check-config"):
        answer = home.cli(command, "-c", "none.yaml")
        assert answer.returncode == 78
        assert answer.stderr == "none.yaml: (top level): expected a readable file: No such file or directory\n"


async def test_a_daemon_of_another_user_exits_with_77(home):
    server = AdminServer(home.folder / "admin.sock", {}, allowed=frozenset({os.geteuid() + 1}))
    await server.start()
    answer = await asyncio.to_thread(home.cli, "status", "-c", "gateway.yaml")
    await server.stop()
    assert answer.returncode == 77, answer.stderr
    assert answer.stderr.startswith("expected root or the user that the gateway runs as\n")


def test_a_refusal_is_1(home):
    text = home.config.read_text().replace("  left:\n    folder: left\n", "")
    home.config.write_text(text)
    home.policy.write_text("layer: 1\npolicy-version: 1\n")
    home.start().wait_notify("READY=1")
    answer = home.cli("permit-join", "--seconds", "5", "-c", "gateway.yaml")
    assert answer.returncode == 1
    assert answer.stderr == (
        "no adapter can do permit-join now (right: permit-join is not for this adapter)\n"
    )  # fmt: skip


def commands(group: click.Group, *before: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*before, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)


@pytest.mark.parametrize("words", [(), *(words for words, _ in commands(main))], ids=" ".join)
def test_help_teaches_by_example_and_tells_the_exit_codes(words):
    text = CliRunner().invoke(main, [*words, "--help"], prog_name="atls-gateway").stdout
    for code, meaning in MEANINGS.items():
        assert re.search(rf"^ +{code} +{re.escape(meaning)}$", text, re.MULTILINE)
    assert re.search(rf"^ +(\S+=\S+ )?atls-gateway {words[0] if words else 'radios'}", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 120
    assert CliRunner().invoke(main, [*words, "-h"], prog_name="atls-gateway").stdout == text


def test_every_command_has_json_but_those_that_run_or_group():
    without = {words for words, c in commands(main) if "as_json" not in {p.name for p in c.params}}
    assert without == {("run",), ("config",), ("clients",), ("network",), ("groups", "members")}


def test_the_version_and_which_build_runs(home):
    assert home.cli("--version").stdout == f"atls-gateway {metadata.version('atls-gateway')} ({build()})\n"


@pytest.mark.parametrize("command", ["status", "permit-join --seconds 1", "devices", "--help"])
def test_brief_commands_load_nothing_heavy(home, command):
    code = f"""
import sys
sys.argv = ["atls-gateway", *{command!r}.split(), *([] if {command!r} == "--help" else ["-c", "gateway.yaml"])]
from gateway.cli.main import main
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


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_on_a_real_terminal_there_are_colours_unless_they_are_unwanted(home, environ, coloured):
    ours, theirs = os.openpty()
    kept = {name: value for name, value in home.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "config", "show", "-c", "gateway.yaml"],
        env=kept | {"TERM": "xterm"} | environ, cwd=home.folder, stdin=subprocess.DEVNULL, stdout=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:
        pass  # the terminal's other end is closed
    os.close(ours)
    assert process.wait(60) == 0
    assert b"state_dir: state" in shown
    assert (b"\033[" in shown) is coloured
