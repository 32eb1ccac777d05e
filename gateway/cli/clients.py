"""The commands that let CoAP clients in and shut them out: ``clients add``, ``list``, ``revoke``, ``rotate``.

What they do is in ``client_steps``, which only they load.
"""

from __future__ import annotations

import click

from gateway.cli.asking import config_option, json_option
from gateway.cli.codes import EPILOG

_file_option = click.option(
    "--file",
    "file",
    metavar="FILE",
    help="The file of the keys. Default: adapters.coap.psk_file of the config; under systemd what LoadCredential= "
    "of the unit copies there.",
)
_name = click.argument("name", metavar="NAME")
_text = click.option(
    "--text", "form", flag_value="text", help="A key of letters and digits, for programs that take it as text."
)
_short = click.option(
    "--short", "form", flag_value="short", help="A key of 16 octets in the place of 32: tinydtls takes no longer one."
)


@click.group(epilog=EPILOG)
def clients() -> None:
    """Let CoAP clients in, and shut them out: the keys of adapters.coap.psk_file.

    A client is known by its name and its own key (a PSK of DTLS). What it may do is for the policy to say. A
    change is in force at once in a running gateway; who is revoked loses its connections, its observations and its
    sessions.

    \b
    A key for a phone, shown once, as text and as a QR code:
      atls-gateway clients add phone
    For libcoap's coap-client, which takes a key as text:
      atls-gateway clients add laptop --text
    Who may come, who is here now?
      atls-gateway clients list
    The phone is lost:
      atls-gateway clients revoke phone
    """


@clients.command("add", epilog=EPILOG)
@config_option
@_file_option
@_text
@_short
@json_option
@_name
def add(config: str | None, file: str | None, form: str | None, as_json: bool, name: str) -> None:
    """Make a key for the client NAME, show it once, and let the client in.

    The key is not shown again: a lost one is replaced by `clients rotate`. On a terminal it's shown as a QR code, too,
    which holds the line NAME:KEY.

    \b
      atls-gateway clients add phone
      atls-gateway clients add laptop --text
      atls-gateway clients add sensor --short
    """
    from gateway.cli import client_steps

    client_steps.give(config, file, as_json, lambda keys: keys.add(name, form or "hex"))


@clients.command("rotate", epilog=EPILOG)
@config_option
@_file_option
@_text
@_short
@json_option
@_name
def rotate(config: str | None, file: str | None, form: str | None, as_json: bool, name: str) -> None:
    """Make another key for the client NAME; the old one is worth nothing from then on.

    The client's connections, observations and sessions end at once, since another holder of the old key could have
    them.

    \b
      atls-gateway clients rotate phone
    """
    from gateway.cli import client_steps

    client_steps.give(config, file, as_json, lambda keys: keys.rotate(name, form or "hex"))


@clients.command("revoke", epilog=EPILOG)
@config_option
@_file_option
@json_option
@_name
def revoke(config: str | None, file: str | None, as_json: bool, name: str) -> None:
    """Take the key of the client NAME away; its connections, observations and sessions end at once.

    \b
      atls-gateway clients revoke phone
    """
    from gateway.cli import client_steps

    client_steps.revoke(config, file, as_json, name)


@clients.command("list", epilog=EPILOG)
@config_option
@_file_option
@json_option
def list_(config: str | None, file: str | None, as_json: bool) -> None:
    """List the clients that have a key: their subjects in the policy, and who is connected. Never a key.

    \b
      atls-gateway clients list
    Who is connected now?
      atls-gateway clients list --json | jq -r '.clients[] | select(.connected > 0) | .identity'
    """
    from gateway.cli import client_steps

    client_steps.show(config, file, as_json)


COMMANDS: tuple[click.Command, ...] = (clients,)
