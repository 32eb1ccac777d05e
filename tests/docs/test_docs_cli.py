"""docs/cli.md against the command: the same commands, options, exit codes, and samples as the code prints them."""

from __future__ import annotations

import shlex
from typing import Any

import click
import pytest

from gateway.cli.codes import MEANINGS
from gateway.cli.main import main
from gateway.runtime.reloading import EFFECTS
from tests.docs import cli_samples
from tests.harness.docs_page import read

SAMPLES = cli_samples.rendered()


@pytest.fixture(scope="module")
def page() -> Any:
    return read("cli.md")


def commands(group: click.Group, *before: str) -> dict[str, click.Command]:
    """All that can be run, by the words that run it."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if not isinstance(command, click.Group) or command.invoke_without_command:
            found[" ".join((*before, name))] = command
        if isinstance(command, click.Group):
            found |= commands(command, *before, name)
    return found


def test_every_command_has_its_row(page: Any) -> None:
    asking = {"status", "sessions", "devices", "devices show", "devices configure", "devices options", "permit-join"}
    asking |= {"reload", "restart", "devices sniff"}
    rows = {row[0].strip("`"): row[2] for row in page.rows("command")}
    assert set(rows) == set(commands(main))
    asking |= {name for name in rows if name.startswith(("groups", "scenes")) or "bind" in name}
    assert {name for name, needs in rows.items() if needs == "yes"} == asking


def test_every_line_to_type_is_understood(page: Any) -> None:
    lines = [line for name in page.names("sh") for line in page.block("sh", name).splitlines()]
    assert len(lines) > 10
    for line in lines:
        program, *words = shlex.split(line.partition(">")[0])
        assert program == "atls-gateway"
        command: click.Command = main
        context = click.Context(main, **main.context_settings)
        while isinstance(command, click.Group) and words and words[0] in command.commands:
            command, words = command.commands[words[0]], words[1:]
        command.make_context(line, list(words), parent=context)  # UsageError where an option is none


def test_exit_codes_and_effects(page: Any) -> None:
    assert {row[0]: row[1] for row in page.rows("exit code")} == {str(c): meaning for c, meaning in MEANINGS.items()}
    assert {row[0].strip("`"): row[1] for row in page.rows("effect")} == dict(EFFECTS)


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_what_the_command_prints(page: Any, name: str) -> None:
    assert page.block("text", name) == SAMPLES[name]


def test_every_sample_is_compared(page: Any) -> None:
    assert page.names("text") == set(SAMPLES)
