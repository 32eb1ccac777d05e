"""The options that many commands share, and how a command asks the running daemon. Imports nothing heavy."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from gateway.api.errors import ConfigError, PeerError, TransportError
from gateway.cli.codes import BAD_CONFIG, FAILED, NOT_ALLOWED, UNREACHABLE, fail
from gateway.runtime.admin_client import NotAllowedError, ask
from gateway.runtime.config_source import (
    CONFIG_VARIABLE,
    DEFAULT_CONFIG,
    DEFAULT_SOCKET,
    config_path,
    read_config,
    socket_path,
)

Decorator = Callable[[Callable[..., None]], Callable[..., None]]

config_option: Decorator = click.option(
    "-c",
    "--config",
    metavar="FILE",
    help=f"The gateway's config file. Default: ${CONFIG_VARIABLE}, else {DEFAULT_CONFIG}.",
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


TRY_SUDO = "Try it with sudo, or as the user that the service runs as."


def question(config: str | None, command: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The running daemon's answer; otherwise the command ends with the exit code that says why there is none."""
    try:
        return question_if_it_runs(config, command, arguments or {})
    except TransportError as error:
        fail(
            UNREACHABLE, error, "Is it running? Try: systemctl status atls-gateway", *other_gateways(config, os.environ)
        )


def other_gateways(config: str | None, environ: Mapping[str, str]) -> list[str]:
    """The hint for a user who may have meant another gateway, since no config was named."""
    if config is not None or CONFIG_VARIABLE in environ:
        return []
    return [f"This is the gateway of {DEFAULT_CONFIG}; for another one name its config: -c FILE"]


def question_if_it_runs(config: str | None, command: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """As ``question``, but for a command that goes on without a daemon: TransportError, there is none."""
    try:
        return ask(admin_socket(config), command, arguments)
    except ConfigError as error:
        fail(BAD_CONFIG, error)
    except NotAllowedError as error:
        fail(NOT_ALLOWED, error, TRY_SUDO)
    except PeerError as error:
        fail(FAILED, error)


def admin_socket(config: str | None) -> Path:
    """The admin socket of the config; the usual one if the system's config isn't there, or can't be read now.

    The daemon that runs from it was started when it could be, and is the one to say what is wrong with it.
    """
    path = config_path(config, os.environ)
    if config is None and CONFIG_VARIABLE not in os.environ and not path.exists():
        return Path(DEFAULT_SOCKET)
    try:
        return socket_path(read_config(path, os.environ, credentials=False))
    except ConfigError:
        if path == DEFAULT_CONFIG and Path(DEFAULT_SOCKET).exists():
            return Path(DEFAULT_SOCKET)
        raise


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


def print_lines(lines: Any) -> None:
    for line in lines:
        click.echo(line, color=True)  # whether there are colours was decided by ``screen()``
