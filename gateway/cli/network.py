"""``atls-gateway network``: which ZigBee network the gateway and the dongle hold, and which of them is to count."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.api.errors import PeerError
from gateway.cli.asking import config_option, json_option, print_json, print_lines, question
from gateway.cli.codes import BAD_CONFIG, EPILOG, FAILED, NOT_ALLOWED, fail
from gateway.cli.screen import Screen, screen, table
from gateway.runtime.config_source import InvalidConfigError, config_path

if TYPE_CHECKING:
    from gateway.runtime.maintenance import Maintained

_T = TypeVar("_T")
_ROWS = {
    "of": "NETWORK OF",
    "pan_id": "PAN",
    "extended_pan_id": "EXTENDED PAN",
    "coordinator": "COORDINATOR",
    "channel": "CHANNEL",
    "saved": "BACKUP OF",
}
_STOP = "the gateway is running, and has the dongle: stop it first (systemctl stop atls-gateway)"

yes_option = click.option("--yes", is_flag=True, help="Don't ask.")


@click.group(epilog=EPILOG)
def network() -> None:
    """Show which ZigBee network the gateway and the dongle hold, and settle which one counts.

    A dongle that holds another network than the gateway knows is not used: adopt it, or restore ours to it.

    \b
    Which network is in the dongle?
      atls-gateway network show
    """


@network.command(epilog=EPILOG)
@config_option
@json_option
def show(config: str | None, as_json: bool) -> None:
    """Show the gateway's network, the dongle's, and the files that were kept. Changes nothing.

    Asks the running gateway; else it opens the dongle for a moment.

    \b
      atls-gateway network show
    """
    answer = _look(config)
    if as_json:
        print_json(answer)
    else:
        print_lines(lines(answer, screen()))


@network.command(epilog=EPILOG)
@config_option
@json_option
@yes_option
def adopt(config: str | None, as_json: bool, yes: bool) -> None:
    """Take on the network that the dongle holds, in our place. The gateway must not run.

    Our network and its devices are kept in a file first; `network restore --from FILE` brings them back. The devices
    of the adopted network are asked who they are when they are heard.

    \b
      systemctl stop atls-gateway
      atls-gateway network adopt
      systemctl start atls-gateway
    """
    kept = _load(config)
    found = _offline(kept, "network", {}, looks=True)
    ours, dongle = found["ours"], found["dongle"]
    if found["same"]:
        _done(as_json, {"changed": False, "kept": []}, "the dongle holds our network: nothing to do")
        return
    if dongle is None:
        fail(FAILED, found["fault"] or "the dongle is blank: `atls-gateway network restore` writes our network to it")
    if ours is None:
        fail(FAILED, "no network is recorded here: the next start takes the dongle's on by itself")
    after = "its devices stay known" if found["copy"] else "our devices are then unknown here"
    _agreed(yes, lines(found, screen()), f"The dongle's network becomes ours; {after}. Ours is kept in a file first.")
    answer = _offline(kept, "network-adopt", {"dongle": dongle["extended_pan_id"]}, looks=False)
    _done(as_json, answer, f"the dongle's network (PAN {dongle['pan_id']}) is ours now")


@network.command(epilog=EPILOG)
@config_option
@json_option
@yes_option
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that adopt or restore kept, or a coordinator backup; instead of our network.",
)
@click.option("--network", "earlier", metavar="EXTENDED_PAN", help="An earlier network that `network show` lists.")
@click.option(
    "--address",
    type=click.Choice(["write", "once", "keep"]),
    default="write",
    show_default=True,
    help="The dongle's own address: write the network's if that can be undone; even if it can't be undone; or not.",
)
def restore(
    config: str | None, as_json: bool, yes: bool, source: Path | None, earlier: str | None, address: str
) -> None:
    """Write our network to the dongle, over whatever it holds. The gateway must not run.

    What the dongle holds is kept in a file first; `network restore --from FILE` writes it back. The devices of our
    network need not join again. Never have one network on two dongles at work: they disturb each other.

    A .db file brings the network and its devices back; a .json file is written to the dongle only.

    \b
      systemctl stop atls-gateway
      atls-gateway network restore
      systemctl start atls-gateway
    """
    if source is not None and earlier is not None:
        raise click.UsageError("expected either --from FILE or --network EXTENDED_PAN")
    kept = _load(config)
    found = _offline(kept, "network", {}, looks=True)
    ours, dongle = found["ours"], found["dongle"]
    if found["fault"]:
        fail(FAILED, found["fault"])
    if source is None and ours is None:
        fail(FAILED, "no network is recorded here: name a file with --from FILE, or take the dongle's on by a start")
    if source is None and earlier is None and found["same"]:
        _done(as_json, {"changed": False, "kept": []}, "the dongle holds our network: nothing to do")
        return
    what = f"the network of {source}" if source else f"the earlier network {earlier}" if earlier else "our network"
    over = "which is blank" if dongle is None else f"over its network (PAN {dongle['pan_id']}), kept in a file first"
    _agreed(yes, lines(found, screen()), f"This writes {what} to the dongle, {over}.")
    arguments: dict[str, Any] = {"dongle": None if dongle is None else dongle["extended_pan_id"], "address": address}
    if source is not None:
        arguments["from"] = str(source.absolute())
    if earlier is not None:
        arguments["network"] = earlier.lower()
    answer = _offline(kept, "network-restore", arguments, looks=False)
    done = f"the dongle holds {what}" if answer["changed"] else f"the dongle held {what} already"
    _done(as_json, answer, done)


def lines(answer: Mapping[str, Any], to: Screen) -> Iterator[str]:
    """The answer of ``show`` for people."""
    rows = [_row(name, answer[key]) for key, name in (("ours", "gateway"), ("dongle", "dongle")) if answer[key]]
    rows += [_row("earlier", each) for each in answer.get("earlier", ())]
    if rows:
        yield from table(rows, _ROWS, to)
        yield ""
    yield _verdict(answer)
    if answer.get("kept"):
        yield ""
        yield to.title("kept (atls-gateway network restore --from FILE):")
        yield from (f"  {path}" for path in answer["kept"])


def _row(name: str, network: Mapping[str, Any]) -> dict[str, Any]:
    saved = network.get("saved")
    return {**network, "of": name, "saved": None if saved is None else f"{saved[:16].replace('T', ' ')} UTC"}


def _verdict(answer: Mapping[str, Any]) -> str:
    ours, dongle = answer["ours"], answer["dongle"]
    if answer["fault"]:
        return f"What the dongle holds is not known: {answer['fault']}"
    if dongle is None:
        what = "`form: if-blank` or `atls-gateway network restore` writes ours to it" if ours else "no network is known"
        return f"The dongle is blank: {what}."
    if ours is None:
        return "The gateway knows no network: it takes the dongle's on when it starts."
    if answer["same"]:
        return "The dongle holds the gateway's network."
    copy = "a copy of the gateway's network, for another coordinator" if answer["copy"] else "another network"
    return (
        f"The dongle holds {copy}: the gateway does not use it. Plug its own dongle in, or decide:\n"
        "  atls-gateway network adopt      keep the dongle's network\n"
        "  atls-gateway network restore    write the gateway's network to the dongle"
    )


def _look(config: str | None) -> Mapping[str, Any]:
    from gateway.runtime.maintenance import RunningError

    kept = _load(config)
    try:
        return _tried(lambda: kept.carry_out("network", {}, _progress, looks=True))
    except RunningError:
        answers: Mapping[str, Any] = question(config, "network")["adapters"]
        return next(iter(answers.values()))


def _load(config: str | None) -> Maintained:
    from gateway.runtime import maintenance

    return _tried(lambda: maintenance.load(config_path(config, os.environ), os.environ))


def _offline(kept: Maintained, command: str, arguments: Mapping[str, Any], *, looks: bool) -> Mapping[str, Any]:
    from gateway.runtime.maintenance import RunningError

    try:
        return _tried(lambda: kept.carry_out(command, arguments, _progress, looks=looks))
    except RunningError:
        fail(FAILED, _STOP)


def _tried(do: Callable[[], _T]) -> _T:
    try:
        return do()
    except InvalidConfigError as error:
        fail(BAD_CONFIG, *error.errors)
    except PermissionError as error:
        fail(NOT_ALLOWED, f"{error.filename}: {error.strerror}", "Try it with sudo.")
    except ValueError as error:
        fail(NOT_ALLOWED, f"state folder: {error}", "Try it with sudo, or as the user that the service runs as.")
    except PeerError as error:
        fail(FAILED, error)


def _progress(line: str) -> None:
    click.echo(line, err=True)


def _agreed(yes: bool, shown: Iterator[str], what: str) -> None:
    if not yes:
        for line in shown:
            click.echo(line, err=True)
        click.echo(f"\n{what}", err=True)
        click.confirm("Go on?", abort=True, err=True)


def _done(as_json: bool, answer: Mapping[str, Any], text: str) -> None:
    if as_json:
        print_json(answer)
        return
    click.echo(text)
    for path in answer["kept"]:
        what = "what the dongle held" if path.endswith(".json") else "the former network and its devices"
        click.echo(f"to bring back {what}: atls-gateway network restore --from {path}")


COMMANDS: tuple[click.Command, ...] = (network,)
