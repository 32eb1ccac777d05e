"""The ``atls-gateway`` command: what people type, what they read back, and the exit codes. Logic lives elsewhere.

The heavy parts (pydantic, adapters and their radio libraries) are imported only by the commands that need them, so
that ``status`` answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import click

from gateway.api.errors import ConfigError, PeerError, TransportError
from gateway.runtime.admin_client import NotAllowedError, ask
from gateway.runtime.source import (
    CONFIG_VARIABLE,
    DEFAULT_CONFIG,
    DEFAULT_SOCKET,
    InvalidConfigError,
    config_path,
    read_config,
    socket_path,
)

FAILED, UNREACHABLE, NOT_ALLOWED, BAD_CONFIG = 1, 69, 77, 78  # the last three as in sysexits.h

_EXIT_CODES = """
\b
Exit codes:
  0   done
  1   the gateway could not do it, or ended on a fault
  2   the command was not understood
  69  the daemon is not reachable
  77  not allowed for this user
  78  the configuration can't be used
"""

_config_option = click.option(
    "-c",
    "--config",
    metavar="FILE",
    help=f"The gateway's config file. Default: ${CONFIG_VARIABLE}, else {DEFAULT_CONFIG}.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def _fail(code: int, *lines: object) -> NoReturn:
    for line in lines:
        click.echo(str(line), err=True)
    sys.exit(code)


def _version(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
    if asked:
        from importlib import metadata

        try:
            version = metadata.version("atls-gateway")
        except metadata.PackageNotFoundError:
            version = "of a source tree that isn't installed"
        click.echo(f"atls-gateway {version}")
        context.exit()


@click.group(
    epilog=_EXIT_CODES,
    help="""Run an ATLS gateway, or ask a running one.

    The gateway forwards end-to-end (D)TLS that it can't read between ZigBee, CoAP and MQTT, and lets pass what its
    policy permits. One config file names the adapters and the policy.

    \b
    Try a config before you run it:
      atls-gateway check-config -c gateway.yaml
    Run in the foreground, log to the terminal (Ctrl-C stops it):
      atls-gateway run -c gateway.yaml
    Let new ZigBee devices join for two minutes, then look who came:
      atls-gateway permit-join --seconds 120
      atls-gateway devices
    Override one value of the config:
      ATLS_GATEWAY__GATEWAY__LOG_LEVEL=debug atls-gateway run -c gateway.yaml
    """,
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def main() -> None:
    """The entry point."""


@main.command(epilog=_EXIT_CODES)
@_config_option
def run(config: str | None) -> None:
    """Run the gateway in the foreground.

    SIGTERM and Ctrl-C stop it in good order. SIGHUP checks the config anew and puts its policy in force; what else
    has changed is named in the log and takes a restart. Under systemd it tells when it serves, and that it's healthy.
    """
    from gateway.runtime import daemon

    try:
        daemon.run(config_path(config, os.environ), os.environ)
    except InvalidConfigError as error:
        _fail(BAD_CONFIG, *error.errors)


@main.command("check-config", epilog=_EXIT_CODES)
@_config_option
def check_config(config: str | None) -> None:
    """Check the config, the policy and the credential files; open nothing else.

    Prints a line FILE:LINE: KEY: EXPECTATION for each mistake and exits with 78.
    """
    from gateway.runtime import guard, settings

    guard.install()
    path = config_path(config, os.environ)
    try:
        found = settings.load(path, os.environ)
    except InvalidConfigError as error:
        _fail(BAD_CONFIG, *error.errors)
    names = ", ".join(found.adapters)
    click.echo(f"{path}: good (adapters: {names}; {len(found.policy.rules)} rules in {found.table.policy})")


@main.command(epilog=_EXIT_CODES)
@_config_option
@click.argument("sender")
@click.argument("receiver")
@click.option("--action", type=click.Choice(["open", "forward"]), default="open", show_default=True)
@click.option(
    "--content",
    type=click.Choice(["atls", "adtls", "atls-data", "oscore", "edhoc"]),
    default="adtls",
    show_default=True,
)
@click.option("--link", metavar="PROTOCOL", help="How the sender's hop is protected, such as tls1.3.")
@click.option("--at", metavar="HH:MM", help="The time of day to judge by. Default: now.")
def explain(
    config: str | None, sender: str, receiver: str, action: str, content: str, link: str | None, at: str | None
) -> None:
    """Say what the policy makes of SENDER towards RECEIVER, and why.

    Reads the policy file; the daemon need not run, and a change can be tried before it's put in force. Rates, sizes
    and record types are judged unit by unit and aren't part of the answer.

    \b
    May the phone open a session to the lamp at night?
      atls-gateway explain phone lamp --at 23:30
    """
    from gateway.api.model import ContentKind
    from gateway.engine.policy import Action
    from gateway.runtime import explain as policy

    question = policy.Question(
        sender=sender,
        receiver=receiver,
        action=Action(action),
        content=ContentKind(content),
        link=link,
        minute=None if at is None else _minute(at),
    )
    try:
        for line in policy.answer(question, policy.load_policy(config_path(config, os.environ), os.environ)):
            click.echo(line)
    except InvalidConfigError as error:
        _fail(BAD_CONFIG, *error.errors)
    except ValueError as error:
        _fail(FAILED, error)


def _minute(clock: str) -> int:
    hour, colon, minute = clock.partition(":")
    if not (colon and (hour + minute).isascii() and (hour + minute).isdigit()) or int(hour) > 23 or int(minute) > 59:
        raise click.BadParameter("expected a time of day such as 23:30", param_hint="--at")
    return int(hour) * 60 + int(minute)


@main.command(epilog=_EXIT_CODES)
@_config_option
@_json_option
def status(config: str | None, as_json: bool) -> None:
    """Show how the gateway, its adapters and its traffic are.

    \b
    Is everything ready?
      atls-gateway status
    One number, for a script:
      atls-gateway status --json | jq .sessions
    """
    answer = _ask(config, "status", {})
    if as_json:
        _print_json(answer)
        return
    health = "healthy" if answer["healthy"] else "behind its deadlines"
    click.echo(f"{answer['name']}: {health}, pid {answer['pid']}, {answer['sessions']} sessions")
    for scheme, adapter in answer["adapters"].items():
        trouble = f" ({adapter['trouble']})" if adapter["trouble"] else ""
        click.echo(f"  {scheme}: {adapter['state']}{trouble}, {adapter['in_flight']} in flight")
        _print_values(adapter["detail"], indent=4)
    for title in ("traffic", "engine", "refused"):
        if answer[title]:
            click.echo(f"{title}:")
            _print_values(answer[title], indent=2)


@main.command(epilog=_EXIT_CODES)
@_config_option
@_json_option
def devices(config: str | None, as_json: bool) -> None:
    """List the devices in the adapters' networks."""
    answer = _ask(config, "devices", {})
    if as_json:
        _print_json(answer)
        return
    for scheme, result in answer["adapters"].items():
        found = result.get("devices", [])
        click.echo(f"{scheme}: {len(found)} devices")
        _print_table(found)


@main.command("permit-join", epilog=_EXIT_CODES)
@_config_option
@_json_option
@click.option(
    "--seconds",
    type=click.IntRange(0, 254),
    required=True,
    help="How long new devices may join; 0 closes the network at once.",
)
def permit_join(config: str | None, as_json: bool, seconds: int) -> None:
    """Let new devices join the ZigBee network for a while. It's closed otherwise.

    \b
    Two minutes to switch the new lamp on:
      atls-gateway permit-join --seconds 120
    Close it again:
      atls-gateway permit-join --seconds 0
    """
    answer = _ask(config, "permit-join", {"seconds": seconds})
    if as_json:
        _print_json(answer)
        return
    for scheme in answer["adapters"]:
        click.echo(f"{scheme}: open for {seconds} s" if seconds else f"{scheme}: closed")


@main.command(epilog=_EXIT_CODES)
@_config_option
@_json_option
def sessions(config: str | None, as_json: bool) -> None:
    """List the live sessions: who with whom, how many units and octets (from the opener, to the opener)."""
    answer = _ask(config, "sessions", {})
    if as_json:
        _print_json(answer)
    else:
        click.echo(f"{len(answer['sessions'])} sessions")
        _print_table(answer["sessions"])


def _ask(config: str | None, command: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the running daemon, or end with the exit code that says why that failed."""
    try:
        return ask(_socket(config), command, arguments)
    except ConfigError as error:
        _fail(BAD_CONFIG, error)
    except NotAllowedError as error:
        _fail(NOT_ALLOWED, error)
    except TransportError as error:
        _fail(UNREACHABLE, error)
    except PeerError as error:
        _fail(FAILED, error)


def _socket(config: str | None) -> Path:
    """The admin socket of the config; the usual one where no config was named and there is none."""
    path = config_path(config, os.environ)
    if config is None and CONFIG_VARIABLE not in os.environ and not path.exists():
        return Path(DEFAULT_SOCKET)
    return socket_path(read_config(path, os.environ, credentials=False))


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


def _shown(value: object) -> str:
    """A value for a terminal: peers chose some of them, so nothing unprintable goes out."""
    if isinstance(value, list):
        return "/".join(map(_shown, value))
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _print_values(values: Mapping[str, Any], indent: int) -> None:
    for name, value in values.items():
        if isinstance(value, dict):
            click.echo(f"{' ' * indent}{_shown(name)}:")
            _print_values(value, indent + 2)
        else:
            click.echo(f"{' ' * indent}{_shown(name)}: {_shown(value)}")


def _print_table(rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    names = list(rows[0])
    cells = [names, *([_shown(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
