"""README.md: what it says to type is understood, and its policy permits what it says."""

from __future__ import annotations

import re
from pathlib import Path

import click

from endpoint import cli as endpoint_cli
from gateway.api.model import LinkSecurity
from gateway.cli.devices_view import named_lines
from gateway.cli.main import main
from gateway.cli.screen import Screen
from gateway.engine.decision import AccessRequest, Permit, decide
from gateway.engine.policy import Action
from gateway.runtime import device_names, naming, policy_file

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = {"atls-gateway": main, "atls-endpoint": endpoint_cli.main}


def test_every_line_to_type_is_understood() -> None:
    understood = 0
    for line in "".join(BLOCKS).splitlines():
        words = [] if line.startswith(("{", "[", "|")) else re.split("[#>]", line)[0].split()
        while words and "=" in words[0]:  # a variable for this command only
            del words[0]
        if not words or words[0] not in COMMANDS:
            continue
        command: click.Command = COMMANDS[words.pop(0)]
        context = click.Context(command, **command.context_settings)
        while isinstance(command, click.Group) and words and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        command.make_context(line, list(words), parent=context)  # UsageError where an option is none
        understood += 1
    assert understood >= 15


def test_the_policy_loads_and_permits_what_it_says(tmp_path: Path) -> None:
    (block,) = (block for block in BLOCKS if block.startswith("subjects:"))
    path, names = tmp_path / "policy.yaml", tmp_path / "devices.yaml"
    path.write_text("layer: 1\npolicy-version: 1\n" + block)
    device_names.write(names, {"desk": device_names.DeviceTable(eui64="00:0d:6f:00:0b:5d:e3:c1", groups=["devices"])})
    policy = policy_file.load(path, ("zigbee", "coap", "mqtt"), names)
    assert "\n".join(named_lines(naming.answer("desk", policy, device_names.read(names)), Screen(), runs=True)) in TEXT
    for sender in ("broker", "phone"):
        for action in (Action.READ, Action.OBSERVE, Action.WRITE):
            request = AccessRequest(
                action=action, sender=sender, receiver="desk", content=None, link=LinkSecurity(protocol="none")
            )
            assert isinstance(decide(request, policy), Permit)


def test_the_names_that_it_gives_are_free_in_the_samples() -> None:
    """A user who goes from the small sample to the full one keeps the devices."""
    given = set(re.findall(r"^atls-gateway devices (?:name|rename) \S+ (\w+)", TEXT, re.MULTILINE))
    policies = sorted((ROOT / "config").glob("policy*.yaml"))
    assert given >= {"desk"} and policies
    for path in policies:
        assert not given & policy_file.load(path, ("zigbee", "coap", "mqtt"), None).aliases.keys(), path
