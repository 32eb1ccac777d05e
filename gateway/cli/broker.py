"""The command that prepares a Mosquitto broker for the gateway: ``broker-setup``.

What it does is in ``broker_steps``, which only it loads.
"""

from __future__ import annotations

import click

from gateway.cli.asking import config_option, json_option
from gateway.cli.codes import EPILOG


@click.command("broker-setup", epilog=EPILOG)
@config_option
@json_option
@click.option("--out", metavar="DIR", help="Where the files go. Default: broker/ beside the config.")
@click.option("--host", "hosts", multiple=True, metavar="NAME|IP", help="One more name of the broker. Repeatable.")
@click.option(
    "--user",
    "users",
    multiple=True,
    metavar="LOGIN",
    help="A login that reads and sets devices. Repeatable. Default: those of the last run, else home-assistant.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="The broker's TLS port. Default: the config's, else 8883.")
@click.option(
    "--mosquitto",
    metavar="DIR",
    default="/etc/mosquitto",
    show_default=True,
    help="Mosquitto's own folder on the broker's machine.",
)
@click.option("--renew", is_flag=True, help="Make a new broker certificate, even if the old one is good.")
@click.option("--new-password", "renewed", multiple=True, metavar="LOGIN", help="Another password for it. Repeatable.")
def broker_setup(
    config: str | None,
    as_json: bool,
    out: str | None,
    hosts: tuple[str, ...],
    users: tuple[str, ...],
    port: int | None,
    mosquitto: str,
    renew: bool,
    renewed: tuple[str, ...],
) -> None:
    """Prepare a Mosquitto broker with TLS: authority, certificate, logins, and who may use which topic.

    Writes files and says the three commands that put them in force; the broker itself is not touched. Topics, logins
    and the gateway's own password file are those of the config and its policy, if there are any; a login for each
    subject with `user:` is made. Passwords of logins are shown this once. What the gateway needs is put in its place:
    the authority's certificate (ca_file) and its password (password_file).

    Run it again after a change: it keeps authority, keys and passwords, adds what is new, renews a certificate that
    ends in half a year, and leaves alone what you have changed by hand.

    \b
    For a broker on this machine:
      atls-gateway broker-setup
    The broker's machine has another name in the network, and a tablet gets a login, too:
      atls-gateway broker-setup --host hub.lan --host 192.168.1.20 --user home-assistant --user tablet
    """
    from gateway.cli import broker_steps

    broker_steps.prepare(config, as_json, out, hosts, users, port, mosquitto, renew, renewed)


COMMANDS: tuple[click.Command, ...] = (broker_setup,)
