"""The commands on bindings: what a device sends goes straight to another one, or to a group."""

from __future__ import annotations

import click

from gateway.cli.asking import config_option, json_option, print_json, print_lines, question
from gateway.cli.codes import EPILOG
from gateway.cli.groups_view import bound_lines

_Outer = tuple[str | None, bool]
_FROM = click.option("--from-endpoint", type=click.IntRange(1, 240), help="The endpoint of FROM.")
_TO = click.option("--to-endpoint", type=click.IntRange(1, 240), help="The endpoint of TO.")
_CLUSTER = click.option(
    "--cluster",
    "clusters",
    multiple=True,
    metavar="CLUSTER",
    help="on_off, level, color, 0x0006 and so on; repeatable.",
)


@click.command(epilog=EPILOG)
@config_option
@json_option
@_FROM
@_TO
@_CLUSTER
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.pass_obj
def bind(
    outer: _Outer,
    config: str | None,
    as_json: bool,
    from_endpoint: int | None,
    to_endpoint: int | None,
    clusters: tuple[str, ...],
    source: str,
    target: str,
) -> None:
    """Have a device command another one, or a group, without the gateway: a remote its lamps, say.

    What FROM sends (on, off, brighter, ...) then goes straight to TO, also while the gateway is off. The gateway's
    policy has no say in it, for it does not pass through the gateway. Without --cluster all that the one can send and
    the other can do is bound. A remote that sleeps is asked when it is heard: press a button of it.

    \b
      atls-gateway devices bind remote desk
      atls-gateway devices bind remote living --cluster on_off --cluster level
    """
    _bound(outer, config, as_json, "bind", from_endpoint, to_endpoint, clusters, source, target)


@click.command(epilog=EPILOG)
@config_option
@json_option
@_FROM
@_TO
@_CLUSTER
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.pass_obj
def unbind(
    outer: _Outer,
    config: str | None,
    as_json: bool,
    from_endpoint: int | None,
    to_endpoint: int | None,
    clusters: tuple[str, ...],
    source: str,
    target: str,
) -> None:
    """End what `devices bind` began. Without --cluster all that is bound between the two.

    \b
      atls-gateway devices unbind remote desk
    """
    _bound(outer, config, as_json, "unbind", from_endpoint, to_endpoint, clusters, source, target)


def _bound(
    outer: _Outer,
    config: str | None,
    as_json: bool,
    command: str,
    from_endpoint: int | None,
    to_endpoint: int | None,
    clusters: tuple[str, ...],
    source: str,
    target: str,
) -> None:
    wanted = {"from": source, "to": target, "from_endpoint": from_endpoint, "to_endpoint": to_endpoint}
    given = {**wanted, "clusters": list(clusters) or None}
    answer = question(config or outer[0], command, {key: each for key, each in given.items() if each is not None})
    if as_json or outer[1]:
        print_json(answer)
    else:
        print_lines(bound_lines(answer, command))


@click.command("bindings", epilog=EPILOG)
@config_option
@json_option
@click.pass_obj
def bindings(outer: _Outer, config: str | None, as_json: bool) -> None:
    """List what `devices bind` has bound: which device sends what straight to which other one.

    \b
      atls-gateway devices bindings
    """
    answer = {"bindings": question(config or outer[0], "groups")["bindings"]}
    if as_json or outer[1]:
        print_json(answer)
    else:
        print_lines(bound_lines(answer, "list"))


COMMANDS: tuple[click.Command, ...] = (bind, unbind, bindings)
"""They belong to ``devices``."""
