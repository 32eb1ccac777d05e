"""The ``atls-gateway`` command: its group and help. Commands are in the modules beside, logic lives elsewhere.

A command's module is imported when the command is asked for, and the heavy parts (pydantic, adapters and their radio
libraries) only by the commands that need them: ``status`` answers at once, and the daemon holds no other command.
"""

from __future__ import annotations

import click

from gateway.cli.codes import EPILOG
from gateway.cli.commands import ROWS, LazyCommands


class _Group(click.Group):
    """Its help is made of the table of commands, and imports none of them."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (line, _) in ROWS.items()])


def _version(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
    if asked:
        from importlib import metadata

        from gateway.runtime.build import build

        try:
            version = metadata.version("atls-gateway")
        except metadata.PackageNotFoundError:
            version = "of a source tree that isn't installed"
        click.echo(f"atls-gateway {version} ({build()})")
        context.exit()


@click.group(
    cls=_Group,
    commands=LazyCommands(),
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
    help="""Run an ATLS gateway, or ask a running one.

    The gateway forwards end-to-end (D)TLS that it can't read between ZigBee, CoAP, HTTP and MQTT, and lets pass what
    its policy permits. One config file names the adapters and the policy.

    \b
    Find the dongle, and write a config and a policy to start from:
      atls-gateway radios
      atls-gateway config sample > gateway.yaml
      atls-gateway config sample --policy > policy.yaml
    Try a config before you run it:
      atls-gateway check-config -c gateway.yaml
    Let a phone in, and say what it may do in the policy:
      atls-gateway clients add phone
    Run in the foreground, log to the terminal (Ctrl-C stops it):
      atls-gateway run -c gateway.yaml
    Let new ZigBee devices join for two minutes, and give the one that came its name:
      atls-gateway permit-join --seconds 120
      atls-gateway devices name 00:0d:6f:00:0b:5d:e3:b6 attic
    Put a changed config in force:
      atls-gateway reload
    Override one value of the config:
      ATLS_GATEWAY__GATEWAY__LOG_LEVEL=debug atls-gateway run -c gateway.yaml
    Complete commands and options by the tab key (zsh, fish: their names instead):
      eval "$(_ATLS_GATEWAY_COMPLETE=bash_source atls-gateway)"
    """,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version, and whether it is compiled.",
)
def main() -> None:
    """The entry point."""
