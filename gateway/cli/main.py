"""The ``atls-gateway`` command: its group and help. Commands are in the modules beside, logic lives elsewhere.

The heavy parts (pydantic, adapters and their radio libraries) are imported only by the commands that need them, so that
``status`` answers at once.
"""

from __future__ import annotations

import click

from gateway.cli import backup, broker, clients, devices, files, network, radios, restart, service
from gateway.cli.codes import EPILOG


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
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
    help="""Run an ATLS gateway, or ask a running one.

    The gateway forwards end-to-end (D)TLS that it can't read between ZigBee, CoAP and MQTT, and lets pass what its
    policy permits. One config file names the adapters and the policy.

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


for command in (
    *files.COMMANDS,
    *service.COMMANDS,
    *devices.COMMANDS,
    *radios.COMMANDS,
    *network.COMMANDS,
    *restart.COMMANDS,
    *clients.COMMANDS,
    *broker.COMMANDS,
    *backup.COMMANDS,
):
    main.add_command(command)
