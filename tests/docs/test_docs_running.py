"""docs/running.md: each of our commands that it says to type is understood, and its names are those of the code."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from gateway.cli.main import main
from gateway.runtime import settings, state_folder
from gateway.runtime.config_source import DEFAULT_CONFIG
from tests.harness.docs_page import DOCS

TEXT = (DOCS / "running.md").read_text()
LINES = [
    line
    for block in re.findall(r"^```\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if line.startswith("atls-gateway ")
]


@pytest.mark.parametrize("line", sorted(set(LINES)))
def test_every_line_to_type_is_understood(line: str) -> None:
    _, *words = shlex.split(line)
    command: click.Command = main
    context = click.Context(main, **main.context_settings)
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    command.make_context(line, list(words), parent=context, resilient_parsing=words == ["--version"])


def test_the_page_has_the_commands_that_it_is_about() -> None:
    assert {line.split()[1] for line in LINES} >= {"backup", "restore", "check-config", "reload", "status", "network"}


def test_names_are_those_of_the_code() -> None:
    assert str(DEFAULT_CONFIG) in TEXT
    assert f"`{settings.GatewayTable.model_fields['state_dir'].default}/{state_folder.ASIDE}VERSION`" in TEXT
    levels = [row.split("`")[1] for row in TEXT.splitlines() if row.startswith("| `") and "as tried" not in row][:4]
    assert levels == ["error", "warning", "info", "debug"]
    assert state_folder._KEPT == 2 and "the last two" in " ".join(TEXT.split())
